"""From runs to one row per condition: seeds are averaged within a fold, then mean and spread are over folds.

Where a test split judges there are no folds, and mean and spread are over seeds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from torchdropout.study.reporting import numbers
from torchdropout.study.statistics import UNITS, Judge, Metric
from torchdropout.study.status import OK

COLUMNS = {
    "train": "train_{metric}",
    "judged": "{judge}_{metric}",
    "gap": "gap",
    "train_loss": "train_loss",
    "judged_loss": "{judge}_loss",
    "nll": "{judge}_nll",
    "ece": "{judge}_ece",
    "seconds_per_epoch": "seconds_per_epoch",
    "epochs": "epochs",
    "test": "test_{metric}",
}


@dataclass(frozen=True, slots=True)
class Figure:
    """A mean and a standard deviation over folds, NaN where there are too few."""

    mean: float
    spread: float

    def percent(self, digits: int = 2, *, spread: bool = True) -> str:
        """Both, or the mean alone, in percent; a dash where there is none."""
        return _pair(100 * self.mean, 100 * self.spread if spread else math.nan, digits)

    def plain(self, digits: int | None = 3, *, spread: bool = True) -> str:
        """Both, or the mean alone, as they are; with `digits` None, as many as the spread is worth."""
        digits = numbers.decimals(self.spread) if digits is None else digits
        return _pair(self.mean, self.spread if spread else math.nan, digits)


@dataclass(frozen=True, slots=True)
class Summary:
    """What the runs of one condition came to.

    Attributes:
        condition: Its label.
        finished: The number of runs that came to their end; only these count.
        runs: The number of runs.
        metrics: The figures by name: `train` and `judged` are the study's metric on those parts, `gap` by how much
            the first is better, `judged_loss`, `nll` and `ece` are of the part that judges, `test` is the metric on
            a given test split; the others are what they are called.
    """

    condition: str
    finished: int
    runs: int
    metrics: dict[str, Figure]


def summarise(results: pd.DataFrame, *, metric: Metric, judge: Judge) -> list[Summary]:
    """One row per condition, in the order of the runs."""
    return list(_summaries(results, metric, judge))


def by_unit(results: pd.DataFrame, column: str, judge: Judge) -> pd.DataFrame:
    """The mean over seeds of a column by condition, repeat and fold (or by seed), of runs that came to their end."""
    finished = results[results["status"] == OK]
    return finished.groupby(["condition", *UNITS[judge]], sort=False)[column].mean().reset_index()


def column(name: str, metric: Metric, judge: Judge) -> str:
    """The column of results behind a figure."""
    return COLUMNS[name].format(metric=metric, judge=judge)


def _summaries(results: pd.DataFrame, metric: Metric, judge: Judge) -> Iterator[Summary]:
    columns = {name: column(name, metric, judge) for name in COLUMNS}
    tables = {name: by_unit(results, column, judge) for name, column in columns.items()}
    for condition, runs in results.groupby("condition", sort=False):
        values = {name: each.loc[each["condition"] == condition, columns[name]] for name, each in tables.items()}
        figures = {name: _figure(each) for name, each in values.items()}
        yield Summary(str(condition), int((runs["status"] == OK).sum()), len(runs), figures)


def _figure(values: pd.Series) -> Figure:
    return Figure(float(values.mean()), float(values.std(ddof=1)))


def _pair(mean: float, spread: float, digits: int) -> str:
    known = numbers.fixed(mean, digits)
    return known if known == numbers.MISSING or math.isnan(spread) else f"{known} ± {numbers.fixed(spread, digits)}"
