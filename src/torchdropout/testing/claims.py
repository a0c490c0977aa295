"""Claims of a distribution: what each draw of the noise is, and which axes share one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from torchdropout.testing.bounds import check_count, check_normal_moments

_WITHIN_ONE = 0.6826894921370859  # the mass of a normal within one standard deviation


@dataclass(frozen=True)
class TwoPointClaim:
    """Each draw takes one of two values: what a constant input becomes when dropped, or when kept.

    Attributes:
        keep: The probability of keeping.
        dropped: The output for an input of ones where dropped.
        kept: The output for an input of ones where kept.
        shared_dims: The axes that share one draw.
        eval_scale: What eval mode multiplies by.
    """

    keep: float
    dropped: float
    kept: float
    shared_dims: tuple[int, ...] = ()
    eval_scale: float = 1.0

    def check(self, draws: Tensor) -> tuple[Tensor, float]:
        """Check independent draws; returned are an event for each and its probability."""
        kept = (draws - self.kept).abs() < (draws - self.dropped).abs()
        expected = torch.where(kept, self.kept, self.dropped).to(draws.dtype)
        torch.testing.assert_close(draws, expected, rtol=1e-6, atol=1e-6)
        check_count("the rate of keeping", int(kept.sum()), kept.numel(), self.keep)
        return kept, self.keep


@dataclass(frozen=True)
class GaussianNoiseClaim:
    """Each draw is normal: the output for an input of ones has this mean and standard deviation."""

    std: float
    mean: float = 1.0
    shared_dims: tuple[int, ...] = ()
    eval_scale: float = 1.0

    def check(self, draws: Tensor) -> tuple[Tensor, float]:
        """Check independent draws; returned are an event for each and its probability."""
        z = (draws - self.mean) / self.std
        check_normal_moments("the noise", float(z.sum()), float(z.square().sum()), z.numel())
        check_count("the rate of |z| < 1", int((z.abs() < 1.0).sum()), z.numel(), _WITHIN_ONE)
        return z > 0.0, 0.5


@dataclass(frozen=True)
class QuantileClaim:
    """Each draw has a continuous distribution with these quantiles.

    Attributes:
        quantiles: The value below which a draw lies, by its probability; the more, the sharper the check.
        shared_dims: The axes that share one draw.
        eval_scale: What eval mode multiplies by.
    """

    quantiles: Mapping[float, float] = field(default_factory=dict)
    shared_dims: tuple[int, ...] = ()
    eval_scale: float = 1.0

    def check(self, draws: Tensor) -> tuple[Tensor, float]:
        """Check independent draws; returned are an event for each and its probability."""
        for level, value in self.quantiles.items():
            check_count(f"the rate of noise below {value:.6g}", int((draws <= value).sum()), draws.numel(), level)
        level = min(self.quantiles, key=lambda candidate: abs(candidate - 0.5))
        return draws <= self.quantiles[level], level


Claim = TwoPointClaim | GaussianNoiseClaim | QuantileClaim
