"""The distributions that noise is drawn from, reduced to what a kernel needs."""

from __future__ import annotations

import functools
from typing import NamedTuple


class Bernoulli(NamedTuple):
    """`scale` with probability `threshold / 2**bits`, else 0."""

    bits: int
    threshold: int
    scale: float

    @property
    def keep(self) -> float:
        """The realised probability of keeping an element."""
        return self.threshold / 2.0**self.bits


class Normal(NamedTuple):
    """`mean + std * z` with a standard normal `z`, computed in float32."""

    mean: float
    std: float


class Uniform(NamedTuple):
    """`low + (high - low) * u` with `u` one of the 2**24 equally likely `(k + 1/2) / 2**24`, computed in float32."""

    low: float
    high: float


Law = Bernoulli | Normal | Uniform


@functools.lru_cache(maxsize=1024)
def bernoulli(p: float, *, scaled: bool = True) -> Bernoulli:
    """The integer threshold that realises a drop probability.

    One bit an element decides where `p` is 1/2, eight where it is a multiple of 1/256, else sixteen, or thirty-two
    where sixteen would move `p` by more than 1 % of `min(p, 1 - p)`. The scale is the inverse of the *realised* keep
    probability, so that the expectation of the noise is exactly one.

    Args:
        p: The drop probability, strictly between 0 and 1.
        scaled: Whether kept elements are multiplied by `1 / keep`; otherwise by 1.
    """
    bits, threshold = _threshold(1.0 - p, p)
    return Bernoulli(bits, threshold, 2.0**bits / threshold if scaled else 1.0)


def _threshold(keep: float, p: float) -> tuple[int, int]:
    for bits in (1, 8):
        if (keep * 2**bits).is_integer() and (p * 2**bits).is_integer():
            return bits, int(keep * 2**bits)
    threshold = round(keep * 2**16)
    if abs(threshold / 2**16 - keep) <= 0.01 * min(p, keep):
        return 16, threshold
    return 32, min(max(round(keep * 2**32), 1), 2**32 - 1)
