"""The body of a matrix product over threads, in Numba: each takes blocks of rows until none is left."""

# ruff: noqa: ANN001, ANN201, ANN202 - the bodies are compiled: their types are the signature in `compilation.py`
# mypy: ignore-errors

from __future__ import annotations

from numba import float32, njit

from torchdropout.kernels.cpu_gemm import gemm
from torchdropout.kernels.cpu_memory import OPTIONS, field, load, moved, pointer, store, take

# Where a task holds what; a bias that is absent has the address 0.
NEXT, STEP, ROWS, COLUMNS, COUNT, LEFT, LEFT_ROW, LEFT_STEP, RIGHT, OUT, BIAS = range(11)


@njit(**OPTIONS)
def _begin(out, at, n, bias, given):
    for j in range(n):
        store(out, at + j, load(bias, j) if given else float32(0))


def multiply(task):
    """`out = left right + bias`."""
    zero = float32(0)
    rows, columns, step = field(task, ROWS), field(task, COLUMNS), field(task, STEP)
    left, right = pointer(field(task, LEFT), zero), pointer(field(task, RIGHT), zero)
    out, bias, given = pointer(field(task, OUT), zero), pointer(field(task, BIAS), zero), field(task, BIAS) != 0
    along, across = field(task, LEFT_ROW), field(task, LEFT_STEP)
    first = take(task, NEXT, step)
    while first < rows:
        count = min(step, rows - first)
        for row in range(first, first + count):
            _begin(out, row * columns, columns, bias, given)
        here, there = moved(left, first * along), moved(out, first * columns)
        gemm(here, along, across, right, there, columns, count, columns, field(task, COUNT))
        first = take(task, NEXT, step)
