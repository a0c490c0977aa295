"""DropConnect's products in Triton: a mask for every weight and example, made where it is used, never in memory.

The mask's element `(n, o, i)` has the bits of the noise of shape `(N, out, in)`. Half a tile of words serves `256 * P`
neighbouring elements, `P` planes of 256 that use the same words, so each program takes one tile's part of the weights,
keeps it in registers, and goes through the examples; for the input's gradient it takes an example and goes through the
tiles. What is summed over programs is added up in memory, in no fixed order.
"""

# ruff: noqa: ANN001, ANN002, ANN003, ANN202, N803 - the bodies are compiled, constants are in capitals
# mypy: ignore-errors

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from torchdropout.kernels.cuda import words_of
from torchdropout.laws import Bernoulli


def serves(batch: int, out: int, inputs: int, law: Bernoulli, keys: int) -> bool:
    """Whether rows of weights and tiles of words fit into each other without rests."""
    half = 256 * (32 // law.bits)
    rows = inputs % half == 0 or (inputs % 256 == 0 and half % inputs == 0)
    return rows and (out * inputs) % (2 * half) == 0 and keys in (1, batch)


@triton.jit
def _kept(keys, n, tile, tiles, threshold, PAIR: tl.constexpr, BITS: tl.constexpr, ONE: tl.constexpr):
    """The mask of half a tile of an example: `(planes, 256)`."""
    part = tl.arange(0, 32 // BITS).to(tl.uint32) * BITS
    if ONE:
        w0, w1, w2, w3 = words_of(keys, 0, n * tiles + tile)
    else:
        w0, w1, w2, w3 = words_of(keys, n, tile)
    words = tl.interleave(w1, w0) if PAIR == 0 else tl.interleave(w3, w2)
    return ((words[None, :] >> part[:, None]) & ((1 << BITS) - 1)) < threshold.to(tl.uint32)


@triton.jit
def _places(tile, inputs, PAIR: tl.constexpr, BITS: tl.constexpr):
    """Of half a tile's planes: the outputs `(planes,)`, and the inputs `(planes, 256)`."""
    planes: tl.constexpr = 32 // BITS
    element = (tile * 2 + PAIR) * (256 * planes) + tl.arange(0, planes) * 256
    return element // inputs, (element % inputs)[:, None] + tl.arange(0, 256)[None, :]


@triton.jit
def _forward(x, weight, y, keys, batch, out, inputs, tiles, threshold, BITS: tl.constexpr, ONE: tl.constexpr):
    tile = tl.program_id(0).to(tl.int64)
    for pair in tl.static_range(2):
        o, i = _places(tile, inputs, pair, BITS)
        w = tl.load(weight + o[:, None] * inputs + i).to(tl.float32)
        for n in range(tl.program_id(1), batch, tl.num_programs(1)):
            row = tl.cast(n, tl.int64)
            kept = _kept(keys, row, tile, tiles, threshold, pair, BITS, ONE)
            value = tl.load(x + row * inputs + i).to(tl.float32)
            tl.atomic_add(y + row * out + o, tl.sum(tl.where(kept, w * value, 0.0), axis=1))


@triton.jit
def _weight_grad(x, grad, out_grad, keys, batch, out, inputs, tiles, threshold, BITS: tl.constexpr, ONE: tl.constexpr):
    tile = tl.program_id(0).to(tl.int64)
    for pair in tl.static_range(2):
        o, i = _places(tile, inputs, pair, BITS)
        total = tl.zeros((32 // BITS, 256), dtype=tl.float32)
        for n in range(batch):
            row = tl.cast(n, tl.int64)
            kept = _kept(keys, row, tile, tiles, threshold, pair, BITS, ONE)
            g = tl.load(grad + row * out + o).to(tl.float32)
            value = tl.load(x + row * inputs + i).to(tl.float32)
            total += tl.where(kept, g[:, None] * value, 0.0)
        tl.store(out_grad + o[:, None] * inputs + i, total)


@triton.jit
def _input_grad(
    weight, grad, out_grad, keys, out, inputs, tiles, step, threshold, BITS: tl.constexpr, ONE: tl.constexpr
):
    n, first = tl.program_id(0).to(tl.int64), tl.program_id(1)
    for pair in tl.static_range(2):
        total = tl.zeros((32 // BITS, 256), dtype=tl.float32)
        for at in range(first, tiles, step):  # tiles whose planes lie over the same inputs
            tile = tl.cast(at, tl.int64)
            o, i = _places(tile, inputs, pair, BITS)
            kept = _kept(keys, n, tile, tiles, threshold, pair, BITS, ONE)
            w = tl.load(weight + o[:, None] * inputs + i).to(tl.float32)
            g = tl.load(grad + n * out + o).to(tl.float32)
            total += tl.where(kept, g[:, None] * w, 0.0)
        o, i = _places(tl.cast(first, tl.int64), inputs, pair, BITS)
        tl.atomic_add(out_grad + n * inputs + i, total)


def forward(x: Tensor, weight: Tensor, key: Tensor, law: Bernoulli) -> Tensor:
    """`y[n, o] = sum over i of m[n, o, i] * weight[o, i] * x[n, i]`, summed in float32."""
    (batch, inputs), out = x.shape, len(weight)
    tiles, y = _tiles(out, inputs, law), torch.zeros(batch, out, device=x.device)
    grid = (tiles, min(batch, 8))
    _run(_forward, grid, x, weight, y, key, batch, out, inputs, tiles, law.threshold, BITS=law.bits, ONE=key.ndim == 1)
    return y.to(x.dtype)


def backward(
    x: Tensor, weight: Tensor, grad: Tensor, key: Tensor, law: Bernoulli, *, wants_input: bool
) -> tuple[Tensor | None, Tensor]:
    """The gradients of input and weight."""
    (batch, inputs), out = x.shape, len(weight)
    tiles, of_weight = _tiles(out, inputs, law), torch.empty(out, inputs, device=x.device)
    constants = {"BITS": law.bits, "ONE": key.ndim == 1}
    _run(_weight_grad, (tiles,), x, grad, of_weight, key, batch, out, inputs, tiles, law.threshold, **constants)
    if not wants_input:
        return None, of_weight.to(weight.dtype)
    step = max(1, inputs // (512 * (32 // law.bits)))
    of_input = torch.zeros(batch, inputs, device=x.device)
    _run(_input_grad, (batch, step), weight, grad, of_input, key, out, inputs, tiles, step, law.threshold, **constants)
    return of_input.to(x.dtype), of_weight.to(weight.dtype)


def _tiles(out: int, inputs: int, law: Bernoulli) -> int:
    """How many tiles of words an example's mask takes."""
    return out * inputs // (512 * (32 // law.bits))


def _run(kernel, grid, *arguments, **constants) -> None:
    x = arguments[0]
    with torch.cuda.device(x.device) if x.is_cuda else torch.no_grad():  # else the interpreter
        kernel[grid](*arguments, **constants)
