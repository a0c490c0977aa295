"""The local reparameterization: normal weights, sampled as the normal outputs they give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional as F

from torchdropout import rng
from torchdropout.layers._noise import standard_normal

Product = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def sample_outputs(
    product: Product, mean: Tensor, x: Tensor, spread: Callable[[Tensor], Tensor], floor: float, key: Tensor | None
) -> Tensor:
    """`mean + sqrt(v + floor) * e`, `v` the product of `x**2` and the weights' variance, one `e` for each output.

    The variance is computed in at least float32, whatever autocast says: squares leave float16's range, and 1e-8 its
    resolution.

    Args:
        product: The layer's product of inputs, weights and bias.
        mean: The outputs' means, bias included.
        x: The inputs.
        spread: The product of squared inputs with the variances of the weights, a new tensor.
        floor: What is added to the variance, so that the root has a gradient.
        key: Whose noise to use; None draws one.
    """
    with torch.autocast(x.device.type, enabled=False):
        v = spread(wide(x).square()).add_(floor)
        if product is not F.linear:  # a fast convolution of positive numbers may return slightly negative ones
            v = F.threshold(v, floor, floor)
        y = torch.addcmul(wide(mean), v.sqrt_(), standard_normal(mean.shape, key, v))
    return y.to(mean.dtype)


def squared_product(product: Product, x: Tensor, weight: Tensor) -> Tensor:
    """The product of `x` with squared weights."""
    return squared_linear(x, weight) if product is F.linear else product(x, weight.square(), None)


def squared_linear(x: Tensor, weight: Tensor) -> Tensor:
    """`F.linear(x, weight**2)`, whose gradient needs no second tensor of the weights' size."""
    if rng.is_plain(x) and rng.is_plain(weight) and forward_ad._current_level < 0 and torch.is_grad_enabled():
        return _SquaredLinear.apply(x, weight)  # type: ignore[no-untyped-call, no-any-return]
    return F.linear(x, weight.square())


class _SquaredLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        squares = weight * weight
        ctx.save_for_backward(x, weight, squares)
        return F.linear(x, squares)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight, squares = ctx.saved_tensors
        rows, grads = x.reshape(-1, x.shape[-1]), grad.reshape(-1, grad.shape[-1])
        if torch.is_grad_enabled():  # a derivative of this derivative may be asked for
            return grad @ weight.square(), 2.0 * weight * (grads.T @ rows)
        with torch.autocast(x.device.type, enabled=False):
            by_input = grad @ squares if ctx.needs_input_grad[0] else None
            return by_input, ((2.0 * grads).T @ rows).mul_(weight) if ctx.needs_input_grad[1] else None


def wide(x: Tensor) -> Tensor:
    """In float32 at least."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
