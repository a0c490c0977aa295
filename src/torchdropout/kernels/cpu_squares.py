"""Cutout's CPU kernel: from tensors to addresses, and over threads."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from torchdropout.kernels import compilation, cpu_cutout, tasks

DTYPES = {
    torch.float32: cpu_cutout.cut_float32,
    torch.float64: cpu_cutout.cut_float64,
    torch.float16: cpu_cutout.cut_float16,
    torch.bfloat16: cpu_cutout.cut_bfloat16,
}
_SPLIT = 1 << 17  # elements; halves of fewer cost as much to share as to compute


@functools.cache
def compiled(dtype: torch.dtype) -> Any:
    """The C function for a dtype."""
    return compilation.c_function(DTYPES[dtype])


def cut(x: Tensor, key: Tensor, half: int, holes: int, inside: bool) -> Tensor:
    """A copy of `(N, C, H, W)` in which squares of side `2 * half` are multiplied by zero.

    Args:
        x: C-contiguous, not empty, of one of `DTYPES`.
        key: C-contiguous keys on the CPU whose number divides `N`.
        half: Half of the side.
        holes: Squares of each image; element `(n, hole, 0)` of the key's uniforms `(N, holes, 2)` is the row's.
        inside: Whether squares lie within the image.
    """
    out = torch.empty_like(x)
    images, maps, height, width = x.shape
    threads = 1 if x.numel() < _SPLIT else torch.get_num_threads()
    inner = 2 * images * holes // (key.numel() // 2)
    sizes = [maps, height, width, half, int(inside), holes]
    step = -(-images // threads)
    masks = torch.empty(threads, height * width, dtype=torch.promote_types(x.dtype, torch.float32))
    tensors = tasks.addresses(x.dtype, x, out)
    addresses = [key.data_ptr(), inner, *tensors, masks.data_ptr(), masks.element_size()]
    numbers = [0, step, images, 0, *addresses, *sizes]
    tasks.run(compiled(x.dtype), numbers, threads)
    return out
