"""Whether intervals of a regression hold the targets as often as they say, and how wide they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from torchdropout.calibration import _arrays
from torchdropout.calibration._arrays import Given

LEVELS = (0.5, 0.9, 0.95)


@dataclass(frozen=True)
class IntervalCoverage:
    """What intervals of one level do.

    Attributes:
        level: How often they should hold the target; NaN where that was not said.
        coverage: How often they do.
        coverage_low: The lower end of the coverage's 95 % interval (Wilson's).
        coverage_high: The upper end.
        width: Their mean width, in the targets' units.
    """

    level: float
    coverage: float
    coverage_low: float
    coverage_high: float
    width: float


def interval_coverage(lower: Given, upper: Given, targets: Given, *, level: float = float("nan")) -> IntervalCoverage:
    """How often `lower <= target <= upper`, and the mean width.

    Neither is enough alone: an interval without end always holds its target.

    Args:
        lower: The lower ends, `(N,)`.
        upper: The upper ends, `(N,)`.
        targets: `(N,)`.
        level: How often they should, to be kept beside what was found.

    Returns:
        The coverage and the width.

    Raises:
        ValueError: The lengths differ, a value is not finite, or a lower end is above its upper end.

    Example:
        >>> import torchdropout as td
        >>> td.calibration.interval_coverage([0, 0], [1, 1], [0.5, 2.0]).coverage
        0.5

    Reference:
        T. Gneiting, F. Balabdaoui, A. Raftery. Probabilistic Forecasts, Calibration and Sharpness. Journal of the Royal
        Statistical Society B 69, 2007, section 3; T. Gneiting, A. Raftery. JASA 102, 2007, section 6.2.
    """
    y = _arrays.numbers("interval_coverage", "targets", targets)
    low = _arrays.beside("interval_coverage", "lower", lower, len(y))
    high = _arrays.beside("interval_coverage", "upper", upper, len(y))
    if (low > high).any():
        row = int((low > high).argmax())
        found = f"{low[row]:g} above {high[row]:g} in row {row}"
        raise ValueError(f"interval_coverage: `lower` must not be above `upper`, got {found}.")
    share = float(((low <= y) & (y <= high)).mean())
    return IntervalCoverage(level, share, *_arrays.wilson(share, len(y)), float((high - low).mean()))


def normal_coverage(
    mean: Given, std: Given, targets: Given, levels: float | Sequence[float] = LEVELS
) -> tuple[IntervalCoverage, ...]:
    """The central intervals of normal predictions, `mean ± z std`.

    Args:
        mean: `(N,)`.
        std: `(N,)`, of what will be observed: the noise's variance is part of its square.
        targets: `(N,)`.
        levels: How often they should hold the target.

    Returns:
        One for each level.

    Raises:
        ValueError: The lengths differ, a value is not finite, a deviation is negative, or a level not between 0 and 1.

    Example:
        >>> import torchdropout as td
        >>> round(td.calibration.normal_coverage([0.0], [1.0], [3.0], levels=0.95)[0].width, 4)
        3.9199
    """
    wanted = _arrays.levels("normal_coverage", levels)
    m = _arrays.numbers("normal_coverage", "mean", mean)
    s = _arrays.beside("normal_coverage", "std", std, len(m))
    if s.min() < 0:
        raise ValueError(f"normal_coverage: `std` must not be negative, got {s.min():g} in row {int(s.argmin())}.")
    reach = [NormalDist().inv_cdf(0.5 + level / 2) * s for level in wanted]
    return tuple(interval_coverage(m - r, m + r, targets, level=level) for level, r in zip(wanted, reach, strict=True))


def sample_coverage(
    samples: Given, targets: Given, levels: float | Sequence[float] = LEVELS
) -> tuple[IntervalCoverage, ...]:
    """The central intervals between quantiles of samples, interpolated linearly.

    Samples of Monte-Carlo dropout are of the function alone, without the noise of an observation: their intervals are
    of the mean, and too narrow for targets unless that noise is added to each sample.

    Args:
        samples: `(S, N)`, two or more; intervals of 95 % have 1 of 40 samples beyond each end.
        targets: `(N,)`.
        levels: How often they should hold the target.

    Returns:
        One for each level.

    Raises:
        ValueError: Shapes do not fit, a value is not finite, there is one sample, or a level not between 0 and 1.

    Example:
        >>> import torchdropout as td
        >>> td.calibration.sample_coverage([[0.0], [1.0], [2.0]], [1.2], levels=0.5)[0].width
        1.0
    """
    wanted = _arrays.levels("sample_coverage", levels)
    draws = _arrays.as_numpy("sample_coverage", "samples", samples).astype(np.float64)
    if draws.ndim != 2 or len(draws) < 2 or not draws.size or not np.isfinite(draws).all():
        raise ValueError(
            f"sample_coverage: `samples` must be finite and of shape (S, N) with S from 2, got {draws.shape}."
        )
    ends = [np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0) for level in wanted]
    return tuple(
        interval_coverage(low, high, targets, level=level) for level, (low, high) in zip(wanted, ends, strict=True)
    )
