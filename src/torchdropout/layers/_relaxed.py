"""The relaxed Bernoulli noise of concrete dropout: sampled, and its expectation."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from torchdropout.layers._kl import projected_clamp
from torchdropout.layers._local import wide

_LIMIT = math.log(1e7)  # of the logit: p stays 1e-7 away from 0 and 1


def settle(p_logit: Tensor) -> Tensor:
    """The logit in use: clamped, in at least float32; its gradient passes if it points back inside."""
    return projected_clamp(wide(p_logit), -_LIMIT, _LIMIT)


def relaxed_noise(x: Tensor, logit: Tensor, temperature: float, u: Tensor) -> Tensor:
    """`x * (1 - z) / (1 - p)`, `z = sigmoid((logit p + logit u) / temperature)`; `u` may have axes of size 1."""
    kept = torch.sigmoid((logit + torch.logit(u)) / -temperature)
    return x * (kept * (1.0 + logit.exp())).to(x.dtype)


def expected_keep(logit: Tensor, temperature: float) -> Tensor:
    """`E[1 - z] / (1 - p)`, within 1e-6: not 1, since relaxation moves the mean.

    `1 - z` has the mean `P(l + temperature * m < -logit)` of independent logistic `l` and `m`. It is the
    integral over the one whose factor is smaller, by the trapezoidal rule, which converges exponentially here.
    """
    x = logit.double()
    scale = max(temperature, 1.0)
    inner, shift = min(temperature, 1.0 / temperature), x / scale
    m = torch.linspace(-40.0, 40.0, 101, dtype=torch.float64, device=x.device)
    density = torch.sigmoid(m) * torch.sigmoid(-m)
    mean = 0.8 * (density * torch.sigmoid(-shift - inner * m)).sum()
    return (mean * (1.0 + x.exp())).to(logit.dtype)


def entropy(logit: Tensor) -> Tensor:
    """The entropy of a Bernoulli variable, in nats."""
    return torch.sigmoid(logit) * F.softplus(-logit) + torch.sigmoid(-logit) * F.softplus(logit)
