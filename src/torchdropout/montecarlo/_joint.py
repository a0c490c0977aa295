"""Means and whole covariance matrices of units, for networks whose units share noise.

Through an activation `g` the covariance of two normal units is a series in their correlation `r`,
`sum over k of r^k / k! * a_k * b_k` with `a_k = s^k E[g^(k)]`, of which two terms are kept; variances are not taken
from the series.

Reference: R. Price. A Useful Theorem for Nonlinear Devices Having Gaussian Inputs. IRE Transactions on
Information Theory 4(2):69-72, 1958.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchdropout.layers._moments import relu_moments, shrink, sigmoid_moments, sqrt


class Joint(NamedTuple):
    """Means `(N, F)`, and covariances `(N, F, F)`; of independent units only the variances, `(N, F)`."""

    mean: Tensor
    covariance: Tensor

    @property
    def variance(self) -> Tensor:
        """`(N, F)`."""
        return self.covariance if self.covariance.dim() == 2 else self.covariance.diagonal(dim1=1, dim2=2)


def linear(module: nn.Linear, given: Joint) -> Joint:
    """Exact for any covariance."""
    weight, c = module.weight.to(given.covariance.dtype), given.covariance
    left = weight * c.unsqueeze(1) if c.dim() == 2 else weight @ c
    return Joint(F.linear(given.mean, module.weight, module.bias), left @ weight.T)


def times(scale: float, variance: float, given: Joint) -> Joint:
    """Times independent noise of a mean and a variance."""
    added = variance * (given.mean.to(given.covariance.dtype).square() + given.variance)
    return Joint(given.mean * scale, _with_added(given.covariance * scale**2, added))


def plus(variance: float, given: Joint) -> Joint:
    """Plus independent noise."""
    return Joint(given.mean, _with_added(given.covariance, torch.full_like(given.variance, variance)))


def relu(_: Any, given: Joint) -> Joint:
    """Variances exact for normal units."""
    s = sqrt(given.variance)
    t = torch.where(s > 0, given.mean.to(s.dtype) / s.clamp(min=torch.finfo(s.dtype).tiny), given.mean.sign() * 40.0)
    below = 0.5 * torch.special.erfc(-t / math.sqrt(2.0))
    density = torch.exp(-0.5 * t * t) / math.sqrt(2.0 * math.pi)
    mean, variance = relu_moments(given.mean, given.variance)
    return _activated(given, mean, variance, below, torch.where(s > 0, density / s.clamp(min=1e-30), 0.0))


def sigmoid(_: Any, given: Joint) -> Joint:
    """Moments as fast dropout approximates them; the covariance's first term."""
    mean, variance = sigmoid_moments(given.mean, given.variance)
    slope = shrink(given.variance)
    wide = torch.sigmoid(given.mean.to(slope.dtype) * slope)
    return _activated(given, mean, variance, slope * wide * (1.0 - wide), None)


def _activated(given: Joint, mean: Tensor, variance: Tensor, first: Tensor, second: Tensor | None) -> Joint:
    """`first` and `second` are the mean derivatives `E[g']` and `E[g'']`."""
    c = given.covariance
    if c.dim() == 2:
        return Joint(mean, variance)
    of = c * first.unsqueeze(1) * first.unsqueeze(2)
    if second is not None:
        of = of + 0.5 * c.square() * second.unsqueeze(1) * second.unsqueeze(2)
    of.diagonal(dim1=1, dim2=2).copy_(variance)
    return Joint(mean, of)


def _with_added(covariance: Tensor, variance: Tensor) -> Tensor:
    return covariance + (variance if covariance.dim() == 2 else torch.diag_embed(variance))
