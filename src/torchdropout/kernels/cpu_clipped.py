"""The CPU kernel for clipped variances: from tensors to addresses, and over threads."""

from __future__ import annotations

import functools
import struct
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from torchdropout.kernels import compilation, cpu_variance, tasks

_STEP = 1 << 14  # weights of a part


@functools.cache
def compiled(backward: bool) -> Any:
    """The C function of a pass."""
    return compilation.c_function(cpu_variance.backward if backward else cpu_variance.forward)


def variance(weight: Tensor, log_sigma2: Tensor, low: float, high: float) -> tuple[Tensor, bool]:
    """`exp(log_sigma2)`, clipped to `low` and `high` times `weight**2`, and whether any was.

    Args:
        weight: C-contiguous float32.
        log_sigma2: Likewise, of the same shape.
        low: The factor of the lower bound.
        high: That of the upper bound.
    """
    out = torch.empty_like(weight)
    task = _run(False, weight.numel(), low, high, [weight, log_sigma2, out])
    return out, bool(task[cpu_variance.CLIPPED])


def gradients_(by_variance: Tensor, weight: Tensor, log_sigma2: Tensor, low: float, high: float) -> Tensor:
    """Turn the gradient of the variances into that of their logs, in place, and return that of the weights."""
    grad = torch.empty_like(weight)
    _run(True, weight.numel(), low, high, [weight, log_sigma2, by_variance, grad])
    return grad


def _run(backward: bool, n: int, low: float, high: float, tensors: Sequence[Tensor]) -> Any:
    bits = [int.from_bytes(struct.pack("<d", number), "little", signed=True) for number in (low, high)]
    threads = 1 if n <= 2 * _STEP else torch.get_num_threads()
    return tasks.run(compiled(backward), [0, _STEP, n, 0, *bits, *tasks.addresses(torch.float32, *tensors)], threads)
