"""Units and channels that are constant: all that comes in has weight zero, and a bias is left.

What the layers behind make of such a constant joins their biases; then nothing reads it any more.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from torchdropout.losses._trace import NotTraced, trace

_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_BY_ELEMENT = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish, nn.Hardtanh,
    nn.Tanh, nn.Sigmoid, nn.Softplus, nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d,
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d,
)  # fmt: skip
_POOLS = (
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d,
)  # fmt: skip
_FUNCTIONS = {F.relu, torch.relu, F.gelu, F.silu, F.elu, F.leaky_relu, F.selu, torch.tanh, torch.sigmoid, F.tanh}


def names(model: nn.Module) -> list[str]:
    """The layers that have constant units or channels."""
    return [
        name for name, module in model.named_modules() if type(module) in _WEIGHTED and bool(_constant(module).any())
    ]


def fold(model: nn.Module, name: str, inputs: int) -> nn.Module | None:
    """The model with a layer's constants in the biases behind it, changed in place; None where that cannot be."""
    try:
        nodes = list(trace(model, inputs).graph.nodes)
    except NotTraced:
        return None
    calls: dict[str, list[fx.Node]] = {}
    for node in nodes:
        if node.op == "call_module":
            calls.setdefault(str(node.target), []).append(node)
    if len(calls.get(name, [])) != 1:
        return None
    layer: Any = model.get_submodule(name)
    gone = _constant(layer)
    value = layer.bias.detach().view(1, -1, *[1] * (layer.weight.dim() - 2))
    found = _consumers(model, calls, calls[name][0], value, False)
    if not found:
        return None
    for consumer, constants, flat in found:
        _absorb(consumer, constants, gone, flat)
    with torch.no_grad():
        layer.bias[gone] = 0.0
    return model


@torch.no_grad()
def _constant(module: Any) -> Tensor:
    if module.bias is None:
        return torch.zeros(len(module.weight), dtype=torch.bool)
    found: Tensor = (module.weight == 0).flatten(1).all(1) & (module.bias != 0)
    return found


Found = list[tuple[Any, Tensor, bool]]


@torch.no_grad()
def _consumers(
    model: nn.Module, calls: dict[str, list[fx.Node]], node: fx.Node, value: Tensor, flat: bool
) -> Found | None:
    """The layers that read a value, with what it has become before them; None if others read it."""
    found: Found = []
    for user in node.users:
        module: Any = model.get_submodule(str(user.target)) if user.op == "call_module" else None
        if module is not None and (len(calls[str(user.target)]) != 1 or user.args[:1] != (node,)):
            return None
        if _absorbs(module, flat):
            found.append((module, value.flatten(), flat))
            continue
        step = _after(module, user, node, value)
        more = None if step is None else _consumers(model, calls, user, step, flat or _flattens(module, user))
        if more is None:
            return None
        found += more
    return found or None


def _absorbs(module: Any, flat: bool) -> bool:
    if isinstance(module, nn.Linear):
        return True
    plain = isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)) and module.groups == 1 and not flat
    return plain and (module.padding == "valid" or not any(module.padding))


def _after(module: Any, user: fx.Node, node: fx.Node, value: Tensor) -> Tensor | None:
    """A constant behind a step, or None where the step may make other than a constant of it."""
    if isinstance(module, _BY_ELEMENT):
        made: Tensor = module(value)
        return made
    if isinstance(module, _POOLS):
        return value if not getattr(module, "padding", 0) else None
    if _flattens(module, user):
        return value
    alone = user.op == "call_function" and user.args == (node,) and user.target in _FUNCTIONS
    if not alone:
        return None
    kwargs = {key: each for key, each in user.kwargs.items() if key != "inplace"}
    result: Tensor = user.target(value, **kwargs)  # type: ignore[operator]
    return result


def _flattens(module: Any, user: fx.Node) -> bool:
    if isinstance(module, nn.Flatten):
        return bool(module.start_dim == 1 and module.end_dim == -1)
    called = (user.op, user.target) in (("call_function", torch.flatten), ("call_method", "flatten"))
    return called and user.args[1:] == (1,) and not user.kwargs


@torch.no_grad()
def _absorb(consumer: Any, constants: Tensor, gone: Tensor, flat: bool) -> None:
    """Add what the constants give to the bias, and take away the weights that read them."""
    weight = consumer.weight
    if flat:
        times = weight.shape[1] // len(gone)
        constants, gone = constants.repeat_interleave(times), gone.repeat_interleave(times)
    reads = weight.flatten(2).sum(2) if weight.dim() > 2 else weight
    more = reads[:, gone].double() @ constants[gone].double()
    if consumer.bias is None:
        consumer.bias = nn.Parameter(torch.zeros_like(weight[:, 0].flatten()[: len(weight)]))
    consumer.bias.add_(more.to(consumer.bias))
    weight[:, gone] = 0.0
