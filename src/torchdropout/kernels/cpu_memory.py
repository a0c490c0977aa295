"""Memory and bits for the CPU kernels: what Numba has no words for.

Raw pointers replace arrays: they compile faster, and their indices never wrap around. Sixteen-bit floats have no Numba
type: int16 stands for float16 and uint16 for bfloat16.
"""

# ruff: noqa: ANN001, ANN201, ANN202 - the bodies are compiled: their types are the signature in `cpu.py`
# mypy: ignore-errors

from __future__ import annotations

from llvmlite import ir
from numba import float32, types
from numba.core import cgutils
from numba.extending import intrinsic

# Contraction (fused multiply-add) is the one fast-math flag that loses neither NaN nor infinity.
OPTIONS = {"error_model": "numpy", "fastmath": {"contract"}}

I16, I32, I64, F32 = ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()


@intrinsic
def load(_context, pointer, index):
    """`pointer[index]`, as a float where it is one of the two sixteen-bit formats."""
    stored = pointer.dtype
    real = float32 if stored in (types.int16, types.uint16) else stored

    def generate(_target, builder, _signature, args):
        value = builder.load(builder.gep(args[0], [args[1]]))
        if stored == types.int16:
            return builder.fpext(builder.bitcast(value, ir.HalfType()), F32)
        if stored == types.uint16:
            return builder.bitcast(builder.shl(builder.zext(value, I32), I32(16)), F32)
        return value

    return real(pointer, types.int64), generate


def _to_bfloat16(builder, value):
    """Round a float32 to the nearest bfloat16, ties to even; a NaN stays one."""
    bits = builder.bitcast(value, I32)
    odd = builder.and_(builder.lshr(bits, I32(16)), I32(1))
    rounded = builder.add(bits, builder.add(odd, I32(0x7FFF)))
    quiet = builder.or_(bits, I32(0x400000))
    bits = builder.select(builder.fcmp_unordered("uno", value, value), quiet, rounded)
    return builder.trunc(builder.lshr(bits, I32(16)), I16)


@intrinsic
def store(_context, pointer, index, value):
    """`pointer[index] = value`, rounded to the stored format."""
    stored = pointer.dtype
    real = float32 if stored in (types.int16, types.uint16) else stored

    def generate(target, builder, _signature, args):
        item = args[2]
        if stored == types.int16:
            item = builder.bitcast(builder.fptrunc(item, ir.HalfType()), I16)
        elif stored == types.uint16:
            item = _to_bfloat16(builder, item)
        builder.store(item, builder.gep(args[0], [args[1]]))
        return target.get_dummy_value()

    return types.void(pointer, types.int64, real), generate


def stack(numba_type, llvm_type, size):
    """A function that reserves room for `size` numbers on the stack, once a call, and returns a pointer to them."""

    @intrinsic
    def allocate(_context):
        def generate(_target, builder, _signature, _args):
            return cgutils.alloca_once(builder, llvm_type, size=size)

        return types.CPointer(numba_type)(), generate

    return allocate


stack_words = stack(types.uint64, I64, 256)
stack_noise = stack(types.float32, F32, 512)


@intrinsic
def stack_like(_context, pointer):
    """Room for 256 numbers in the stored format of `pointer`."""

    def generate(target, builder, _signature, _args):
        return cgutils.alloca_once(builder, target.get_data_type(pointer.dtype), size=256)

    return pointer(pointer), generate


@intrinsic
def pointer(_context, address, like):
    """The address as a pointer to numbers of the type of `like`."""

    def generate(target, builder, signature, args):
        return builder.inttoptr(args[0], target.get_value_type(signature.return_type))

    return types.CPointer(like)(address, like), generate


@intrinsic
def moved(_context, pointer, index):
    """The address of `pointer[index]`."""

    def generate(_target, builder, _signature, args):
        return builder.gep(args[0], [args[1]])

    return pointer(pointer, types.int64), generate


@intrinsic
def as_uint32(_context, pointer):
    """The same memory as 32-bit words."""

    def generate(_target, builder, _signature, args):
        return builder.bitcast(args[0], I32.as_pointer())

    return types.CPointer(types.uint32)(pointer), generate


@intrinsic
def same(_context, left, right):
    """Whether two pointers are equal."""

    def generate(_target, builder, _signature, args):
        return builder.icmp_unsigned("==", *(builder.ptrtoint(arg, I64) for arg in args))

    return types.boolean(left, right), generate


@intrinsic
def below(_context, word, shift, limit):
    """`(word << shift) < limit` in 32 bits; Numba itself would widen to 64 and halve the speed."""

    def generate(_target, builder, _signature, args):
        return builder.icmp_unsigned("<", builder.shl(args[0], args[1]), args[2])

    return types.boolean(types.uint32, types.uint32, types.uint32), generate


@intrinsic
def shifted_to_float(_context, word, shift):
    """`word >> shift`, below 2**31, as a float32; Numba itself would widen to 64 bits and halve the speed."""

    def generate(_target, builder, _signature, args):
        return builder.sitofp(builder.lshr(args[0], args[1]), F32)

    return types.float32(types.uint32, types.uint32), generate


@intrinsic
def signed_to_float(_context, word):
    """A word's bits as a signed number, as a float32."""

    def generate(_target, builder, _signature, args):
        return builder.sitofp(args[0], F32)

    return types.float32(types.uint32), generate


@intrinsic
def power_of_two(_context, exponent):
    """`2**exponent` for a float32 that is an integer from -126 to 127."""

    def generate(_target, builder, _signature, args):
        return builder.bitcast(builder.shl(builder.add(builder.fptosi(args[0], I32), I32(127)), I32(23)), F32)

    return types.float32(types.float32), generate


@intrinsic
def exponent_and_mantissa(_context, value):
    """`e` and `m` with `value == m * 2**e` and `sqrt(1/2) <= m < sqrt(2)`, for a normal positive float32."""

    def generate(target, builder, signature, args):
        bits = builder.bitcast(args[0], I32)
        shifted = builder.sub(bits, I32(0x3F3504F3))  # the bits of sqrt(1/2)
        exponent = builder.ashr(shifted, I32(23))
        mantissa = builder.bitcast(builder.sub(bits, builder.shl(exponent, I32(23))), F32)
        return target.make_tuple(builder, signature.return_type, [builder.sitofp(exponent, F32), mantissa])

    return types.UniTuple(types.float32, 2)(types.float32), generate


@intrinsic
def field(_context, task, index):
    """`task[index]`, of a task's int64 numbers."""

    def generate(_target, builder, _signature, args):
        return builder.load(builder.gep(args[0], [args[1]]))

    return types.int64(task, types.int64), generate


@intrinsic
def take(_context, task, index, step):
    """Add `step` to a number of the task, as one indivisible operation, and return what it was."""

    def generate(_target, builder, _signature, args):
        return builder.atomic_rmw("add", builder.gep(args[0], [args[1]]), args[2], "monotonic")

    return types.int64(task, types.int64, types.int64), generate


@intrinsic
def double(_context, bits):
    """The float64 of 64 bits."""

    def generate(_target, builder, _signature, args):
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.int64), generate
