"""The charts of a report as Plotly figures, without colours of text and ground: the page sets those by its theme."""

from __future__ import annotations

import html
import math
import textwrap
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from torchdropout.study.reporting import numbers
from torchdropout.study.reporting.summary import by_unit
from torchdropout.study.reporting.words import Words
from torchdropout.study.statistics import Comparison

# Blue and orange of similar lightness are told apart by all common kinds of colour vision, on white and on black.
BLUE, ORANGE, GREY = "59, 130, 196", "217, 115, 13", "128, 134, 142"
TRAIN, JUDGED = BLUE, ORANGE
MARKS = {"helps": ("triangle-up", BLUE), "hurts": ("triangle-down", ORANGE), "no evidence": ("circle-open", GREY)}


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure, and what stands above it and is read aloud for it."""

    title: str
    spoken: str
    figure: go.Figure


def shown(label: str, width: int = 18) -> str:
    """A label as Plotly's text: its letters mean themselves, and a long one takes several lines."""
    lines = textwrap.wrap(label, width) or [label]
    return "<br>".join(html.escape(line) for line in lines)


def forest(comparisons: list[Comparison], words: Words) -> Chart:
    """The differences from the plain network with their intervals, a line at none."""
    figure, said = go.Figure(), []
    for verdict, (symbol, colour) in MARKS.items():
        each = [c for c in comparisons if c.verdict == verdict and math.isfinite(c.difference)]
        if each:
            figure.add_trace(_intervals(each, each[0].wording, symbol, colour, words))
    for c in comparisons:
        interval = words.interval((c.difference, c.difference_low, c.difference_high), sign=True)
        said += [f"{c.condition}: {interval} {words.differs_in}, {c.wording}"] if c.verdict else []
    compared = [shown(c.condition) for c in comparisons if c.verdict]
    figure.add_vline(x=0, line={"color": f"rgb({GREY})", "width": 1.5})
    figure.update_xaxes(title=shown(f"{words.differs_in}, {words.better}", 40))
    _categories(figure, compared)
    title = f"Difference from none in {words.part} {words.score}, with 95 % intervals"
    return Chart(title, f"{title}. {'; '.join(said)}.", figure)


def _intervals(each: list[Comparison], name: str, symbol: str, colour: str, words: Words) -> go.Scatter:
    x = [words.scale * c.difference for c in each]
    reach = [words.scale * (c.difference_high - c.difference) for c in each]
    return go.Scatter(
        x=x,
        y=[shown(c.condition) for c in each],
        error_x={"type": "data", "array": [0 if math.isnan(r) else r for r in reach], "thickness": 2, "width": 6},
        mode="markers",
        name=name,
        marker={
            "symbol": symbol,
            "size": 13,
            "color": f"rgb({colour})",
            "line": {"width": 2, "color": f"rgb({colour})"},
        },
        hovertemplate="%{y}: %{x:.4g}<extra></extra>",
    )


def dots(results: pd.DataFrame, column: str, title: str, axis: str, words: Words, *, scale: float = 1.0) -> Chart:
    """A column of results: one row per condition, a ring per fold, a diamond at their mean."""
    table = by_unit(results, column, words.judge).dropna(subset=[column])
    values, labels = scale * table[column], table["condition"].map(shown)
    means = values.groupby(labels, sort=False).mean()
    rings = {"symbol": "circle-open", "size": 9, "color": f"rgb({BLUE})", "line": {"width": 1.5}}
    diamond = {"symbol": "diamond", "size": 12, "color": f"rgb({ORANGE})"}
    figure = go.Figure(
        [
            go.Scatter(x=list(values), y=list(labels), mode="markers", name=f"a {words.unit}", marker=rings),
            go.Scatter(x=list(means), y=list(means.index), mode="markers", name="mean", marker=diamond),
        ]
    )
    figure.update_traces(hovertemplate="%{y}: %{x:.4g}<extra></extra>")
    figure.update_xaxes(title=shown(axis, 40))
    _categories(figure, list(dict.fromkeys(results["condition"].map(shown))))
    said = values.groupby(table["condition"], sort=False).mean()
    spoken = "; ".join(f"{label}: {value:.4g}" for label, value in said.items())
    return Chart(title, f"{title}, {axis}, means. {spoken}.", figure)


def reliability(calibration: pd.DataFrame, errors: dict[str, float], labels: list[str]) -> list[Chart]:
    """How often predictions of a confidence are right, one chart per condition."""
    tables = pooled(calibration)
    return [_reliability(label, tables[label], errors[label]) for label in labels if label in tables]


def pooled(calibration: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The bins of each condition over all of its runs: count, mean confidence, accuracy."""
    weighted = calibration.assign(
        confidence=calibration["confidence"] * calibration["count"],
        accuracy=calibration["accuracy"] * calibration["count"],
    )
    tables = {}
    for label, bins in weighted[weighted["count"] > 0].groupby("condition", sort=False):
        sums = bins.groupby("bin")[["count", "confidence", "accuracy"]].sum()
        means = sums[["confidence", "accuracy"]].div(sums["count"], axis=0)
        tables[str(label)] = sums[["count"]].join(means).reset_index()
    return tables


def _reliability(label: str, bins: pd.DataFrame, error: float) -> Chart:
    share = bins["count"] / bins["count"].sum()
    sizes = [6 + 16 * math.sqrt(each) for each in share]
    text = [f"{numbers.fixed(100 * each, 1)} % of predictions" for each in share]
    bin_marks = go.Scatter(
        x=list(bins["confidence"]),
        y=list(bins["accuracy"]),
        mode="markers",
        cliponaxis=False,
        marker={"size": sizes, "color": f"rgb({ORANGE})", "line": {"width": 0}},
        text=text,
        hovertemplate="confidence %{x:.1%}, right %{y:.1%}, %{text}<extra></extra>",
    )
    ideal = {"color": f"rgb({GREY})", "dash": "dot", "width": 1.5}
    figure = go.Figure([go.Scatter(x=[0, 1], y=[0, 1], mode="lines", line=ideal, hoverinfo="skip"), bin_marks])
    figure.update_xaxes(title="confidence", range=[-0.02, 1.04], tickformat=".0%")
    figure.update_yaxes(title="right", range=[-0.02, 1.04], tickformat=".0%", automargin=True)
    lay_out(figure, height=250, top=10)
    figure.update_layout(showlegend=False)
    known = f"ECE {numbers.fixed(100 * error, 2)} points"
    return Chart(f"{label}: {known}", f"Reliability of {label}, {known}; the numbers are in the table below", figure)


def _categories(figure: go.Figure, labels: list[str]) -> None:
    """One row per label from the top, every one of them named."""
    lines = sum(1 + 0.6 * label.count("<br>") for label in labels)
    figure.update_yaxes(
        type="category",
        categoryorder="array",
        categoryarray=labels,
        range=[len(labels) - 0.5, -0.5],
        tickmode="array",
        tickvals=labels,
        automargin=True,
    )
    lay_out(figure, height=round(120 + 34 * lines), top=40)
    figure.update_layout(showlegend=True)


def lay_out(figure: go.Figure, height: int, top: int) -> None:
    """What all charts have in common."""
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 10, "r": 10, "t": top, "b": 10},
        legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"},
        paper_bgcolor="rgba(0, 0, 0, 0)",
        plot_bgcolor="rgba(0, 0, 0, 0)",
        hovermode="closest",
    )
    figure.update_xaxes(automargin=True, zeroline=False)
    figure.update_yaxes(zeroline=False)
