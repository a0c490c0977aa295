"""The body that brings a matrix into the order in which a product reads it, in Numba."""

# ruff: noqa: ANN001, ANN201, ANN202 - the bodies are compiled: their types are the signature in `compilation.py`
# mypy: ignore-errors

from __future__ import annotations

from numba import float32, int64, njit

from torchdropout.kernels.cpu_gemm import SPAN
from torchdropout.kernels.cpu_memory import OPTIONS, field, load, moved, pointer, store, take

# Where a task holds what: `MATRIX[n, row, column]` is at `n * EACH + row * ROW + column * COLUMN`.
NEXT, COUNT, ROWS, COLUMNS, MATRIX, EACH, ROW, COLUMN, OUT = range(9)

_DEPTH = 64  # rows that are turned at a time: what is written stays near


@njit(**OPTIONS)
def _copied(source, row, out, rows, columns):
    for r in range(rows):
        for j in range(columns):
            store(out, r * SPAN + j, load(source, r * row + j))


@njit(**OPTIONS)
def _turned(source, column, out, rows, columns):
    for first in range(0, rows, _DEPTH):
        stop = min(first + _DEPTH, rows)
        for j in range(columns):
            for r in range(first, stop):
                store(out, r * SPAN + j, load(source, r + j * column))


@njit(**OPTIONS)
def _cleared(out, rows, columns):
    for r in range(rows):
        for j in range(columns, SPAN):
            store(out, r * SPAN + j, float32(0))


def pack(task):
    """Strips of columns, row after row, zero beyond the last; a member of the team takes one at a time."""
    zero = float32(0)
    rows, columns, row, column = field(task, ROWS), field(task, COLUMNS), field(task, ROW), field(task, COLUMN)
    strips = (columns + SPAN - 1) // SPAN
    number = take(task, NEXT, int64(1))
    while number < field(task, COUNT) * strips:
        first = number % strips * SPAN
        width, at = min(SPAN, columns - first), number // strips * field(task, EACH) + first * column
        source = moved(pointer(field(task, MATRIX), zero), at)
        out = moved(pointer(field(task, OUT), zero), number * SPAN * rows)
        if column == 1:
            _copied(source, row, out, rows, width)
        else:
            _turned(source, column, out, rows, width)
        if width < SPAN:
            _cleared(out, rows, width)
        number = take(task, NEXT, int64(1))
