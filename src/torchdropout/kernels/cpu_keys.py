"""Derived keys in Numba: `fold_in` of many keys and numbers at once."""

# ruff: noqa: ANN001, ANN201 - the body is compiled: its types are the signature in `compiled`
# mypy: ignore-errors

from __future__ import annotations

import functools
from typing import Any

import torch
from numba import njit, types, uint64
from torch import Tensor

from torchdropout.kernels import compilation
from torchdropout.kernels.cpu_memory import OPTIONS, load, pointer, store

_M0, _M1 = uint64(0xD2511F53), uint64(0xCD9E8D57)
_W0, _W1 = uint64(0x9E3779B9), uint64(0xBB67AE85)
_LOW, _HALF, _DERIVED = uint64(0xFFFFFFFF), uint64(32), uint64(0x80000000)


@njit(nogil=True, **OPTIONS)
def derive(keys_address, numbers_address, out_address, keys_count, numbers_count):
    """`out[a, b] = fold_in(keys[a], numbers[b])`, all of them int64."""
    keys, numbers = pointer(keys_address, keys_count), pointer(numbers_address, keys_count)
    out = pointer(out_address, uint64(0))
    for a in range(keys_count):
        seed, offset = uint64(load(keys, 2 * a)), uint64(load(keys, 2 * a + 1))
        for b in range(numbers_count):
            number = uint64(load(numbers, b))
            k0, k1 = seed & _LOW, seed >> _HALF
            c0, c1, c2, c3 = number & _LOW, (number >> _HALF) | _DERIVED, offset & _LOW, offset >> _HALF
            for _ in range(10):
                p0, p1 = _M0 * c0, _M1 * c2
                c0, c1, c2, c3 = (p1 >> _HALF) ^ c1 ^ k0, p1 & _LOW, (p0 >> _HALF) ^ c3 ^ k1, p0 & _LOW
                k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
            at = 2 * (a * numbers_count + b)
            store(out, at, c0 | (c1 << _HALF))
            store(out, at + 1, c2 | (c3 << _HALF))


@functools.cache
def compiled() -> Any:
    """The machine code."""
    return compilation.overload(derive, (*[types.int64] * 5,)).entry_point


def run(keys: Tensor, numbers: Tensor) -> Tensor:
    """Keys `(A, B, 2)` of contiguous keys `(A, 2)` and numbers `(B,)` on the CPU."""
    out = torch.empty(len(keys), len(numbers), 2, dtype=torch.int64)
    compiled()(keys.data_ptr(), numbers.data_ptr(), out.data_ptr(), len(keys), len(numbers))
    return out
