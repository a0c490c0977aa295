"""The bodies of the relaxed Bernoulli's CPU kernel, in Numba: noise, product and gradients in one pass over memory."""

# ruff: noqa: ANN001, ANN201, ANN202 - the bodies are compiled: their types are the signature in `compilation.py`
# mypy: ignore-errors

from __future__ import annotations

from numba import float32, float64, int16, int64, njit, uint16, uint64

from torchdropout.kernels.cpu_memory import (
    as_uint32,
    double,
    field,
    load,
    pointer,
    stack_noise,
    stack_words,
    store,
    take,
)
from torchdropout.kernels.cpu_words import PLANE, exp, log, make_uniforms, make_words

# Sums may be taken in any order, which neither NaN nor infinity can be lost by.
OPTIONS = {"error_model": "numpy", "fastmath": {"contract", "reassoc"}}
TILE = 2 * PLANE
# Where a task holds what. `SLOT` counts the members of the team, each of which sums its part of the gradient apart.
NEXT, STEP, STOP, SLOT, KEYS, INNER, LOGIT, INVERSE, P, X, OUT, GRADS, SUMS = range(13)


@njit(**OPTIONS)
def _kept(noise, n, logit, inverse):
    """Turn `n` uniforms into relaxed masks, near 1 where kept."""
    for j in range(n):
        u = load(noise, j)
        store(noise, j, float32(1) / (float32(1) + exp((logit + log(u / (float32(1) - u))) * inverse)))


@njit(**OPTIONS)
def _multiply(x, out, at, n, noise, skip, scale):
    for j in range(n):
        store(out, at + j, load(x, at + j) * (load(noise, skip + j) * scale))


@njit(**OPTIONS)
def _gradients(x, grads, out, at, n, noise, skip, scale, p, inverse):
    """The gradient of the input, and the sum that is the logit's: of `g x m (p - (1 - m) / t) / (1 - p)`."""
    total = float32(0)
    for j in range(n):
        kept, g = load(noise, skip + j), load(grads, at + j)
        store(out, at + j, g * (kept * scale))
        total += g * load(x, at + j) * (kept * scale) * (p - (float32(1) - kept) * inverse)
    return total


@njit(**OPTIONS)
def _walk(task, first, stop, like, backward):
    """The elements from `first` to `stop`."""
    keys, inner = pointer(field(task, KEYS), int64(0)), field(task, INNER)
    x, out, grads = pointer(field(task, X), like), pointer(field(task, OUT), like), pointer(field(task, GRADS), like)
    logit, inverse = float32(double(field(task, LOGIT))), float32(double(field(task, INVERSE)))
    p = float32(double(field(task, P)))
    scale, total = float32(float64(1) / (float64(1) - double(field(task, P)))), float64(0)
    buffer, noise = stack_words(), stack_noise()
    i = first
    while i < stop:
        row = i // inner
        tile, skip = (i - row * inner) // TILE, (i - row * inner) % TILE
        n = min(stop - i, (row + 1) * inner - i, TILE - skip)
        make_words(buffer, uint64(load(keys, 2 * row)), uint64(load(keys, 2 * row + 1)), tile)
        make_uniforms(noise, as_uint32(buffer))
        _kept(noise, TILE, logit, inverse)
        if backward:
            total += float64(_gradients(x, grads, out, i, n, noise, skip, scale, p, inverse))
        else:
            _multiply(x, out, i, n, noise, skip, scale)
        i += n
    return total


@njit(**OPTIONS)
def _work(task, like, backward):
    slot = take(task, SLOT, int64(1))
    step, stop, total = field(task, STEP), field(task, STOP), float64(0)
    start = take(task, NEXT, step)
    while start < stop:
        total += _walk(task, start, min(start + step, stop), like, backward)
        start = take(task, NEXT, step)
    if backward:
        store(pointer(field(task, SUMS), float64(0)), slot, total)


def forward_float32(task):
    """The product of float32; below, those of the sixteen-bit formats, and the gradients."""
    _work(task, float32(0), False)


def forward_float16(task):  # noqa: D103
    _work(task, int16(0), False)


def forward_bfloat16(task):  # noqa: D103
    _work(task, uint16(0), False)


def backward_float32(task):  # noqa: D103
    _work(task, float32(0), True)


def backward_float16(task):  # noqa: D103
    _work(task, int16(0), True)


def backward_bfloat16(task):  # noqa: D103
    _work(task, uint16(0), True)
