"""The charts of an assessment: reliability, risk by coverage, and how uncertain examples are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go

from torchdropout import calibration
from torchdropout.study.reporting import numbers
from torchdropout.study.reporting.charts import BLUE, GREY, ORANGE, Chart, lay_out

Values = npt.NDArray[np.float64]

POINTS = 200  # of a risk-coverage curve
BARS = 30
LOOKS = ((BLUE, "dash"), (ORANGE, "solid"))  # the noise off, and on


def reliability(name: str, probabilities: Values, targets: npt.NDArray[np.int64]) -> Chart:
    """How often predictions of a confidence are right, with 95 % intervals."""
    bins = calibration.reliability(probabilities, targets)
    error = calibration.expected_calibration_error(probabilities, targets)
    total = len(targets)
    marks = go.Scatter(
        x=[b.confidence for b in bins],
        y=[b.accuracy for b in bins],
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [b.accuracy_high - b.accuracy for b in bins],
            "arrayminus": [b.accuracy - b.accuracy_low for b in bins],
            "thickness": 1.5,
            "width": 4,
        },
        mode="markers",
        cliponaxis=False,
        marker={
            "size": [6 + 14 * (b.count / total) ** 0.5 for b in bins],
            "color": f"rgb({ORANGE})",
            "opacity": 1,
            "line": {"width": 0},
        },
        text=[f"{numbers.fixed(100 * b.count / total, 1)} % of predictions" for b in bins],
        hovertemplate="confidence %{x:.1%}, right %{y:.1%}, %{text}<extra></extra>",
    )
    figure = _square(marks, "confidence", "right")
    title = f"{name}: ECE {numbers.fixed(100 * error, 2)} points"
    said = "; ".join(f"{100 * b.confidence:.0f} %: {100 * b.accuracy:.0f} % of {b.count}" for b in bins)
    return Chart(title, f"Reliability, {title}. Confidence and how many are right: {said}.", figure)


def intervals(levels: Sequence[float], found: Sequence[tuple[str, Sequence[float]]]) -> Chart:
    """How often central intervals hold the target, by how often they should."""
    figure, said = go.Figure(), []
    for (name, shares), (colour, dash) in zip(found, LOOKS, strict=False):
        figure.add_trace(_line(list(levels), list(shares), name, colour, dash, "level %{x:.0%}: %{y:.1%} hold"))
        said.append(
            f"{name}: {', '.join(f'{100 * a:.0f} % hold {100 * b:.0f} %' for a, b in zip(levels, shares, strict=True))}"
        )
    figure.add_trace(_diagonal())
    _percent_axes(figure, "level of the interval", "targets inside")
    lay_out(figure, height=320, top=40)
    figure.update_layout(showlegend=True)
    return Chart("Coverage of central intervals", f"Coverage of central intervals. {'; '.join(said)}.", figure)


def risk(curves: Sequence[tuple[str, calibration.RiskCoverage]], axis: str, *, percent: bool) -> Chart:
    """The mean loss of the most certain examples, by the part that is answered."""
    figure, said = go.Figure(), []
    looks = LOOKS if len(curves) > 1 else LOOKS[1:]
    for (name, curve), (colour, dash) in zip(curves, looks, strict=True):
        count = len(curve.risk)
        at = np.unique(np.linspace(min(count - 1, count // 100), count - 1, POINTS).astype(int))
        x, y = curve.coverage[at], curve.risk[at]
        figure.add_trace(_line(x.tolist(), y.tolist(), name, colour, dash, "%{x:.0%} answered: %{y:.4g}"))
        half = float(curve.risk[(count - 1) // 2])
        said.append(f"{name}: {half:.3g} at half of them, {curve.risk[-1]:.3g} at all, area {curve.aurc:.3g}")
    figure.update_xaxes(title="part that is answered, the most certain first", tickformat=".0%", range=[0, 1.02])
    figure.update_yaxes(title=axis, rangemode="tozero", automargin=True, **({"tickformat": ".1%"} if percent else {}))
    lay_out(figure, height=320, top=40)
    figure.update_layout(showlegend=True)
    return Chart(f"Risk by coverage: {axis}", f"Risk by coverage, {axis}. {'; '.join(said)}.", figure)


def histogram(title: str, axis: str, groups: Sequence[tuple[str, Values]]) -> Chart:
    """The shares of two groups by a score, as steps: one filled, one an outline."""
    top = max(float(values.max()) for _, values in groups) or 1.0
    edges = np.linspace(0, top, BARS + 1)
    figure, said = go.Figure(), []
    for (name, values), (colour, filled) in zip(groups, ((BLUE, True), (ORANGE, False)), strict=False):
        shares = np.histogram(values, edges)[0] / len(values)
        figure.add_trace(
            go.Scatter(
                x=edges.tolist(),
                y=[*shares.tolist(), float(shares[-1])],
                name=f"{name} ({len(values):,})",
                mode="lines",
                line={"color": f"rgb({colour})", "width": 2, "shape": "hv"},
                fill="tozeroy" if filled else "none",
                fillcolor=f"rgba({colour}, 0.25)",
                hovertemplate=f"{name}, from %{{x:.3g}}: %{{y:.1%}}<extra></extra>",
            )
        )
        said.append(f"{name}: median {np.median(values):.3g}, nine tenths below {np.quantile(values, 0.9):.3g}")
    figure.update_xaxes(title=axis, rangemode="tozero")
    figure.update_yaxes(title="part of examples", tickformat=".0%", rangemode="tozero", automargin=True)
    lay_out(figure, height=280, top=40)
    figure.update_layout(showlegend=True)
    return Chart(title, f"{title}. {'; '.join(said)}.", figure)


def _square(marks: go.Scatter, x: str, y: str) -> go.Figure:
    figure = go.Figure([_diagonal(), marks])
    _percent_axes(figure, x, y)
    lay_out(figure, height=300, top=10)
    figure.update_layout(showlegend=False)
    return figure


def _percent_axes(figure: go.Figure, x: str, y: str) -> None:
    figure.update_xaxes(title=x, range=[-0.02, 1.04], tickformat=".0%")
    figure.update_yaxes(title=y, range=[-0.02, 1.04], tickformat=".0%", automargin=True)


def _diagonal() -> go.Scatter:
    line = {"color": f"rgb({GREY})", "dash": "dot", "width": 1.5}
    return go.Scatter(x=[0, 1], y=[0, 1], mode="lines", line=line, hoverinfo="skip", showlegend=False)


def _line(x: list[float], y: list[float], name: str, colour: str, dash: str, hover: str) -> go.Scatter:
    look = {"color": f"rgb({colour})", "dash": dash, "width": 2}
    return go.Scatter(x=x, y=y, name=name, mode="lines", line=look, hovertemplate=f"{name}, {hover}<extra></extra>")
