"""Means and variances of units whose pre-activations are normal."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from torchdropout.layers._checks import check_floating

_SQRT_HALF = math.sqrt(0.5)
_SETTLED = 40.0  # standard deviations beyond which the normal density underflows, in float64 too
_SECOND_SLOPE = 4.0 - 2.0 * math.sqrt(2.0)
_SECOND_SHIFT = -math.log(math.sqrt(2.0) - 1.0)


class Moments(NamedTuple):
    """The mean and the variance of independent random units.

    Attributes:
        mean: Any shape, floating point.
        variance: Of the same shape, not negative; layers return it in at least float32.
    """

    mean: Tensor
    variance: Tensor


def wide(x: Tensor) -> Tensor:
    """`x` in at least float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def sqrt(variance: Tensor) -> Tensor:
    """The square root, with gradient 0 at 0."""
    zero = variance == 0
    return torch.where(zero, 0.0, torch.where(zero, 1.0, variance).sqrt())


def check_moments(owner: str, mean: Tensor, variance: Tensor) -> None:
    """A mean and a variance have one shape."""
    check_floating(owner, mean)
    if mean.shape != variance.shape:
        raise ValueError(
            f"{owner}: the variance must have the mean's shape {tuple(mean.shape)}, got {tuple(variance.shape)}."
        )


def relu_moments(mean: Tensor, variance: Tensor) -> Moments:
    """The exact mean and variance of `max(S, 0)` for normal `S`; where the variance is 0, `max(mean, 0)` and 0.

    With `t = mean / s` the mean is `mean * Phi(t) + s * phi(t)`, and the second moment is
    `(mean**2 + s**2) * Phi(t) + mean * s * phi(t)`; the variance is computed without their cancellation.

    Args:
        mean: The mean of `S`, any shape, floating point.
        variance: The variance of `S`, of the same shape.

    Raises:
        ValueError: The shapes differ.
        TypeError: `mean` is not floating point.

    Example:
        >>> import torch, torchdropout as td
        >>> td.functional.relu_moments(torch.tensor([0.5]), torch.tensor([1.0]))
        Moments(mean=tensor([0.6978]), variance=tensor([0.5534]))
    """
    check_moments("relu_moments", mean, variance)
    mu, variance = wide(mean), wide(variance)
    s = sqrt(variance)
    settled = mu.abs() >= _SETTLED * s
    t = torch.where(settled, _SETTLED * mu.sign(), mu / torch.where(settled, 1.0, s))
    below, above = 0.5 * torch.special.erfc(-t * _SQRT_HALF), 0.5 * torch.special.erfc(t * _SQRT_HALF)
    density = torch.exp(-0.5 * t * t) / math.sqrt(2.0 * math.pi)
    ratio = below * (1.0 + t * t * above) + t * density * (above - below) - density * density
    return Moments((mu * below + s * density).to(mean.dtype), variance * ratio.clamp(min=0.0))


def sigmoid_moments(mean: Tensor, variance: Tensor) -> Moments:
    """The approximate mean and variance of `sigmoid(S)` for normal `S`; where the variance is 0, exact.

    The mean is `sigmoid(mean / sqrt(1 + pi * s**2 / 8))` and the second moment
    `sigmoid(a * (mean - b) / sqrt(1 + pi * a**2 * s**2 / 8))` with `a = 4 - 2 * sqrt(2)`, `b = -log(sqrt(2) - 1)`.
    Their errors reach 0.02; a difference below zero is returned as zero.

    Args:
        mean: The mean of `S`, any shape, floating point.
        variance: The variance of `S`, of the same shape.

    Raises:
        ValueError: The shapes differ.
        TypeError: `mean` is not floating point.

    Example:
        >>> import torch, torchdropout as td
        >>> td.functional.sigmoid_moments(torch.tensor([0.5]), torch.tensor([1.0]))
        Moments(mean=tensor([0.6044]), variance=tensor([0.0457]))
    """
    check_moments("sigmoid_moments", mean, variance)
    mu, variance = wide(mean), wide(variance)
    first = torch.sigmoid(mu * shrink(variance))
    second = torch.sigmoid(_SECOND_SLOPE * (mu - _SECOND_SHIFT) * shrink(_SECOND_SLOPE**2 * variance))
    rest = torch.where(variance == 0, 0.0, (second - first * first).clamp(min=0.0))
    return Moments(first.to(mean.dtype), rest)


def shrink(variance: Tensor) -> Tensor:
    """`1 / sqrt(1 + pi * s**2 / 8)`: what a logistic function of a normal shrinks the mean by."""
    return torch.rsqrt(1.0 + (math.pi / 8.0) * variance)
