"""Learning curves: one small chart per condition, all with the same axes, so that many can be compared."""

from __future__ import annotations

import math

import pandas as pd
import plotly.graph_objects as go

from torchdropout.study.reporting.charts import JUDGED, TRAIN, Chart, lay_out, shown
from torchdropout.study.status import OK

MANY = 10  # conditions from which on charts are smaller
_KEY = ["condition", "repeat", "fold", "seed"]


def charts(finished: pd.DataFrame, metric: str, axis: str, *, percent: bool) -> list[Chart]:
    """A metric by epoch, one chart per condition with a common vertical axis.

    The page explains the two lines once for all of them.
    """
    count = finished["condition"].nunique()
    made = [
        _chart(str(label), runs, metric, axis, 240 if count < MANY else 190)
        for label, runs in finished.groupby("condition", sort=False)
    ]
    columns = finished[[f"{part}_{metric}" for part in ("train", "val")]]
    for chart in made:
        _scale(chart.figure, float(columns.min().min()), float(columns.max().max()), percent=percent)
    return made


def finished_runs(results: pd.DataFrame, curves: pd.DataFrame) -> pd.DataFrame:
    """The epochs of runs that came to their end, conditions in the order of the results."""
    finished = curves.merge(results.loc[results["status"] == OK, _KEY], on=_KEY)
    places = {label: place for place, label in enumerate(dict.fromkeys(results["condition"]))}
    return finished.sort_values("condition", key=lambda labels: labels.map(places), kind="stable")


def sampled(
    finished: pd.DataFrame, metric: str, count: int = 6
) -> tuple[list[int], list[tuple[str, str, list[float]]]]:
    """Some epochs, and by condition and part the mean at each: the curves as a table."""
    last = int(finished["epoch"].max())
    epochs = sorted({max(1, round(last * step / (count - 1))) for step in range(count)} | {1})
    rows = []
    for label, runs in finished.groupby("condition", sort=False):
        for part, name in (("train", "training"), ("val", "validation")):
            means = runs.groupby("epoch")[f"{part}_{metric}"].mean().reindex(epochs)
            if means.notna().any():
                rows.append((str(label), name, [float(value) for value in means]))
    return epochs, rows


def _chart(label: str, runs: pd.DataFrame, metric: str, axis: str, height: int) -> Chart:
    figure, said = go.Figure(), []
    for name, column, colour, dash in (
        ("training", f"train_{metric}", TRAIN, "dash"),
        ("validation", f"val_{metric}", JUDGED, "solid"),
    ):
        by_epoch = runs.groupby("epoch")[column].agg(["mean", "min", "max"]).dropna()
        if len(by_epoch):
            figure.add_traces(_band(by_epoch, colour))
            figure.add_trace(_line(by_epoch, name, colour, dash))
            said.append(f"{name} {by_epoch['mean'].iloc[0]:.3g} at first, {by_epoch['mean'].iloc[-1]:.3g} at last")
    figure.update_xaxes(title="epoch", rangemode="tozero")
    figure.update_yaxes(title=shown(axis, 26), automargin=True)
    lay_out(figure, height=height, top=10)
    figure.update_layout(showlegend=False)
    return Chart(label, f"{axis} by epoch of {label}: {', '.join(said)}", figure)


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


def _scale(figure: go.Figure, low: float, high: float, *, percent: bool) -> None:
    """Losses and errors on a logarithmic axis, for they span decades; accuracies on a linear one."""
    if percent:
        margin = 0.04 * (high - low) + 1e-3
        figure.update_yaxes(range=[low - margin, high + margin], tickformat=".0%")
    else:
        low = max(low, 1e-6)
        margin = 0.04 * math.log10(max(high, low) / low) + 0.01
        bounds = [math.log10(low) - margin, math.log10(max(high, low)) + margin]
        figure.update_yaxes(type="log", range=bounds, tickvals=log_ticks(10 ** bounds[0], 10 ** bounds[1]))


def log_ticks(low: float, high: float) -> list[float]:
    """Round values between two positive bounds: powers of ten, and where they are few the values between."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 2, 5), range(1, 10)):
        ticks = [value for decade in decades for step in steps if low <= (value := float(f"{step}e{decade}")) <= high]
        if len(ticks) >= 3:
            return ticks
    return ticks or [low, high]
