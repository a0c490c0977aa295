"""Matrix products in Numba, made of tiles that stay in registers: called between a sequence's steps without Python.

A tile is up to 5 rows of vectors as wide as the processor's; its instructions are written out, since the compiler does
not find them in a plain triple loop.
"""

# ruff: noqa: ANN001, ANN201, ANN202 - the bodies are compiled: their types are the signature in `compilation.py`
# mypy: ignore-errors

from __future__ import annotations

from llvmlite import binding, ir
from numba import int64, njit, types
from numba.extending import intrinsic

from torchdropout.kernels.cpu_memory import load, moved, stack, store

OPTIONS = {"error_model": "numpy", "fastmath": {"contract"}}
I64, F32 = ir.IntType(64), ir.FloatType()
LANES = 16 if binding.get_host_cpu_features().get("avx512f") else 8
WIDE = 4 if LANES == 16 else 2  # vectors in a row of a tile, so that five rows fit into the registers
SPAN = LANES * WIDE
_VECTOR = ir.VectorType(F32, LANES)
_CONTRACT = ("contract",)


def _tile(high, wide):
    """`c += a b` for `high` rows and `wide` vectors of columns; `a[r, k]` is at `a[r * ar + k * ak]`."""

    @intrinsic
    def tile(_context, a, ar, ak, b, br, c, cr, count):
        def generate(target, builder, _signature, args):
            a, ar, ak, b, br, c, cr, count = args
            offsets = [I64(LANES * v) for v in range(wide)]

            def vector(base, offset):
                return builder.bitcast(builder.gep(base, [offset]), _VECTOR.as_pointer())

            def place(row, offset):
                return vector(c, builder.add(builder.mul(I64(row), cr), offset))

            sums = [builder.load(place(r, o), align=4) for r in range(high) for o in offsets]
            before, loop, after = builder.block, builder.append_basic_block("k"), builder.append_basic_block("end")
            builder.cbranch(builder.icmp_signed(">", count, I64(0)), loop, after)
            builder.position_at_end(loop)
            k = builder.phi(I64)
            k.add_incoming(I64(0), before)
            totals = [builder.phi(_VECTOR) for _ in sums]
            for total, start in zip(totals, sums, strict=True):
                total.add_incoming(start, before)
            row = builder.gep(b, [builder.mul(k, br)])
            columns = [builder.load(vector(row, o), align=4) for o in offsets]
            new = []
            for r in range(high):
                at = builder.add(builder.mul(I64(r), ar), builder.mul(k, ak))
                one = builder.insert_element(
                    ir.Constant(_VECTOR, ir.Undefined), builder.load(builder.gep(a, [at])), ir.IntType(32)(0)
                )
                every = builder.shuffle_vector(
                    one,
                    ir.Constant(_VECTOR, ir.Undefined),
                    ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES),
                )
                for v in range(wide):
                    product = builder.fmul(every, columns[v], flags=_CONTRACT)
                    new.append(builder.fadd(totals[r * wide + v], product, flags=_CONTRACT))
            following = builder.add(k, I64(1))
            k.add_incoming(following, loop)
            for total, value in zip(totals, new, strict=True):
                total.add_incoming(value, loop)
            builder.cbranch(builder.icmp_signed("<", following, count), loop, after)
            builder.position_at_end(after)
            for number, (start, value) in enumerate(zip(sums, new, strict=True)):
                result = builder.phi(_VECTOR)
                result.add_incoming(start, before)
                result.add_incoming(value, loop)
                sums[number] = result
            for number, result in enumerate(sums):
                builder.store(result, place(number // wide, offsets[number % wide]), align=4)
            return target.get_dummy_value()

        pointer = types.CPointer(types.float32)
        return types.void(pointer, int64, int64, pointer, int64, pointer, int64, int64), generate

    return tile


_5w, _4w, _2w, _1w = (_tile(high, WIDE) for high in (5, 4, 2, 1))
_5n, _4n, _2n, _1n = (_tile(high, 1) for high in (5, 4, 2, 1))
_room = stack(types.float32, F32, 5 * LANES)


@njit(**OPTIONS)
def _wide(a, ar, ak, b, c, cr, high, count):
    """A tile of all columns of a strip."""
    if high == 5:
        _5w(a, ar, ak, b, SPAN, c, cr, count)
    elif high == 4:
        _4w(a, ar, ak, b, SPAN, c, cr, count)
    elif high == 2:
        _2w(a, ar, ak, b, SPAN, c, cr, count)
    else:
        _1w(a, ar, ak, b, SPAN, c, cr, count)


@njit(**OPTIONS)
def _narrow(a, ar, ak, b, c, cr, high, count):
    """A tile of one vector."""
    if high == 5:
        _5n(a, ar, ak, b, SPAN, c, cr, count)
    elif high == 4:
        _4n(a, ar, ak, b, SPAN, c, cr, count)
    elif high == 2:
        _2n(a, ar, ak, b, SPAN, c, cr, count)
    else:
        _1n(a, ar, ak, b, SPAN, c, cr, count)


@njit(**OPTIONS)
def _move(source, row, target, to, high, columns):
    for r in range(high):
        for j in range(columns):
            store(target, r * to + j, load(source, r * row + j))


@njit(**OPTIONS)
def gemm(a, ar, ak, b, c, cr, rows, columns, count, length):
    """`c += a b`: `c[r, j]` is at `c[r * cr + j]`, `a[r, k]` at `a[r * ar + k * ak]`; `b` lies in strips.

    A strip is `SPAN` columns of `b`, row after row, zero beyond its last column. It has `length` rows, of which `count`
    take part.
    """
    room = _room()
    for first in range(0, columns, SPAN):
        strip, width = moved(b, first * length), min(SPAN, columns - first)
        r = int64(0)
        while r < rows:
            left, here, there = rows - r, moved(a, r * ar), moved(c, r * cr + first)
            high = 5 if left >= 5 else (4 if left == 4 else (2 if left >= 2 else 1))
            if width == SPAN:
                _wide(here, ar, ak, strip, there, cr, high, count)
            else:
                for j in range(0, width, LANES):
                    part, target, n = moved(strip, j), moved(there, j), min(LANES, width - j)
                    if n == LANES:
                        _narrow(here, ar, ak, part, target, cr, high, count)
                        continue
                    _move(target, cr, room, LANES, high, n)
                    _narrow(here, ar, ak, part, room, LANES, high, count)
                    _move(room, LANES, target, cr, high, n)
            r += high
