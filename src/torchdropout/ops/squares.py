"""Squares of images at random places, multiplied by zero: Cutout's training pass on a CPU, in one pass over memory."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function
from torch.compiler import is_compiling

from torchdropout import rng
from torchdropout.ops.devices import compiles
from torchdropout.ops.elementwise import _checked, plain_operations_wanted

_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def cut_squares(x: Tensor, half: int, holes: int, inside: bool, *, key: Tensor | None = None) -> Tensor | None:
    """`x` with squares of side `2 * half` multiplied by zero, or None where plain operations have to serve.

    Args:
        x: `(N, C, H, W)`, floating point.
        half: Half of the side.
        holes: Squares of each image; their places are the uniforms of shape `(N, holes, 2)`.
        inside: Whether squares lie within the image; otherwise their centres do.
        key: `(2,)` or `(N, 2)`; None draws one.
    """
    if is_compiling() or plain_operations_wanted(x) or not (x.is_cpu and x.numel() and _kernel_compiles(x.dtype)):
        return None
    key = rng.draw(x.shape) if key is None else _checked(key, x)
    if x.requires_grad and torch.is_grad_enabled():
        return _Cut.apply(x, key, half, holes, inside)  # type: ignore[no-any-return, no-untyped-call]
    return _cut(x, key, half, holes, inside)


@functools.cache
def _kernel_compiles(dtype: torch.dtype) -> bool:
    def build() -> None:
        from torchdropout.kernels import cpu_squares  # noqa: PLC0415 - loads Numba

        cpu_squares.compiled(dtype)

    return dtype in _DTYPES and compiles(build)


def _cut(x: Tensor, key: Tensor, half: int, holes: int, inside: bool) -> Tensor:
    from torchdropout.kernels import cpu_squares  # noqa: PLC0415 - kernels load when first needed

    return cpu_squares.cut(x.contiguous(), key.cpu().contiguous(), half, holes, inside)


class _Cut(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, key: Tensor, *squares: Any) -> Tensor:
        ctx.arguments = key, squares
        return _cut(x, key, *squares)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        key, squares = ctx.arguments
        return _Cut.apply(grad, key, *squares), None, None, None, None  # type: ignore[no-untyped-call]
