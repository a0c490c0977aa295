"""The bodies of the GRU's CPU kernel, in Numba: a whole sequence forward, and backward.

Of a row, the parts r, z, n and the state's part of n lie one after the other.
"""

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
    sigmoids,
    split,
    tanhs,
    times,
)
from torchdropout.kernels.cpu_gemm import gemm
from torchdropout.kernels.cpu_memory import OPTIONS, field, load, moved, pointer, store, take

# Where a task holds what; a mask that is absent has the address 0.
(NEXT, STEP, STEPS, ROWS, SIZE, PARTS, WEIGHT, FIRST_H, HS, LENGTHS, SCRATCH, HIDDEN, GROUPS, UPDATE, UPDATE_STEP, ZONE,
 GRAD_HS, GRAD_H, GROUP) = range(19)  # fmt: skip


@njit(**OPTIONS)
def _project(task, h, t, first, stop):
    """Add the products of some rows' states with the recurrent weights to r, z and the state's part of n."""
    zero = float32(0)
    rows, size, groups = field(task, ROWS), field(task, SIZE), field(task, GROUPS)
    w, scratch = pointer(field(task, WEIGHT), zero), pointer(field(task, SCRATCH), zero)
    mask, wide, count = pointer(field(task, HIDDEN), zero), 4 * size, stop - first
    parts = moved(pointer(field(task, PARTS), zero), (t * rows + first) * wide)
    for part in range(3):
        here = moved(h, first * size)
        if groups != 0:
            if groups == 3 or part == 0:
                masked(h, mask, part if groups == 3 else 0, groups, scratch, first, stop, size)
            here = moved(scratch, first * size)
        target = moved(parts, (3 if part == 2 else part) * size)
        gemm(here, size, int64(1), moved(w, part * field(task, GROUP)), target, wide, count, size, size, size)


@njit(**OPTIONS)
def _candidate(n, r, state, count):
    for j in range(count):
        store(n, j, load(n, j) + load(r, j) * load(state, j))


@njit(**OPTIONS)
def _output(n, z, old, count, out):
    """`(1 - z) n + z h`."""
    for j in range(count):
        gate = load(z, j)
        store(out, j, (float32(1) - gate) * load(n, j) + gate * load(old, j))


@njit(**OPTIONS)
def _cells(task, t, before, begin, end):
    """One step of some rows: the pre-activations become activations, and the states are written."""
    zero = float32(0)
    rows, size = field(task, ROWS), field(task, SIZE)
    parts, hs = pointer(field(task, PARTS), zero), pointer(field(task, HS), zero)
    lengths = pointer(field(task, LENGTHS), int64(0))
    update, zone = pointer(field(task, UPDATE), zero), pointer(field(task, ZONE), zero)
    r, z, n, s, h, old = room(), room(), room(), room(), room(), room()
    for row in range(begin, end):
        live = t < load(lengths, row)
        for first in range(0, size, CHUNK):
            count = min(CHUNK, size - first)
            at, state, place = (t * rows + row) * 4 * size + first, row * size + first, (t * rows + row) * size + first
            if not live:
                for part in range(4):
                    clear(parts, at + part * size, count)
                clear(hs, place, count)
                continue
            get(parts, at, count, r)
            get(parts, at + size, count, z)
            get(parts, at + 2 * size, count, n)
            get(parts, at + 3 * size, count, s)
            get(before, state, count, old)
            sigmoids(r, count)
            sigmoids(z, count)
            _candidate(n, r, s, count)
            tanhs(n, count)
            put(r, count, parts, at)
            put(z, count, parts, at + size)
            put(n, count, parts, at + 2 * size)
            if field(task, UPDATE):
                times(n, update, t * field(task, UPDATE_STEP) + state, count)
            _output(n, z, old, count, h)
            if field(task, ZONE):
                mix(h, old, zone, place, count)
            put(h, count, hs, place)


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
def _gradients(r, z, n, s, u, old, dh, count, kept):
    """Turn r, z, n and the state's part of n into the gradients of their pre-activations; add to the old state's."""
    one = float32(1)
    for j in range(count):
        reset, gate, value, grad, factor = load(r, j), load(z, j), load(n, j), load(dh, j), load(u, j)
        by_value = grad * (one - gate) * factor * (one - value * value)
        store(kept, j, load(kept, j) + grad * gate)
        store(z, j, grad * (load(old, j) - value * factor) * gate * (one - gate))
        store(n, j, by_value)
        store(r, j, by_value * load(s, j) * reset * (one - reset))
        store(s, j, by_value * reset)


@njit(**OPTIONS)
def _cells_back(task, t, before, begin, end):
    """One step of some rows backward; `GRAD_H` is as in the LSTM."""
    zero = float32(0)
    rows, size = field(task, ROWS), field(task, SIZE)
    parts, grads = pointer(field(task, PARTS), zero), pointer(field(task, GRAD_HS), zero)
    lengths, grad_h = pointer(field(task, LENGTHS), int64(0)), pointer(field(task, GRAD_H), zero)
    update, zone = pointer(field(task, UPDATE), zero), pointer(field(task, ZONE), zero)
    r, z, n, s, u, old, dh, kept = room(), room(), room(), room(), room(), room(), room(), room()
    for row in range(begin, end):
        if t >= load(lengths, row):  # the gradient of the last state waits for its step
            continue
        for first in range(0, size, CHUNK):
            count = min(CHUNK, size - first)
            at, state, place = (t * rows + row) * 4 * size + first, row * size + first, (t * rows + row) * size + first
            get(parts, at, count, r)
            get(parts, at + size, count, z)
            get(parts, at + 2 * size, count, n)
            get(parts, at + 3 * size, count, s)
            get(before, state, count, old)
            get(grad_h, state, count, dh)
            add(grads, place, count, dh)
            fill(u, count, float32(1))
            fill(kept, count, zero)
            if field(task, UPDATE):
                times(u, update, t * field(task, UPDATE_STEP) + state, count)
            if field(task, ZONE):
                split(dh, kept, zone, place, count)
            _gradients(r, z, n, s, u, old, dh, count, kept)
            put(r, count, parts, at)
            put(z, count, parts, at + size)
            put(n, count, parts, at + 2 * size)
            put(s, count, parts, at + 3 * size)
            put(kept, count, grad_h, state)


@njit(**OPTIONS)
def _project_back(task, t, first, stop):
    """Add what passes through the recurrent weights to the gradient of the states before the step."""
    zero = float32(0)
    rows, size, groups = field(task, ROWS), field(task, SIZE), field(task, GROUPS)
    w, scratch = pointer(field(task, WEIGHT), zero), pointer(field(task, SCRATCH), zero)
    mask, grad_h, wide = pointer(field(task, HIDDEN), zero), pointer(field(task, GRAD_H), zero), 4 * size
    parts, count = moved(pointer(field(task, PARTS), zero), (t * rows + first) * wide), stop - first
    here = moved(grad_h if groups == 0 else scratch, first * size)
    for part in range(3):
        if groups == 3 or (groups == 1 and part == 0):
            clear(here, int64(0), count * size)
        source, weights = moved(parts, (3 if part == 2 else part) * size), moved(w, part * field(task, GROUP))
        gemm(source, wide, int64(1), weights, here, size, count, size, size, size)
        if groups == 3 or (groups == 1 and part == 2):
            masked_sum(scratch, mask, part if groups == 3 else 0, groups, grad_h, first, stop, size)


def backward(task):
    """The gradients of all pre-activations, in place of the activations, and of the first state."""
    zero = float32(0)
    rows, count, step = field(task, ROWS), field(task, ROWS) * field(task, SIZE), field(task, STEP)
    hs = pointer(field(task, HS), zero)
    first = take(task, NEXT, step)
    while first < rows:
        stop = min(first + step, rows)
        for t in range(field(task, STEPS) - 1, -1, -1):
            before = pointer(field(task, FIRST_H), zero) if t == 0 else moved(hs, (t - 1) * count)
            _cells_back(task, t, before, first, stop)
            _project_back(task, t, first, stop)
        first = take(task, NEXT, step)
