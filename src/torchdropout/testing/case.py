"""What is checked: a layer's factory, an input that fits it, and what is claimed of its noise."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class TwoPointClaim:
    """Each draw takes one of two values: what a constant input becomes when dropped, or when kept.

    Attributes:
        keep: The probability of keeping.
        dropped: The output for an input of ones where dropped.
        kept: The output for an input of ones where kept.
        shared_dims: The axes that share one draw.
        eval_scale: What eval mode multiplies by.
    """

    keep: float
    dropped: float
    kept: float
    shared_dims: tuple[int, ...] = ()
    eval_scale: float = 1.0


@dataclass(frozen=True)
class GaussianNoiseClaim:
    """Each draw is normal: the output for an input of ones has this mean and standard deviation."""

    std: float
    mean: float = 1.0
    shared_dims: tuple[int, ...] = ()
    eval_scale: float = 1.0


Claim = TwoPointClaim | GaussianNoiseClaim


@dataclass(frozen=True)
class Case:
    """One run of the suite.

    Attributes:
        factory: Makes the layer, with noise neither off nor total.
        input: A floating-point tensor of a shape the layer takes, batch first.
        claim: What its noise is; None leaves the statistics unchecked.
        backend: The `torch.compile` backend; None leaves compilation unchecked.
    """

    factory: Callable[[], nn.Module]
    input: Tensor
    claim: Claim | None = None
    backend: str | None = "aot_eager"

    def noisy(self, layer: nn.Module, x: Tensor, seed: int = 0) -> Tensor:
        """The output in training mode under one seed; the global generator is left as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return layer.train()(x)  # type: ignore[no-any-return]

    def takes_key(self, layer: nn.Module) -> bool:
        """Whether `forward` has an argument `key`, as the layers of this package have."""
        return "key" in inspect.signature(layer.forward).parameters
