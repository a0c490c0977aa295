"""The CPU kernel: from tensors to addresses, and over threads."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from numba import njit, types
from torch import Tensor

from torchdropout.kernels import cpu_loops
from torchdropout.kernels.pool import SPLIT, run_chunks
from torchdropout.laws import Bernoulli, Law, Normal

# How the elements of a dtype are stored, and what they are computed in.
_FORMATS: dict[torch.dtype, tuple[types.Type, types.Type]] = {
    torch.float32: (types.float32, types.float32),
    torch.float64: (types.float64, types.float64),
    torch.float16: (types.int16, types.float32),
    torch.bfloat16: (types.uint16, types.float32),
}
DTYPES = frozenset(_FORMATS)


@functools.cache
def compiled(dtype: torch.dtype) -> Callable[..., None]:
    """The machine code for a dtype: from the cache on disk, else compiled, which takes about a second."""
    stored, real = _FORMATS[dtype]
    signature = types.void(*[types.int64] * 9, real, real, stored)
    options: dict[str, Any] = cpu_loops.OPTIONS | {"nogil": True}
    try:
        return njit(signature, cache=True, **options)(cpu_loops.multiply_range)
    except Exception:  # no folder of a cache can be written, or what is stored there cannot be read
        return njit(signature, **options)(cpu_loops.multiply_range)


def multiply(x: Tensor, out: Tensor, key: Tensor, law: Law) -> None:
    """Write `x` times the noise of `law` under `key` to `out`.

    Args:
        x: A C-contiguous, non-empty tensor of one of `DTYPES`.
        out: A tensor of the same shape, dtype and layout; may be `x` itself.
        key: C-contiguous int64 keys on the CPU, `(*batch, 2)`, whose batch shape begins `x`'s.
        law: The distribution of the noise.
    """
    kernel = compiled(x.dtype)
    n = x.numel()
    addresses = (x.data_ptr(), out.data_ptr(), key.data_ptr(), n // (key.numel() // 2))
    rest = arguments(law)
    if n < SPLIT:
        kernel(*addresses, 0, n, *rest)
    else:
        run_chunks(lambda start, stop: kernel(*addresses, start, stop, *rest), n)


def arguments(law: Law) -> tuple[Any, ...]:
    """What the kernel takes of a law: its kind, bits, threshold, two numbers, and a zero for the stored type."""
    if isinstance(law, Bernoulli):
        return cpu_loops.BERNOULLI, law.bits, law.threshold, law.scale, 0.0, 0
    if isinstance(law, Normal):
        return cpu_loops.NORMAL, 32, 0, law.mean, law.std, 0
    return cpu_loops.UNIFORM, 32, 0, law.low, law.high - law.low, 0
