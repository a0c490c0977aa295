"""KL divergences of multiplicative normal noise from the log-uniform prior, and a clamp that parameters can leave."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

Form = Literal["polynomial", "fitted", "exact"]

_CONSTANT = (np.euler_gamma + math.log(2.0)) / 2  # minus E ln|z| of a standard normal z
_FAR = -math.log(60.0)  # u = 1 / (2 alpha) = 30: there the series and the quadrature both err by less than 1e-9


def _gauss_legendre() -> tuple[list[float], list[float]]:
    """The values of `1 - t**2` at the nodes of [0, 1], and the weights divided by them."""
    t, w = np.polynomial.legendre.leggauss(32)
    s = 1.0 - ((t + 1.0) / 2.0) ** 2
    return s.tolist(), (w / 2.0 / s).tolist()


_NODES, _WEIGHTS = _gauss_legendre()


def polynomial(log_alpha: Tensor) -> Tensor:
    """Kingma et al.'s cubic for alpha <= 1, elementwise in nats: within 0.04 of the exact value, useless above 1."""
    alpha = _wide(log_alpha).exp()
    inner = alpha * (1.16145124 + alpha * (-1.50204118 + alpha * 0.58629921))
    return _CONSTANT - 0.5 * _wide(log_alpha) - inner


def fitted(log_alpha: Tensor) -> Tensor:
    """Molchanov et al.'s fit, elementwise in nats: within 0.01 of the exact value for every alpha."""
    x = _wide(log_alpha)
    return 0.5 * torch.nn.functional.softplus(-x) + 0.63576 * torch.sigmoid(-1.87320 - 1.48695 * x)


def exact(log_alpha: Tensor) -> Tensor:
    """The divergence itself, elementwise in nats: within 1e-9 in float64.

    With `u = 1 / (2 alpha)` it is the integral over t from 0 to 1 of `(1 - exp(-u (1 - t**2))) / (1 - t**2)`: that
    vanishes at `u = 0`, and its derivative is `Dawson(sqrt(u)) / sqrt(u)`. Below alpha = 1/60 the asymptotic series
    of `E ln|1 + sqrt(alpha) z|` serves. The quadrature holds 32 numbers an element.
    """
    x = _wide(log_alpha)
    return torch.where(x < _FAR, _series(x.clamp(max=_FAR)), _quadrature(x.clamp(min=_FAR)))


def _quadrature(x: Tensor) -> Tensor:
    u = 0.5 * torch.exp(-x).unsqueeze(-1)
    terms = -torch.expm1(-u * torch.tensor(_NODES, dtype=x.dtype, device=x.device))
    return (terms * torch.tensor(_WEIGHTS, dtype=x.dtype, device=x.device)).sum(-1)


def _series(x: Tensor) -> Tensor:
    alpha = x.exp()
    moments = torch.zeros_like(alpha)
    for k in range(10, 0, -1):  # Horner: the k-th term is (2k-1)!! alpha**k / (2k)
        moments = alpha * (math.prod(range(1, 2 * k, 2)) / (2 * k) + moments)
    return _CONSTANT - 0.5 * x - moments


FORMS: dict[str, Callable[[Tensor], Tensor]] = {"polynomial": polynomial, "fitted": fitted, "exact": exact}


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def projected_clamp(x: Tensor, low: float, high: float) -> Tensor:
    """Clamp to [low, high]; the gradient is that of projected descent.

    It passes wherever a descent step moves the value inside or back towards the interval, and is zero where the value
    is at or beyond a bound and a step would move it further out. A plain clamp loses the gradient beyond a bound, so
    that a value which momentum has carried there stays for ever; a straight-through clamp lets it run away. Each use
    of a parameter is judged by itself, so that with two, one of which points out, it may move a step inside and back.
    """
    clamped: Tensor = _ProjectedClamp.apply(x, low, high)  # type: ignore[no-untyped-call]
    return clamped


class _ProjectedClamp(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, low: float, high: float) -> Tensor:
        return x.clamp(low, high)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float, float], output: Tensor) -> None:
        x, ctx.low, ctx.high = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        outwards = ((x >= ctx.high) & (grad < 0)) | ((x <= ctx.low) & (grad > 0))
        return grad.masked_fill(outwards, 0.0), None, None
