"""Proper scores of predicted probabilities: the lowest mean score is that of the true probabilities."""

from __future__ import annotations

import numpy as np

from torchdropout.calibration import _arrays
from torchdropout.calibration._arrays import Given


def brier_score(probabilities: Given, targets: Given) -> float:
    """The mean squared distance of the probabilities from the truth: `1/N sum over n, c of (p_nc - [y_n = c])^2`.

    It is from 0 to 2: the sum is over all classes. For two classes some texts, and scikit-learn, have half of it.

    Args:
        probabilities: `(N, C)`.
        targets: The true classes, `(N,)`.

    Returns:
        The score; lower is better.

    Raises:
        ValueError: Rows are no probabilities, or a target is no class.

    Example:
        >>> import torchdropout as td
        >>> td.calibration.brier_score([[0.5, 0.5], [1.0, 0.0]], [0, 0])
        0.25

    Reference:
        G. Brier. Verification of Forecasts Expressed in Terms of Probability. Monthly Weather Review 78, 1950,
        equation 2; T. Gneiting, A. Raftery. Strictly Proper Scoring Rules, Prediction, and Estimation. JASA 102, 2007,
        section 3.1.
    """
    p = _arrays.probabilities("brier_score", probabilities)
    truth = np.eye(p.shape[1])[_arrays.classes("brier_score", targets, *p.shape)]
    return float(np.square(p - truth).sum(1).mean())


def negative_log_likelihood(probabilities: Given, targets: Given) -> float:
    """The mean negative logarithm of the true classes' probabilities, in nats: `-1/N sum over n of log p_n,y_n`.

    Nothing is clipped: a true class of probability 0 makes it infinite. scikit-learn's `log_loss` clips, to 36 nats in
    float64. From logits, `torch.nn.functional.cross_entropy` is exact where a probability would round to 0.

    Args:
        probabilities: `(N, C)`; of Monte-Carlo samples their mean, never the mean of logarithms.
        targets: The true classes, `(N,)`.

    Returns:
        The score; lower is better.

    Raises:
        ValueError: Rows are no probabilities, or a target is no class.

    Example:
        >>> import math, torchdropout as td
        >>> td.calibration.negative_log_likelihood([[0.5, 0.5]], [1]) == math.log(2)
        True

    Reference:
        I. Good. Rational Decisions. Journal of the Royal Statistical Society B 14, 1952; T. Gneiting, A. Raftery.
        Strictly Proper Scoring Rules, Prediction, and Estimation. JASA 102, 2007, section 3.1.
    """
    p = _arrays.probabilities("negative_log_likelihood", probabilities)
    true = p[np.arange(len(p)), _arrays.classes("negative_log_likelihood", targets, *p.shape)]
    with np.errstate(divide="ignore"):
        return float(-np.log(true).mean())
