"""The bodies of Cutout's CPU kernel, in Numba: images are multiplied by a mask that is made image by image."""

# ruff: noqa: ANN001, ANN201, ANN202 - the bodies are compiled: their types are the signature in `compilation.py`
# mypy: ignore-errors

from __future__ import annotations

from numba import float32, float64, int16, int64, njit, uint16, uint32, uint64

from torchdropout.kernels.cpu_memory import (
    OPTIONS,
    as_uint32,
    field,
    load,
    pointer,
    shifted_to_float,
    stack_words,
    store,
    take,
)
from torchdropout.kernels.cpu_words import PLANE, make_words

# Where a task holds what.
NEXT, STEP, STOP, SLOT, KEYS, INNER, X, OUT, MASKS, BYTES, MAPS, HEIGHT, WIDTH, HALF, INSIDE, HOLES = range(16)
TILE = 2 * PLANE


@njit(**OPTIONS)
def _uniform(words, j):
    return (shifted_to_float(load(words, j), uint32(9)) + float32(0.5)) * float32(2.0**-23)


@njit(**OPTIONS)
def _begin(u, half, size, inside):
    """The first row or column of a square, which may lie before the image."""
    if inside:
        return int64(u * float32(size - 2 * half + 1))
    return int64(u * float32(size)) - half


@njit(**OPTIONS)
def _fill(mask, begin, n, value):
    for j in range(n):
        store(mask, begin + j, value)


@njit(**OPTIONS)
def _rectangle(mask, top, left, side, height, width, value):
    begin, count = max(left, 0), min(left + side, width) - max(left, 0)
    for row in range(max(top, 0), min(top + side, height)):
        _fill(mask, row * width + begin, count, value)


@njit(**OPTIONS)
def _multiply(x, out, at, mask, n):
    for j in range(n):
        store(out, at + j, load(x, at + j) * load(mask, j))


@njit(**OPTIONS)
def _walk(task, first, stop, slot, like, one):
    """The images from `first` to `stop`, each with a mask of its own that its channels share."""
    keys, inner, holes = pointer(field(task, KEYS), int64(0)), field(task, INNER), field(task, HOLES)
    x, out = pointer(field(task, X), like), pointer(field(task, OUT), like)
    maps, height, width = field(task, MAPS), field(task, HEIGHT), field(task, WIDTH)
    half, inside, size = field(task, HALF), field(task, INSIDE), height * width
    mask = pointer(field(task, MASKS) + slot * size * field(task, BYTES), one)
    buffer, made = stack_words(), int64(-1)
    words = as_uint32(buffer)
    _fill(mask, 0, size, one)
    for n in range(first, stop):
        for hole in range(holes):
            element = 2 * (n * holes + hole)
            key, index = element // inner, element % inner
            tile = key * (inner // TILE + 1) + index // TILE
            if made != tile:
                made = tile
                make_words(buffer, uint64(load(keys, 2 * key)), uint64(load(keys, 2 * key + 1)), index // TILE)
            top = _begin(_uniform(words, index % TILE), half, height, inside)
            left = _begin(_uniform(words, index % TILE + 1), half, width, inside)
            _rectangle(mask, top, left, 2 * half, height, width, one - one)
        for c in range(maps):
            _multiply(x, out, (n * maps + c) * size, mask, size)
        if holes == 1:
            _rectangle(mask, top, left, 2 * half, height, width, one)
        else:
            _fill(mask, 0, size, one)


@njit(**OPTIONS)
def _work(task, like, one):
    step, stop, slot = field(task, STEP), field(task, STOP), take(task, SLOT, int64(1))
    start = take(task, NEXT, step)
    while start < stop:
        _walk(task, start, min(start + step, stop), slot, like, one)
        start = take(task, NEXT, step)


def cut_float32(task):
    """Images of float32; below, those of the other formats."""
    _work(task, float32(0), float32(1))


def cut_float64(task):  # noqa: D103
    _work(task, float64(0), float64(1))


def cut_float16(task):  # noqa: D103
    _work(task, int16(0), float32(1))


def cut_bfloat16(task):  # noqa: D103
    _work(task, uint16(0), float32(1))
