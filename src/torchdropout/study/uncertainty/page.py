"""The page of an assessment: its table, its charts and the wall of examples, in one offline file."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from torchdropout import calibration
from torchdropout.study.reporting import numbers, page
from torchdropout.study.reporting.charts import Chart
from torchdropout.study.reporting.sections import Table
from torchdropout.study.uncertainty import charts, measures, wall
from torchdropout.study.uncertainty.assessment import Assessment, Part
from torchdropout.study.uncertainty.measures import Measure
from torchdropout.study.uncertainty.predictions import Classified, Regressed, entropy
from torchdropout.study.uncertainty.wall import Shown

FILE = "uncertainty.html"
EACH = {1: 8, 2: 8}  # examples at either end, by the axes of their array: texts and rows take more room
MANY = 12
OFF, ON = "noise off", "mean of the passes"

_WIDTHS = {1: "17rem", 2: "14rem", 3: "12rem", 4: "8.5rem", 5: "8.5rem"}  # of an example, by the axes of its array

Values = npt.NDArray[np.float64]


def write(assessment: Assessment, path: Path | None = None) -> Path:
    """Write the page, `uncertainty.html` in the study's folder unless a path is given, and return its path.

    Raises:
        StudyError: The file cannot be written.
    """
    return page.save(path or assessment.folder / FILE, render(assessment))


def render(assessment: Assessment) -> str:
    """The page as text."""
    groups = _classes(assessment) if isinstance(assessment.inside.found, Classified) else _numbers(assessment)
    return page.render(FILE, _content(assessment, groups), [chart.figure for each in groups.values() for chart in each])


def table(assessment: Assessment, *, short: bool = False) -> Table:
    """The measures as rows of text; `short` for the command line."""
    heads = (
        ["", "off", "on", "on − off [95 %]"] if short else ["measure", OFF, ON, "difference [95 % interval]", "better"]
    )
    rows = [[m.name, shown(m.off, m), shown(m.on, m), _difference(m)] for m in assessment.measures]
    better = [m.better for m in assessment.measures]
    return Table(heads, rows if short else [[*row, word] for row, word in zip(rows, better, strict=True)])


def shown(value: float, measure: Measure, *, sign: bool = False) -> str:
    """A figure as readers see it."""
    if math.isinf(value):
        return "∞"
    if math.isnan(value):
        return numbers.MISSING
    if measure.percent:
        return numbers.fixed(100 * value, 2, sign=sign) + ("" if sign else " %")
    digits = 4 if max(abs(measure.off), abs(measure.on)) < 10 else 2
    return numbers.fixed(value, digits, sign=sign)


def _difference(measure: Measure) -> str:
    if measure.difference is None:
        return ""
    mean, low, high = (shown(each, measure, sign=True) for each in measure.difference)
    return f"{mean} [{low}, {high}]"


def _content(assessment: Assessment, groups: dict[str, list[Chart]]) -> dict[str, Any]:
    config = assessment.about["config"]
    return {
        "config": config,
        "method": assessment.method,
        "assessment": assessment,
        "inside": assessment.inside.examples,
        "outside": None if assessment.outside is None else assessment.outside.examples,
        "regression": assessment.is_regression,
        "measures": table(assessment),
        "groups": groups,
        "walls": _walls(assessment),
        "wall_width": _WIDTHS[assessment.inside.examples.raw.ndim],
        "command": _command(assessment),
    }


def _command(assessment: Assessment) -> str:
    words = ["torchdropout", "uncertainty", str(assessment.folder), assessment.inside.examples.name]
    words += ["--ood", assessment.outside.examples.name] if assessment.outside else []
    words += ["--samples", str(assessment.samples), "--seed", str(assessment.seed)]
    return shlex.join(words)


def _targets(assessment: Assessment) -> npt.NDArray[Any]:
    return np.asarray(assessment.inside.examples.targets)


def _classes(assessment: Assessment) -> dict[str, list[Chart]]:
    found, targets = assessment.inside.found, _targets(assessment)
    if not isinstance(found, Classified):
        raise TypeError("uncertainty: classes were not predicted.")
    both = ((OFF, found.off), (ON, found.on))
    return {
        "reliability": [charts.reliability(name, each.exp().numpy(), targets) for name, each in both],
        "risk": [charts.risk(list(measures.curves(found, targets)), "error rate", percent=True)],
        "scores": [
            _histogram(assessment, f"Predictive entropy, {OFF}", lambda c: entropy(c.off).numpy()),
            _histogram(assessment, f"Predictive entropy, {ON}", lambda c: entropy(c.on).numpy()),
            _histogram(assessment, "Mutual information of the passes", lambda c: c.mutual_information.numpy()),
        ],
    }


def _histogram(assessment: Assessment, title: str, score: Callable[[Any], Values]) -> Chart:
    values = score(assessment.inside.found)
    if assessment.outside is not None:
        groups = [("in distribution", values), ("out of distribution", score(assessment.outside.found))]
        return charts.histogram(title, "nats", groups)
    wrong = _wrong(assessment.inside)
    each = [("right", values[~wrong]), ("wrong", values[wrong])]
    return charts.histogram(title, "nats", [group for group in each if len(group[1])])


def _numbers(assessment: Assessment) -> dict[str, list[Chart]]:
    found, targets, preparation = assessment.inside.found, _targets(assessment), assessment.network.preparation
    if not isinstance(found, Regressed):
        raise TypeError("uncertainty: numbers were not predicted.")
    levels = [n / 20 for n in range(1, 20)]
    variance = float(assessment.about["variance"])
    shares = measures.coverages(found, targets, preparation, variance, levels)
    error = np.square(measures.in_units(preparation, found.samples.mean(0)) - targets)
    curve = calibration.risk_coverage(-found.std.numpy(), error)
    groups = [("in distribution", _std(assessment, assessment.inside))]
    if assessment.outside is not None:
        groups.append(("out of distribution", _std(assessment, assessment.outside)))
    return {
        "reliability": [charts.intervals(levels, [(OFF, shares[0]), (ON, shares[1])])],
        "risk": [charts.risk([("by the deviation of the passes", curve)], "mean squared error", percent=False)],
        "scores": [charts.histogram("Standard deviation of the passes", "standardised units", groups)],
    }


def _std(assessment: Assessment, part: Part) -> Values:
    if not isinstance(part.found, Regressed):
        raise TypeError(f"uncertainty: numbers were not predicted of {assessment.folder}.")
    values: Values = part.found.std.numpy()
    return values


def _wrong(part: Part) -> npt.NDArray[np.bool_]:
    if not isinstance(part.found, Classified) or part.examples.targets is None:
        raise TypeError("uncertainty: classes were not predicted, or have no targets.")
    wrong: npt.NDArray[np.bool_] = part.found.on.argmax(1).numpy() != part.examples.targets
    return wrong


def _walls(assessment: Assessment) -> list[tuple[str, list[Shown]]]:
    """The examples at either end; of foreign ones those that the model is most certain of."""
    inside, score = assessment.inside, "deviation" if assessment.is_regression else "entropy"
    most = EACH.get(inside.examples.raw.ndim, MANY)
    order = np.argsort(_uncertainty(inside), kind="stable")
    count = min(most, len(order) // 2)
    walls = [
        (f"Most certain: the lowest {score} of the passes", _shown(assessment, inside, order[:count])),
        (f"Least certain: the highest {score} of the passes", _shown(assessment, inside, order[::-1][:count])),
    ]
    if assessment.outside is not None:
        foreign = np.argsort(_uncertainty(assessment.outside), kind="stable")[:most]
        walls.append(("Out of distribution, and yet most certain", _shown(assessment, assessment.outside, foreign)))
    return walls


def _uncertainty(part: Part) -> Values:
    values: Values = (entropy(part.found.on) if isinstance(part.found, Classified) else part.found.std).numpy()
    return values


def _shown(assessment: Assessment, part: Part, rows: npt.NDArray[np.intp]) -> list[Shown]:
    raw, span = part.examples.raw, wall.span(part.examples.raw)
    said = _of_class if isinstance(part.found, Classified) else _of_number
    return [wall.shown(raw, int(row), *said(assessment, part, int(row)), span) for row in rows]


def _of_class(assessment: Assessment, part: Part, row: int) -> tuple[tuple[str, ...], bool | None]:
    if not isinstance(part.found, Classified):
        raise TypeError("uncertainty: classes were not predicted.")
    p, classes = part.found.on[row].exp(), assessment.classes
    best = int(p.argmax())
    told = f"{classes[best]}, {100 * float(p[best]):.1f} %"
    if part.examples.targets is None:
        return (told,), None
    true = int(part.examples.targets[row])
    return ((told,) if true == best else (told, f"in truth {classes[true]}")), true != best


def _of_number(assessment: Assessment, part: Part, row: int) -> tuple[tuple[str, ...], bool | None]:
    if not isinstance(part.found, Regressed):
        raise TypeError("uncertainty: numbers were not predicted.")
    samples = measures.in_units(assessment.network.preparation, part.found.samples[:, row])
    spread = float(samples.std())
    digits = numbers.decimals(spread)
    told = f"{numbers.fixed(float(samples.mean()), digits)} ± {numbers.fixed(spread, digits)}"
    if part.examples.targets is None:
        return (told,), None
    return (told, f"in truth {float(part.examples.targets[row]):,.6g}"), None
