"""The body of the elementwise CPU kernel, in Numba: one pass over memory, for float32, float64, float16 and bfloat16.

It multiplies a run of elements by noise that depends on the key and the element's index alone, so that any split over
threads gives the same result. A *plane* is 256 elements of a tile of words that use the same bits of 256 neighbouring
words, so that applying the noise is a plain loop over contiguous memory.
"""

# ruff: noqa: ANN001, ANN201, ANN202 - the bodies are compiled: their types are the signature in `cpu.py`
# mypy: ignore-errors

from __future__ import annotations

from numba import njit, uint32, uint64

from torchdropout.kernels.cpu_memory import (
    OPTIONS,
    as_uint32,
    below,
    load,
    pointer,
    same,
    stack_like,
    stack_noise,
    stack_words,
    store,
)
from torchdropout.kernels.cpu_words import (
    BLOCKS,
    PLANE,
    make_first_words,
    make_half_normals,
    make_normals,
    make_uniforms,
    make_words,
)

BERNOULLI, NORMAL, UNIFORM = 0, 1, 2


@njit(**OPTIONS)
def _copy(source, index, n, target):
    for j in range(n):
        store(target, j, load(source, index + j))


@njit(**OPTIONS)
def _bernoulli_plane(x, xi, out, oi, n, words, wi, shift, limit, scale):
    zero = scale - scale
    for j in range(n):
        store(out, oi + j, load(x, xi + j) * (scale if below(load(words, wi + j), shift, limit) else zero))


@njit(**OPTIONS)
def _affine_plane(x, xi, out, oi, n, noise, ni, first, second):
    for j in range(n):
        store(out, oi + j, load(x, xi + j) * (first + second * load(noise, ni + j)))


@njit(nogil=True, **OPTIONS)
def multiply_range(
    x_address, out_address, keys_address, inner, start, stop, kind, bits, threshold, first, second, stored
):
    """`out[i] = x[i] * noise[i]` for `start <= i < stop`; each key serves `inner` elements, counted from its first.

    `stored` is any number of the type in which elements are stored; `inner`, the range and `kind` are int64.
    """
    x, out, keys = pointer(x_address, stored), pointer(out_address, stored), pointer(keys_address, inner)
    buffer, noise, copy = stack_words(), stack_noise(), stack_like(x)
    words = as_uint32(buffer)
    per_word = 32 // bits
    span = BLOCKS * 4 * per_word
    limit = uint32(threshold << (32 - bits))
    in_place = same(x, out)
    i = start
    while i < stop:
        row = i // inner
        origin = row * inner
        tile = (i - origin) // span
        begin = origin + tile * span
        end = min(stop, origin + inner, begin + span)
        seed, offset = uint64(load(keys, 2 * row)), uint64(load(keys, 2 * row + 1))
        if inner < PLANE:  # a short row takes no more blocks than it uses
            make_first_words(buffer, seed, offset, inner if kind == NORMAL else (inner + 1) // 2)
        else:
            make_words(buffer, seed, offset, tile)
        if kind == NORMAL and inner < PLANE:
            make_half_normals(noise, words, 0, min(inner, BLOCKS))
        elif kind == NORMAL:
            make_normals(noise, words)
        elif kind == UNIFORM:
            make_uniforms(noise, words)
        plane, skip = (i - begin) // PLANE, (i - begin) % PLANE
        word, used = (plane // per_word) * PLANE + skip, (plane % per_word) * bits
        while i < end:
            n = min(PLANE - skip, end - i)
            source, at = x, i
            if in_place:  # the compiler cannot use vectors where input and output may overlap
                _copy(x, i, n, copy)
                source, at = copy, 0
            if kind != BERNOULLI:
                _affine_plane(source, at, out, i, n, noise, word, first, second)
            else:
                _bernoulli_plane(source, at, out, i, n, words, word, uint32(32 - bits - used), limit, first)
            i += n
            word, skip, used = word - skip, 0, used + bits
            if used == 32:
                word, used = word + PLANE, 0
