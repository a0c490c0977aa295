"""How often predictions of a confidence are right, and the expected calibration error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from torchdropout.calibration import _arrays
from torchdropout.calibration._arrays import Array, Given
from torchdropout.layers._checks import check_choice, check_number

Scheme = Literal["width", "mass"]
BINS = 15


@dataclass(frozen=True)
class ReliabilityBin:
    """The predictions of about one confidence.

    Attributes:
        low: Where the bin begins: its lower edge in bins of equal width, its lowest confidence in bins of equal mass.
        high: Where it ends, likewise.
        count: How many predictions it has, at least one.
        confidence: Their mean confidence.
        accuracy: The part of them that is right.
        accuracy_low: The lower end of the accuracy's 95 % interval (Wilson's).
        accuracy_high: The upper end.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float


def reliability(
    probabilities: Given, targets: Given, *, bins: int = BINS, scheme: Scheme = "width"
) -> tuple[ReliabilityBin, ...]:
    """The predictions in bins of confidence, the probability of the most probable class.

    Bins of equal width are `(0, 1/B]`, `(1/B, 2/B]` and so on, with 0 in the first: a confidence of exactly 1 is in the
    last. Bins of equal mass have as equal counts as can be while equal confidences stay together. Bins without
    predictions are left out.

    Args:
        probabilities: `(N, C)`.
        targets: The true classes, `(N,)`.
        bins: How many.
        scheme: `"width"` or `"mass"`.

    Returns:
        The bins that are not empty, by confidence.

    Raises:
        ValueError: Rows are no probabilities, a target is no class, or `bins` is below 1.

    Example:
        >>> import torchdropout as td
        >>> td.calibration.reliability([[0.9, 0.1], [0.95, 0.05], [0.4, 0.6]], [0, 1, 1], bins=5)[-1].accuracy
        0.5

    Reference:
        C. Guo, G. Pleiss, Y. Sun, K. Weinberger. On Calibration of Modern Neural Networks. ICML 2017,
        arXiv:1706.04599, section 2. Equal mass: J. Nixon, M. Dusenberry, L. Zhang, G. Jerfel, D. Tran. Measuring
        Calibration in Deep Learning. 2019, arXiv:1904.01685, section 4.
    """
    owner = "reliability"
    check_number(owner, "bins", bins, "an integer from 1", lambda value: value >= 1 and value == int(value))
    check_choice(owner, "scheme", scheme, ("width", "mass"))
    p = _arrays.probabilities(owner, probabilities)
    right = p.argmax(1) == _arrays.classes(owner, targets, *p.shape)
    return binned(p.max(1), right, int(bins), scheme)


def expected_calibration_error(
    probabilities: Given, targets: Given, *, bins: int = BINS, scheme: Scheme = "width"
) -> float:
    """The mean distance between confidence and accuracy over the bins: `sum over b of n_b / N |acc_b - conf_b|`.

    It is never below 0, so that even a perfect model has some: with few examples in a bin the accuracy misses the
    confidence by chance. Compare models by it on the same examples and bins only.

    Args:
        probabilities: `(N, C)`.
        targets: The true classes, `(N,)`.
        bins: How many.
        scheme: `"width"`, or `"mass"` for as many predictions in each, as `reliability` has them.

    Returns:
        The error, from 0 to 1.

    Raises:
        ValueError: As `reliability`.

    Example:
        >>> import torchdropout as td
        >>> td.calibration.expected_calibration_error([[0.75, 0.25], [0.75, 0.25]], [0, 1])
        0.25

    Reference:
        C. Guo, G. Pleiss, Y. Sun, K. Weinberger. On Calibration of Modern Neural Networks. ICML 2017,
        arXiv:1706.04599, equation 3; M. Naeini, G. Cooper, M. Hauskrecht. Obtaining Well Calibrated Probabilities Using
        Bayesian Binning. AAAI 2015.
    """
    found = reliability(probabilities, targets, bins=bins, scheme=scheme)
    total = sum(each.count for each in found)
    return float(sum(each.count / total * abs(each.accuracy - each.confidence) for each in found))


def binned(confidence: Array, right: npt.NDArray[np.bool_], bins: int, scheme: Scheme) -> tuple[ReliabilityBin, ...]:
    """As `reliability`, of confidences and whether each prediction is right."""
    edges = np.arange(bins + 1) / bins
    number = np.searchsorted(edges[1:-1], confidence) if scheme == "width" else _by_mass(confidence, bins)
    return tuple(
        _bin(confidence[inside], right[inside], (edges[b], edges[b + 1]) if scheme == "width" else None)
        for b in range(bins)
        if (inside := number == b).any()
    )


def _by_mass(confidence: Array, bins: int) -> npt.NDArray[np.int64]:
    """The bin of each prediction, by its rank; equal confidences share the middle of theirs."""
    ordered = np.sort(confidence)
    ends = [np.searchsorted(ordered, confidence, side) for side in ("left", "right")]
    return (ends[0] + ends[1]) * bins // (2 * len(confidence))


def _bin(confidence: Array, right: npt.NDArray[np.bool_], edges: tuple[float, float] | None) -> ReliabilityBin:
    low, high = edges or (confidence.min(), confidence.max())
    count, accuracy = len(right), float(right.mean())
    interval = _arrays.wilson(accuracy, count)
    return ReliabilityBin(float(low), float(high), count, float(confidence.mean()), accuracy, *interval)
