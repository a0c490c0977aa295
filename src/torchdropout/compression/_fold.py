"""Scales that noise layers leave behind, folded into the layers around them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from torchdropout.losses._trace import NotTraced, trace
from torchdropout.surgery._select import AFTER, BEFORE

_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
_NOTHING = (nn.Identity, *_DROPOUTS)  # in eval
_SCALED = (*_NOTHING, nn.ReLU)  # a positive factor of the input is one of the output


class Neighbours:
    """The modules before and after each module of a model, in its forward pass."""

    def __init__(self, owner: str, model: nn.Module, inputs: int) -> None:
        self.owner, self.model = owner, model
        try:
            graph = trace(model, inputs).graph
        except NotTraced as error:
            raise ValueError(
                f"{owner}: the model must be one that torch.fx can trace, so that scales find the layers around them; "
                f"found: {error}."
            ) from error
        self.nodes: dict[str, list[fx.Node]] = {}
        for node in graph.nodes:
            if node.op == "call_module":
                self.nodes.setdefault(str(node.target), []).append(node)

    def fold(self, name: str, scale: Tensor, dim: int) -> None:
        """Multiply what passes a module by a scale, in the layer before or the layers after it.

        Channels whose scale is 0 are made to stay 0 behind a batch norm, too.

        Args:
            name: The module's; noise that was inserted at another module is that module's.
            scale: A number, or one for each channel.
            dim: The axis of the channels.
        """
        host, slot = host_of(name)
        calls = self.nodes.get(host, [])
        if len(calls) != 1:
            raise ValueError(
                f"{self.owner}: {host} must be called once in a forward pass, so that a scale can be folded."
            )
        (node,) = calls
        own = self._module(node)
        if slot == BEFORE and _takes(own, scale, dim, False):
            _scale_columns(own, scale)
            return
        source, users = self._around(node, slot)
        before = self._before(source, first=node if slot != AFTER else None)
        if before is not None and isinstance(before, (*_WEIGHTED, *_NORMS)) and _fits(before, scale, dim):
            _scale_rows(before, scale)
            self._silence(users, scale)
            return
        after = [self._behind(user, scale, dim) for user in users]
        if not after or None in after:
            raise ValueError(
                f"{self.owner}: {name} must have a linear layer or convolution before it, or only such behind it, with "
                "its channels, so that its scale can be folded."
            )
        for module in after:
            _scale_columns(module, scale)

    def _around(self, node: fx.Node, slot: str) -> tuple[Any, list[fx.Node]]:
        """What is scaled, and what takes it."""
        if slot == AFTER:
            return node, list(node.users)
        return node.args[0], [node] if slot == BEFORE else list(node.users)

    def _module(self, node: Any) -> nn.Module | None:
        called = isinstance(node, fx.Node) and node.op == "call_module" and len(self.nodes[str(node.target)]) == 1
        return self.model.get_submodule(str(node.target)) if called else None

    def _before(self, node: Any, first: fx.Node | None) -> nn.Module | None:
        """The layer whose output is scaled and goes nowhere else, through layers that a scale passes."""
        if first is not None and (not isinstance(node, fx.Node) or len(node.users) != 1):
            return None
        while isinstance(self._module(node), _SCALED):
            node = node.args[0]
            if not isinstance(node, fx.Node) or len(node.users) != 1:
                return None
        return self._module(node)

    def _behind(self, node: fx.Node, scale: Tensor, dim: int) -> nn.Module | None:
        """The linear layer or convolution that a step leads to, through steps that only reshape or do nothing."""
        flat = False
        while len(node.users) == 1 and (
            isinstance(self._module(node), _SCALED) or _is_flatten(node, self._module(node))
        ):
            flat = flat or _is_flatten(node, self._module(node))
            (node,) = node.users
        module = self._module(node)
        return module if _takes(module, scale, dim, flat) else None

    def _silence(self, users: list[fx.Node], scale: Tensor) -> None:
        while len(users) == 1 and isinstance(self._module(users[0]), _NOTHING):
            users = list(users[0].users)
        for user in users:
            module = self._module(user)
            if isinstance(module, _NORMS) and module.affine and scale.dim():
                dead = scale == 0
                with torch.no_grad():
                    module.weight[dead] = 0.0
                    module.bias[dead] = 0.0


def host_of(name: str) -> tuple[str, str]:
    """The module that inserted noise belongs to, and whether it is before or after it; others are their own."""
    parts = name.split(".")
    if len(parts) > 2 and parts[-2] in (AFTER, BEFORE):
        return ".".join(parts[:-2]), parts[-2]
    return name, ""


def _is_flatten(node: fx.Node, module: nn.Module | None) -> bool:
    called = (node.op == "call_function" and node.target is torch.flatten) or (
        node.op == "call_method" and node.target == "flatten"
    )
    return isinstance(module, nn.Flatten) or called


def _fits(module: Any, scale: Tensor, dim: int) -> bool:
    """Whether a layer's output channels are those of a scale."""
    if not scale.dim():
        return True
    sizes = {nn.Linear: "out_features", nn.BatchNorm1d: "num_features"}
    size = getattr(module, next((n for k, n in sizes.items() if isinstance(module, k)), "out_channels"), None)
    if isinstance(module, _NORMS):
        size = module.num_features
    axes = (1, -1) if isinstance(module, (nn.Linear, nn.BatchNorm1d)) else (1, -1 - _rank(module))
    return len(scale) == size and dim in axes


def _takes(module: Any, scale: Tensor, dim: int, flat: bool) -> bool:
    """Whether a layer's input channels are those of a scale, each several times behind a flattening."""
    if not isinstance(module, _WEIGHTED) or getattr(module, "groups", 1) != 1:
        return False
    inputs = module.weight.shape[1]
    if not scale.dim():
        return True
    if flat:
        return (isinstance(module, nn.Linear) and inputs % len(scale) == 0 and dim != -1) or len(scale) == inputs
    axes = (1, -1) if isinstance(module, nn.Linear) else (1, -1 - _rank(module))
    return len(scale) == inputs and dim in axes


def _rank(module: Any) -> int:
    ranks = {nn.Conv1d: 1, nn.Conv2d: 2, nn.Conv3d: 3, nn.BatchNorm2d: 2, nn.BatchNorm3d: 3}
    return next((rank for kind, rank in ranks.items() if isinstance(module, kind)), 0)


def _scale_rows(module: Any, scale: Tensor) -> None:
    with torch.no_grad():
        for name in ("weight", "bias"):
            tensor = getattr(module, name)
            if tensor is not None:
                factor = scale.to(tensor)
                shape = [-1, *[1] * (tensor.dim() - 1)] if factor.dim() else []
                tensor.mul_(factor.view(shape)).add_(0.0)  # and no zero with a sign


def _scale_columns(module: Any, scale: Tensor) -> None:
    with torch.no_grad():
        weight = module.weight
        factor = scale.to(weight)
        if factor.dim():
            factor = factor.repeat_interleave(weight.shape[1] // len(factor))
            factor = factor.view(1, -1, *[1] * (weight.dim() - 2))
        weight.mul_(factor).add_(0.0)
