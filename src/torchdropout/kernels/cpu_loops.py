"""The bodies of the CPU kernel, in Numba: one pass over memory, for float32, float64, float16 and bfloat16.

It multiplies a run of elements by noise that depends on the key and the element's index alone, so that any
split over threads gives the same result. `docs/random-bits.md` fixes which bits belong to which element; how the work
is done follows from it:

- A *tile* is 128 Philox blocks. The words of a tile are computed side by side in 64-bit lanes, which lets the compiler
  use the processor's widest vectors, and are left in memory as 256 + 256 words of 32 bits.
- A *plane* is 256 elements of a tile that use the same bits of 256 neighbouring words, so that applying the noise is
  a plain loop over contiguous memory.

Everything stays in this file, because Numba's cache on disk notices changes of the file of the entry point only.
Raw pointers replace arrays: they compile faster, and their indices never wrap around.
"""

# ruff: noqa: ANN001, ANN201, ANN202 - the bodies are compiled: their types are the signature in `cpu.py`
# mypy: ignore-errors

from __future__ import annotations

from llvmlite import ir
from numba import float32, njit, types, uint32, uint64
from numba.core import cgutils
from numba.extending import intrinsic

BLOCKS = 128  # Philox blocks of a tile
PLANE = 256  # elements of a plane
_M0, _M1 = uint64(0xD2511F53), uint64(0xCD9E8D57)
_W0, _W1 = uint64(0x9E3779B9), uint64(0xBB67AE85)
_LOW, _HALF = uint64(0xFFFFFFFF), uint64(32)

BERNOULLI, NORMAL, UNIFORM = 0, 1, 2
# Contraction (fused multiply-add) is the one fast-math flag that loses neither NaN nor infinity.
OPTIONS = {"error_model": "numpy", "fastmath": {"contract"}}

_I16, _I32, _I64, _F32 = ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()

# --------------------------------------------------------------------------------------------------------------------
# Memory and bits. Sixteen-bit floats have no Numba type: int16 stands for float16 and uint16 for bfloat16.


@intrinsic
def _load(_context, pointer, index):
    """`pointer[index]`, as a float where it is one of the two sixteen-bit formats."""
    stored = pointer.dtype
    real = float32 if stored in (types.int16, types.uint16) else stored

    def generate(_target, builder, _signature, args):
        value = builder.load(builder.gep(args[0], [args[1]]))
        if stored == types.int16:
            return builder.fpext(builder.bitcast(value, ir.HalfType()), _F32)
        if stored == types.uint16:
            return builder.bitcast(builder.shl(builder.zext(value, _I32), _I32(16)), _F32)
        return value

    return real(pointer, types.int64), generate


def _to_bfloat16(builder, value):
    """Round a float32 to the nearest bfloat16, ties to even; a NaN stays one."""
    bits = builder.bitcast(value, _I32)
    odd = builder.and_(builder.lshr(bits, _I32(16)), _I32(1))
    rounded = builder.add(bits, builder.add(odd, _I32(0x7FFF)))
    quiet = builder.or_(bits, _I32(0x400000))
    bits = builder.select(builder.fcmp_unordered("uno", value, value), quiet, rounded)
    return builder.trunc(builder.lshr(bits, _I32(16)), _I16)


@intrinsic
def _store(_context, pointer, index, value):
    """`pointer[index] = value`, rounded to the stored format."""
    stored = pointer.dtype
    real = float32 if stored in (types.int16, types.uint16) else stored

    def generate(target, builder, _signature, args):
        item = args[2]
        if stored == types.int16:
            item = builder.bitcast(builder.fptrunc(item, ir.HalfType()), _I16)
        elif stored == types.uint16:
            item = _to_bfloat16(builder, item)
        builder.store(item, builder.gep(args[0], [args[1]]))
        return target.get_dummy_value()

    return types.void(pointer, types.int64, real), generate


def _stack(numba_type, llvm_type, size):
    @intrinsic
    def allocate(_context):
        def generate(_target, builder, _signature, _args):
            return cgutils.alloca_once(builder, llvm_type, size=size)

        return types.CPointer(numba_type)(), generate

    return allocate


_stack_words = _stack(types.uint64, _I64, 2 * BLOCKS)
_stack_noise = _stack(types.float32, _F32, 2 * PLANE)


@intrinsic
def _stack_like(_context, pointer):
    """Room for a plane in the stored format of `pointer`."""

    def generate(target, builder, _signature, _args):
        return cgutils.alloca_once(builder, target.get_data_type(pointer.dtype), size=PLANE)

    return pointer(pointer), generate


@intrinsic
def _pointer(_context, address, like):
    """The address as a pointer to numbers of the type of `like`."""

    def generate(target, builder, signature, args):
        return builder.inttoptr(args[0], target.get_value_type(signature.return_type))

    return types.CPointer(like)(address, like), generate


@intrinsic
def _as_uint32(_context, pointer):
    def generate(_target, builder, _signature, args):
        return builder.bitcast(args[0], _I32.as_pointer())

    return types.CPointer(types.uint32)(pointer), generate


@intrinsic
def _same(_context, left, right):
    def generate(_target, builder, _signature, args):
        return builder.icmp_unsigned("==", *(builder.ptrtoint(arg, _I64) for arg in args))

    return types.boolean(left, right), generate


@intrinsic
def _below(_context, word, shift, limit):
    """`(word << shift) < limit` in 32 bits; Numba itself would widen to 64 and halve the speed."""

    def generate(_target, builder, _signature, args):
        return builder.icmp_unsigned("<", builder.shl(args[0], args[1]), args[2])

    return types.boolean(types.uint32, types.uint32, types.uint32), generate


@intrinsic
def _int32_to_float(_context, word):
    def generate(_target, builder, _signature, args):
        return builder.sitofp(builder.trunc(args[0], _I32), _F32)

    return types.float32(types.uint64), generate


@intrinsic
def _exponent_and_mantissa(_context, value):
    """`e` and `m` with `value == m * 2**e` and `sqrt(1/2) <= m < sqrt(2)`, for a normal positive float32."""

    def generate(target, builder, signature, args):
        bits = builder.bitcast(args[0], _I32)
        shifted = builder.sub(bits, _I32(0x3F3504F3))  # the bits of sqrt(1/2)
        exponent = builder.ashr(shifted, _I32(23))
        mantissa = builder.bitcast(builder.sub(bits, builder.shl(exponent, _I32(23))), _F32)
        return target.make_tuple(builder, signature.return_type, [builder.sitofp(exponent, _F32), mantissa])

    return types.UniTuple(types.float32, 2)(types.float32), generate


# --------------------------------------------------------------------------------------------------------------------
# Words and what is made of them.


@njit(**OPTIONS)
def _words(buffer, seed, offset, tile):
    """Philox-4x32-10 of the blocks of a tile: words (1, 0) of block b in lane b, words (3, 2) in lane 128 + b."""
    k0, k1 = seed & _LOW, seed >> _HALF
    first = uint64(tile) * uint64(BLOCKS)
    low, high = first & _LOW, first >> _HALF
    for lane in range(BLOCKS):
        c0, c1, c2, c3 = low + uint64(lane), high, offset & _LOW, offset >> _HALF
        for step in range(9):
            p0, p1 = _M0 * (c0 & _LOW), _M1 * (c2 & _LOW)
            c0 = (p1 >> _HALF) ^ c1 ^ ((k0 + uint64(step) * _W0) & _LOW)
            c2 = (p0 >> _HALF) ^ c3 ^ ((k1 + uint64(step) * _W1) & _LOW)
            c1, c3 = p1, p0
        # The tenth round: the low half of a product and the mixed high half stay together in one lane.
        p0, p1 = _M0 * (c0 & _LOW), _M1 * (c2 & _LOW)
        _store(buffer, lane, p1 ^ (c1 << _HALF) ^ ((k0 + uint64(9) * _W0) << _HALF))
        _store(buffer, BLOCKS + lane, p0 ^ (c3 << _HALF) ^ ((k1 + uint64(9) * _W1) << _HALF))


@njit(**OPTIONS)
def _log(u):
    """The natural logarithm of a float32 in (0, 1]; polynomial fitted to 2e-8 of the cubic remainder."""
    e, m = _exponent_and_mantissa(u)
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
def _cos_sin_pi(t):
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
def _box_muller(buffer, lane):
    """Two independent standard normals of one 64-bit lane: its high word is the radius, its low word the angle."""
    lane_bits = _load(buffer, lane)
    u = (_int32_to_float(lane_bits >> uint64(33)) + float32(0.5)) * float32(2.0**-31)
    radius = (float32(-2) * _log(u)) ** float32(0.5)
    cosine, sine = _cos_sin_pi(_int32_to_float(lane_bits) * float32(2.0**-31))
    return radius * cosine, radius * sine


@njit(**OPTIONS)
def _normals(noise, buffer):
    for lane in range(BLOCKS):
        cosine, sine = _box_muller(buffer, lane)
        _store(noise, lane, cosine)
        _store(noise, BLOCKS + lane, sine)
    for lane in range(BLOCKS):
        cosine, sine = _box_muller(buffer, BLOCKS + lane)
        _store(noise, 2 * BLOCKS + lane, cosine)
        _store(noise, 3 * BLOCKS + lane, sine)


@njit(**OPTIONS)
def _uniforms(noise, words):
    for j in range(2 * PLANE):
        _store(noise, j, (_int32_to_float(uint64(_load(words, j)) >> uint64(9)) + float32(0.5)) * float32(2.0**-23))


# --------------------------------------------------------------------------------------------------------------------
# One plane: contiguous loops that the compiler turns into vector code.


@njit(**OPTIONS)
def _copy(source, index, n, target):
    for j in range(n):
        _store(target, j, _load(source, index + j))


@njit(**OPTIONS)
def _bernoulli_plane(x, xi, out, oi, n, words, wi, shift, limit, scale):
    zero = scale - scale
    for j in range(n):
        _store(out, oi + j, _load(x, xi + j) * (scale if _below(_load(words, wi + j), shift, limit) else zero))


@njit(**OPTIONS)
def _affine_plane(x, xi, out, oi, n, noise, ni, first, second):
    for j in range(n):
        _store(out, oi + j, _load(x, xi + j) * (first + second * _load(noise, ni + j)))


@njit(nogil=True, **OPTIONS)
def multiply_range(
    x_address, out_address, keys_address, inner, start, stop, kind, bits, threshold, first, second, stored
):
    """`out[i] = x[i] * noise[i]` for `start <= i < stop`; each key serves `inner` elements, counted from its first.

    `stored` is any number of the type in which elements are stored; `inner`, the range and `kind` are int64.
    """
    x, out, keys = _pointer(x_address, stored), _pointer(out_address, stored), _pointer(keys_address, inner)
    buffer, noise, copy = _stack_words(), _stack_noise(), _stack_like(x)
    words = _as_uint32(buffer)
    per_word = 32 // bits
    span = BLOCKS * 4 * per_word
    limit = uint32(threshold << (32 - bits))
    in_place = _same(x, out)
    i = start
    while i < stop:
        row = i // inner
        origin = row * inner
        tile = (i - origin) // span
        begin = origin + tile * span
        end = min(stop, origin + inner, begin + span)
        seed, offset = uint64(_load(keys, 2 * row)), uint64(_load(keys, 2 * row + 1))
        _words(buffer, seed, offset, tile)
        if kind == NORMAL:
            _normals(noise, buffer)
        elif kind == UNIFORM:
            _uniforms(noise, words)
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
