"""Which kernels serve on a device: compiled ones where that is possible, with one warning where it is not."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor

_without_memory = torch._C._functorch.is_legacy_batchedtensor  # `is_grads_batched`, `vectorize` of `jacobian`


def kernel_for(x: Tensor) -> ModuleType | None:
    """The module of kernels for a tensor; None where the reference kernel has to serve."""
    if x.is_cpu:
        return None if _without_memory(x) else cpu_kernel(x.dtype)
    if x.is_cuda and x.dtype in (torch.float32, torch.float16, torch.bfloat16) and not _without_memory(x):
        return cuda_kernel()
    return None


@functools.cache
def cuda_kernel() -> ModuleType | None:
    """The module of Triton's kernels, if there is a Triton that they are tested with."""
    try:
        import triton  # noqa: PLC0415 - of PyTorch's CUDA builds

        version = tuple(int(part) for part in triton.__version__.split(".")[:2])
        if not _TRITON[0] <= version <= _TRITON[1]:
            oldest, newest = (".".join(map(str, each)) for each in _TRITON)
            raise ImportError(f"Triton {triton.__version__} is not between {oldest} and {newest}, which are tested")
        from torchdropout.kernels import cuda  # noqa: PLC0415 - loads Triton
    except Exception as error:
        _warn_slow(f"{type(error).__name__}: {error}", "GPU")
        return None
    return cuda


_TRITON = ((3, 5), (3, 9))  # the oldest and the newest that the tests ran with


@functools.cache
def cpu_kernel(dtype: torch.dtype) -> ModuleType | None:
    """The module of the CPU kernels, compiled for a dtype; None where the reference kernel has to serve."""
    try:
        from torchdropout.kernels import cpu  # noqa: PLC0415 - loads Numba

        if dtype not in cpu.DTYPES:
            return None
        cpu.compiled(dtype)
    except Exception as error:
        _warn_slow(f"{type(error).__name__}: {error}")
        return None
    return cpu


def compiles(build: Callable[[], object]) -> bool:
    """Whether a kernel can be compiled; if not, the first reason is told and plain operations serve."""
    try:
        build()
    except Exception as error:
        _warn_slow(f"{type(error).__name__}: {error}")
        return False
    return True


_reasons: dict[str, list[str]] = {}  # why the kernels of a kind of device cannot be used: the first is told


def _warn_slow(reason: str, device: str = "CPU") -> None:
    known = _reasons.setdefault(device, [])
    known.append(reason)
    if len(known) == 1:
        warnings.warn(
            f"torchdropout: the {device} kernels cannot be used, the slower reference serves instead ({reason}).",
            RuntimeWarning,
            stacklevel=2,
        )
