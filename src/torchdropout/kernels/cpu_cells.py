"""What the steps of recurrent cells are made of, in Numba: activations, masks and zones of runs of numbers.

What a loop works on is first copied to the stack, since the compiler uses vectors only where it sees that nothing
overlaps.
"""

# ruff: noqa: ANN001, ANN201 - the bodies are compiled: their types are the signature in `compilation.py`
# mypy: ignore-errors

from __future__ import annotations

from numba import float32, njit, types

from torchdropout.kernels.cpu_memory import F32, OPTIONS, load, stack, store
from torchdropout.kernels.cpu_words import exp

CHUNK = 128  # numbers of a run
room = stack(types.float32, F32, CHUNK)


@njit(**OPTIONS)
def sigmoid(x):
    """The logistic function."""
    return float32(1) / (float32(1) + exp(-x))


@njit(**OPTIONS)
def tanh(x):
    """The hyperbolic tangent, by its series near 0, where the quotient would lose digits."""
    z, e = x * x, exp(float32(-2) * abs(x))
    far = (float32(1) - e) / (float32(1) + e)
    p = float32(0.021869488) * z - float32(0.053968254)
    p = p * z + float32(0.13333334)
    p = p * z - float32(0.33333334)
    near = x + x * z * p
    return near if z < float32(0.09) else (far if x > float32(0) else -far)


@njit(**OPTIONS)
def get(source, at, n, target):
    """Copy `n` numbers to the stack."""
    for j in range(n):
        store(target, j, load(source, at + j))


@njit(**OPTIONS)
def put(source, n, target, at):
    """Copy `n` numbers from the stack."""
    for j in range(n):
        store(target, at + j, load(source, j))


@njit(**OPTIONS)
def sigmoids(x, n):
    """In place."""
    for j in range(n):
        store(x, j, sigmoid(load(x, j)))


@njit(**OPTIONS)
def tanhs(x, n):
    """In place."""
    for j in range(n):
        store(x, j, tanh(load(x, j)))


@njit(**OPTIONS)
def times(x, source, at, n):
    """Multiply in place."""
    for j in range(n):
        store(x, j, load(x, j) * load(source, at + j))


@njit(**OPTIONS)
def mix(new, old, source, at, n):
    """`zone * old + (1 - zone) * new`, in place of the new."""
    for j in range(n):
        zone = load(source, at + j)
        store(new, j, zone * load(old, j) + (float32(1) - zone) * load(new, j))


@njit(**OPTIONS)
def masked(h, mask, group, groups, out, first, stop, size):
    """The states of some rows times the mask of one group of gates."""
    for row in range(first, stop):
        for j in range(size):
            store(out, row * size + j, load(h, row * size + j) * load(mask, (row * groups + group) * size + j))


@njit(**OPTIONS)
def clear(target, at, n):
    """Set to zero."""
    for j in range(n):
        store(target, at + j, float32(0))


@njit(**OPTIONS)
def split(new, kept, source, at, n):
    """Divide a gradient at a zone: `kept` is what goes to the old state, `new` what goes to the new one."""
    for j in range(n):
        zone, grad = load(source, at + j), load(new, j)
        store(kept, j, zone * grad)
        store(new, j, (float32(1) - zone) * grad)


@njit(**OPTIONS)
def fill(target, n, value):
    """Set to a value."""
    for j in range(n):
        store(target, j, value)


@njit(**OPTIONS)
def add(source, at, n, target):
    """Add to what is on the stack."""
    for j in range(n):
        store(target, j, load(target, j) + load(source, at + j))


@njit(**OPTIONS)
def masked_sum(parts, mask, group, groups, target, first, stop, size):
    """Add `parts` times the mask of one group of gates to some rows."""
    for row in range(first, stop):
        for j in range(size):
            at = row * size + j
            store(target, at, load(target, at) + load(parts, at) * load(mask, (row * groups + group) * size + j))
