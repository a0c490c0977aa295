"""Which conditions differ from the plain network by more than chance, and by how much.

With folds, a value is a fold's mean over seeds. Folds share training data, so their values are not independent, and
the usual t-test finds differences where there are none. Nadeau and Bengio, "Inference for the generalization error",
Machine Learning 52, 2003, correct for it: over J values with sample variance s², the variance of the mean is taken as
(1/J + n_judge / n_train) s², and the t distribution has J - 1 degrees of freedom. With a fixed test split, a value is
a seed's; seeds are independent given the split, so the variance is s²/J, and the result holds for that split only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special  # type: ignore[import-untyped]

from torchdropout.study.status import OK

Metric = Literal["accuracy", "rmse"]
Judge = Literal["val", "test"]
Verdict = Literal["helps", "hurts", "no evidence", ""]

Values = npt.NDArray[np.float64]

PLAIN = "none"  # the method every other one is compared with
LEVEL = 0.05
UNITS: dict[Judge, list[str]] = {"val": ["repeat", "fold"], "test": ["seed"]}


@dataclass(frozen=True, slots=True)
class Comparison:
    """A condition's judged metric, and its difference from the plain network. NaN where a number cannot be had.

    Attributes:
        condition: Its label.
        mean: The mean over folds, or over seeds where a test split judges.
        low: The lower end of the 95 % interval of the mean, cut at the ends of the metric's range.
        high: The upper end.
        difference: The mean of the paired differences, this condition minus the plain one.
        difference_low: The lower end of the 95 % interval of the difference. The interval is of this comparison
            alone, not simultaneous over all: it can exclude zero where the verdict, which is adjusted, finds none.
        difference_high: The upper end.
        p_value: Two-sided, of the paired test.
        p_adjusted: Holm's, over all conditions that are compared with the plain one.
        verdict: `helps` or `hurts` where `p_adjusted` is below 0.05, else `no evidence`; empty for the plain
            condition and where there is none to compare with.
        folds: The number of pairs of the difference, or of values of the mean where there is no difference; folds
            times repeats, or seeds where a test split judges.
        reason: Why numbers are missing or rest on less than was planned; empty where nothing is to be said.
        conditional: Whether the result holds for the given test split only.
    """

    condition: str
    mean: float
    low: float
    high: float
    difference: float
    difference_low: float
    difference_high: float
    p_value: float
    p_adjusted: float
    verdict: Verdict
    folds: int
    reason: str
    conditional: bool

    @property
    def wording(self) -> str:
        """The verdict in words that claim no more than was tested."""
        return f"{self.verdict} on this test split" if self.verdict and self.conditional else self.verdict


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its 95 % interval, and the p-value of its being zero."""

    mean: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True, slots=True)
class Scale:
    """What a test has to know besides the values.

    Attributes:
        overlap: n_judge / n_train, or 0 for independent values.
        resolution: The smallest step of a value: one judged example for an accuracy, 0 for an error.
        rounding: What counts as zero.
    """

    overlap: float
    resolution: float
    rounding: float


def compare_conditions(results: pd.DataFrame, *, metric: Metric, judge: Judge) -> list[Comparison]:
    """Every condition with its interval, its difference from the plain one and the verdict, in order of appearance.

    Only runs that came to their end count. A fold (or seed) in which this condition or the plain one has none drops
    out of the difference, and `reason` says so. A condition that cannot be tested still counts in Holm's adjustment:
    runs that failed make no other condition's verdict easier.

    Args:
        results: One row per run, as a study stores them.
        metric: `accuracy`, of which more is better, or `rmse`, of which less is.
        judge: The part that judges: `val`, paired by fold, or `test`, paired by seed.
    """
    values, scale = scores(results, metric=metric, judge=judge), _scale(results, metric, judge)
    methods = results.drop_duplicates("condition").set_index("condition")["method"]
    plain = next((label for label, method in methods.items() if method == PLAIN), None)
    compared = [label for label in methods.index if plain is not None and label != plain]
    pairs = {label: (values[label] - values[plain]).dropna().to_numpy() for label in compared}
    tests = {label: estimate(differences, scale) for label, differences in pairs.items()}
    adjusted = dict(zip(compared, holm([test.p_value for test in tests.values()]), strict=True))
    comparisons = []
    for label in methods.index:
        result = _alone(str(label), values[label].dropna().to_numpy(), scale, metric, judge)
        if label in tests:
            result = _against_plain(result, tests[label], adjusted[label], metric)
            reason = _reason(pairs[label], len(values), scale, judge)
            result = replace(result, folds=len(pairs[label]), reason=reason)
        comparisons.append(result)
    return comparisons


def scores(results: pd.DataFrame, *, metric: Metric, judge: Judge) -> pd.DataFrame:
    """The judged metric: one row per fold (means over seeds) or per seed, one column per condition, NaN for none."""
    if metric not in ("accuracy", "rmse"):
        raise ValueError(f"scores: `metric` must be 'accuracy' or 'rmse', got {metric!r}.")
    if judge not in UNITS:
        raise ValueError(f"scores: `judge` must be 'val' or 'test', got {judge!r}.")
    column, units = f"{judge}_{metric}", UNITS[judge]
    means = _finished(results, column).groupby([*units, "condition"])[column].mean().unstack("condition")
    planned = results.groupby(units).size().index
    return means.reindex(index=planned, columns=list(dict.fromkeys(results["condition"]))).astype(np.float64)


def estimate(values: Values, scale: Scale) -> Estimate:
    """The corrected t interval and p-value of the mean; NaN for what fewer than two values cannot tell.

    Values that are all equal have no variance to estimate, and the test is undefined. Accuracies move in steps of
    one example, so their standard deviation is then taken as one such step: equal steps of one example each in a few
    folds are no evidence, a network that fails in every fold beside one that never does is. Errors have no steps,
    and equal differences of them are no coincidence: p is 0, or 1 where all are zero.
    """
    count = len(values)
    if count < 2:
        return Estimate(float(values[0]) if count else math.nan, math.nan, math.nan, math.nan)
    mean, spread = float(values.mean()), float(values.std(ddof=1))
    if spread <= scale.rounding:
        mean, spread = (0.0 if abs(mean) <= scale.rounding else mean), scale.resolution
    error = spread * math.sqrt(1 / count + scale.overlap)
    reach = error * float(special.stdtrit(count - 1, 1 - LEVEL / 2))
    if error == 0:
        return Estimate(mean, mean, mean, float(mean == 0))
    p_value = 2 * float(special.stdtr(count - 1, -abs(mean) / error))
    return Estimate(mean, mean - reach, mean + reach, p_value)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment; NaN stays NaN, and counts as a test that found nothing.

    Reference:
        Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979.
    """
    order = sorted(range(len(p_values)), key=lambda i: math.inf if math.isnan(p_values[i]) else p_values[i])
    adjusted, floor = [math.nan] * len(p_values), 0.0
    for rank, index in enumerate(order):
        if not math.isnan(p_values[index]):
            floor = max(floor, min(1.0, (len(p_values) - rank) * p_values[index]))
            adjusted[index] = floor
    return adjusted


def _finished(results: pd.DataFrame, column: str) -> pd.DataFrame:
    return results[(results["status"] == OK) & np.isfinite(results[column].astype(np.float64))]


def _scale(results: pd.DataFrame, metric: Metric, judge: Judge) -> Scale:
    finished = _finished(results, f"{judge}_{metric}")
    if finished.empty:
        return Scale(0.0, 0.0, 0.0)
    n_judge, n_train = float(finished["n_judge"].mean()), float(finished["n_train"].mean())
    largest = float(finished[f"{judge}_{metric}"].abs().max())
    resolution = 1 / n_judge if metric == "accuracy" else 0.0
    return Scale(n_judge / n_train if judge == "val" else 0.0, resolution, 1e-12 * largest)


def _alone(label: str, values: Values, scale: Scale, metric: Metric, judge: Judge) -> Comparison:
    own, nan = estimate(values, scale), math.nan
    low, high = np.clip([own.low, own.high], 0.0, 1.0 if metric == "accuracy" else math.inf).tolist()
    conditional = judge == "test"
    return Comparison(label, own.mean, low, high, nan, nan, nan, nan, nan, "", len(values), "", conditional)


def _against_plain(alone: Comparison, test: Estimate, p_adjusted: float, metric: Metric) -> Comparison:
    return replace(
        alone,
        difference=test.mean,
        difference_low=test.low,
        difference_high=test.high,
        p_value=test.p_value,
        p_adjusted=p_adjusted,
        verdict=_verdict(test, p_adjusted, metric),
    )


def _verdict(test: Estimate, p_adjusted: float, metric: Metric) -> Verdict:
    if not p_adjusted < LEVEL:  # NaN too
        return "no evidence"
    return "helps" if (test.mean > 0) == (metric == "accuracy") else "hurts"


def _reason(differences: Values, planned: int, scale: Scale, judge: Judge) -> str:
    unit, count = "fold" if judge == "val" else "seed", len(differences)
    found = f"{count} {unit}{'' if count == 1 else 's'} of {planned}"
    if count < 2:
        return f"A test needs 2 {unit}s in which this and the plain network finished a run; there was {found}."
    if count < planned:
        return f"Rests on {found}; in the others no run of this or of the plain network finished."
    if differences.std(ddof=1) <= scale.rounding:
        return f"The difference is the same for every {unit}, so that its variance could not be estimated."
    return ""
