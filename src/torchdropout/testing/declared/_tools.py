"""What declarations are made of: claims, and expectations by enumeration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from torchdropout.testing.case import Expectation, Factory
from torchdropout.testing.claims import TwoPointClaim
from torchdropout.testing.integration import masks, normals

BATCH: dict[str, Any] = {"batch": 1, "calls": 2500}  # for noise that examples share: each draw is a call


def scaled(p: float, shared_dims: tuple[int, ...] = ()) -> TwoPointClaim:
    """Dropout's noise."""
    return TwoPointClaim(1 - p, 0.0, 1 / (1 - p), shared_dims)


def enumerated(
    factory: Factory,
    x: Tensor,
    shape: tuple[int, ...],
    keep: float | Tensor,
    apply: Callable[[Tensor, Tensor], Tensor],
    **options: Any,
) -> Expectation:
    """All masks of a shape, `apply(input, mask)` for each."""
    every, weights = masks(shape, keep)
    wide = x.double() if x.is_floating_point() else x
    return Expectation(factory, x, torch.stack([apply(wide, mask) for mask in every]), weights, **options)


def integrated(
    factory: Factory, x: Tensor, count: int, apply: Callable[[Tensor, Tensor], Tensor], **options: Any
) -> Expectation:
    """So many independent standard normals, `apply(input, normals)` at each node of a quadrature."""
    nodes, weights = normals(count)
    outcomes = torch.stack([apply(x.double(), z) for z in nodes])
    return Expectation(factory, x, outcomes, weights, bounded=False, **options)


def with_values(layer: nn.Module, **values: Tensor | float) -> nn.Module:
    """The layer with some of its parameters set."""
    with torch.no_grad():
        for name, value in values.items():
            getattr(layer, name).copy_(torch.as_tensor(value))
    return layer


def setting(**values: Tensor | float) -> Callable[[nn.Module], nn.Module]:
    """What sets some of a layer's parameters."""
    return lambda layer: with_values(layer, **values)
