"""The product of squared inputs with clipped variances of weights: what sparse variational layers sample from.

On a CPU the variances take one pass over the weights, and so do their gradients, which are written over the product's.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function
from torch.compiler import is_compiling
from torch.nn import functional as F

from torchdropout.ops.devices import compiles
from torchdropout.ops.elementwise import plain_operations_wanted

Bounds = tuple[float, float]


def clipped_variance_linear(x: Tensor, weight: Tensor, log_sigma2: Tensor, bounds: Bounds) -> Tensor | None:
    """`F.linear(x, v)`, `v = exp(log_sigma2)` clipped to the bounds times `weight**2`; None where the kernel cannot.

    Args:
        x: `(..., in)`, float32.
        weight: `(out, in)`, float32.
        log_sigma2: Likewise.
        bounds: The factors of the lower and of the upper bound.
    """
    tensors = (x, weight, log_sigma2)
    if is_compiling() or any(plain_operations_wanted(t) or not t.is_cpu or t.dtype != torch.float32 for t in tensors):
        return None
    if not (weight.is_contiguous() and log_sigma2.is_contiguous() and weight.numel() and _kernel_compiles()):
        return None
    return _ClippedVarianceLinear.apply(*tensors, bounds)  # type: ignore[no-any-return, no-untyped-call]


@functools.cache
def _kernel_compiles() -> bool:
    def build() -> None:
        from torchdropout.kernels import cpu_clipped  # noqa: PLC0415 - loads Numba

        for backward in (False, True):
            cpu_clipped.compiled(backward)

    return compiles(build)


class _ClippedVarianceLinear(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, log_sigma2: Tensor, bounds: Bounds) -> Tensor:
        from torchdropout.kernels import cpu_clipped  # noqa: PLC0415 - kernels load when first needed

        variance, ctx.clipped = cpu_clipped.variance(weight, log_sigma2, *bounds)
        ctx.save_for_backward(x, weight, log_sigma2, variance)
        ctx.bounds = bounds
        return F.linear(x, variance)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, log_sigma2, variance = ctx.saved_tensors
        if torch.is_grad_enabled():  # a derivative of this derivative may be asked for
            inputs = (x, weight, log_sigma2)
            y = F.linear(x, plain_variance(weight, log_sigma2, ctx.bounds))
            wanted = [t for t in inputs if t.requires_grad]
            found = iter(torch.autograd.grad(y, wanted, grad, create_graph=True))
            return *(next(found) if t.requires_grad else None for t in inputs), None
        from torchdropout.kernels import cpu_clipped  # noqa: PLC0415 - as above

        with torch.autocast("cpu", enabled=False):
            by_input = grad @ variance if ctx.needs_input_grad[0] else None
            by_variance = grad.reshape(-1, grad.shape[-1]).T @ x.reshape(-1, x.shape[-1])
        if not ctx.clipped:
            return by_input, None, by_variance.mul_(variance), None
        by_weight = cpu_clipped.gradients_(by_variance, weight, log_sigma2, *ctx.bounds)
        return by_input, by_weight, by_variance, None


def plain_variance(weight: Tensor, log_sigma2: Tensor, bounds: Bounds) -> Tensor:
    """The variances by PyTorch's operations."""
    square = weight * weight
    return torch.clamp(log_sigma2.exp(), square * bounds[0], square * bounds[1])
