"""Matrix products of float32 on the CPU: from tensors to addresses, and over threads."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from torchdropout.kernels import compilation, cpu_gemm, cpu_matrix, cpu_pack, tasks

_BLOCK = 40  # rows that a thread takes at a time: a multiple of a tile's
_PACKED_TOGETHER = 2**16  # elements from which several threads pack


@functools.cache
def compiled() -> Any:
    """The C function of a product, once the other that it needs is compiled too."""
    _packs()
    return compilation.c_function(cpu_matrix.multiply)


def strips(matrix: Tensor) -> Tensor:
    """`(K, N)` or `(n, K, N)`, rows or transposed ones, as the kernels read it.

    Strips of columns, `(n, strips, K, SPAN)`, zero beyond the last.
    """
    each = matrix if matrix.dim() == 3 else matrix.unsqueeze(0)
    (count, rows, columns), (step, row, column) = each.shape, each.stride()
    out = matrix.new_empty(count, -(-columns // cpu_gemm.SPAN), rows, cpu_gemm.SPAN)
    if out.numel() == 0:
        return out
    at, _ = _rows(each[0] if column == 1 or columns == 1 else each[0].T)
    threads = torch.get_num_threads() if out.numel() >= _PACKED_TOGETHER else 1
    there = tasks.addresses(torch.float32, out)
    tasks.run(_packs(), [0, count, rows, columns, at, step, row, 1 if columns == 1 else column, *there], threads)
    return out


@functools.cache
def _packs() -> Any:
    return compilation.c_function(cpu_pack.pack)


def multiply(left: Tensor, right: Tensor, bias: Tensor | None = None, out: Tensor | None = None) -> Tensor:
    """`left right + bias`.

    Args:
        left: `(M, K)`: rows, or the transpose of rows, contiguous or some columns of wider ones.
        right: `(K, N)`.
        bias: `(N,)`, contiguous.
        out: `(M, N)`, rows that take the result; None makes them.
    """
    (rows, count), columns = left.shape, right.shape[1]
    out = left.new_empty(rows, columns) if out is None else out
    if out.numel() == 0:
        return out
    transposed = left.stride(1) != 1 and count > 1
    packed, threads = strips(right), torch.get_num_threads() if rows > _BLOCK else 1
    at, row = _rows(left.T if transposed else left)
    there, wide = _rows(out)
    sides = (1, row) if transposed else (row, 1)
    scratch = left.new_empty(threads * _BLOCK * cpu_matrix.DEPTH if transposed else 0)
    numbers = [rows, columns, count, at, *sides, *tasks.addresses(torch.float32, packed), there, wide]
    numbers += [*([0] if bias is None else tasks.addresses(torch.float32, bias)), 0]
    tasks.run(compiled(), [0, _BLOCK, *numbers, scratch.data_ptr() if transposed else 0], threads)
    return out


def _rows(matrix: Tensor) -> tuple[int, int]:
    """The address of a matrix and the distance of its rows, checked."""
    if not matrix.is_cpu or matrix.dtype != torch.float32 or (matrix.stride(1) != 1 and matrix.shape[1] > 1):
        found = f"{matrix.dtype}, strides {matrix.stride()}, on {matrix.device}"
        raise RuntimeError(f"kernel: a matrix must have whole rows, be float32 and on the CPU, got {found}.")
    return matrix.data_ptr(), matrix.stride(0)
