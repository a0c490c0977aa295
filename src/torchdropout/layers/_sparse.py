"""What sparse variational layers share: noise level, weight variance, and what is removed."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional as F

from torchdropout import ops, rng
from torchdropout.layers._checks import check_floating, check_number
from torchdropout.layers._conversion import take_weights
from torchdropout.layers._kl import fitted
from torchdropout.layers._local import Product, sample_outputs, wide

LIMIT = 8.0  # of log alpha, on both sides
_BOUNDS = _LOW, _HIGH = math.exp(-LIMIT), math.exp(LIMIT)
_FLOOR = 1e-8  # the reference's, of the output's variance


def apply(
    owner: str,
    product: Product,
    x: Tensor,
    weight: Tensor,
    log_sigma2: Tensor,
    bias: Tensor | None,
    noisy: bool,
    threshold: float,
    train_clip: bool,
    key: Tensor | None,
) -> Tensor:
    """The method, its arguments checked."""
    check_floating(owner, x)
    mean_weight = weight
    if train_clip or not noisy:
        mean_weight = weight.masked_fill(log_alpha(weight, log_sigma2) >= threshold, 0.0)
    mean = product(x, mean_weight, bias)
    if not noisy:
        return mean
    theta, log_variance = wide(weight), wide(log_sigma2)

    def spread(squares: Tensor) -> Tensor:
        v = None
        if product is F.linear:
            v = ops.clipped_variance_linear(squares, theta, log_variance, _BOUNDS)
        return product(squares, weight_variance(theta, log_variance), None) if v is None else v

    return sample_outputs(product, mean, x, spread, _FLOOR, key)


def log_alpha(weight: Tensor, log_sigma2: Tensor) -> Tensor:
    """`log(sigma**2 / theta**2)`, clipped, in at least float32."""
    return (wide(log_sigma2) - torch.log(wide(weight).square() + 1e-8)).clamp(-LIMIT, LIMIT)


def weight_variance(weight: Tensor, log_sigma2: Tensor) -> Tensor:
    """`theta**2` times the clipped alpha: `sigma**2` between `theta**2 / e**8` and `theta**2 * e**8`."""
    if rng.is_plain(weight) and rng.is_plain(log_sigma2) and forward_ad._current_level < 0:
        return _Variance.apply(weight, log_sigma2)  # type: ignore[no-untyped-call, no-any-return]
    return ops.plain_variance(weight, log_sigma2, _BOUNDS)


class _Variance(torch.autograd.Function):
    """The same with few passes over memory and no temporary tensors: half the time of what autograd would do."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, log_sigma2: Tensor) -> Tensor:
        ctx.save_for_backward(weight, log_sigma2)
        out = weight * weight
        ctx.alpha = _alpha(log_sigma2, out)
        return torch.clamp(ctx.alpha, _LOW, _HIGH, out=out).mul_(weight).mul_(weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        weight, log_sigma2 = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative will be asked for
            inputs = weight, log_sigma2
            value = ops.plain_variance(*inputs, _BOUNDS)
            needed = [t for t in inputs if t.requires_grad]
            found = iter(torch.autograd.grad(value, needed, grad, create_graph=True))
            return tuple(next(found) if t.requires_grad else torch.zeros_like(t) for t in inputs)
        alpha = _alpha(log_sigma2, weight * weight) if ctx.alpha is None else ctx.alpha
        ctx.alpha = None  # its memory serves for a gradient; a second backward pass computes it again
        outside = alpha.clamp(_LOW, _HIGH).mul_(grad)
        inside = torch.ops.aten.hardtanh_backward(outside, alpha, _LOW, _HIGH, grad_input=alpha)  # zero where clipped
        outside.sub_(inside).mul_(weight).mul_(2.0)
        return outside, inside.mul_(weight).mul_(weight)


def _alpha(log_sigma2: Tensor, square: Tensor) -> Tensor:
    """Not clipped; changes `square`, to which it adds what keeps 0 / 0 from occurring."""
    return log_sigma2.exp().div_(square.add_(1e-30))


def check_threshold(owner: str, threshold: float) -> None:
    """At or below -8, or above 8, everything or nothing would be removed."""
    check_number(owner, "threshold", threshold, "in (-8, 8]", lambda value: -LIMIT < value <= LIMIT)


class Sparse(nn.Module):
    """The noise level of each weight, for a class that has a `weight`."""

    weight: Tensor
    log_sigma2: nn.Parameter

    def _set_up(self, threshold: float, train_clip: bool, log_sigma2: float) -> None:
        check_threshold(type(self).__name__, threshold)
        check_number(type(self).__name__, "log_sigma2", log_sigma2, "finite", math.isfinite)
        self.threshold, self.train_clip, self._initial = threshold, train_clip, log_sigma2
        self.log_sigma2 = nn.Parameter(torch.full_like(self.weight, log_sigma2))

    def reset_parameters(self) -> None:
        """New weights as the torch layer draws them, and the initial noise level."""
        super().reset_parameters()  # type: ignore[misc]
        if "log_sigma2" in self._parameters:
            nn.init.constant_(self.log_sigma2, self._initial)

    @property
    def log_alpha(self) -> Tensor:
        """The log of each weight's noise-to-signal ratio, clipped to [-8, 8]."""
        return log_alpha(self.weight, self.log_sigma2)

    @property
    def mask(self) -> Tensor:
        """A boolean tensor of the weight's shape: False where eval mode removes the weight."""
        with torch.no_grad():
            return ~(self.log_alpha >= self.threshold)

    def sparsity(self) -> float:
        """The fraction of weights that eval mode removes."""
        return 1.0 - float(self.mask.double().mean())

    def kl(self) -> Tensor:
        """The divergence of the weights' posterior from the log-uniform prior: a sum in nats, 0-d."""
        return fitted(self.log_alpha).sum()

    def _copy(self, layer: nn.Module) -> None:
        take_weights(self, layer)

    def extra_repr(self) -> str:
        """The arguments, as PyTorch prints them."""
        return f"{super().extra_repr()}, threshold={self.threshold}, train_clip={self.train_clip}"
