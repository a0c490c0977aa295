"""A C function that takes its parts of a task until none is left, run on one thread or on several."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence
from typing import Any

from torchdropout.kernels import openmp, pool


def run(function: Any, numbers: Sequence[int], threads: int) -> None:
    """Run a function of `compilation.c_function` on a task.

    Args:
        function: What every member of the team calls, with the same task.
        numbers: The task's int64 numbers, the first of which says what is left.
        threads: How many members, this thread included.
    """
    task = (ctypes.c_int64 * len(numbers))(*numbers)
    if threads > 1 and openmp.usable():
        openmp.run(function.address, task, threads)
        return
    call = _callable(function.address)
    if threads > 1:
        pool.run_members(lambda: call(task), threads)
    else:
        call(task)


@functools.cache
def _callable(address: int) -> Callable[[object], None]:
    return ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address)
