"""The elementwise kernels in Triton, for GPUs: one pass over memory, no stored mask, the key read from device memory.

Each program makes the words of one tile (`docs/random-bits.md`) and multiplies the elements that it serves, so every
word is computed once. Masks are the other kernels' bit for bit; normals agree to 4e-6.
"""

# ruff: noqa: ANN001, ANN002, ANN003, ANN201, ANN202, N803 - the bodies are compiled, constants are in capitals
# mypy: ignore-errors

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from torchdropout.laws import Bernoulli, Law, Normal

DTYPES = frozenset({torch.float32, torch.float16, torch.bfloat16})
BERNOULLI, NORMAL, UNIFORM = 0, 1, 2


@triton.jit
def words_of(keys, row, tile):
    """The four words of each of a tile's 128 blocks, under the key of a row."""
    seed = tl.load(keys + 2 * row)
    offset = tl.load(keys + 2 * row + 1).to(tl.uint64)
    block = tile * 128 + tl.arange(0, 128)
    zero = tl.zeros((128,), dtype=tl.uint32)
    return tl.philox(
        seed,
        (block & 0xFFFFFFFF).to(tl.uint32),
        (block >> 32).to(tl.uint32),
        zero + (offset & 0xFFFFFFFF).to(tl.uint32),
        zero + (offset >> 32).to(tl.uint32),
    )


@triton.jit
def _tile_and_row(tiles):
    """Of a program: all are on the grid's first axis, the only one that takes more than 65,535."""
    number = tl.program_id(0).to(tl.int64)
    return number % tiles, number // tiles


@triton.jit
def _planes(x, residual, out, words, base, tile, inner, threshold, scale, PAIR, BITS, ADD, PL):
    """Multiply the planes that use 256 words; `PL` of them at once, which lie side by side in memory."""
    per_word: tl.constexpr = 32 // BITS
    lane = tl.arange(0, 256)
    for first in tl.static_range(0, per_word, PL):
        part = first + tl.arange(0, PL)
        bits = (words[None, :] >> (part * BITS).to(tl.uint32)[:, None]) & ((1 << BITS) - 1)
        kept = bits < threshold
        index = tile * (512 * per_word) + (PAIR * per_word + part)[:, None] * 256 + lane[None, :]
        inside = index < inner
        value = tl.load(x + base + index, mask=inside, other=0.0).to(tl.float32)
        y = value * tl.where(kept, scale, 0.0)
        if ADD:
            y += tl.load(residual + base + index, mask=inside, other=0.0).to(tl.float32)
        tl.store(out + base + index, y.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _bernoulli(
    x, residual, out, keys, inner, tiles, threshold, scale, BITS: tl.constexpr, ADD: tl.constexpr, PL: tl.constexpr
):
    tile, row = _tile_and_row(tiles)
    w0, w1, w2, w3 = words_of(keys, row, tile)
    limit = threshold.to(tl.uint32)
    base = row * inner
    _planes(x, residual, out, tl.interleave(w1, w0), base, tile, inner, limit, scale, 0, BITS, ADD, PL)
    _planes(x, residual, out, tl.interleave(w3, w2), base, tile, inner, limit, scale, 1, BITS, ADD, PL)


@triton.jit
def _cos_sin_pi(t):
    """By quarters of a turn, where a float32 product with pi would lose digits."""
    quarter = tl.floor(2.0 * t + 0.5)
    f = (t - 0.5 * quarter) * 3.14159265358979
    s, c = tl.sin(f), tl.cos(f)
    turned = tl.abs(quarter) == 1.0
    cosine, sine = tl.where(turned, s, c), tl.where(turned, c, s)
    cosine = tl.where((quarter >= 1.0) | (quarter <= -2.0), -cosine, cosine)
    sine = tl.where((quarter <= -1.0) | (quarter >= 2.0), -sine, sine)
    return cosine, sine


@triton.jit
def _quarter(x, out, noise, base, start, inner, first, second):
    index = start + tl.arange(0, 128)
    inside = index < inner
    value = tl.load(x + base + index, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + base + index, (value * (first + second * noise)).to(out.dtype.element_ty), mask=inside)


@triton.jit
def _normal(x, out, keys, inner, tiles, mean, std):
    tile, row = _tile_and_row(tiles)
    w0, w1, w2, w3 = words_of(keys, row, tile)
    base, start = row * inner, tile * 512
    for half in tl.static_range(2):
        first, second = (w0, w1) if half == 0 else (w2, w3)
        u = ((first >> 1).to(tl.float32) + 0.5) * (1.0 / 2147483648.0)
        t = second.to(tl.int32, bitcast=True).to(tl.float32) * (1.0 / 2147483648.0)
        radius = tl.sqrt(-2.0 * tl.log(u))
        cosine, sine = _cos_sin_pi(t)
        _quarter(x, out, radius * cosine, base, start + half * 256, inner, mean, std)
        _quarter(x, out, radius * sine, base, start + half * 256 + 128, inner, mean, std)


@triton.jit
def _uniform(x, out, keys, inner, tiles, low, width):
    tile, row = _tile_and_row(tiles)
    w0, w1, w2, w3 = words_of(keys, row, tile)
    base, lane = row * inner, tl.arange(0, 256)
    for pair in tl.static_range(2):
        words = tl.interleave(w1, w0) if pair == 0 else tl.interleave(w3, w2)
        u = ((words >> 9).to(tl.float32) + 0.5) * (1.0 / 8388608.0)
        index = tile * 512 + pair * 256 + lane
        inside = index < inner
        value = tl.load(x + base + index, mask=inside, other=0.0).to(tl.float32)
        tl.store(out + base + index, (value * (low + width * u)).to(out.dtype.element_ty), mask=inside)


def multiply(x: Tensor, out: Tensor, key: Tensor, law: Law, residual: Tensor | None = None) -> None:
    """Write `x` times the noise of `law` under `key` to `out`; Bernoulli noise may add a residual.

    Args:
        x: A C-contiguous, non-empty tensor of one of `DTYPES`.
        out: A tensor of the same shape, dtype, device and layout; may be `x` itself.
        key: C-contiguous int64 keys on the same device, `(*batch, 2)`, whose batch shape begins `x`'s.
        law: The distribution of the noise.
        residual: What is added to the product, like `x`.
    """
    rows = key.numel() // 2
    inner = x.numel() // rows
    if isinstance(law, Bernoulli):
        tiles = triton.cdiv(inner, 512 * (32 // law.bits))
        at_once = min(32 // law.bits, 8)
        added = x if residual is None else residual
        _launch(
            _bernoulli, (tiles * rows,), x, added, out, key, inner, tiles, law.threshold, law.scale,
            BITS=law.bits, ADD=residual is not None, PL=at_once,
        )  # fmt: skip
        return
    tiles = triton.cdiv(inner, 512)
    grid = (tiles * rows,)
    if isinstance(law, Normal):
        _launch(_normal, grid, x, out, key, inner, tiles, law.mean, law.std)
    else:
        _launch(_uniform, grid, x, out, key, inner, tiles, law.low, law.high - law.low)


def _launch(kernel, grid, *arguments, **constants) -> None:
    """On the device of the tensors."""
    x = arguments[0]
    if x.is_cuda:
        with torch.cuda.device(x.device):
            kernel[grid](*arguments, **constants)
    else:  # the interpreter
        kernel[grid](*arguments, **constants)
