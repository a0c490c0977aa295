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

from torchdropout.kernels.cpu_memory import load, moved, store

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


@njit(**OPTIONS)
def _strip(a, ar, ak, b, br, c, cr, rows, count, wide):
    """All rows of one tile's columns."""
    r = int64(0)
    while r < rows:
        left, here, there = rows - r, moved(a, r * ar), moved(c, r * cr)
        high = 5 if left >= 5 else (4 if left == 4 else (2 if left >= 2 else 1))
        if wide and high == 5:
            _5w(here, ar, ak, b, br, there, cr, count)
        elif wide and high == 4:
            _4w(here, ar, ak, b, br, there, cr, count)
        elif wide and high == 2:
            _2w(here, ar, ak, b, br, there, cr, count)
        elif wide:
            _1w(here, ar, ak, b, br, there, cr, count)
        elif high == 5:
            _5n(here, ar, ak, b, br, there, cr, count)
        elif high == 4:
            _4n(here, ar, ak, b, br, there, cr, count)
        elif high == 2:
            _2n(here, ar, ak, b, br, there, cr, count)
        else:
            _1n(here, ar, ak, b, br, there, cr, count)
        r += high


@njit(**OPTIONS)
def _single(a, ar, ak, b, br, c, cr, rows, count):
    """A column that is left over."""
    for r in range(rows):
        total = load(c, r * cr)
        for k in range(count):
            total += load(a, r * ar + k * ak) * load(b, k * br)
        store(c, r * cr, total)


@njit(**OPTIONS)
def gemm(a, ar, ak, b, br, c, cr, rows, columns, count):
    """`c += a b`: `c[r, j]` is at `c[r * cr + j]`, `a[r, k]` at `a[r * ar + k * ak]`, `b[k, j]` at `b[k * br + j]`."""
    j = int64(0)
    while j < columns:
        left, part, target = columns - j, moved(b, j), moved(c, j)
        if left >= LANES:
            wide = left >= SPAN
            _strip(a, ar, ak, part, br, target, cr, rows, count, wide)
            j += SPAN if wide else LANES
        else:
            _single(a, ar, ak, part, br, target, cr, rows, count)
            j += 1
