"""The words of a key in Numba, and what is made of them: uniforms, normals, and the functions that these need.

The words of a *tile*, 128 Philox blocks, are computed side by side in 64-bit lanes, which lets the compiler use the
processor's widest vectors, and are left in memory as 256 + 256 words of 32 bits. `docs/random-bits.md` fixes which bits
belong to which element.
"""

# ruff: noqa: ANN001, ANN201, ANN202 - the bodies are compiled: their types are the signature in `cpu.py`
# mypy: ignore-errors

from __future__ import annotations

from math import sqrt

from numba import float32, njit, uint32, uint64

from torchdropout.kernels.cpu_memory import (
    OPTIONS,
    exponent_and_mantissa,
    load,
    power_of_two,
    shifted_to_float,
    signed_to_float,
    store,
)

BLOCKS = 128  # Philox blocks of a tile
PLANE = 256  # elements of a plane
_M0, _M1 = uint64(0xD2511F53), uint64(0xCD9E8D57)
_W0, _W1 = uint64(0x9E3779B9), uint64(0xBB67AE85)
_LOW, _HALF = uint64(0xFFFFFFFF), uint64(32)


@njit(**OPTIONS)
def make_words(buffer, seed, offset, tile):
    """Philox-4x32-10 of the blocks of a tile: words (1, 0) of block b in lane b, words (3, 2) in lane 128 + b."""
    first = uint64(tile) * uint64(BLOCKS)
    _make_lanes(buffer, seed, offset, first & _LOW, first >> _HALF, BLOCKS)


@njit(**OPTIONS)
def make_first_words(buffer, seed, offset, blocks):
    """The words of so many blocks of the first tile, in their lanes; in steps that fill the processor's vectors."""
    _make_lanes(buffer, seed, offset, uint64(0), uint64(0), min(BLOCKS, (blocks + 15) // 16 * 16))


@njit(**OPTIONS)
def _make_lanes(buffer, seed, offset, low, high, lanes):
    k0, k1 = seed & _LOW, seed >> _HALF
    for lane in range(lanes):
        c0, c1, c2, c3 = low + uint64(lane), high, offset & _LOW, offset >> _HALF
        for step in range(9):
            p0, p1 = _M0 * (c0 & _LOW), _M1 * (c2 & _LOW)
            c0 = (p1 >> _HALF) ^ c1 ^ ((k0 + uint64(step) * _W0) & _LOW)
            c2 = (p0 >> _HALF) ^ c3 ^ ((k1 + uint64(step) * _W1) & _LOW)
            c1, c3 = p1, p0
        # The tenth round: the low half of a product and the mixed high half stay together in one lane.
        p0, p1 = _M0 * (c0 & _LOW), _M1 * (c2 & _LOW)
        store(buffer, lane, p1 ^ (c1 << _HALF) ^ ((k0 + uint64(9) * _W0) << _HALF))
        store(buffer, BLOCKS + lane, p0 ^ (c3 << _HALF) ^ ((k1 + uint64(9) * _W1) << _HALF))


@njit(**OPTIONS)
def log(u):
    """The natural logarithm of a float32 in (0, 1]; polynomial fitted to 2e-8 of the cubic remainder."""
    e, m = exponent_and_mantissa(u)
    f = m - float32(1)
    p = float32(0.0680091232) * f - float32(0.1172660515)
    p = p * f + float32(0.1189098954)
    p = p * f - float32(0.1239644513)
    p = p * f + float32(0.1421776265)
    p = p * f - float32(0.1666851193)
    p = p * f + float32(0.2000224590)
    p = p * f - float32(0.25)
    p = p * f + float32(0.3333331048)
    return e * float32(0.69314718056) + (f + f * f * (f * p - float32(0.5)))


@njit(**OPTIONS)
def exp(v):
    """`exp(v)` of a float32 from -87.3 to 88, beyond which it stays there; the polynomial is that of Cephes."""
    v = min(max(v, float32(-87.33654)), float32(88))
    magic = float32(12582912)  # 1.5 * 2**23: adding and taking it away rounds to the nearest integer
    k = (v * float32(1.44269504) + magic) - magic
    f = (v - k * float32(0.693359375)) + k * float32(2.12194440e-4)  # ln 2 in two parts, of which the first is exact
    p = float32(1.9875691500e-4) * f + float32(1.3981999507e-3)
    p = p * f + float32(8.3334519073e-3)
    p = p * f + float32(4.1665795894e-2)
    p = p * f + float32(1.6666665459e-1)
    p = p * f + float32(5.0000001201e-1)
    return (p * (f * f) + f + float32(1)) * power_of_two(k)


@njit(**OPTIONS)
def cos_sin_pi(t):
    """`cos(pi t)` and `sin(pi t)` for a float32 in [-1, 1], by quarters."""
    magic = float32(12582912)  # 1.5 * 2**23: adding and taking it away rounds to the nearest integer
    quarter = (float32(2) * t + magic) - magic
    f = t - float32(0.5) * quarter
    z = f * f
    s = f * (
        float32(3.14159265)
        + z * (float32(-5.16771269) + z * (float32(2.55016351) + z * (float32(-0.5992288) + z * float32(0.08122969))))
    )
    c = float32(1) + z * (
        float32(-4.93480206) + z * (float32(4.05871058) + z * (float32(-1.33513784) + z * float32(0.23212588)))
    )
    turned = abs(quarter) == float32(1)
    cosine, sine = (s, c) if turned else (c, s)
    cosine_sign = float32(-1) if quarter > float32(0.5) or quarter < float32(-1.5) else float32(1)
    sine_sign = float32(-1) if quarter < float32(-0.5) or quarter > float32(1.5) else float32(1)
    return cosine * cosine_sign, sine * sine_sign


@njit(**OPTIONS)
def box_muller(radius_word, angle_word):
    """Two independent standard normals of two words."""
    u = (shifted_to_float(radius_word, uint32(1)) + float32(0.5)) * float32(2.0**-31)
    radius = sqrt(float32(-2) * log(u))
    cosine, sine = cos_sin_pi(signed_to_float(angle_word) * float32(2.0**-31))
    return radius * cosine, radius * sine


@njit(**OPTIONS)
def make_normals(noise, words):
    """The 512 standard normals of a tile's words: of words (0, 1) of every block, then of words (2, 3)."""
    for half in range(2):
        make_half_normals(noise, words, half * PLANE, BLOCKS)


@njit(**OPTIONS)
def make_half_normals(noise, words, first, pairs):
    """So many pairs of normals of words (0, 1) or (2, 3), which begin at `first`."""
    for lane in range(pairs):
        at = first + 2 * lane
        cosine, sine = box_muller(load(words, at + 1), load(words, at))
        store(noise, first + lane, cosine)
        store(noise, first + BLOCKS + lane, sine)


@njit(**OPTIONS)
def make_uniforms(noise, words):
    """The 512 uniforms of a tile's words."""
    for j in range(2 * PLANE):
        store(noise, j, (shifted_to_float(load(words, j), uint32(9)) + float32(0.5)) * float32(2.0**-23))
