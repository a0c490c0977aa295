"""The bodies of DropConnect's CPU kernel, in Numba: a linear map whose every weight has its own mask in every example.

Element `(n, o, i)` of the mask is element `(n * out + o) * in + i` of the key's noise. No mask is kept: the words of
a tile decide about the weights they belong to as soon as they are made. A task is a tile of rows of the weight matrix
and all examples, so that the rows stay in the cache while the examples pass by.
"""

# ruff: noqa: ANN001, ANN201, ANN202 - the bodies are compiled: their types are the signature in `compilation.py`
# mypy: ignore-errors

from __future__ import annotations

from numba import float32, float64, int64, njit, uint32, uint64

from torchdropout.kernels.cpu_memory import as_uint32, below, field, load, pointer, stack_words, store, take
from torchdropout.kernels.cpu_words import BLOCKS, PLANE, make_words

# Sums may be taken in any order, which neither NaN nor infinity can be lost by.
OPTIONS = {"error_model": "numpy", "fastmath": {"contract", "reassoc"}}
# Where a task holds what. `SLOT` counts the members of the team, each of which sums its part of the input's gradient
# apart; it is negative where that gradient is not wanted.
NEXT, STEP, STOP, SLOT, SLOTS, KEYS, INNER, BITS, THRESHOLD, ROWS, OUTS, INS, X, W, FIRST, SECOND, GRADS = range(17)


@njit(**OPTIONS)
def _dot(w, wi, x, xi, n, words, at, shift, limit, zero):
    total = zero
    for j in range(n):
        total += (load(w, wi + j) if below(load(words, at + j), shift, limit) else zero) * load(x, xi + j)
    return total


@njit(**OPTIONS)
def _grow(target, ti, source, si, n, factor, words, at, shift, limit, zero):
    """Add `factor` times the kept part of `source` to `target`."""
    for j in range(n):
        kept = factor if below(load(words, at + j), shift, limit) else zero
        store(target, ti + j, load(target, ti + j) + kept * load(source, si + j))


@njit(**OPTIONS)
def _walk(task, first, stop, slot, zero, backward):
    """The rows from `first` to `stop` of the weights, for every example."""
    keys, inner, bits = pointer(field(task, KEYS), int64(0)), field(task, INNER), field(task, BITS)
    rows, outs, ins = field(task, ROWS), field(task, OUTS), field(task, INS)
    limit, per_word = uint32(field(task, THRESHOLD) << (32 - bits)), 32 // bits
    x, w, grads = pointer(field(task, X), zero), pointer(field(task, W), zero), pointer(field(task, GRADS), zero)
    one, two = pointer(field(task, FIRST), zero), pointer(field(task, SECOND), zero)
    buffer = stack_words()
    words, span = as_uint32(buffer), BLOCKS * 4 * per_word
    for n in range(rows):
        begin = (n * outs + first) * ins
        key = begin // inner
        seed, offset = uint64(load(keys, 2 * key)), uint64(load(keys, 2 * key + 1))
        at, made = begin - key * inner, int64(-1)
        for o in range(first, stop):
            total, grad, i = zero, load(grads, n * outs + o) if backward else zero, int64(0)
            while i < ins:
                if at // span != made:
                    made = at // span
                    make_words(buffer, seed, offset, made)
                plane, lane = (at % span) // PLANE, at % PLANE
                word, shift = (plane // per_word) * PLANE + lane, uint32(32 - bits - (plane % per_word) * bits)
                count = min(PLANE - lane, ins - i)
                if not backward:
                    total += _dot(w, o * ins + i, x, n * ins + i, count, words, word, shift, limit, zero)
                else:
                    _grow(two, o * ins + i, x, n * ins + i, count, grad, words, word, shift, limit, zero)
                    if slot >= 0:
                        place = (slot * rows + n) * ins + i
                        _grow(one, place, w, o * ins + i, count, grad, words, word, shift, limit, zero)
                i += count
                at += count
            if not backward:
                store(one, n * outs + o, total)


@njit(**OPTIONS)
def _work(task, zero, backward):
    """Take tiles of rows until none is left; a member of the team without a slot leaves its tiles to the others."""
    slot = take(task, SLOT, int64(1)) if field(task, SLOTS) > 0 else int64(-1)
    step, stop = field(task, STEP), field(task, STOP)
    if slot >= field(task, SLOTS) > 0:
        return
    start = take(task, NEXT, step)
    while start < stop:
        _walk(task, start, min(start + step, stop), slot, zero, backward)
        start = take(task, NEXT, step)


def forward_float32(task):
    """The products of float32; below, those of float64, and the gradients."""
    _work(task, float32(0), False)


def forward_float64(task):  # noqa: D103
    _work(task, float64(0), False)


def backward_float32(task):  # noqa: D103
    _work(task, float32(0), True)


def backward_float64(task):  # noqa: D103
    _work(task, float64(0), True)
