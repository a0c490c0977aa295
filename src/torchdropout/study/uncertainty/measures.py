"""The measures of an assessment: a name, the figure with the noise off, the figure of the passes, their difference."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import special  # type: ignore[import-untyped]
from torch import Tensor

from torchdropout import calibration
from torchdropout.study.datasets.prepare import Preparation
from torchdropout.study.uncertainty.predictions import Classified, Regressed, entropy, log_densities

LEVELS = (0.5, 0.9, 0.95)
Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Measure:
    """One row of an assessment.

    Attributes:
        name: What it is.
        off: The figure with the noise off; NaN where there is none.
        on: The figure of the mean over passes.
        percent: Whether it is shown in percent.
        better: `higher`, `lower`, or what it should be.
        difference: `on - off` with its 95 % interval over examples, of measures that are means over them; None of
            others, and where it is the same for every example.
    """

    name: str
    off: float
    on: float
    percent: bool
    better: str
    difference: tuple[float, float, float] | None = None


def of_classes(found: Classified, targets: npt.NDArray[np.int64]) -> list[Measure]:
    """Of the predictions of classes."""
    p = [each.exp().numpy() for each in (found.off, found.on)]
    y = torch.from_numpy(targets)
    right = [each.argmax(1) == targets for each in p]
    nll = [-each[torch.arange(len(y)), y].numpy() for each in (found.off, found.on)]
    brier = [np.square(each - np.eye(each.shape[1])[targets]).sum(1) for each in p]
    ece = calibration.expected_calibration_error
    mass = [ece(each, targets, scheme="mass") for each in p]
    areas = [calibration.aurc(each.max(1), ~is_right) for each, is_right in zip(p, right, strict=True)]
    return [
        _mean("accuracy", right, True, "higher"),
        _mean("negative log-likelihood, nats", nll, False, "lower"),
        _mean("Brier score", brier, False, "lower"),
        Measure("ECE, bins of equal width", ece(p[0], targets), ece(p[1], targets), True, "lower"),
        Measure("ECE, bins of equal mass", mass[0], mass[1], True, "lower"),
        Measure("AURC, by maximal probability", areas[0], areas[1], True, "lower"),
    ]


def of_detection(inside: Classified, outside: Classified) -> list[Measure]:
    """How well scores tell examples of another distribution."""
    nothing = (np.empty(0), np.empty(0))
    scores: dict[str, tuple[tuple[Values, Values], tuple[Values, Values]]] = {
        "maximal probability": (
            _pair(lambda c: -c.off.amax(1), inside, outside),
            _pair(lambda c: -c.on.amax(1), inside, outside),
        ),
        "predictive entropy": (
            _pair(lambda c: entropy(c.off), inside, outside),
            _pair(lambda c: entropy(c.on), inside, outside),
        ),
        "mutual information": (nothing, _pair(lambda c: c.mutual_information, inside, outside)),
    }
    return _detection(scores)


def of_detected_numbers(inside: Regressed, outside: Regressed) -> list[Measure]:
    """The same of a regression, whose only score is the deviation of the passes."""
    nothing = (np.empty(0), np.empty(0))
    return _detection({"deviation of the passes": (nothing, (inside.std.numpy(), outside.std.numpy()))})


def _pair(score: Callable[[Classified], Tensor], inside: Classified, outside: Classified) -> tuple[Values, Values]:
    return score(inside).numpy(), score(outside).numpy()


def _detection(scores: dict[str, tuple[tuple[Values, Values], tuple[Values, Values]]]) -> list[Measure]:
    rows = []
    for what, figure in (("AUROC", "auroc"), ("AUPR", "aupr")):
        for name, pairs in scores.items():
            off, on = (getattr(calibration.detection(*pair), figure) if len(pair[0]) else math.nan for pair in pairs)
            rows.append(Measure(f"{what}, by {name}", off, on, True, "higher"))
    return rows


def of_numbers(found: Regressed, targets: Values, preparation: Preparation, variance: float) -> list[Measure]:
    """Of the predictions of numbers.

    Args:
        found: The predictions.
        targets: In their own units, `(N,)`.
        preparation: What makes units of predictions.
        variance: That of the noise of a target, in standardised units.
    """
    standard = preparation.targets(targets).double()[:, 0]
    means = (found.off, found.samples.mean(0))
    errors = [in_units(preparation, mean) - targets for mean in means]
    roots = [float(np.sqrt(np.square(error).mean())) for error in errors]
    rows = [Measure("RMSE", roots[0], roots[1], False, "lower")]
    if variance > 0:
        densities = log_densities(found, standard, variance, preparation.target_scale)
        rows.append(_mean("negative log-likelihood, nats", [-each.numpy() for each in densities], False, "lower"))
    intervals = _intervals(found, targets, preparation, variance, LEVELS)
    for level, off, on in zip(LEVELS, *intervals, strict=True):
        shown = f"{100 * level:g} % intervals"
        rows.append(Measure(f"{shown}: coverage", off.coverage, on.coverage, True, f"{100 * level:g} %"))
        rows.append(Measure(f"{shown}: mean width", off.width, on.width, False, "lower"))
    error = [np.square(each) for each in errors]
    area = calibration.aurc(-found.std.numpy(), error[1])
    return [*rows, Measure("AURC of squared errors, by deviation of the passes", math.nan, area, False, "lower")]


def coverages(
    found: Regressed, targets: Values, preparation: Preparation, variance: float, levels: Sequence[float]
) -> tuple[list[float], list[float]]:
    """How often intervals of such levels hold the target: with the noise off, and on."""
    off, on = _intervals(found, targets, preparation, variance, levels)
    return [each.coverage for each in off], [each.coverage for each in on]


def _intervals(
    found: Regressed, targets: Values, preparation: Preparation, variance: float, levels: Sequence[float]
) -> list[list[calibration.IntervalCoverage]]:
    """Those of normals: with the noise off of the given variance, and on with that of the passes besides."""
    means = (found.off, found.samples.mean(0))
    deviations = (torch.full_like(found.off, math.sqrt(variance)), (found.std.square() + variance).sqrt())
    return [
        [_interval(preparation, mean, std, level, targets) for level in levels]
        for mean, std in zip(means, deviations, strict=True)
    ]


def _interval(
    preparation: Preparation, mean: Tensor, std: Tensor, level: float, targets: Values
) -> calibration.IntervalCoverage:
    reach = float(special.ndtri(0.5 + level / 2)) * std
    low, high = (in_units(preparation, each) for each in (mean - reach, mean + reach))
    return calibration.interval_coverage(low, high, targets, level=level)


def in_units(preparation: Preparation, standardised: Tensor) -> Values:
    """Standardised predictions `(N,)` in the target's units."""
    values: Values = preparation.in_units(standardised[:, None]).numpy()
    return values


def _mean(name: str, values: list[Values], percent: bool, better: str) -> Measure:
    """A measure that is a mean over examples, whose difference has an interval: they are the same examples."""
    off, on = (float(np.mean(each)) for each in values)
    with np.errstate(invalid="ignore"):
        paired = np.asarray(values[1], np.float64) - np.asarray(values[0], np.float64)
    return Measure(name, off, on, percent, better, _paired(paired))


def _paired(values: Values) -> tuple[float, float, float] | None:
    if not np.isfinite(values).all() or (values == values[0]).all():
        return None
    mean, error = float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values))
    reach = float(special.stdtrit(len(values) - 1, 0.975)) * error
    return mean, mean - reach, mean + reach


def curves(found: Classified, targets: npt.NDArray[np.int64]) -> Iterator[tuple[str, calibration.RiskCoverage]]:
    """Risk by coverage: with the noise off and on, by the maximal probability."""
    for name, each in (("noise off", found.off), ("mean of the passes", found.on)):
        p = each.numpy()
        yield name, calibration.risk_coverage(p.max(1), p.argmax(1) != targets)
