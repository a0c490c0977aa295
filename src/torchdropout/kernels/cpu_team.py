"""What each thread of a team runs, in Numba: the next part of the range, until none is left.

The work on a part is called by its address, since compiling it once more would take a second.
"""

# ruff: noqa: ANN001, ANN201, ANN202 - the bodies are compiled: their types are the signature in `cpu.py`
# mypy: ignore-errors

from __future__ import annotations

from numba import float32, float64, int16, njit, types, uint16
from numba.extending import intrinsic

from torchdropout.kernels.cpu_memory import OPTIONS, double, field, take

NEXT, STEP, STOP, FIRST, SECOND, CODE, REST = range(7)  # where a task holds what


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
    step, stop, code = field(task, STEP), field(task, STOP), field(task, CODE)
    first, second = real(double(field(task, FIRST))), real(double(field(task, SECOND)))
    x, out, keys, inner = field(task, REST), field(task, REST + 1), field(task, REST + 2), field(task, REST + 3)
    kind, bits, threshold = field(task, REST + 4), field(task, REST + 5), field(task, REST + 6)
    start = take(task, NEXT, step)
    while start < stop:
        end = min(start + step, stop)
        _call(code, x, out, keys, inner, start, end, kind, bits, threshold, first, second, stored(0))
        start = take(task, NEXT, step)


def work_float32(task):
    """A member's work on float32; below, on the other formats."""
    _work(task, float32, float32)


def work_float64(task):  # noqa: D103
    _work(task, float64, float64)


def work_float16(task):  # noqa: D103
    _work(task, float32, int16)


def work_bfloat16(task):  # noqa: D103
    _work(task, float32, uint16)
