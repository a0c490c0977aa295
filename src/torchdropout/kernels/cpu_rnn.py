"""The bodies of the plain RNN's CPU kernel, in Numba: a whole sequence forward, and backward."""

# ruff: noqa: ANN001, ANN201, ANN202 - the bodies are compiled: their types are the signature in `compilation.py`
# mypy: ignore-errors

from __future__ import annotations

from numba import float32, int64, njit

from torchdropout.kernels.cpu_cells import (
    CHUNK,
    add,
    clear,
    fill,
    get,
    masked,
    masked_sum,
    mix,
    put,
    room,
    split,
    tanhs,
)
from torchdropout.kernels.cpu_gemm import gemm
from torchdropout.kernels.cpu_memory import OPTIONS, field, load, moved, pointer, store, take

# Where a task holds what; a mask that is absent has the address 0.
(NEXT, STEP, STEPS, ROWS, SIZE, VALUES, WEIGHT, FIRST_H, HS, LENGTHS, SCRATCH, HIDDEN, ZONE, RELU, GRAD_HS,
 GRAD_H) = range(16)  # fmt: skip


@njit(**OPTIONS)
def _project(task, h, t, first, stop):
    """Add the product of some rows' states with the recurrent weights to the values of a step."""
    zero = float32(0)
    rows, size, mask = field(task, ROWS), field(task, SIZE), field(task, HIDDEN)
    w, scratch = pointer(field(task, WEIGHT), zero), pointer(field(task, SCRATCH), zero)
    values = moved(pointer(field(task, VALUES), zero), (t * rows + first) * size)
    if mask != 0:
        masked(h, pointer(mask, zero), 0, 1, scratch, first, stop, size)
        h = scratch
    gemm(moved(h, first * size), size, int64(1), w, values, size, stop - first, size, size, size)


@njit(**OPTIONS)
def _rectified(x, n):
    """In place; what is not a number stays so."""
    for j in range(n):
        value = load(x, j)
        store(x, j, float32(0) if value < float32(0) else value)


@njit(**OPTIONS)
def _cells(task, t, before, begin, end):
    """One step of some rows: the values become activations, and the states are written."""
    zero = float32(0)
    rows, size = field(task, ROWS), field(task, SIZE)
    values, hs = pointer(field(task, VALUES), zero), pointer(field(task, HS), zero)
    lengths, zone = pointer(field(task, LENGTHS), int64(0)), pointer(field(task, ZONE), zero)
    h, old = room(), room()
    for row in range(begin, end):
        live = t < load(lengths, row)
        for first in range(0, size, CHUNK):
            n = min(CHUNK, size - first)
            place, state = (t * rows + row) * size + first, row * size + first
            if not live:
                clear(values, place, n)
                clear(hs, place, n)
                continue
            get(values, place, n, h)
            if field(task, RELU):
                _rectified(h, n)
            else:
                tanhs(h, n)
            put(h, n, values, place)
            if field(task, ZONE):
                get(before, state, n, old)
                mix(h, old, zone, place, n)
            put(h, n, hs, place)


def forward(task):
    """The states of all steps; a member of the team takes some rows through the whole sequence."""
    zero = float32(0)
    rows, count, step = field(task, ROWS), field(task, ROWS) * field(task, SIZE), field(task, STEP)
    first = take(task, NEXT, step)
    while first < rows:
        stop, h = min(first + step, rows), pointer(field(task, FIRST_H), zero)
        for t in range(field(task, STEPS)):
            _project(task, h, t, first, stop)
            _cells(task, t, h, first, stop)
            h = moved(pointer(field(task, HS), zero), t * count)
        first = take(task, NEXT, step)


@njit(**OPTIONS)
def _gradients(value, grad, n, relu):
    """The gradients of pre-activations, in place of the activations."""
    for j in range(n):
        a = load(value, j)
        slope = (float32(0) if a <= float32(0) else float32(1)) if relu else float32(1) - a * a
        store(value, j, load(grad, j) * slope)


@njit(**OPTIONS)
def _cells_back(task, t, begin, end):
    """One step of some rows backward; `GRAD_H` is as in the LSTM."""
    zero = float32(0)
    rows, size = field(task, ROWS), field(task, SIZE)
    values, grads = pointer(field(task, VALUES), zero), pointer(field(task, GRAD_HS), zero)
    lengths, grad_h = pointer(field(task, LENGTHS), int64(0)), pointer(field(task, GRAD_H), zero)
    zone = pointer(field(task, ZONE), zero)
    value, dh, kept = room(), room(), room()
    for row in range(begin, end):
        if t >= load(lengths, row):  # the gradient of the last state waits for its step
            continue
        for first in range(0, size, CHUNK):
            n = min(CHUNK, size - first)
            place, state = (t * rows + row) * size + first, row * size + first
            get(values, place, n, value)
            get(grad_h, state, n, dh)
            add(grads, place, n, dh)
            fill(kept, n, zero)
            if field(task, ZONE):
                split(dh, kept, zone, place, n)
            _gradients(value, dh, n, field(task, RELU))
            put(value, n, values, place)
            put(kept, n, grad_h, state)


@njit(**OPTIONS)
def _project_back(task, t, first, stop):
    """Add what passes through the recurrent weights to the gradient of the states before the step."""
    zero = float32(0)
    rows, size, mask, count = field(task, ROWS), field(task, SIZE), field(task, HIDDEN), stop - first
    w, scratch = pointer(field(task, WEIGHT), zero), pointer(field(task, SCRATCH), zero)
    grad_h = pointer(field(task, GRAD_H), zero)
    values = moved(pointer(field(task, VALUES), zero), (t * rows + first) * size)
    here = moved(grad_h if mask == 0 else scratch, first * size)
    if mask != 0:
        clear(here, int64(0), count * size)
    gemm(values, size, int64(1), w, here, size, count, size, size, size)
    if mask != 0:
        masked_sum(scratch, pointer(mask, zero), 0, 1, grad_h, first, stop, size)


def backward(task):
    """The gradients of all pre-activations, in place of the activations, and of the first state."""
    rows, step = field(task, ROWS), field(task, STEP)
    first = take(task, NEXT, step)
    while first < rows:
        stop = min(first + step, rows)
        for t in range(field(task, STEPS) - 1, -1, -1):
            _cells_back(task, t, first, stop)
            _project_back(task, t, first, stop)
        first = take(task, NEXT, step)
