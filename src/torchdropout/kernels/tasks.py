"""A C function that takes its parts of a task until none is left, run on one thread or on several."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from torchdropout.kernels import openmp, pool


def run(function: Any, numbers: Sequence[int], threads: int) -> Any:
    """Run a function of `compilation.c_function` on a task.

    Args:
        function: What every member of the team calls, with the same task.
        numbers: The task's int64 numbers, the first of which says what is left.
        threads: How many members, this thread included.

    Returns:
        The numbers as the members left them.
    """
    task = (ctypes.c_int64 * len(numbers))(*numbers)
    if threads > 1 and openmp.usable():
        openmp.run(function.address, task, threads)
        return task
    call = _callable(function.address)
    if threads > 1:
        pool.run_members(lambda: call(task), threads)
    else:
        call(task)
    return task


def addresses(dtype: torch.dtype, *tensors: Tensor) -> list[int]:
    """Where the tensors' elements lie, checked: a kernel that is told wrong would write where it must not.

    Raises:
        RuntimeError: A tensor is not on the CPU, not contiguous, or of another dtype.
    """
    for tensor in tensors:
        if not tensor.is_cpu or not tensor.is_contiguous() or tensor.dtype != dtype:
            found = f"{tensor.dtype}, strides {tensor.stride()}, on {tensor.device}"
            raise RuntimeError(f"kernel: every tensor must be contiguous, {dtype} and on the CPU, got {found}.")
    return [tensor.data_ptr() for tensor in tensors]


@functools.cache
def _callable(address: int) -> Callable[[object], None]:
    return ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address)
