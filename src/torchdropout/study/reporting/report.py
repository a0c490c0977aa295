"""One HTML page about a stored study, which needs nothing besides itself: Plotly's code is inside, once."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from torchdropout.study.reporting import charts, curves, page, protocol_text, sections, words
from torchdropout.study.reporting.charts import Chart
from torchdropout.study.reporting.numbers import fixed
from torchdropout.study.reporting.summary import Summary, column, summarise
from torchdropout.study.reporting.words import Words
from torchdropout.study.statistics import Comparison, compare_conditions
from torchdropout.study.status import OK

if TYPE_CHECKING:
    from torchdropout.study.tables import Stored

FILE = "report.html"


def write(stored: Stored) -> Path:
    """Write `report.html` into the study's folder, and return its path.

    Raises:
        StudyError: The file cannot be written.
    """
    return page.save(stored.folder / FILE, render(stored))


def render(stored: Stored) -> str:
    """The page as text."""
    content = _content(stored)
    return page.render(FILE, content, [chart.figure for group in content["groups"].values() for chart in group])


def _content(stored: Stored) -> dict[str, Any]:
    results, study, said = stored.results, stored.study, words.of(stored.study)
    rows = summarise(results, metric=said.metric, judge=said.judge)
    comparisons = compare_conditions(results, metric=said.metric, judge=said.judge)
    groups = _groups(stored, rows, comparisons, said) if (results["status"] == OK).any() else {}
    return {
        "study": study,
        "config": study["config"],
        "words": said,
        "verdicts": sections.verdicts(comparisons, said),
        "conclusion": sections.conclusion(comparisons, said),
        "compared": sections.has_plain(stored),
        "figures_table": sections.figures(rows, stored, said),
        "test_table": sections.test_figures(rows, stored, said),
        "sampled": sections.sampled(stored, said) if study["config"].get("mc") and groups else None,
        "strengths": sections.strengths(stored),
        "falling": sections.unfinished_learning(stored),
        "bins": sections.bins(stored.calibration, [row.condition for row in rows]) if len(stored.calibration) else None,
        "samples": _samples(stored) if groups else {},
        "failures": results[results["status"] != OK].to_dict("records"),
        "runs": len(results),
        "missing": sections.missing_runs(stored),
        "started": f"{datetime.fromisoformat(study['started']):%Y-%m-%d %H:%M %Z}",
        "protocol": protocol_text.paragraphs(study),
        "about": sections.about(study),
        "groups": groups,
        "many": len(rows) >= curves.MANY,
    }


def _groups(stored: Stored, rows: list[Summary], comparisons: list[Comparison], said: Words) -> dict[str, list[Chart]]:
    """The charts in the order of the page."""
    results, finished = stored.results, curves.finished_runs(stored.results, stored.curves)
    tested = any(math.isfinite(c.difference) for c in comparisons)
    errors = {row.condition: row.metrics["ece"].mean for row in rows}
    score = said.score if said.percent else f"{said.score}, {said.measured_in}"
    return {
        "forest": [charts.forest(comparisons, said)] if tested else [],
        "loss": curves.charts(
            finished, "loss", "cross-entropy" if said.percent else "standardised squared error", percent=False
        ),
        "score": curves.charts(finished, "score", score, percent=said.percent),
        "gap": [_dots(results, "gap", "Gap", said.differs_in, said, said.scale)],
        "reliability": charts.reliability(stored.calibration, errors, list(errors)) if len(stored.calibration) else [],
        "nll": [_dots(results, "nll", f"{said.part.capitalize()} NLL", "nats", said)],
        "time": [_dots(results, "seconds_per_epoch", "Time per epoch", "seconds", said)],
    }


def _dots(results: pd.DataFrame, name: str, title: str, axis: str, said: Words, scale: float = 1.0) -> Chart:
    return charts.dots(results, column(name, said.metric, said.judge), title, axis, said, scale=scale)


def _samples(stored: Stored) -> dict[str, sections.Table]:
    """The learning curves as tables."""
    finished, said = curves.finished_runs(stored.results, stored.curves), words.of(stored.study)
    tables = {}
    for metric, scale, digits in (("loss", 1.0, 4), ("score", said.scale, 2 if said.percent else 4)):
        epochs, rows = curves.sampled(finished, metric)
        cells = [
            [f"{label}, {part}", *(fixed(scale * value, digits) for value in values)] for label, part, values in rows
        ]
        tables[metric] = sections.Table(["condition", *(f"epoch {epoch}" for epoch in epochs)], cells)
    return tables
