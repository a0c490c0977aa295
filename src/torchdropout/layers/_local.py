"""The local reparameterization: normal weights, sampled as the normal outputs they give."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from torchdropout.layers._noise import standard_normal

Product = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def sample_outputs(
    product: Product,
    mean: Tensor,
    x: Tensor,
    variance: Tensor,
    floor: float,
    key: Tensor | None,
    scale: Tensor | None = None,
) -> Tensor:
    """`mean + sqrt(v + floor) * e`, `v` the product of `x**2` and the weights' variance, one `e` for each output.

    The variance is computed in at least float32, whatever autocast says: squares leave float16's range, and 1e-8 its
    resolution.

    Args:
        product: The layer's product of inputs, weights and bias.
        mean: The outputs' means, bias included.
        x: The inputs.
        variance: The variances of the weights.
        floor: What is added to the variance, so that the root has a gradient.
        key: Whose noise to use; None draws one.
        scale: What multiplies the squares of the inputs, or None.
    """
    with torch.autocast(x.device.type, enabled=False):
        squares = wide(x).square()
        v = product(squares if scale is None else squares * scale, wide(variance), None).add_(floor)
        if product is not F.linear:  # a fast convolution of positive numbers may return slightly negative ones
            v = F.threshold(v, floor, floor)
        y = torch.addcmul(wide(mean), v.sqrt_(), standard_normal(mean.shape, key, v))
    return y.to(mean.dtype)


def wide(x: Tensor) -> Tensor:
    """In float32 at least."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
