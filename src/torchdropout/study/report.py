"""One HTML page about a stored comparison, which needs nothing besides itself: Plotly's code is inside, once."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from torchdropout.study import charts, protocol_text, store
from torchdropout.study.execution import OK
from torchdropout.study.summary import summarise


def write(folder: Path) -> Path:
    """Write `report.html` from what is stored in `folder`, and return its path.

    Raises:
        StudyError: The folder holds no comparison, or a broken one.
    """
    path = folder / store.REPORT
    path.write_text(render(store.read(folder)), encoding="utf-8")
    return path


def render(stored: store.Stored) -> str:
    """The page as text."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("torchdropout.study"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(_content(stored))


def _content(stored: store.Stored) -> dict[str, Any]:
    results, groups = stored.results, _chart_groups(stored)
    return {
        "study": stored.study,
        "config": stored.study["config"],
        "rows": summarise(results),
        "failures": results[results["status"] != OK].to_dict("records"),
        "runs": len(results),
        "started": f"{datetime.fromisoformat(stored.study['started']):%Y-%m-%d %H:%M %Z}",
        "protocol": protocol_text.paragraphs(stored.study),
        "groups": groups,
        "figures": _embedded([chart.figure for charts_ in groups.values() for chart in charts_]),
        "plotly": Markup(get_plotlyjs()),
    }


def _chart_groups(stored: store.Stored) -> dict[str, list[charts.Chart]]:
    results, curves = stored.results, stored.curves
    if not (results["status"] == OK).any():
        return {"dots": [], "loss": [], "accuracy": []}
    return {
        "dots": [
            charts.dots(results, "val_accuracy", "Validation accuracy", "validation accuracy, %"),
            charts.dots(results, "gap", "Gap", "training − validation, points"),
        ],
        "loss": charts.learning_curves(results, curves, "loss", "cross-entropy"),
        "accuracy": charts.learning_curves(results, curves, "accuracy", "accuracy"),
    }


def _embedded(figures: list[Any]) -> Markup:
    """Figures as JSON that no text inside them can end: the page's script reads it from a data block."""
    text = json.dumps([json.loads(figure.to_json()) for figure in figures], ensure_ascii=True)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
