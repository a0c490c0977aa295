"""The distributions that noise is drawn from: as a caller names them, and reduced to what a kernel needs."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Bernoulli:
    """`scale` with probability `threshold / 2**bits`, else 0."""

    bits: int | Tensor
    threshold: int | Tensor
    scale: float | Tensor


@dataclass(frozen=True, slots=True)
class Normal:
    """`mean + std * z` with a standard normal `z`, computed in float32."""

    mean: float
    std: float | Tensor


@dataclass(frozen=True, slots=True)
class Uniform:
    """`low + (high - low) * u` with `u` one of the 2**23 equally likely `(k + 1/2) / 2**23`, computed in float32."""

    low: float | Tensor
    high: float


Law = Bernoulli | Normal | Uniform


class Spec(NamedTuple):
    """A law as its callers name it.

    Attributes:
        kind: "bernoulli", "scaled bernoulli", "normal" or "uniform".
        strength: The drop probability in [0, 1], the standard deviation or the lower bound; under a compiler it may
            be a 0-d float64 tensor.
        other: The mean of a normal, the upper bound of a uniform; unused otherwise.
    """

    kind: str
    strength: float | Tensor
    other: float = 0.0

    def fixed_noise(self) -> float | None:
        """The one value of a Bernoulli noise that is not random: 1 at `p = 0`, 0 at `p = 1`."""
        if "bernoulli" in self.kind and self.strength in (0.0, 1.0):
            return 1.0 - float(self.strength)
        return None

    def as_arguments(self) -> tuple[str, Tensor, float]:
        """What the operator of `torch.library` takes."""
        return self.kind, _as_tensor(self.strength), self.other

    def as_tensors(self) -> Law:
        """The law with 0-d tensors, for a graph whose strength may change."""
        strength = _as_tensor(self.strength)
        if self.kind == "normal":
            return Normal(self.other, strength)
        if self.kind == "uniform":
            return Uniform(strength, self.other)
        return _traced_bernoulli(strength, scaled=self.kind == "scaled bernoulli")


def _as_tensor(value: float | Tensor) -> Tensor:
    if isinstance(value, Tensor):
        return value
    return torch.full((), value, dtype=torch.float64, device="cpu")


@functools.lru_cache(maxsize=1024)
def settle(spec: Spec) -> Law:
    """The law of a spec whose strength is a number."""
    kind, strength, other = spec
    if kind == "normal":
        return Normal(other, float(strength))
    if kind == "uniform":
        return Uniform(float(strength), other)
    return bernoulli(float(strength), scaled=kind == "scaled bernoulli")


def bernoulli(p: float, *, scaled: bool = True) -> Bernoulli:
    """The integer threshold that realises a drop probability.

    One bit an element decides where `p` is 1/2, eight where it is a multiple of 1/256, else sixteen, or thirty-two
    where sixteen would move `p` by more than 1 % of `min(p, 1 - p)`. The scale is the inverse of the *realised* keep
    probability, so that the expectation of the noise is exactly one.

    Args:
        p: The drop probability, strictly between 0 and 1.
        scaled: Whether kept elements are multiplied by `1 / keep`; otherwise by 1.
    """
    bits, threshold = _threshold(p)
    return Bernoulli(bits, threshold, 2.0**bits / threshold if scaled else 1.0)


def keep(p: float | Tensor) -> float | Tensor:
    """The keep probability that is realised for a drop probability; a tensor's for a tensor."""
    if isinstance(p, Tensor):
        threshold, size, _ = _traced_threshold(p)
        return threshold / size
    if p in (0, 1):
        return 1.0 - p
    bits, level = _threshold(p)
    return level / 2.0**bits


def _threshold(p: float) -> tuple[int, int]:
    keep = 1.0 - p
    for bits in (1, 8):
        if (p * 2**bits).is_integer():
            return bits, int(keep * 2**bits)
    threshold = round(keep * 2**16)
    if 0 < threshold < 2**16 and abs(threshold / 2**16 - keep) <= 0.01 * min(p, keep):
        return 16, threshold
    return 32, min(max(round(keep * 2**32), 1), 2**32 - 1)


def _traced_bernoulli(p: Tensor, *, scaled: bool) -> Bernoulli:
    """`bernoulli` in tensor operations, the settled cases p = 0 and p = 1 among them."""
    threshold, size, bits = _traced_threshold(p)
    scale = torch.where(threshold > 0, size / threshold.clamp(min=1), 0.0) if scaled else torch.ones_like(p)
    return Bernoulli(bits, threshold.to(torch.int64), scale)


def _traced_threshold(p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The threshold and what it is compared with, `2**bits`, as float64, and the bits."""
    keep = 1.0 - p
    bits = torch.where(_moves_p(p, keep), 32, 16)
    bits = torch.where(_is_integer(p * 2.0**8), 8, bits)
    bits = torch.where(_is_integer(p * 2.0), 1, bits)
    size = torch.pow(2.0, bits.to(torch.float64))
    inner = torch.round(keep * size).clamp(min=1).minimum(size - 1)
    return torch.where((p > 0) & (p < 1), inner, keep * size), size, bits


def _is_integer(value: Tensor) -> Tensor:
    return value == torch.round(value)


def _moves_p(p: Tensor, keep: Tensor) -> Tensor:
    near = torch.round(keep * 2.0**16) / 2.0**16
    return (near == 0) | (near == 1) | ((near - keep).abs() > 0.01 * torch.minimum(p, keep))
