"""The reference kernel: torch integer operations, for any device, and traceable so that a compiler can fuse it.

Every element computes the Philox block it belongs to. `docs/random-bits.md` explains the mapping.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from torchdropout.laws import Bernoulli, Law, Normal
from torchdropout.rng import philox

_MASK = 0xFFFFFFFF
_BLOCKS, _PLANE = 128, 256


def multiply(x: Tensor, key: Tensor, law: Law) -> Tensor:
    """`x` times the noise of `law`.

    Args:
        x: `(*batch, ...)`, floating point or complex.
        key: `(*batch, 2)`, int64.
        law: The distribution; its numbers may be 0-d tensors.
    """
    real = torch.float64 if x.dtype in (torch.float64, torch.complex128) else torch.float32
    wide = x if x.is_complex() else x.to(real)
    return (wide * noise(x.shape, key.to(x.device), law, real)).to(x.dtype)


def noise(shape: torch.Size, key: Tensor, law: Law, real: torch.dtype) -> Tensor:
    """The noise tensor itself, of dtype `real`."""
    batch = key.ndim - 1
    inner = shape[batch:]
    index = torch.arange(math.prod(inner), device=key.device).view(inner)
    key = key.view(*key.shape[:-1], *[1] * len(inner), 2)
    if isinstance(law, Bernoulli):
        kept = _bernoulli(index, key, law)
        return kept.to(real) * law.scale
    if isinstance(law, Normal):
        return law.mean + law.std * _normal(index, key).to(real)
    return law.low + (law.high - law.low) * _uniform(index, key).to(real)


def _words(block: Tensor, key: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    seed, offset = key[..., 0], key[..., 1]
    counter = (block & _MASK, block >> 32, offset & _MASK, (offset >> 32) & _MASK)
    return philox(counter, seed & _MASK, (seed >> 32) & _MASK)


def _word(index: Tensor, key: Tensor, bits: int | Tensor) -> tuple[Tensor, Tensor]:
    """The 32-bit word an element uses, and which of the word's parts of `bits` bits."""
    per_word = 32 // bits
    tile, rest = index // (_BLOCKS * 4 * per_word), index % (_BLOCKS * 4 * per_word)
    plane, lane = rest // _PLANE, rest % _PLANE
    w0, w1, w2, w3 = _words(tile * _BLOCKS + lane // 2, key)
    odd = lane % 2 == 1
    word = torch.where(plane < per_word, torch.where(odd, w0, w1), torch.where(odd, w2, w3))
    return word, plane % per_word


def _bernoulli(index: Tensor, key: Tensor, law: Bernoulli) -> Tensor:
    word, part = _word(index, key, law.bits)
    return (word >> (part * law.bits)) & ((1 << law.bits) - 1) < law.threshold


def _uniform(index: Tensor, key: Tensor) -> Tensor:
    word, _ = _word(index, key, 32)
    return ((word >> 9).to(torch.float32) + 0.5) * 2.0**-23


def _normal(index: Tensor, key: Tensor) -> Tensor:
    """Box-Muller in float32; the four quarters of a tile of 512 are cos, sin of words (0, 1), cos, sin of (2, 3)."""
    tile, rest = index // (4 * _BLOCKS), index % (4 * _BLOCKS)
    quarter, lane = rest // _BLOCKS, rest % _BLOCKS
    w0, w1, w2, w3 = _words(tile * _BLOCKS + lane, key)
    first = quarter < 2
    u = ((torch.where(first, w0, w2) >> 1).to(torch.float32) + 0.5) * 2.0**-31
    angle = torch.where(first, w1, w3)
    t = torch.where(angle >= 2**31, angle - 2**32, angle).to(torch.float32) * 2.0**-31
    cosine, sine = _cos_sin_pi(t)
    return torch.sqrt(-2.0 * torch.log(u)) * torch.where(quarter % 2 == 0, cosine, sine)


def _cos_sin_pi(t: Tensor) -> tuple[Tensor, Tensor]:
    """By quarters of a turn, where a float32 product with pi would lose digits."""
    quarter = torch.round(2.0 * t)
    f = (t - 0.5 * quarter) * math.pi
    s, c = torch.sin(f), torch.cos(f)
    turned = quarter.abs() == 1.0
    cosine, sine = torch.where(turned, s, c), torch.where(turned, c, s)
    cosine = torch.where((quarter >= 1.0) | (quarter <= -2.0), -cosine, cosine)
    return cosine, torch.where((quarter <= -1.0) | (quarter >= 2.0), -sine, sine)
