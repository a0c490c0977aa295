"""Numba's compilation, cached on disk where that is possible.

Numba's cache notices changes of the file of an entry point only; here an entry is stale once any file of the kernels
has changed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import types
from numba.core.ccallback import CFunc

from torchdropout.kernels.cpu_memory import OPTIONS


def overload(function: Any, arguments: tuple[types.Type, ...]) -> Any:
    """A jitted function's machine code for types of arguments; it is called through Python."""
    try:
        function.enable_caching()
        _refresh(function._cache)
        function.compile(arguments)
    except Exception:  # no folder of a cache can be written, or what is stored there cannot be read
        function._cache.disable()
        function.compile(arguments)
    return function.overloads[arguments]


def c_function(function: Callable[..., None]) -> Any:
    """A function of one pointer to int64 numbers as a C function, with its `address`."""
    try:
        compiled = _c_function(function)
        compiled.enable_caching()
        _refresh(compiled._cache)
        compiled.compile()
    except Exception:  # as above
        compiled = _c_function(function)
        compiled.compile()
    return compiled


def _c_function(function: Callable[..., None]) -> Any:
    task = types.CPointer(types.int64)  # type: ignore[no-untyped-call]
    return CFunc(function, ((task,), types.void), locals={}, options=dict(OPTIONS))


def _refresh(cache: Any) -> None:
    cache._cache_file._source_stamp = _stamp()


@functools.cache
def _stamp() -> tuple[tuple[str, int, int], ...]:
    """The names, times and sizes of all files of the kernels."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return tuple((file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in files)
