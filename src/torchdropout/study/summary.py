"""From runs to one row per condition: seeds are averaged within a fold, then mean and spread are over folds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from torchdropout.study.execution import OK

METRICS = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "gap", "seconds_per_epoch")


@dataclass(frozen=True, slots=True)
class Figure:
    """A mean and a standard deviation over folds, NaN where there are too few."""

    mean: float
    spread: float

    def percent(self, digits: int = 2, *, spread: bool = True) -> str:
        """Both, or the mean alone, in percent; a dash where there is none."""
        return _pair(100 * self.mean, 100 * self.spread if spread else math.nan, digits)

    def plain(self, digits: int = 3, *, spread: bool = True) -> str:
        """Both, or the mean alone, as they are; a dash where there is none."""
        return _pair(self.mean, self.spread if spread else math.nan, digits)


@dataclass(frozen=True, slots=True)
class Summary:
    """What the runs of one condition came to.

    Attributes:
        condition: Its label.
        finished: The number of runs that came to their end; only these count.
        runs: The number of runs.
        metrics: The figures by name.
    """

    condition: str
    finished: int
    runs: int
    metrics: dict[str, Figure]


def summarise(results: pd.DataFrame) -> list[Summary]:
    """One row per condition, in the order of the runs."""
    return list(_summaries(results))


def by_fold(results: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The mean over seeds of a metric, one row per condition, repeat and fold, of runs that came to their end."""
    finished = results[results["status"] == OK]
    return finished.groupby(["condition", "repeat", "fold"], sort=False)[metric].mean().reset_index()


def _summaries(results: pd.DataFrame) -> Iterator[Summary]:
    folds = {metric: by_fold(results, metric) for metric in METRICS}
    for condition, runs in results.groupby("condition", sort=False):
        metrics = {name: _figure(table.loc[table["condition"] == condition, name]) for name, table in folds.items()}
        yield Summary(str(condition), int((runs["status"] == OK).sum()), len(runs), metrics)


def _figure(values: pd.Series) -> Figure:
    return Figure(float(values.mean()), float(values.std(ddof=1)))


def _pair(mean: float, spread: float, digits: int) -> str:
    if math.isnan(mean):
        return "–"
    return f"{mean:.{digits}f}" if math.isnan(spread) else f"{mean:.{digits}f} ± {spread:.{digits}f}"
