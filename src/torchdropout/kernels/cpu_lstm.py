"""The bodies of the LSTM's CPU kernel, in Numba: a whole sequence forward, and backward.

Rows are examples; of a row, the gates i, f, g, o lie one after the other.
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
    tanh,
    tanhs,
    times,
)
from torchdropout.kernels.cpu_gemm import gemm
from torchdropout.kernels.cpu_memory import OPTIONS, field, load, moved, pointer, store, take

# Where a task holds what; a mask that is absent has the address 0.
(NEXT, STEP, STEPS, ROWS, SIZE, GATES, WEIGHT, FIRST_H, FIRST_C, HS, CS, LENGTHS, SCRATCH, HIDDEN, GROUPS, CELL,
 UPDATE, UPDATE_STEP, ZONE_C, ZONE_H, OUTPUT, GRAD_HS, GRAD_C, GRAD_H, GROUP) = range(25)  # fmt: skip


@njit(**OPTIONS)
def _new_cell(i, f, g, c, n, out):
    for j in range(n):
        store(out, j, load(f, j) * load(c, j) + load(i, j) * load(g, j))


@njit(**OPTIONS)
def _output(c, o, n, out):
    for j in range(n):
        store(out, j, load(o, j) * tanh(load(c, j)))


@njit(**OPTIONS)
def _project(task, h, t, first, stop):
    """Add the product of some rows' states with the recurrent weights to the gates of a step."""
    zero = float32(0)
    rows, size, groups = field(task, ROWS), field(task, SIZE), field(task, GROUPS)
    w, scratch = pointer(field(task, WEIGHT), zero), pointer(field(task, SCRATCH), zero)
    mask, wide = pointer(field(task, HIDDEN), zero), 4 * size
    gates = moved(pointer(field(task, GATES), zero), (t * rows + first) * wide)
    if groups == 0:
        gemm(moved(h, first * size), size, int64(1), w, gates, wide, stop - first, wide, size, size)
        return
    part = wide // groups
    length = field(task, GROUP)  # elements of a group's weights
    for group in range(groups):
        masked(h, mask, group, groups, scratch, first, stop, size)
        here, target = moved(scratch, first * size), moved(gates, group * part)
        gemm(here, size, int64(1), moved(w, group * length), target, wide, stop - first, part, size, size)


@njit(**OPTIONS)
def _cells(task, t, before_h, before_c, begin, end):
    """One step of some rows: the gates become activations, and the states are written."""
    zero = float32(0)
    rows, size = field(task, ROWS), field(task, SIZE)
    gates = pointer(field(task, GATES), zero)
    hs, cs = pointer(field(task, HS), zero), pointer(field(task, CS), zero)
    lengths = pointer(field(task, LENGTHS), int64(0))
    cell, update = pointer(field(task, CELL), zero), pointer(field(task, UPDATE), zero)
    zone_c, zone_h = pointer(field(task, ZONE_C), zero), pointer(field(task, ZONE_H), zero)
    output = pointer(field(task, OUTPUT), zero)
    i, f, g, o, c, h, old = room(), room(), room(), room(), room(), room(), room()
    for row in range(begin, end):
        live = t < load(lengths, row)
        for first in range(0, size, CHUNK):
            n = min(CHUNK, size - first)
            at, state, place = (t * rows + row) * 4 * size + first, row * size + first, (t * rows + row) * size + first
            if not live:
                for part in range(4):
                    clear(gates, at + part * size, n)
                clear(hs, place, n)
                clear(cs, place, n)
                continue
            get(gates, at, n, i)
            get(gates, at + size, n, f)
            get(gates, at + 2 * size, n, g)
            get(gates, at + 3 * size, n, o)
            sigmoids(i, n)
            sigmoids(f, n)
            tanhs(g, n)
            sigmoids(o, n)
            put(i, n, gates, at)
            put(f, n, gates, at + size)
            put(g, n, gates, at + 2 * size)
            put(o, n, gates, at + 3 * size)
            get(before_c, state, n, old)
            if field(task, UPDATE):
                times(g, update, t * field(task, UPDATE_STEP) + state, n)
            _new_cell(i, f, g, old, n, c)
            if field(task, CELL):
                times(c, cell, state, n)
            _output(c, o, n, h)
            if field(task, OUTPUT):
                times(h, output, state, n)
            if field(task, ZONE_C):
                mix(c, old, zone_c, place, n)
            if field(task, ZONE_H):
                get(before_h, state, n, old)
                mix(h, old, zone_h, place, n)
            put(h, n, hs, place)
            put(c, n, cs, place)


def forward(task):
    """The states of all steps; the gates' pre-activations become activations.

    Rows do not depend on each other: a member of the team takes some of them through the whole sequence.
    """
    zero = float32(0)
    rows, count, step = field(task, ROWS), field(task, ROWS) * field(task, SIZE), field(task, STEP)
    hs, cs = pointer(field(task, HS), zero), pointer(field(task, CS), zero)
    first = take(task, NEXT, step)
    while first < rows:
        stop = min(first + step, rows)
        h, c = pointer(field(task, FIRST_H), zero), pointer(field(task, FIRST_C), zero)
        for t in range(field(task, STEPS)):
            _project(task, h, t, first, stop)
            _cells(task, t, h, c, first, stop)
            h, c = moved(hs, t * count), moved(cs, t * count)
        first = take(task, NEXT, step)


@njit(**OPTIONS)
def _by_output(dh, o, tc, dc, n, do):
    """The gradients that pass through the output: of its gate, and of the cell."""
    for j in range(n):
        through = load(tc, j)
        gate, grad = load(o, j), load(dh, j)
        store(do, j, grad * through * gate * (float32(1) - gate))
        store(dc, j, load(dc, j) + grad * gate * (float32(1) - through * through))


@njit(**OPTIONS)
def _by_gates(i, f, g, u, old, dc, n, di, df, dg):
    """The gradients of the input's, the forget and the candidate's pre-activations."""
    one = float32(1)
    for j in range(n):
        a, b, candidate, grad, factor = load(i, j), load(f, j), load(g, j), load(dc, j), load(u, j)
        store(di, j, grad * candidate * factor * a * (one - a))
        store(df, j, grad * load(old, j) * b * (one - b))
        store(dg, j, grad * a * factor * (one - candidate * candidate))


@njit(**OPTIONS)
def _product(a, b, n, out):
    for j in range(n):
        store(out, j, load(a, j) * load(b, j))


@njit(**OPTIONS)
def _sum_of_products(a, b, c, n, out):
    for j in range(n):
        store(out, j, load(a, j) * load(b, j) + load(c, j))


@njit(**OPTIONS)
def _cells_back(task, t, before_c, begin, end):  # noqa: PLR0915 - a statement for each thing loaded and stored
    """One step of some rows backward: the gates' activations become gradients of their pre-activations.

    `GRAD_H` and `GRAD_C` hold the gradients of the states after the step, and then of those before it, but for what
    passes through the recurrent weights.
    """
    zero = float32(0)
    rows, size = field(task, ROWS), field(task, SIZE)
    gates, cs = pointer(field(task, GATES), zero), pointer(field(task, CS), zero)
    grads = pointer(field(task, GRAD_HS), zero)
    lengths = pointer(field(task, LENGTHS), int64(0))
    cell, update = pointer(field(task, CELL), zero), pointer(field(task, UPDATE), zero)
    zone_c, zone_h = pointer(field(task, ZONE_C), zero), pointer(field(task, ZONE_H), zero)
    grad_c, grad_h = pointer(field(task, GRAD_C), zero), pointer(field(task, GRAD_H), zero)
    output = pointer(field(task, OUTPUT), zero)
    i, f, g, o, u, c, old = room(), room(), room(), room(), room(), room(), room()
    dh, dc, do, di, df, dg, kept_h, kept_c = (
        room(), room(), room(), room(), room(), room(), room(), room())  # fmt: skip
    for row in range(begin, end):
        live = t < load(lengths, row)
        for first in range(0, size, CHUNK):
            n = min(CHUNK, size - first)
            at, state, place = (t * rows + row) * 4 * size + first, row * size + first, (t * rows + row) * size + first
            if not live:  # the gradients of the last state wait for its step
                continue
            get(gates, at, n, i)
            get(gates, at + size, n, f)
            get(gates, at + 2 * size, n, g)
            get(gates, at + 3 * size, n, o)
            get(before_c, state, n, old)
            get(grad_h, state, n, dh)
            add(grads, place, n, dh)
            get(grad_c, state, n, dc)
            fill(u, n, float32(1))
            fill(kept_h, n, zero)
            fill(kept_c, n, zero)
            if field(task, UPDATE):
                times(u, update, t * field(task, UPDATE_STEP) + state, n)
            if field(task, ZONE_C):
                split(dc, kept_c, zone_c, place, n)
                _product(g, u, n, c)
                _new_cell(i, f, c, old, n, c)
                if field(task, CELL):
                    times(c, cell, state, n)
            else:
                get(cs, place, n, c)
            if field(task, ZONE_H):
                split(dh, kept_h, zone_h, place, n)
            if field(task, OUTPUT):
                times(dh, output, state, n)
            tanhs(c, n)
            _by_output(dh, o, c, dc, n, do)
            if field(task, CELL):
                times(dc, cell, state, n)
            _by_gates(i, f, g, u, old, dc, n, di, df, dg)
            _sum_of_products(dc, f, kept_c, n, kept_c)
            put(di, n, gates, at)
            put(df, n, gates, at + size)
            put(dg, n, gates, at + 2 * size)
            put(do, n, gates, at + 3 * size)
            put(kept_c, n, grad_c, state)
            put(kept_h, n, grad_h, state)


@njit(**OPTIONS)
def _project_back(task, t, first, stop):
    """Add what passes through the recurrent weights to the gradient of the states before the step."""
    zero = float32(0)
    rows, size, groups = field(task, ROWS), field(task, SIZE), field(task, GROUPS)
    w, scratch = pointer(field(task, WEIGHT), zero), pointer(field(task, SCRATCH), zero)
    mask, grad_h, wide = pointer(field(task, HIDDEN), zero), pointer(field(task, GRAD_H), zero), 4 * size
    gates, count = moved(pointer(field(task, GATES), zero), (t * rows + first) * wide), stop - first
    if groups == 0:
        gemm(gates, wide, int64(1), w, moved(grad_h, first * size), size, count, size, wide, wide)
        return
    part = wide // groups
    length = field(task, GROUP)
    for group in range(groups):
        here = moved(scratch, first * size)
        clear(here, int64(0), count * size)
        source, weights = moved(gates, group * part), moved(w, group * length)
        gemm(source, wide, int64(1), weights, here, size, count, size, part, part)
        masked_sum(scratch, mask, group, groups, grad_h, first, stop, size)


def backward(task):
    """The gradients of all pre-activations, in place of the activations, and of the first states."""
    zero = float32(0)
    rows, count, step = field(task, ROWS), field(task, ROWS) * field(task, SIZE), field(task, STEP)
    cs = pointer(field(task, CS), zero)
    first = take(task, NEXT, step)
    while first < rows:
        stop = min(first + step, rows)
        for t in range(field(task, STEPS) - 1, -1, -1):
            before = pointer(field(task, FIRST_C), zero) if t == 0 else moved(cs, (t - 1) * count)
            _cells_back(task, t, before, first, stop)
            _project_back(task, t, first, stop)
        first = take(task, NEXT, step)
