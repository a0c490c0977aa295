"""The CPU kernel: from tensors to addresses, and over threads."""

from __future__ import annotations

import ctypes
import functools
import struct
from collections.abc import Callable
from typing import Any

import torch
from numba import types
from torch import Tensor

from torchdropout.kernels import compilation, cpu_loops, cpu_team, openmp, pool
from torchdropout.laws import Bernoulli, Law, Normal

# How the elements of a dtype are stored, what they are computed in, and a team member's work.
_FORMATS: dict[torch.dtype, tuple[types.Type, types.Type, Callable[..., None]]] = {
    torch.float32: (types.float32, types.float32, cpu_team.work_float32),
    torch.float64: (types.float64, types.float64, cpu_team.work_float64),
    torch.float16: (types.int16, types.float32, cpu_team.work_float16),
    torch.bfloat16: (types.uint16, types.float32, cpu_team.work_bfloat16),
}
DTYPES = frozenset(_FORMATS)
SPLIT = 1 << 17  # elements; halves of fewer cost as much to share as to compute
_TILE = 1 << 14  # elements of the largest tile; parts that are multiples compute no tile twice
_TASK = ctypes.c_int64 * 13


@functools.cache
def compiled(dtype: torch.dtype) -> Callable[..., None]:
    """The machine code for a dtype: from the cache on disk, else compiled, which takes a second or two."""
    return _overload(dtype).entry_point  # type: ignore[no-any-return]


@functools.cache
def _overload(dtype: torch.dtype) -> Any:
    stored, real, _ = _FORMATS[dtype]
    return compilation.overload(cpu_loops.multiply_range, (*[types.int64] * 9, real, real, stored))


@functools.cache
def _team_work(dtype: torch.dtype) -> tuple[Any, int]:
    """What a member of the team runs, as a C function, and the address of the machine code that it calls."""
    overload = _overload(dtype)
    code = overload.library.get_pointer_to_function(overload.fndesc.llvm_func_name)
    return compilation.c_function(_FORMATS[dtype][2]), code


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
    if n < SPLIT or (threads := torch.get_num_threads()) == 1:
        kernel(*addresses, 0, n, *rest, 0)
    elif openmp.usable():
        _run_team(x.dtype, n, threads, addresses, rest)
    else:
        pool.run_chunks(lambda start, stop: kernel(*addresses, start, stop, *rest, 0), n)


def _run_team(dtype: torch.dtype, n: int, threads: int, addresses: tuple[int, ...], rest: tuple[Any, ...]) -> None:
    work, code = _team_work(dtype)
    kind, bits, threshold, first, second = rest
    step = -(-n // (threads * _TILE)) * _TILE
    task = _TASK(0, step, n, _bits(first), _bits(second), code, *addresses, kind, bits, threshold)
    openmp.run(work.address, task, threads)


def _bits(number: float) -> int:
    return int.from_bytes(struct.pack("<d", number), "little", signed=True)


def arguments(law: Law) -> tuple[Any, ...]:
    """What the kernel takes of a law: its kind, bits, threshold and two numbers."""
    if isinstance(law, Bernoulli):
        return cpu_loops.BERNOULLI, law.bits, law.threshold, law.scale, 0.0
    if isinstance(law, Normal):
        return cpu_loops.NORMAL, 32, 0, law.mean, law.std
    return cpu_loops.UNIFORM, 32, 0, law.low, law.high - law.low
