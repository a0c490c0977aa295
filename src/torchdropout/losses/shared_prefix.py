"""What a model computes before its first live noise: found once, and then computed once for several noisy passes."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor, fx, nn

from torchdropout.losses import _sources
from torchdropout.losses._names import unwrapped
from torchdropout.losses._state import state
from torchdropout.losses._trace import HiddenDraws, NotTraced, SetsAttributes, trace


class SharedPrefix:
    """Where a model's forward pass is cut, as `shared_prefix` found it.

    Attributes:
        shared: The names of the modules before the cut, in the order of their calls.
        noise: What is live and first after it: names of modules, or of functions.
        unseen: The names of modules that could not be looked into, and are taken for noise unless they declare
            `draws_per`.
        reason: Why there is no cut; empty where there is one, even if nothing stands before it.
    """

    def __init__(self, model: nn.Module, inputs: int) -> None:
        self.shared: tuple[str, ...] = ()
        self.noise: tuple[str, ...] = ()
        self.unseen: tuple[str, ...] = ()
        self.reason, self._is_final = _obstacle(model), False
        self._model = ref(model)  # a plan is kept as long as its model, and must not keep it
        self._worth = self.hides_draws = False
        if self.reason:
            return
        try:
            graph, self._constants, self.unseen, self.hides_draws = trace(model, inputs)
            self._cut(list(graph.nodes), model)
        except NotTraced as found:
            self.reason, self._is_final = str(found), isinstance(found, SetsAttributes)
            self.hides_draws = isinstance(found, HiddenDraws)

    @property
    def saves(self) -> bool:
        """Whether work of layers with parameters stands before the cut."""
        return not self.reason and self._worth

    @property
    def is_silent(self) -> bool:
        """Whether nothing is live, so that all passes are equal."""
        return not self.reason and not self.noise

    def _cut(self, nodes: list[fx.Node], model: nn.Module) -> None:
        noisy: set[fx.Node] = set()
        first = []
        for node in nodes:
            follows = not noisy.isdisjoint(node.all_input_nodes)
            if not follows and _sources.node_draws(node, model):
                first.append(str(node.target if node.op != "call_function" else node.name))
                noisy.add(node)
            elif follows and node.op != "output":
                noisy.add(node)
        self._before = [n for n in nodes if n not in noisy and n.op != "output"]
        self._after = [n for n in nodes if n in noisy or n.op == "output"]
        needed = dict.fromkeys(a for n in self._after for a in n.all_input_nodes if a not in noisy)
        self._boundary = list(needed)
        _check_order(nodes, noisy, len(self._boundary), model)
        self._written = any(_sources.writes(n, model) for n in self._after)
        self._last_use = _last_uses(self._before, self._boundary), _last_uses(self._after, [])
        self.shared = tuple(str(n.target) for n in self._before if n.op == "call_module")
        self.noise = tuple(first)
        self._worth = any(_works(n, noisy, model) for n in self._before)

    def before(self, inputs: Sequence[Any]) -> dict[fx.Node, Any]:
        """What the steps after the cut need, from a model's inputs."""
        given = iter(inputs)
        values: dict[fx.Node, Any] = {}
        for node in self._before:
            if node.op == "placeholder":
                values[node] = node.args[0] if node.args else {} if str(node.target).startswith("**") else next(given)
            else:
                values[node] = self._step(node, values)
            for used in self._last_use[0].get(node, ()):
                del values[used]
        return values

    def after(self, values: dict[fx.Node, Any]) -> Any:
        """A model's output by one noisy pass; `values` can be used again."""
        values = {node: _copied(value) if self._written else value for node, value in values.items()}
        for node in self._after:
            values[node] = self._step(node, values)
            for used in self._last_use[1].get(node, ()):
                values.pop(used, None)
        return values[self._after[-1]]

    def _step(self, node: fx.Node, values: dict[fx.Node, Any]) -> Any:
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
        target: Any = node.target
        if node.op == "output":
            return args[0]
        if node.op == "call_function":
            return target(*args, **kwargs)
        if node.op == "call_method":
            return getattr(args[0], target)(*args[1:], **kwargs)
        if node.op == "get_attr" and target in self._constants:
            return self._constants[target]
        found = operator.attrgetter(target)(self._model())
        return found if node.op == "get_attr" else found(*args, **kwargs)

    def __repr__(self) -> str:
        if self.reason:
            return f"SharedPrefix(none: {self.reason})"
        return f"SharedPrefix(shared={list(self.shared)}, noise={list(self.noise)}, unseen={list(self.unseen)})"


def shared_prefix(model: nn.Module, num_inputs: int = 1) -> SharedPrefix:
    """Find what a model computes before its first live noise, as `r_drop` and `multi_sample_loss` share it.

    The forward pass is traced by `torch.fx`: an `nn.Sequential`, and every model without branches on values. What
    does not depend on noise that is live (in training, with a rate above 0) stands before the cut, on parallel
    branches too. A module that cannot be traced, or has hooks, is called whole and taken for noise, unless it declares
    `draws_per = None`: its own forward draws nothing, whatever layers it holds. There is no cut where the forward sets
    attributes, enters a context as `torch.no_grad()`, draws numbers that no tensor shows, or where the model itself has
    hooks or is wrapped.

    The cut is found again when a module, its mode or a plain attribute of it changes. A forward that depends on
    anything else which changes, as a global variable, is not for sharing.

    Args:
        model: The model, in the mode in which it will run; it is not changed.
        num_inputs: How many arguments its forward gets; the others have their defaults.

    Returns:
        The cut: names of `shared` modules, of the `noise` after them, of `unseen` ones, or the `reason` for none.

    Example:
        >>> import torch, torchdropout as td
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), td.Dropout(0.5), torch.nn.Linear(8, 2))
        >>> td.shared_prefix(model)
        SharedPrefix(shared=['0', '1'], noise=['2'], unseen=[])
        >>> td.shared_prefix(model.eval()).noise
        ()
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"shared_prefix: `model` must be a torch.nn.Module, got {type(model).__name__}.")
    known = _KNOWN.setdefault(model, {}).get(num_inputs)
    if known is None or not (known[1]._is_final or known[0] == state(model, known[1].unseen)):
        found = SharedPrefix(model, num_inputs)
        known = _KNOWN[model][num_inputs] = state(model, found.unseen), found
    return known[1]


_KNOWN: WeakKeyDictionary[nn.Module, dict[int, tuple[Any, SharedPrefix]]] = WeakKeyDictionary()


def _obstacle(model: nn.Module) -> str:
    if unwrapped(model) is not model:
        return f"it is wrapped as a {type(model).__name__}"
    if isinstance(model, torch.jit.ScriptModule):
        return "it is a script"
    return "it has hooks" if _sources.has_hooks(model) else ""


def _check_order(nodes: list[fx.Node], noisy: set[fx.Node], boundary: int, model: nn.Module) -> None:
    """Refuse where writing in place makes the order of steps matter that a cut changes."""
    place = {node: number for number, node in enumerate(nodes)}
    noise_began = False
    for node in nodes:
        noise_began = noise_began or node in noisy
        if node.op in ("placeholder", "output", "get_attr") or not noise_began or not _sources.writes(node, model):
            continue
        clean = [a for a in node.all_input_nodes if a not in noisy]
        later = any(place[user] > place[node] for a in clean for user in a.users)
        if node not in noisy or (clean and (later or boundary > 1)):
            raise NotTraced(f"its forward writes in place where noise is already live, at {node.name}")


def _last_uses(nodes: list[fx.Node], kept: list[fx.Node]) -> dict[fx.Node, list[fx.Node]]:
    """What can be forgotten after each step."""
    last = {used: node for node in nodes for used in node.all_input_nodes}
    uses: dict[fx.Node, list[fx.Node]] = {}
    for used, node in last.items():
        if used not in kept:
            uses.setdefault(node, []).append(used)
    for node in nodes:
        if node not in last and node not in kept and node.op != "output":
            uses.setdefault(node, []).append(node)
    return uses


def _works(node: fx.Node, noisy: set[fx.Node], model: nn.Module) -> bool:
    """Whether a step before the cut calls a module with parameters, or uses a parameter."""
    if node.op not in ("call_module", "get_attr") or str(node.target).startswith("_tensor_constant"):
        return False
    found = operator.attrgetter(str(node.target))(model)
    if isinstance(found, nn.Module):
        return any(True for _ in found.parameters())
    return isinstance(found, nn.Parameter) and any(user not in noisy for user in node.users)


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value
