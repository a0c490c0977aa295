"""The normal distribution between two bounds, of whatever mean and deviation: its logs, moments and draws, stably.

`y ~ Normal(mu, sigma**2)` given `a <= y <= b`. With `t = (y - mu) / sigma`, everything is computed relative to the
point of the interval nearest to the mean, where the density is largest: inside the interval by the error function,
outside by Mills' ratio, so that nothing overflows, underflows or cancels. All of it in float64.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from torchdropout import rng

_LOG_SQRT_2PI = 0.5 * math.log(2.0 * math.pi)
_SQRT_HALF = math.sqrt(0.5)
_SERIES = 100.0  # beyond it Mills' ratio by its series: four terms leave an error of 1e-14
_NEAR = 20.0  # of standard deviations outside, up to which no intermediate number underflows
_FAR = 30.0  # beyond it draws by Newton's step instead of the inverse of a tiny probability


class Interval(NamedTuple):
    """The bounds in standard units, mirrored where the mean is below the interval: then `high` is near the mean.

    Attributes:
        low: The standardised bound on the left.
        high: The standardised bound on the right.
        mirrored: Whether left and right were exchanged.
    """

    low: Tensor
    high: Tensor
    mirrored: Tensor

    @property
    def is_tail(self) -> Tensor:
        """Whether the mean lies outside, that is right of `high`."""
        return self.high < 0


def interval(mu: Tensor, sigma: Tensor, a: float, b: float) -> Interval:
    """Standardise the bounds."""
    low, high = (a - mu) / sigma, (b - mu) / sigma
    mirrored = low > 0
    return Interval(torch.where(mirrored, -high, low), torch.where(mirrored, -low, high), mirrored)


def log_mills(x: Tensor) -> Tensor:
    """The log of Mills' ratio: of the integral of `exp(-x s - s**2 / 2)` over `s > 0`; for `x >= 0`."""
    near, far = x.clamp(max=_SERIES), x.clamp(min=_SERIES)
    direct = torch.log(torch.special.erfcx(near * _SQRT_HALF)) + 0.5 * math.log(math.pi / 2)
    v = far.square().reciprocal()
    series = torch.log1p(-v * (1 - v * (3 - v * (15 - 105 * v)))) - torch.log(far)
    return torch.where(x > _SERIES, series, direct)


def log_mass(i: Interval) -> Tensor:
    """The log of the mass of the interval, divided by the density's peak relative to `exp(-t**2 / 2)` at the mean."""
    inside = torch.erf(i.high.clamp(min=0) * _SQRT_HALF) - torch.erf(i.low.clamp(max=0) * _SQRT_HALF)
    x, w = _tail(i)
    tail = log_mills(x) + torch.log1p(-_beyond(x, w)) - _LOG_SQRT_2PI
    return torch.where(i.is_tail, tail, torch.log(0.5 * inside))


def _tail(i: Interval) -> tuple[Tensor, Tensor]:
    """How far the mean is outside, and the width; harmless numbers where it is inside."""
    return (-i.high).clamp(min=0), torch.where(i.is_tail, i.high - i.low, 1.0)


def _beyond(x: Tensor, w: Tensor) -> Tensor:
    """The share of the untruncated tail, which starts at distance `x`, that lies beyond the width `w`."""
    return torch.exp(log_mills(x + w) - log_mills(x) - w * (x + 0.5 * w))


def energy(i: Interval) -> Tensor:
    """`E[t**2]` minus the square of the point nearest to the mean."""
    high, low = i.high.clamp(min=0), i.low.clamp(max=0)
    z = torch.where(i.is_tail, 1.0, 0.5 * (torch.erf(high * _SQRT_HALF) - torch.erf(low * _SQRT_HALF)))
    inside = 1 + (low * _density(low) - high * _density(high)) / z
    x, w = _tail(i)
    rate, end, q = torch.exp(-log_mills(x)), torch.exp(-w * (x + 0.5 * w)), _beyond(x, w)
    outside = 1 + _excess(x) + rate * (x * (q - end) - w * end) / (1 - q)
    return torch.where(i.is_tail, outside, inside)


def _density(t: Tensor) -> Tensor:
    return torch.exp(-0.5 * t.square() - _LOG_SQRT_2PI)


def _excess(x: Tensor) -> Tensor:
    """`x` times the mean of the untruncated tail's distance from its start: 1 for an exponential."""
    near, v = x.clamp(max=_SERIES), x.clamp(min=_SERIES).square().reciprocal()
    series = 1 - v * (2 - v * (10 - 74 * v))
    return torch.where(x > _SERIES, series, near * (torch.exp(-log_mills(near)) - near))


def log_moment(mu: Tensor, sigma: Tensor, a: float, b: float, order: float) -> Tensor:
    """`ln E[exp(order * y)]`."""
    shift = order * sigma.square()
    peak, tilted = mu.clamp(a, b), (mu + shift).clamp(a, b)
    change = (tilted - peak) * (tilted + peak - 2 * mu) / (2 * sigma.square())
    masses = log_mass(interval(mu + shift, sigma, a, b)) - log_mass(interval(mu, sigma, a, b))
    return order * tilted - change + masses


def divergence(mu: Tensor, sigma: Tensor, a: float, b: float) -> Tensor:
    """The divergence from the uniform distribution on the interval, in nats."""
    i = interval(mu, sigma, a, b)
    return math.log(b - a) - torch.log(sigma) - _LOG_SQRT_2PI - log_mass(i) - 0.5 * energy(i)


def draw(mu: Tensor, sigma: Tensor, a: float, b: float, u: Tensor) -> Tensor:
    """The value at the share `u` of the distribution, strictly between 0 and 1."""
    if rng.is_plain(mu) and rng.is_plain(sigma) and rng.is_plain(u) and forward_ad._current_level < 0:
        outside = torch.maximum((a - mu.detach()) / sigma.detach(), (mu.detach() - b) / sigma.detach())
        if bool((outside < _NEAR).all()):
            return _Draw.apply(mu, sigma, a, b, u)  # type: ignore[no-untyped-call, no-any-return]
    return _draw(mu, sigma, a, b, u)


class _Draw(torch.autograd.Function):
    """Draws where no mean is far outside: the derivatives at a fixed share are few operations, made with the draw.

    With `t = (y - mu) / sigma` and the density `f`, `dt = ((1 - u) f(l) dl + u f(h) dh) / f(t)`.
    """

    @staticmethod
    def forward(ctx: Any, mu: Tensor, sigma: Tensor, a: float, b: float, u: Tensor) -> Tensor:
        low, high = (a - mu) / sigma, (b - mu) / sigma
        # Left of zero where the mean is above the interval, so that no probability is near one.
        sign = torch.where(low > 0, -1.0, 1.0)
        below, above = _below(sign * low), _below(sign * high)
        t = sign * torch.special.ndtri(torch.lerp(below, above, u))
        half = 0.5 * t * t
        left, right = (1 - u) * torch.exp(half - 0.5 * low * low), u * torch.exp(half - 0.5 * high * high)
        ctx.save_for_backward(1 - left - right, t - left * low - right * high, mu, sigma, u)
        ctx.bounds = a, b
        return torch.addcmul(mu, sigma, t).clamp_(a, b)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        (by_mu, by_sigma, mu, sigma, u), (a, b) = ctx.saved_tensors, ctx.bounds
        if torch.is_grad_enabled():  # a derivative of this derivative may be asked for
            wanted = [t for t in (mu, sigma) if t.requires_grad]
            found = iter(torch.autograd.grad(_draw(mu, sigma, a, b, u), wanted, grad, create_graph=True))
            return *(next(found) if t.requires_grad else None for t in (mu, sigma)), None, None, None  # type: ignore[return-value]
        return _to_shape(grad * by_mu, mu), _to_shape(grad * by_sigma, sigma), None, None, None


def _to_shape(grad: Tensor, like: Tensor) -> Tensor:
    return grad.sum_to_size(like.shape)


def _draw(mu: Tensor, sigma: Tensor, a: float, b: float, u: Tensor) -> Tensor:
    i = interval(mu, sigma, a, b)
    share = torch.where(i.mirrored, 1 - u, u)
    t = _quantile(i, share)
    s = _distance(i, 1 - share)
    sign = torch.where(i.mirrored, -1.0, 1.0)
    y = torch.where(i.high < -_FAR, torch.where(i.mirrored, a, b) - sign * sigma * s, mu + sign * sigma * t)
    return y.clamp(a, b)


def _quantile(i: Interval, share: Tensor) -> Tensor:
    """The inverse of the distribution function, where the mean is inside or not far outside."""
    far = i.high < -_FAR
    low, high = torch.where(far, -1.0, i.low), torch.where(far, 0.0, i.high)
    below = _below(low)
    t: Tensor = torch.special.ndtri(below + share * (_below(high) - below))
    return t


def _below(t: Tensor) -> Tensor:
    """The normal distribution function; PyTorch's `ndtr` is zero from -9 on."""
    return 0.5 * torch.erfc(-t * _SQRT_HALF)


def _distance(i: Interval, share: Tensor) -> Tensor:
    """The distance from `high` beyond which the rest of the mass lies, where the mean is far outside.

    `s` solves `x s + s**2 / 2 + ln M(x) - ln M(x + s) = e`; the start leaves out Mills' ratios, and one Newton step,
    whose derivative is `1 / M(x + s)`, leaves an error of order `x**-4`.
    """
    x = (-i.high).clamp(min=_FAR)
    w = torch.where(i.high < -_FAR, i.high - i.low, 1.0)
    e = -torch.log1p(-share * (1 - _beyond(x, w)))
    start = 2 * e / (x + torch.sqrt(x.square() + 2 * e))
    ahead = log_mills(x + start)
    return torch.minimum(start - (log_mills(x) - ahead) * torch.exp(ahead), w)
