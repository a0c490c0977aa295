"""Scales that noise layers leave behind, folded into the layers around them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from torchdropout.losses._trace import NotTraced, trace

_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


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

    def fold(self, name: str, scale: Tensor) -> None:
        """Multiply what passes a module by a scale, in the layer before or the layers after it.

        Channels whose scale is 0 are made to stay 0 behind a batch norm, too.
        """
        (node,) = self.nodes.get(name, [None])[:1] if len(self.nodes.get(name, [])) == 1 else (None,)
        if node is None:
            raise ValueError(f"{self.owner}: {name} must be called once in a forward pass, so that it can be folded.")
        source: Any = node.args[0]
        users = list(node.users)
        before = self._module(source)
        if isinstance(before, (*_WEIGHTED, *_NORMS)) and len(source.users) == 1:
            _scale_rows(before, scale)
            self._silence(users, scale)
            return
        after = [found for user in users if (found := self._behind(user)) is not None]
        if len(after) != len(users) or not after:
            raise ValueError(
                f"{self.owner}: {name} must have a linear layer or convolution before it, or only such behind it, so "
                "that its scale can be folded."
            )
        for module in after:
            _scale_columns(module, scale)

    def _module(self, node: Any) -> nn.Module | None:
        called = isinstance(node, fx.Node) and node.op == "call_module" and len(self.nodes[str(node.target)]) == 1
        return self.model.get_submodule(str(node.target)) if called else None

    def _behind(self, node: fx.Node) -> nn.Module | None:
        """The linear layer or convolution that a step leads to, through layers that only reshape or do nothing."""
        while isinstance(self._module(node), (nn.Flatten, nn.Identity)) and len(node.users) == 1:
            (node,) = node.users
        module = self._module(node)
        return module if isinstance(module, _WEIGHTED) and getattr(module, "groups", 1) == 1 else None

    def _silence(self, users: list[fx.Node], scale: Tensor) -> None:
        while len(users) == 1 and isinstance(self._module(users[0]), nn.Identity):
            users = list(users[0].users)
        for user in users:
            module = self._module(user)
            if isinstance(module, _NORMS) and module.affine and scale.dim():
                dead = scale == 0
                with torch.no_grad():
                    module.weight[dead] = 0.0
                    module.bias[dead] = 0.0


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
