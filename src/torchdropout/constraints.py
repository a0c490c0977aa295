"""Constraints on weights: applied after every step of an optimizer, to each unit's incoming weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from torchdropout.layers._checks import check_number

Filter = Callable[[nn.Parameter, str], bool]

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_WEIGHTED = (nn.Linear, nn.Bilinear, nn.MultiheadAttention, nn.RNNBase, nn.RNNCellBase, nn.modules.conv._ConvNd)


class Constraint(Protocol):
    """What weights must obey."""

    def __call__(self, weight: Tensor, dims: tuple[int, ...]) -> None:
        """Change a weight in place; each unit's incoming weights lie along `dims`."""


@dataclass(frozen=True)
class MaxNorm:
    """No unit's incoming weights are longer than `c`: longer ones are scaled down to it, shorter ones stay.

    `w = w * min(1, c / ||w||)` for the vector `w` of weights that lead into a unit: a row of a linear layer's matrix, a
    filter of a convolution, a row of a gate's matrix of a recurrent layer. Biases are no part of it.

    Args:
        c: The greatest length, in the L2 norm; 3 to 4 are typical beside dropout, 2 in the paper's MNIST networks.

    Raises:
        ValueError: `c` is not positive and finite.

    Example:
        >>> import torch, torchdropout as td
        >>> weight = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
        >>> td.MaxNorm(1.0)(weight, (1,))
        >>> weight
        tensor([[0.6000, 0.8000],
                [0.3000, 0.4000]])

    Reference:
        N. Srivastava, G. Hinton, A. Krizhevsky, I. Sutskever, R. Salakhutdinov. Dropout: A Simple Way to Prevent Neural
        Networks from Overfitting. JMLR 15:1929-1958, 2014, section 5.1 and appendix A.
    """

    c: float = 3.0

    def __post_init__(self) -> None:
        check_number("MaxNorm", "c", self.c, "positive and finite", lambda c: 0 < c < math.inf)

    def __call__(self, weight: Tensor, dims: tuple[int, ...]) -> None:
        """Change a weight in place; each unit's incoming weights lie along `dims`."""
        norm = _norm(weight, dims)
        weight.mul_(torch.where(norm > self.c, self.c / norm, 1.0))


@dataclass(frozen=True)
class UnitNorm:
    """Every unit's incoming weights have length 1: `w = w / ||w||`; zero stays zero.

    Example:
        >>> import torch, torchdropout as td
        >>> weight = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
        >>> td.UnitNorm()(weight, (1,))
        >>> weight
        tensor([[0.6000, 0.8000],
                [0.0000, 0.0000]])
    """

    def __call__(self, weight: Tensor, dims: tuple[int, ...]) -> None:
        """Change a weight in place; each unit's incoming weights lie along `dims`."""
        norm = _norm(weight, dims)
        weight.mul_(torch.where(norm > 0, 1.0 / norm, 1.0))


@dataclass(frozen=True)
class NonNegative:
    """No weight is negative: `w = max(w, 0)`.

    Example:
        >>> import torch, torchdropout as td
        >>> weight = torch.tensor([[-3.0, 4.0]])
        >>> td.NonNegative()(weight, (1,))
        >>> weight
        tensor([[0., 4.]])
    """

    def __call__(self, weight: Tensor, dims: tuple[int, ...]) -> None:
        """Change a weight in place."""
        weight.clamp_(min=0)


@dataclass(frozen=True)
class FixedZeros:
    """What is zero when the constraint is made stays zero: pruned weights, while the others are trained on.

    Example:
        >>> import torch, torchdropout as td
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> _ = model.weight.data.copy_(torch.tensor([[0.0, 1.0]]))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> handle = td.constrain_(optimizer, model, td.FixedZeros())
        >>> model(torch.ones(1, 2)).sum().backward(); optimizer.step()
        >>> model.weight
        Parameter containing:
        tensor([[0.0000, 0.9000]], requires_grad=True)
    """

    masks: dict[tuple[int, torch.Size], Tensor] = field(default_factory=dict, repr=False)

    def __call__(self, weight: Tensor, dims: tuple[int, ...]) -> None:
        """Change a weight in place."""
        mask = self.masks.setdefault((weight.data_ptr(), weight.shape), weight != 0)
        weight.masked_fill_(~mask, 0.0)


def constrain_(
    optimizer: torch.optim.Optimizer, model: nn.Module, constraint: Constraint, filter_fn: Filter | None = None
) -> RemovableHandle:
    """Apply a constraint to a model's weights now, and after every step that the optimizer really takes.

    A step that a gradient scaler skips, and a backward pass that only accumulates, change nothing. The weights are
    the matrices and filters of linear, bilinear, convolutional, recurrent and attention layers that the optimizer
    updates; each of them once, tied ones included.

    Args:
        optimizer: The optimizer of the model.
        model: Whose weights; wrapped ones (DDP, compiled) too.
        constraint: `MaxNorm(c)`, `UnitNorm()`, `NonNegative()`, or a function of a weight and the axes along which a
            unit's incoming weights lie.
        filter_fn: Called with a weight and its qualified name: whether to constrain it; None for all. The paper's
            reproductions leave the output layer out.

    Returns:
        A handle; its `remove()` ends it.

    Raises:
        ValueError: No weight is left to constrain, or one is parametrized.

    Example:
        >>> import torch, torchdropout as td
        >>> model = torch.nn.Linear(100, 10)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        >>> handle = td.constrain_(optimizer, model, td.MaxNorm(0.1))
        >>> bool((model.weight.norm(dim=1) <= 0.1 + 1e-6).all())
        True
    """
    chosen = _chosen(optimizer, model, filter_fn)

    @torch.no_grad()
    def apply(*_: object) -> None:
        for weight, transposed_groups in chosen:
            view: Tensor = weight
            if transposed_groups:
                view = weight.view(transposed_groups, -1, *weight.shape[1:]).transpose(1, 2)
            units = 2 if transposed_groups else 1
            constraint(view, tuple(range(units, view.dim())))

    apply()
    return optimizer.register_step_post_hook(apply)


def _norm(weight: Tensor, dims: tuple[int, ...]) -> Tensor:
    dtype = torch.promote_types(weight.dtype, torch.float32)
    norm: Tensor = torch.linalg.vector_norm(weight, dim=dims, keepdim=True, dtype=dtype)
    return norm


def _chosen(
    optimizer: torch.optim.Optimizer, model: nn.Module, filter_fn: Filter | None
) -> list[tuple[nn.Parameter, int]]:
    """The weights, and for transposed convolutions their groups, else 0."""
    updated = {id(p) for group in optimizer.param_groups for p in group["params"]}
    found = {id(p): (name, p, groups) for name, p, groups in _weights(model) if id(p) in updated}
    if not found:
        raise ValueError("constrain_: `model` must have weights that `optimizer` updates, found none.")
    names = [name for name, _, _ in found.values()]
    chosen = [(p, groups) for name, p, groups in found.values() if filter_fn is None or filter_fn(p, name)]
    if not chosen:
        raise ValueError(f"constrain_: `filter_fn` must choose a weight, it chose none of {_listed(names)}.")
    return chosen


def _weights(model: nn.Module) -> Iterator[tuple[str, nn.Parameter, int]]:
    for prefix, module in getattr(model, "_orig_mod", model).named_modules():  # a compiled one's names have a prefix
        if not isinstance(module, _WEIGHTED):
            continue
        for name, p in module.named_parameters(prefix, recurse=False):
            if p.dim() > 1 and "weight" in name.rpartition(".")[2]:  # and not what says how noisy they are
                yield name, p, module.groups if isinstance(module, _TRANSPOSED) else 0
        if torch.nn.utils.parametrize.is_parametrized(module):
            raise ValueError(
                f"constrain_: weights must be parameters, {prefix or 'the model'} has them parametrized: what a "
                "constraint makes of them cannot be stored."
            )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
