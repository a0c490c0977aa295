"""What each thread of a team runs, in Numba: the next part of the range, until none is left.

The file needs nothing of its neighbours, because Numba's cache on disk notices changes of one file only. The work on a
part is called by its address.
"""

# ruff: noqa: ANN001, ANN201, ANN202 - the bodies are compiled: their types are the signature in `cpu.py`
# mypy: ignore-errors

from __future__ import annotations

from llvmlite import ir
from numba import float32, float64, int16, njit, types, uint16
from numba.extending import intrinsic

OPTIONS = {"error_model": "numpy"}
STEP, STOP, FIRST, SECOND, CODE, REST = 1, 2, 3, 4, 5, 6  # where a task holds what; at 0 is the next part's start


@intrinsic
def _field(_context, task, index):
    def generate(_target, builder, _signature, args):
        return builder.load(builder.gep(args[0], [args[1]]))

    return types.int64(task, types.int64), generate


@intrinsic
def _take(_context, task, step):
    """Add `step` to the task's counter, as one indivisible operation, and return what it was."""

    def generate(_target, builder, _signature, args):
        return builder.atomic_rmw("add", args[0], args[1], "monotonic")

    return types.int64(task, types.int64), generate


@intrinsic
def _double(_context, bits):
    def generate(_target, builder, _signature, args):
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.int64), generate


@intrinsic
def _call(_context, code, x, out, keys, inner, start, stop, kind, bits, threshold, first, second, stored):
    """Call `multiply_range` at the address of its machine code, which compiling it here would only repeat."""
    arguments = (x, out, keys, inner, start, stop, kind, bits, threshold, first, second, stored)

    def generate(target, builder, _signature, args):
        function_type = target.call_conv.get_function_type(types.none, arguments)
        function = builder.inttoptr(args[0], function_type.as_pointer())
        target.call_conv.call_function(builder, function, types.none, arguments, args[1:])
        return target.get_dummy_value()

    return types.void(code, *arguments), generate


@njit(**OPTIONS)
def _work(task, real, stored):
    step, stop, code = _field(task, STEP), _field(task, STOP), _field(task, CODE)
    first, second = real(_double(_field(task, FIRST))), real(_double(_field(task, SECOND)))
    x, out, keys, inner = _field(task, REST), _field(task, REST + 1), _field(task, REST + 2), _field(task, REST + 3)
    kind, bits, threshold = _field(task, REST + 4), _field(task, REST + 5), _field(task, REST + 6)
    start = _take(task, step)
    while start < stop:
        end = min(start + step, stop)
        _call(code, x, out, keys, inner, start, end, kind, bits, threshold, first, second, stored(0))
        start = _take(task, step)


def work_float32(task):
    """A member's work on float32; below, on the other formats."""
    _work(task, float32, float32)


def work_float64(task):  # noqa: D103
    _work(task, float64, float64)


def work_float16(task):  # noqa: D103
    _work(task, float32, int16)


def work_bfloat16(task):  # noqa: D103
    _work(task, float32, uint16)
