"""Every source of noise in a model, listed."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from torchdropout.surgery._calls import run

Kind = Literal["module", "recurrent", "attention", "function"]

_DRAWS: dict[Callable[..., Any], str] = {
    F.dropout: "dropout", F.dropout1d: "dropout1d", F.dropout2d: "dropout2d", F.dropout3d: "dropout3d",
    F.alpha_dropout: "alpha_dropout", F.feature_alpha_dropout: "feature_alpha_dropout", F.rrelu: "rrelu",
    F.gumbel_softmax: "gumbel_softmax", F.scaled_dot_product_attention: "scaled_dot_product_attention",
    torch.rand: "rand", torch.randn: "randn", torch.rand_like: "rand_like", torch.randn_like: "randn_like",
    torch.bernoulli: "bernoulli", torch.Tensor.bernoulli_: "bernoulli_", torch.Tensor.uniform_: "uniform_",
    torch.Tensor.normal_: "normal_", torch.normal: "normal",
}  # fmt: skip


@dataclass(frozen=True)
class NoiseSource:
    """Something that draws in training.

    Attributes:
        name: The qualified name of the module, or of that in whose forward a function draws.
        kind: `"module"`; `"recurrent"`, inside a recurrent layer; `"attention"`, of attention weights; `"function"`, a
            call that a traced forward pass makes.
        what: The class, or the function.
        rate: The drop probability; None where there is none, or it is not known.
    """

    name: str
    kind: Kind
    what: str
    rate: float | None


def noise_sources(model: nn.Module, example_inputs: Any = None) -> list[NoiseSource]:
    """List every source of noise in a model: what draws in training and not in eval.

    Modules are this package's, PyTorch's, dropout inside recurrent and attention layers, and those of other libraries
    whose class is called a dropout or drop path and has a rate. Calls of functions, as of
    `torch.nn.functional.dropout`, are found only where there are inputs to run a copy of the model on, in training.

    Args:
        model: The model; it is not changed.
        example_inputs: A tensor, a tuple of arguments, or a dict of named ones.

    Returns:
        The sources, in the order of the modules; functions in the order of their first call.

    Example:
        >>> import torch, torchdropout as td
        >>> model = torch.nn.Sequential(torch.nn.Dropout(0.5), td.LSTM(2, 2, recurrent=td.WeightDrop(0.25)))
        >>> for source in td.noise_sources(model):
        ...     print(source.name, source.kind, source.what, source.rate)
        0 module Dropout 0.5
        1 recurrent WeightDrop 0.25
    """
    found = [source for name, module in model.named_modules() for source in _of_module(module, name)]
    if example_inputs is not None:
        found += _functions(model, example_inputs)
    return found


def _of_module(module: nn.Module, name: str) -> Iterator[NoiseSource]:
    kinds: Any = getattr(module, "recurrent", ())
    if isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
        for kind in kinds:
            yield NoiseSource(name, "recurrent", type(kind).__name__, getattr(kind, "p", None))
        if isinstance(module, nn.RNNBase) and module.dropout > 0 and module.num_layers > 1:
            yield NoiseSource(name, "recurrent", "dropout between layers", module.dropout)
    elif isinstance(module, nn.MultiheadAttention) and module.dropout > 0:
        yield NoiseSource(name, "attention", type(module).__name__, module.dropout)
    if is_noise(module):
        yield NoiseSource(name, "module", type(module).__name__, _rate(module))


def is_noise(module: nn.Module) -> bool:
    """Whether a module itself draws in training."""
    if isinstance(module, (nn.modules.dropout._DropoutNd, nn.RReLU, *_ours())):
        return True
    called = type(module).__name__.lower()
    return ("dropout" in called or "droppath" in called or "stochasticdepth" in called) and _rate(module) is not None


@functools.cache
def _ours() -> tuple[type[nn.Module], ...]:
    import torchdropout  # noqa: PLC0415 - the package's own table names classes of the package
    from torchdropout import catalog  # noqa: PLC0415 - as above

    classes = [getattr(torchdropout, row.layer) for row in catalog.METHODS if not row.is_kind]
    return (*classes, torchdropout.DropKeyMultiheadAttention)


def _rate(module: nn.Module) -> float | None:
    for name in ("p", "drop_prob", "rate", "drop_rate"):
        value = getattr(module, name, None)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    return None


class _Watch(TorchFunctionMode):
    """Notes which functions draw, and inside of which module."""

    def __init__(self, inside: list[tuple[str, bool]]) -> None:
        super().__init__()
        self.inside, self.found = inside, dict[NoiseSource, None]()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, known = self.inside[-1] if self.inside else ("", False)
        if func in _DRAWS and not known and (source := _of_call(func, name, args, kwargs or {})) is not None:
            self.found[source] = None
        return func(*args, **(kwargs or {}))


def _of_call(func: Any, name: str, args: Any, kwargs: dict[str, Any]) -> NoiseSource | None:
    what = _DRAWS[func]
    if func is F.scaled_dot_product_attention:
        rate = kwargs.get("dropout_p", args[4] if len(args) > 4 else 0.0)
        return NoiseSource(name, "function", what, rate) if rate > 0 else None
    if "dropout" not in what:
        return NoiseSource(name, "function", what, None)
    rate = kwargs.get("p", args[1] if len(args) > 1 else 0.5)
    live = kwargs.get("training", args[2] if len(args) > 2 else func not in (F.alpha_dropout, F.feature_alpha_dropout))
    return NoiseSource(name, "function", what, float(rate)) if live and rate > 0 else None


def _functions(model: nn.Module, example_inputs: Any) -> list[NoiseSource]:
    """In training, on a copy; the random state is as it was after."""
    twin, inside = copy.deepcopy(model).train(), list[tuple[str, bool]]()
    for name, module in twin.named_modules():
        known = any(True for _ in _of_module(module, name))
        module.register_forward_pre_hook(lambda *_, entry=(name, known): inside.append(entry))
        module.register_forward_hook(lambda *_: inside.pop() and None, always_call=True)
    with torch.random.fork_rng(devices=[]), torch.no_grad(), _Watch(inside) as watch:
        run(twin, example_inputs)
    return list(watch.found)
