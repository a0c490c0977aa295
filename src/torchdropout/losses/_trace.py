"""A forward pass as a graph of steps, if that is all that it is: no hidden draw, context or attribute."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import fx, nn

from torchdropout.losses import _sources


class NotTraced(Exception):  # noqa: N818 - a finding, not an error
    """Why a forward pass is no graph."""


class HiddenDraws(NotTraced):
    """It draws where the draw cannot have the shape of a batch: for all of it at once."""


class SetsAttributes(NotTraced):
    """It changes the model that it is of."""


class Traced(NamedTuple):
    """A graph, the constants in it, the modules not looked into, and whether one of these has hidden draws."""

    graph: fx.Graph
    constants: dict[str, Any]
    unseen: tuple[str, ...]
    hides_draws: bool


def trace(model: nn.Module, inputs: int) -> Traced:
    """The graph of a forward pass with so many inputs.

    The model and the random state are as they were after.

    Raises:
        NotTraced: The pass is no graph; the message says why.
    """
    before, state = _attributes(model), _random_state()
    tracer = _Tracer()
    try:
        graph = tracer.trace(model, concrete_args=_defaults(model, inputs))
        found = {str(node.target) for node in graph.nodes if node.op == "get_attr"}
        constants = {name: vars(model)[name] for name in found if name.startswith("_tensor_constant")}
    except NotTraced:
        raise
    except Exception as error:  # whatever a model does to a value that stands for a tensor
        raise NotTraced(" ".join(str(error).split()) or type(error).__name__) from error
    finally:
        drew = _random_state() != state
        _restore_random_state(state)
        changed = _restore(before)
    if drew:
        raise HiddenDraws("its forward draws random numbers that no tensor of the graph shows")
    if changed:
        raise SetsAttributes(f"its forward sets the attribute {changed}")
    return Traced(graph, constants, tuple(sorted(tracer.unseen)), tracer.hides_draws)


class _Tracer(fx.Tracer):
    """Looks into every module that is not known, and calls those that it cannot look into."""

    proxy_buffer_attributes = True

    def __init__(self) -> None:
        super().__init__()
        self.unseen: set[str] = set()
        self.hides_draws = False
        self.context = _context()

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether not to look inside."""
        return _sources.is_whole(m)

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        """A step; a context around it would be lost."""
        if _context() != self.context:
            raise NotTraced("its forward enters a context, such as `torch.no_grad()`")
        return super().create_node(*args, **kwargs)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """A module's steps, or, where it cannot be looked into, the module itself as one step."""
        if _sources.is_whole(m):
            return super().call_module(m, forward, args, kwargs)
        last, stack = next(reversed(self.graph.nodes), None), self.module_stack.copy()
        state, attributes = _random_state(), _attributes(m)
        try:
            result = super().call_module(m, forward, args, kwargs)
            if _random_state() == state and not _changed(attributes):
                return result
        except Exception:  # whatever it does to a value that stands for a tensor
            self.module_stack = stack
        self.hides_draws |= _random_state() != state
        _restore(attributes)
        _restore_random_state(state)
        self._forget(last)
        name = self.path_of_module(m)
        self.unseen.add(name)
        return self.create_proxy("call_module", name, args, kwargs)

    def _forget(self, last: fx.Node | None) -> None:
        """Take back the steps after one."""
        for node in reversed([*self.graph.nodes]):
            if node is last:
                break
            self.graph.erase_node(node)


def _defaults(model: nn.Module, inputs: int) -> dict[str, Any]:
    """The arguments of a forward that are not given, by name."""
    parameters = list(inspect.signature(model.forward).parameters.values())
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        raise NotTraced("its forward takes any number of arguments")
    rest = [p for p in parameters[inputs:] if p.kind is not p.VAR_KEYWORD]
    if len(parameters) < inputs or any(p.default is p.empty for p in rest):
        raise NotTraced(f"its forward takes other than {inputs} arguments")
    return {p.name: p.default for p in rest}


def _context() -> tuple[Any, ...]:
    """What a `with` block around a step changes."""
    hooks = torch._C._autograd._top_saved_tensors_default_hooks(False)
    autocast = [torch.is_autocast_enabled(kind) for kind in ("cpu", "cuda")]
    return torch.is_grad_enabled(), torch.is_inference_mode_enabled(), hooks, *autocast


def _random_state() -> tuple[Any, ...]:
    """The states of the generators that a forward pass may draw from."""
    cuda = torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    gpu = [state.numpy().tobytes() for state in torch.cuda.get_rng_state_all()] if cuda else []
    ours = torch.get_rng_state().numpy().tobytes()
    numbers: Any = np.random.get_state(legacy=True)  # noqa: NPY002 - a model's, not ours
    _, words, *rest = numbers
    return ours, gpu, random.getstate(), (words.tobytes(), *rest)


def _restore_random_state(state: tuple[Any, ...]) -> None:
    ours, gpu, python, (words, *rest) = state
    torch.set_rng_state(torch.frombuffer(bytearray(ours), dtype=torch.uint8))
    random.setstate(python)
    np.random.set_state(("MT19937", np.frombuffer(words, dtype=np.uint32), *rest))  # noqa: NPY002 - as above
    if gpu:
        torch.cuda.set_rng_state_all([torch.frombuffer(bytearray(each), dtype=torch.uint8) for each in gpu])


Attributes = list[tuple[nn.Module, dict[str, Any]]]


def _attributes(model: nn.Module) -> Attributes:
    """The attributes of every module, those that PyTorch keeps in tables of their own too."""
    return [(m, {k: dict(v) if k in _TABLES else v for k, v in vars(m).items()}) for m in model.modules()]


_TABLES = ("_parameters", "_buffers", "_modules")


def _changed(attributes: Attributes) -> str:
    """The name of an attribute that is another object than it was, or empty."""
    for module, old in attributes:
        new = {k: dict(v) if k in _TABLES else v for k, v in vars(module).items()}
        for name in old.keys() | new.keys():
            if name.startswith("_tensor_constant"):
                continue
            a, b = old.get(name, attributes), new.get(name, attributes)
            same = a.keys() == b.keys() and all(a[k] is b[k] for k in a) if name in _TABLES else a is b
            if not same:
                return f"`{name}` of a {type(module).__name__}"
    return ""


def _restore(attributes: Attributes) -> str:
    """Give attributes their old values back; the name of one that was another, or empty."""
    changed = _changed(attributes)
    for module, old in attributes:
        for name in [name for name in vars(module) if name not in old]:
            del vars(module)[name]
        for name, value in old.items():
            if name in _TABLES:
                vars(module)[name].clear()
                vars(module)[name].update(value)
            else:
                vars(module)[name] = value
    return changed
