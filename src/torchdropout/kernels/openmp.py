"""The team of threads that torch's own operations run on.

A pool of ours would compete with it: between two operations OpenMP's threads wait actively, so a second pool finds the
cores taken. On two cores a pool made a convolutional network's step slower than no threads at all.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable
from pathlib import Path

import torch

_forked = False


def usable() -> bool:
    """Whether this process may use the team: not after a fork, which takes the threads away from under OpenMP."""
    return not _forked and _parallel() is not None


def run(function: int, argument: object, threads: int) -> None:
    """Call the C function at an address on a team of threads, this one included, all with the same argument."""
    parallel = _parallel()
    if parallel is None:
        raise RuntimeError("openmp.run: torch brings no OpenMP library, ask `usable` first.")
    parallel(function, argument, threads, 0)


@functools.cache
def _parallel() -> Callable[[int, object, int, int], None] | None:
    """`GOMP_parallel(function, argument, threads, flags)` of the library that torch brings; None where it does not."""
    library = Path(torch.__file__).parent / "lib" / "libgomp.so.1"
    if not library.exists() or "OpenMP" not in torch.__config__.parallel_info():
        return None
    function = ctypes.CDLL(str(library)).GOMP_parallel
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    function.restype = None
    return function


def _after_fork() -> None:
    global _forked  # noqa: PLW0603 - a fact about the process
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
