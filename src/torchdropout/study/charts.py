"""The charts of a report as Plotly figures, without colours of text and ground: the page sets those by its theme."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from torchdropout.study.execution import OK
from torchdropout.study.summary import by_fold

# Blue and orange of similar lightness are told apart by all common kinds of colour vision, on white and on black.
TRAIN, VALIDATION = "59, 130, 196", "217, 115, 13"


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure, and what stands above it and is read aloud for it."""

    title: str
    spoken: str
    figure: go.Figure


def dots(results: pd.DataFrame, metric: str, title: str, axis: str) -> Chart:
    """A metric in percent: one row per condition, a ring per fold, a diamond at their mean."""
    table = by_fold(results, metric)
    percent, labels = 100 * table[metric], table["condition"]
    means = percent.groupby(labels, sort=False).mean()
    rings = {"symbol": "circle-open", "size": 9, "color": f"rgb({TRAIN})", "line": {"width": 1.5}}
    diamond = {"symbol": "diamond", "size": 12, "color": f"rgb({VALIDATION})"}
    figure = go.Figure(
        [
            go.Scatter(x=list(percent), y=list(labels), mode="markers", name="a fold", marker=rings),
            go.Scatter(x=list(means), y=list(means.index), mode="markers", name="mean over folds", marker=diamond),
        ]
    )
    figure.update_traces(hovertemplate="%{y}: %{x:.2f}<extra></extra>")
    figure.update_xaxes(title=axis)
    figure.update_yaxes(autorange="reversed", automargin=True)
    _lay_out(figure, height=130 + 34 * len(means), top=40)
    return Chart(title, f"{title}, one row for each of {len(means)} conditions", figure)


def learning_curves(results: pd.DataFrame, curves: pd.DataFrame, metric: str, axis: str) -> list[Chart]:
    """A metric by epoch, one chart per condition with a common vertical axis, of runs that came to their end.

    The page explains the two lines once for all of them.
    """
    key = ["condition", "repeat", "fold", "seed"]
    finished = curves.merge(results.loc[results["status"] == OK, key], on=key)
    columns = [f"{part}_{metric}" for part in ("train", "val")]
    charts = [_curve(str(label), runs, metric, axis) for label, runs in finished.groupby("condition", sort=False)]
    if charts:
        low, high = finished[columns].min().min(), finished[columns].max().max()
        _share_axis([chart.figure for chart in charts], metric, float(low), float(high))
    return charts


def _curve(label: str, runs: pd.DataFrame, metric: str, axis: str) -> Chart:
    figure = go.Figure()
    for name, column, colour, dash in (
        ("training", f"train_{metric}", TRAIN, "dash"),
        ("validation", f"val_{metric}", VALIDATION, "solid"),
    ):
        by_epoch = runs.groupby("epoch")[column].agg(["mean", "min", "max"])
        figure.add_traces(_band(by_epoch, colour))
        figure.add_trace(_line(by_epoch, name, colour, dash))
    figure.update_xaxes(title="epoch", rangemode="tozero")
    figure.update_yaxes(title=axis, automargin=True)
    _lay_out(figure, height=240, top=10)
    figure.update_layout(showlegend=False)
    return Chart(label, f"{axis} by epoch of {label}, training and validation", figure)


def _band(by_epoch: pd.DataFrame, colour: str) -> list[go.Scatter]:
    """The area from the lowest to the highest run."""
    quiet = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False, "x": list(by_epoch.index)}
    low = go.Scatter(y=list(by_epoch["min"]), **quiet)
    high = go.Scatter(y=list(by_epoch["max"]), fill="tonexty", fillcolor=f"rgba({colour}, 0.2)", **quiet)
    return [low, high]


def _line(by_epoch: pd.DataFrame, name: str, colour: str, dash: str) -> go.Scatter:
    return go.Scatter(
        x=list(by_epoch.index),
        y=list(by_epoch["mean"]),
        name=name,
        mode="lines" if len(by_epoch) > 10 else "lines+markers",
        line={"color": f"rgb({colour})", "dash": dash, "width": 2},
        hovertemplate=f"{name}, epoch %{{x}}: %{{y:.4g}}<extra></extra>",
    )


def _share_axis(figures: list[go.Figure], metric: str, low: float, high: float) -> None:
    """Losses on a logarithmic axis, for they span decades; accuracies on a linear one that ends a little above 1."""
    for figure in figures:
        if metric == "loss":
            bounds = [math.log10(max(low, 1e-6)) - 0.1, math.log10(max(high, 1e-6)) + 0.1]
            figure.update_yaxes(type="log", range=bounds, tickvals=log_ticks(10 ** bounds[0], 10 ** bounds[1]))
        else:
            margin = 0.04 * (high - low) + 1e-3
            figure.update_yaxes(range=[low - margin, high + margin], tickformat=".0%")


def log_ticks(low: float, high: float) -> list[float]:
    """Round values between two positive bounds: powers of ten, and where they are few the values between."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 2, 5), range(1, 10)):
        ticks = [value for decade in decades for step in steps if low <= (value := float(f"{step}e{decade}")) <= high]
        if len(ticks) >= 3:
            return ticks
    return ticks or [low, high]


def _lay_out(figure: go.Figure, height: int, top: int) -> None:
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
