"""Matrix products of float32 on the CPU: from tensors to addresses, and over threads."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from torchdropout.kernels import compilation, cpu_gemm, cpu_matrix, tasks

_BLOCK = 40  # rows that a thread takes at a time: a multiple of a tile's


@functools.cache
def compiled() -> Any:
    """The C function."""
    return compilation.c_function(cpu_matrix.multiply)


def strips(matrix: Tensor) -> Tensor:
    """`(..., K, N)` as the kernels read it: strips of columns, `(..., strips, K, SPAN)`, zero beyond the last."""
    *lead, count, columns = matrix.shape
    missing = -columns % cpu_gemm.SPAN
    padded = torch.nn.functional.pad(matrix, (0, missing)) if missing else matrix
    number = padded.shape[-1] // cpu_gemm.SPAN
    return padded.reshape(*lead, count, number, cpu_gemm.SPAN).transpose(-3, -2).contiguous()


def multiply(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    """`left right + bias`.

    Args:
        left: `(M, K)`, contiguous, or the transpose of a contiguous matrix.
        right: `(K, N)`.
        bias: `(N,)`, contiguous.
    """
    (rows, count), columns = left.shape, right.shape[1]
    out = left.new_empty(rows, columns)
    if out.numel() == 0:
        return out
    given = [] if bias is None else [bias]
    plain = left if left.is_contiguous() else left.T
    packed = strips(right)
    at, there, here, *bias_at = tasks.addresses(torch.float32, plain, packed, out, *given)
    threads = torch.get_num_threads() if rows > _BLOCK else 1
    scratch = left.new_empty(0 if left.is_contiguous() else threads * _BLOCK * cpu_matrix.DEPTH)
    sizes = [rows, columns, count, at, *left.stride(), there, here, *(bias_at or [0])]
    tasks.run(compiled(), [0, _BLOCK, *sizes, 0, scratch.data_ptr() if scratch.numel() else 0], threads)
    return out
