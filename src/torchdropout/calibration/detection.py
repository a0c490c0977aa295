"""How well a score tells examples of another distribution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from torchdropout.calibration import _arrays
from torchdropout.calibration._arrays import Given


@dataclass(frozen=True)
class Detection:
    """How well a score tells two sets of examples apart.

    Attributes:
        auroc: The area under the receiver's curve: the probability that an example from outside has the higher score,
            ties counting half. 0.5 is chance.
        aupr: The average precision with the examples from outside as the positive ones. `base_rate` is chance.
        aupr_inside: That with the examples from inside as the positive ones, and the score reversed.
        base_rate: The part of all examples that is from outside.
    """

    auroc: float
    aupr: float
    aupr_inside: float
    base_rate: float


def detection(inside: Given, outside: Given) -> Detection:
    """How well a score tells examples that are out of distribution from those that are in it.

    Args:
        inside: The scores of examples like those of training, `(N,)`: higher is further out, as an entropy or a mutual
            information is; of a confidence take the negative.
        outside: Those of others, `(M,)`.

    Returns:
        The areas.

    Raises:
        ValueError: There are no scores, or one is not finite.
        ImportError: scikit-learn is missing.

    Example:
        >>> import torchdropout as td
        >>> td.calibration.detection([0.1, 0.2, 0.3], [0.25, 0.9]).auroc
        0.8333333333333334

    Reference:
        D. Hendrycks, K. Gimpel. A Baseline for Detecting Misclassified and Out-of-Distribution Examples in Neural
        Networks. ICLR 2017, arXiv:1610.02136, section 2. The average precision is the sum of precisions over steps of
        recall, never the trapezoids' area, which is too large (J. Davis, M. Goadrich. The Relationship Between
        Precision-Recall and ROC Curves. ICML 2006).
    """
    try:
        from sklearn.metrics import average_precision_score, roc_auc_score  # noqa: PLC0415 - only where asked for
    except ImportError as error:
        raise ImportError("detection: needs scikit-learn: pip install 'torchdropout[study]'.") from error
    low = _arrays.numbers("detection", "inside", inside)
    high = _arrays.numbers("detection", "outside", outside)
    scores, is_out = np.concatenate([low, high]), np.repeat([0, 1], [len(low), len(high)])
    return Detection(
        auroc=float(roc_auc_score(is_out, scores)),
        aupr=float(average_precision_score(is_out, scores)),
        aupr_inside=float(average_precision_score(1 - is_out, -scores)),
        base_rate=float(is_out.mean()),
    )
