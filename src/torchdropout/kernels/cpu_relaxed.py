"""The relaxed Bernoulli's CPU kernel: from tensors to addresses, and over threads."""

from __future__ import annotations

import functools
import struct
from typing import Any

import torch
from torch import Tensor

from torchdropout.kernels import compilation, cpu_concrete, tasks

DTYPES = {torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "bfloat16"}
_SPLIT = 1 << 14  # elements; halves of fewer cost as much to share as to compute


@functools.cache
def compiled(dtype: torch.dtype, backward: bool) -> Any:
    """The C function for a dtype and a pass."""
    name = f"{'backward' if backward else 'forward'}_{DTYPES[dtype]}"
    return compilation.c_function(getattr(cpu_concrete, name))


def forward(x: Tensor, logit: float, p: float, temperature: float, key: Tensor) -> Tensor:
    """`x * m / (1 - p)` with `m = sigmoid(-(logit + log(u / (1 - u))) / temperature)`.

    Args:
        x: C-contiguous, of one of `DTYPES`.
        logit: The logit of `p`.
        p: The drop probability.
        temperature: Of the relaxation.
        key: C-contiguous keys on the CPU whose batch shape begins that of `x`.
    """
    out = torch.empty_like(x)
    _run(x, x, out, logit, p, temperature, key, backward=False)
    return out


def backward(grads: Tensor, x: Tensor, logit: float, p: float, temperature: float, key: Tensor) -> tuple[Tensor, float]:
    """The gradients of the input and of the logit."""
    out = torch.empty_like(x)
    return out, _run(x, grads, out, logit, p, temperature, key, backward=True)


def _run(
    x: Tensor, grads: Tensor, out: Tensor, logit: float, p: float, temperature: float, key: Tensor, *, backward: bool
) -> float:
    n = x.numel()
    threads = 1 if n < 2 * _SPLIT else torch.get_num_threads()
    step = -(-n // (4 * threads * cpu_concrete.TILE)) * cpu_concrete.TILE
    sums = torch.zeros(threads, dtype=torch.float64)
    numbers = [0, step, n, 0, key.data_ptr(), n // (key.numel() // 2), *map(_bits, (logit, 1.0 / temperature, p))]
    tensors = [*tasks.addresses(x.dtype, x, out, grads), sums.data_ptr()]
    tasks.run(compiled(x.dtype, backward), [*numbers, *tensors], threads)
    return float(sums.sum())


def _bits(number: float) -> int:
    return int.from_bytes(struct.pack("<d", number), "little", signed=True)
