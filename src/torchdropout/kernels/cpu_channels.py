"""The gates' CPU kernel: from tensors to addresses, and over threads."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from torchdropout.kernels import compilation, cpu_gates, tasks

DTYPES = {torch.float32: cpu_gates.backward_float32, torch.float64: cpu_gates.backward_float64}
_SPLIT = 1 << 17  # elements; halves of fewer cost as much to share as to compute


@functools.cache
def compiled(dtype: torch.dtype) -> Any:
    """The C function for a dtype."""
    return compilation.c_function(DTYPES[dtype])


def backward(grads: Tensor, x: Tensor, gates: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of `x * gates` by `x` and by the gates.

    Args:
        grads: `(N, channels, inner)`, C-contiguous, of one of `DTYPES`.
        x: Likewise.
        gates: `(channels,)`, likewise.
    """
    out, (rows, channels, inner) = torch.empty_like(x), x.shape
    threads = 1 if x.numel() < _SPLIT else torch.get_num_threads()
    sums = torch.zeros(threads, channels, dtype=x.dtype)
    addresses = tasks.addresses(x.dtype, grads, x, gates, out, sums)
    tasks.run(compiled(x.dtype), [0, -(-rows // (4 * threads)), rows, 0, *addresses, channels, inner], threads)
    return out, sums.sum(0)
