"""The body of a matrix product over threads, in Numba: each takes blocks of rows until none is left."""

# ruff: noqa: ANN001, ANN201, ANN202 - the bodies are compiled: their types are the signature in `compilation.py`
# mypy: ignore-errors

from __future__ import annotations

from numba import float32, int64, njit

from torchdropout.kernels.cpu_gemm import SPAN, gemm
from torchdropout.kernels.cpu_memory import OPTIONS, field, load, moved, pointer, store, take

# Where a task holds what; a bias that is absent has the address 0.
NEXT, STEP, ROWS, COLUMNS, COUNT, LEFT, LEFT_ROW, LEFT_STEP, RIGHT, OUT, OUT_ROW, BIAS, SLOT, SCRATCH = range(14)

DEPTH = 1024  # columns of a transposed matrix that are gathered at a time


@njit(**OPTIONS)
def _begin(out, at, n, bias, given):
    for j in range(n):
        store(out, at + j, load(bias, j) if given else float32(0))


@njit(**OPTIONS)
def _gather(left, first, count, across, start, stop, scratch, step):
    """Some rows of a transposed matrix, for some of its columns: what one column needs then lies together."""
    for k in range(start, stop):
        for r in range(count):
            store(scratch, (k - start) * step + r, load(left, first + r + k * across))


def multiply(task):
    """`out = left right + bias`; `left` and `out` may be columns of wider matrices, and `left` a transpose."""
    zero = float32(0)
    rows, columns, step = field(task, ROWS), field(task, COLUMNS), field(task, STEP)
    left, right = pointer(field(task, LEFT), zero), pointer(field(task, RIGHT), zero)
    out, bias, given = pointer(field(task, OUT), zero), pointer(field(task, BIAS), zero), field(task, BIAS) != 0
    along, across, length = field(task, LEFT_ROW), field(task, LEFT_STEP), field(task, COUNT)
    wide = field(task, OUT_ROW)
    scratch = moved(pointer(field(task, SCRATCH), zero), take(task, SLOT, int64(1)) * step * DEPTH)
    first = take(task, NEXT, step)
    while first < rows:
        count = min(step, rows - first)
        for row in range(first, first + count):
            _begin(out, row * wide, columns, bias, given)
        there = moved(out, first * wide)
        if field(task, SCRATCH) == 0:
            gemm(moved(left, first * along), along, int64(1), right, there, wide, count, columns, length, length)
        else:
            for start in range(0, length, DEPTH):
                stop = min(start + DEPTH, length)
                _gather(left, first, count, across, start, stop, scratch, step)
                part = moved(right, start * SPAN)
                gemm(scratch, int64(1), step, part, there, wide, count, columns, stop - start, length)
        first = take(task, NEXT, step)
