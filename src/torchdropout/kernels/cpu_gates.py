"""The bodies of the gates' CPU kernel, in Numba: the gradients of inputs and of channels' factors in one pass."""

# ruff: noqa: ANN001, ANN201, ANN202 - the bodies are compiled: their types are the signature in `compilation.py`
# mypy: ignore-errors

from __future__ import annotations

from numba import float32, float64, int64, njit

from torchdropout.kernels.cpu_memory import field, load, pointer, store, take

# Sums may be taken in any order, which neither NaN nor infinity can be lost by.
OPTIONS = {"error_model": "numpy", "fastmath": {"contract", "reassoc"}}
# Where a task holds what. `SLOT` counts the members of the team, each of which sums its part of the gradient apart.
NEXT, STEP, STOP, SLOT, GRADS, X, GATES, OUT, SUMS, CHANNELS, INNER = range(11)


@njit(**OPTIONS)
def _line(grads, x, gates, out, at, n, sums, first):
    """A run of elements that each have a channel of their own."""
    for j in range(n):
        g = load(grads, at + j)
        store(out, at + j, g * load(gates, j))
        store(sums, first + j, load(sums, first + j) + g * load(x, at + j))


@njit(**OPTIONS)
def _map(grads, x, gate, out, at, n, total):
    """A run of elements of one channel."""
    for j in range(n):
        g = load(grads, at + j)
        store(out, at + j, g * gate)
        total += g * load(x, at + j)
    return total


@njit(**OPTIONS)
def _work(task, zero):
    slot, step, stop = take(task, SLOT, int64(1)), field(task, STEP), field(task, STOP)
    channels, inner = field(task, CHANNELS), field(task, INNER)
    grads, x, gates = (
        pointer(field(task, GRADS), zero),
        pointer(field(task, X), zero),
        pointer(field(task, GATES), zero),
    )
    out, sums = pointer(field(task, OUT), zero), pointer(field(task, SUMS), zero)
    start = take(task, NEXT, step)
    while start < stop:
        for n in range(start, min(start + step, stop)):
            if inner == 1:
                _line(grads, x, gates, out, n * channels, channels, sums, slot * channels)
                continue
            for c in range(channels):
                total = _map(grads, x, load(gates, c), out, (n * channels + c) * inner, inner, zero)
                store(sums, slot * channels + c, load(sums, slot * channels + c) + total)
        start = take(task, NEXT, step)


def backward_float32(task):
    """The gradients of float32; below, of float64."""
    _work(task, float32(0))


def backward_float64(task):  # noqa: D103
    _work(task, float64(0))
