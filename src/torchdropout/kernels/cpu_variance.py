"""The bodies of the CPU kernel for clipped variances of weights, in Numba; float32 alone.

The variance is `exp(log_sigma2)`, kept between `low` and `high` times the square of the mean.
"""

# ruff: noqa: ANN001, ANN201, ANN202 - the bodies are compiled: their types are the signature in `compilation.py`
# mypy: ignore-errors

from __future__ import annotations

from numba import float32, int64, njit

from torchdropout.kernels.cpu_memory import OPTIONS, double, field, load, pointer, store, take
from torchdropout.kernels.cpu_words import exp

NEXT, STEP, STOP, CLIPPED, LOW, HIGH, WEIGHT, LOG, OUT, GRAD = range(10)  # where a task holds what


@njit(**OPTIONS)
def _clip(w, logs, out, at, n, low, high):
    """The variances, and how many of them are at a bound."""
    clipped = int64(0)
    for j in range(at, at + n):
        square, value = load(w, j) * load(w, j), exp(load(logs, j))
        kept = min(max(value, square * low), square * high)
        clipped += int64(kept != value)
        store(out, j, kept)
    return clipped


@njit(**OPTIONS)
def _gradients(w, logs, t, grad, at, n, low, high):
    """Turn the gradient of variances, `t`, into that of their logs, and write that of the means."""
    zero = float32(0)
    for j in range(at, at + n):
        mean, value, by_variance = load(w, j), exp(load(logs, j)), load(t, j)
        square = mean * mean
        below, above = value < square * low, value > square * high
        factor = low if below else (high if above else zero)
        store(grad, j, float32(2) * mean * factor * by_variance)
        store(t, j, zero if below or above else value * by_variance)


def forward(task):
    """The variances; the number of clipped ones is added to the task's."""
    zero = float32(0)
    w, logs, out = (
        pointer(field(task, WEIGHT), zero),
        pointer(field(task, LOG), zero),
        pointer(field(task, OUT), zero),
    )
    low, high = float32(double(field(task, LOW))), float32(double(field(task, HIGH)))
    step, stop = field(task, STEP), field(task, STOP)
    start = take(task, NEXT, step)
    while start < stop:
        take(task, CLIPPED, _clip(w, logs, out, start, min(step, stop - start), low, high))
        start = take(task, NEXT, step)


def backward(task):
    """The gradients, that of the logs in place of that of the variances."""
    zero = float32(0)
    w, logs, t = (pointer(field(task, WEIGHT), zero), pointer(field(task, LOG), zero), pointer(field(task, OUT), zero))
    low, high, grad = (
        float32(double(field(task, LOW))),
        float32(double(field(task, HIGH))),
        pointer(field(task, GRAD), zero),
    )
    step, stop = field(task, STEP), field(task, STOP)
    start = take(task, NEXT, step)
    while start < stop:
        _gradients(w, logs, t, grad, start, min(step, stop - start), low, high)
        start = take(task, NEXT, step)
