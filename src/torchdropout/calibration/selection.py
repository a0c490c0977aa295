"""What a model gets right when it may decline: risk by coverage."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from torchdropout.calibration import _arrays
from torchdropout.calibration._arrays import Array, Given


@dataclass(frozen=True)
class RiskCoverage:
    """The mean loss of the most confident examples, by how many of them are taken.

    Attributes:
        coverage: The part that is taken, `1/N, 2/N, ..., 1`.
        risk: The mean loss of that part, `(N,)`.
        aurc: The mean risk over all coverages: the area under the curve.
        excess: That area less the least there could be with these losses: what the ranking alone costs.
    """

    coverage: Array = field(repr=False)
    risk: Array = field(repr=False)
    aurc: float
    excess: float


def risk_coverage(confidence: Given, losses: Given) -> RiskCoverage:
    """The risk when only the most confident examples are answered, for every number of them.

    Of examples with equal confidence none is before another: their losses count by their mean, which is what a random
    order gives on average.

    Args:
        confidence: Any score that is higher for what is more certain, `(N,)`: a maximal probability, a negative
            entropy, a negative standard deviation.
        losses: What each example costs, `(N,)`: whether it is wrong, or a squared error.

    Returns:
        The curve and its area.

    Raises:
        ValueError: The lengths differ, or a value is not finite.

    Example:
        >>> import torchdropout as td
        >>> td.calibration.risk_coverage([0.9, 0.8, 0.6, 0.5], [0, 0, 0, 1]).risk.tolist()
        [0.0, 0.0, 0.0, 0.25]

    Reference:
        Y. Geifman, R. El-Yaniv. Selective Classification for Deep Neural Networks. NIPS 2017, arXiv:1705.08500,
        section 2. The area and its excess: Y. Geifman, G. Uziel, R. El-Yaniv. Bias-Reduced Uncertainty Estimation for
        Deep Neural Classifiers. ICLR 2019, arXiv:1805.08206, section 3.
    """
    score = _arrays.numbers("risk_coverage", "confidence", confidence)
    loss = _arrays.beside("risk_coverage", "losses", losses, len(score))
    risk = _risk(score, loss)
    area, least = float(risk.mean()), float(_risk(-loss, loss).mean())
    return RiskCoverage(np.arange(1, len(risk) + 1) / len(risk), risk, area, max(0.0, area - least))


def aurc(confidence: Given, losses: Given) -> float:
    """The area under the risk-coverage curve: the mean, over all coverages, of the risk; lower is better.

    Args:
        confidence: As for `risk_coverage`.
        losses: As for `risk_coverage`.

    Returns:
        The area.

    Raises:
        ValueError: As `risk_coverage`.

    Example:
        >>> import torchdropout as td
        >>> td.calibration.aurc([0.9, 0.8, 0.6, 0.5], [0, 0, 0, 1])
        0.0625
    """
    return risk_coverage(confidence, losses).aurc


def _risk(confidence: Array, losses: Array) -> Array:
    _, group, sizes = np.unique(-confidence, return_inverse=True, return_counts=True)
    means = np.bincount(group, weights=losses) / sizes
    risk: Array = np.cumsum(np.repeat(means, sizes)) / np.arange(1, len(losses) + 1)
    return risk
