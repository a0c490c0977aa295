"""Drop probabilities over the time of training, and over the depth of a network.

A schedule is a function of the step and of how many there are; what it returns multiplies each layer's own probability.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from torchdropout.layers._checks import check_choice, check_number

Schedule = Callable[[int, int], float]


def _check_share(owner: str, argument: str, value: float) -> None:
    check_number(owner, argument, value, "in [0, 1]", lambda v: 0 <= v <= 1)


@dataclass(frozen=True)
class Constant:
    """Full strength at every step."""

    def __call__(self, step: int, total: int) -> float:
        """The factor of a step."""
        return 1.0


@dataclass(frozen=True)
class Linear:
    """From one factor to another in a straight line: `start + (end - start) t / T`."""

    start: float = 0.0
    end: float = 1.0

    def __call__(self, step: int, total: int) -> float:
        """The factor of a step."""
        return self.start + (self.end - self.start) * min(1.0, step / total)


@dataclass(frozen=True)
class Cosine:
    """From one factor to another along half a cosine: `start + (end - start) (1 - cos(pi t / T)) / 2`."""

    start: float = 0.0
    end: float = 1.0

    def __call__(self, step: int, total: int) -> float:
        """The factor of a step."""
        return self.start + (self.end - self.start) * (1.0 - math.cos(math.pi * min(1.0, step / total))) / 2


@dataclass(frozen=True)
class Curriculum:
    """Curriculum dropout: nothing is dropped at first, and what is dropped grows: `1 - exp(-gamma t / T)`.

    The keep probability is `(1 - k) exp(-gamma t / T) + k`, which falls from 1 to the final `k`.

    Args:
        gamma: How fast, in units of `1 / T`; 10 in the paper, whose code has 0.001 per step.
        anti: The opposite, which the paper shows to be worse: full strength at first, then less and less.

    Raises:
        ValueError: `gamma` is not positive and finite.

    Reference:
        P. Morerio, J. Cavazza, R. Volpi, R. Vidal, V. Murino. Curriculum Dropout. ICCV 2017, arXiv:1703.06229,
        equation 5.
    """

    gamma: float = 10.0
    anti: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        check_number("Curriculum", "gamma", self.gamma, "positive and finite", lambda v: 0 < v < math.inf)

    def __call__(self, step: int, total: int) -> float:
        """The factor of a step."""
        left = math.exp(-self.gamma * step / total)
        return left if self.anti else 1.0 - left


@dataclass(frozen=True)
class Early:
    """Early dropout, against underfitting: full strength up to a share of training, then none.

    Args:
        until: The share of training with dropout; 50 of 300 epochs in the paper.
        linear: Whether the strength falls in a straight line to 0 there instead of at once.

    Raises:
        ValueError: `until` is outside [0, 1].

    Reference:
        Z. Liu, Z. Xu, J. Jin, Z. Shen, T. Darrell. Dropout Reduces Underfitting. ICML 2023, arXiv:2303.01500,
        section 4.
    """

    until: float = 50 / 300
    linear: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        _check_share("Early", "until", self.until)

    def __call__(self, step: int, total: int) -> float:
        """The factor of a step."""
        end = self.until * total
        if step >= end:
            return 0.0
        return 1.0 - step / end if self.linear else 1.0


@dataclass(frozen=True)
class Late:
    """Late dropout, against overfitting: none up to a share of training, then full strength.

    Args:
        after: The share of training without dropout.

    Raises:
        ValueError: `after` is outside [0, 1].

    Reference:
        As of `torchdropout.Early`.
    """

    after: float = 50 / 300

    def __post_init__(self) -> None:
        _check_share("Late", "after", self.after)

    def __call__(self, step: int, total: int) -> float:
        """The factor of a step."""
        return 1.0 if step >= self.after * total else 0.0


def depth_rates(depth: int, p: float, rule: Literal["paper", "linspace"] = "paper") -> list[float]:
    """Drop probabilities that grow with the depth of a layer, from the first to `p` of the last.

    Args:
        depth: How many layers there are.
        p: The last one's.
        rule: `"paper"`: `p l / L` for `l = 1 ... L`, as stochastic depth has it; `"linspace"`: from 0, as timm has it.

    Raises:
        ValueError: `depth` is below 1, `p` outside [0, 1], or `rule` unknown.

    Example:
        >>> import torchdropout as td
        >>> td.depth_rates(4, 0.5)
        [0.125, 0.25, 0.375, 0.5]

    Reference:
        G. Huang, Y. Sun, Z. Liu, D. Sedra, K. Weinberger. Deep Networks with Stochastic Depth. ECCV 2016,
        arXiv:1603.09382, equation 4.
    """
    check_number("depth_rates", "depth", depth, "at least 1", lambda v: v >= 1)
    _check_share("depth_rates", "p", p)
    check_choice("depth_rates", "rule", rule, ("paper", "linspace"))
    if rule == "paper":
        return [p * (layer + 1) / depth for layer in range(depth)]
    return [p * layer / max(1, depth - 1) for layer in range(depth)]


def size_rates(sizes: Sequence[int], p: float) -> list[float]:
    """Drop probabilities in proportion to layers' sizes, the largest layer having `p`: wide layers overfit most.

    Args:
        sizes: The layers' numbers of units, or of weights.
        p: The largest one's.

    Raises:
        ValueError: There are no sizes, one is not positive, or `p` is outside [0, 1].

    Example:
        >>> import torchdropout as td
        >>> td.size_rates([512, 256, 128], 0.5)
        [0.5, 0.25, 0.125]
    """
    _check_share("size_rates", "p", p)
    if not sizes or min(sizes) <= 0:
        raise ValueError(f"size_rates: `sizes` must be positive numbers, got {list(sizes)}.")
    return [p * size / max(sizes) for size in sizes]
