"""Inputs as models take them: a tensor, a tuple of arguments, or a dict of named ones, and their examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map


def batch_size(inputs: Any, batch_dim: int) -> int:
    """The number of examples: the size of the first tensor's axis."""
    first = next((leaf for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor)), None)
    if first is None or not -first.dim() <= batch_dim < first.dim():
        got = "no tensor" if first is None else f"a tensor of shape {tuple(first.shape)}"
        raise ValueError(f"mc_predict: `x` must have the examples at axis {batch_dim} of its first tensor, got {got}.")
    return first.shape[batch_dim]


def by_rows(inputs: Any, batch_dim: int, change: Callable[[Tensor], Tensor]) -> Any:
    """Inputs with the tensors that have the batch's size at its axis changed."""
    size = batch_size(inputs, batch_dim)

    def changed(leaf: Any) -> Any:
        has = isinstance(leaf, Tensor) and -leaf.dim() <= batch_dim < leaf.dim() and leaf.shape[batch_dim] == size
        return change(leaf) if has else leaf

    return tree_map(changed, inputs)


def first_rows(inputs: Any, batch_dim: int, count: int) -> Any:
    """The first examples."""
    return by_rows(inputs, batch_dim, lambda x: x.narrow(batch_dim, 0, count))


def repeated(inputs: Any, batch_dim: int, times: int) -> Any:
    """All examples several times, one round after the other."""
    return inputs if times == 1 else by_rows(inputs, batch_dim, lambda x: torch.cat([x] * times, batch_dim))


def signature(inputs: Any) -> Any:
    """Types and shapes, but for the number of examples."""
    return str(tree_map(_signed, inputs))


def _signed(leaf: Any) -> Any:
    return (str(leaf.dtype), leaf.dim(), leaf.device.type) if isinstance(leaf, Tensor) else (type(leaf).__name__,)
