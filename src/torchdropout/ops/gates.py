"""A factor for each channel, with the gradients of inputs and factors in one pass over memory on a CPU."""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function
from torch.compiler import is_compiling

from torchdropout.ops.devices import compiles
from torchdropout.ops.elementwise import plain_operations_wanted


def gate(x: Tensor, gates: Tensor, dim: int) -> Tensor:
    """`x` times a factor for each index of an axis.

    Args:
        x: Floating point.
        gates: `(x.shape[dim],)`, of the same dtype.
        dim: The axis.
    """
    view = [1] * x.dim()
    view[dim] = len(gates)
    both = torch.is_grad_enabled() and x.requires_grad and gates.requires_grad
    plain = is_compiling() or plain_operations_wanted(x) or plain_operations_wanted(gates)
    if plain or not (both and x.is_cpu and x.is_contiguous() and x.numel() and _kernel_compiles(x.dtype)):
        return x * gates.view(view)
    return _Gate.apply(x, gates, dim % x.dim())  # type: ignore[no-any-return, no-untyped-call]


@functools.cache
def _kernel_compiles(dtype: torch.dtype) -> bool:
    def build() -> None:
        from torchdropout.kernels import cpu_channels  # noqa: PLC0415 - loads Numba

        cpu_channels.compiled(dtype)

    return dtype in (torch.float32, torch.float64) and compiles(build)


class _Gate(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gates: Tensor, dim: int) -> Tensor:
        ctx.save_for_backward(x, gates)
        ctx.dim = dim
        return x * gates.view(-1, *[1] * (x.dim() - dim - 1))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        (x, gates), dim = ctx.saved_tensors, ctx.dim
        if torch.is_grad_enabled():  # a derivative of this derivative may be asked for
            others = [axis for axis in range(x.dim()) if axis != dim]
            return grad * gates.view(-1, *[1] * (x.dim() - dim - 1)), (grad * x).sum(others), None
        from torchdropout.kernels import cpu_channels  # noqa: PLC0415 - kernels load when first needed

        shape = (math.prod(x.shape[:dim]), len(gates), -1)
        parts = (grad.contiguous().view(shape), x.view(shape), gates.contiguous())
        grad_input, grad_gates = cpu_channels.backward(*parts)
        return grad_input.view_as(x), grad_gates, None
