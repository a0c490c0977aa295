"""What the command line shows: progress while runs train, then the table."""

from __future__ import annotations

import math
from pathlib import Path
from types import TracebackType

import pandas as pd
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from torchdropout.study.comparison import Watcher
from torchdropout.study.execution import Outcome
from torchdropout.study.metrics import Metrics
from torchdropout.study.protocol import Run
from torchdropout.study.reporting import sections, words
from torchdropout.study.reporting.sections import unfinished_learning
from torchdropout.study.statistics import Comparison, compare_conditions
from torchdropout.study.status import OK
from torchdropout.study.tables import Stored
from torchdropout.study.uncertainty import page as uncertainty_page
from torchdropout.study.uncertainty.assessment import Assessment


class RunsDisplay:
    """Progress on the error stream: a bar on a terminal, a line per run elsewhere."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        bar = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
        best = TextColumn("{task.fields[running]} running{task.fields[best]}")
        self.progress = Progress(
            TextColumn("runs"), *bar, best, console=self.console, disable=not self.console.is_terminal
        )
        self.task = self.progress.add_task("runs", total=None, running=0, best="")
        self.folder: Path | None = None
        self.watcher = Watcher(self._start, self._begin, self._over)
        self._done = self._total = self._running = 0
        self._scores: dict[str, list[float]] = {}
        self._higher = True

    def __enter__(self) -> RunsDisplay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def _start(self, folder: Path, runs: list[Run], done: int) -> None:
        self.folder, self._total, self._done = folder, len(runs), done
        if done:
            self.console.print(f"{folder}: {done} of {len(runs)} runs were done before", markup=False, soft_wrap=True)
        self.progress.update(self.task, total=self._total, completed=done)
        self.progress.start()

    def _begin(self, run: Run) -> None:
        self._running += 1
        self.progress.update(self.task, running=self._running)

    def _over(self, outcome: Outcome) -> None:
        self._done, self._running = self._done + 1, self._running - 1
        if outcome.status == OK:
            self._scores.setdefault(outcome.run.condition.label, []).append(self._score(outcome))
        self.progress.update(self.task, completed=self._done, running=self._running, best=self._best())
        if outcome.status != OK or not self.console.is_terminal:
            self.console.print(f"{self._done}/{self._total} {_line(outcome)}", markup=False, soft_wrap=True)

    def _score(self, outcome: Outcome) -> float:
        judged = _judged(outcome)
        self._higher = judged.accuracy is not None
        return float(judged.rmse if judged.accuracy is None else judged.accuracy)  # type: ignore[arg-type]

    def _best(self) -> str:
        means = {label: sum(scores) / len(scores) for label, scores in self._scores.items()}
        if not means:
            return ""
        label = (max if self._higher else min)(means, key=lambda label: means[label])
        shown = f"{100 * means[label]:.2f} %" if self._higher else f"{means[label]:.3g}"
        return f", best so far {label}: {shown}"


def result_table(stored: Stored) -> Table:
    """The verdicts as a table of at most 80 columns, in the order of the conditions."""
    study, results = stored.study, stored.results
    percent, runs = study["metric"] == "accuracy", _runs(results)
    incomplete = bool((runs["done"] < runs["total"]).any())
    title = f"{study['data']['name']}, {study['config']['model']}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("condition", overflow="fold", min_width=19)
    judged = ("val" if study["judge"] == "val" else "test") + (" %" if percent else " rmse")
    headings = (judged, "to none (95 %)", "verdict", "gap", "s/epoch", *(["runs"] if incomplete else []))
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=heading != "verdict")
    for row in compare_conditions(results, metric=study["metric"], judge=study["judge"]):
        done = runs.loc[row.condition]
        counted = [f"{done['done']:.0f}/{done['total']:.0f}"] if incomplete else []
        shown = (_number(row.mean, percent), _difference(row, percent), row.verdict, _number(done["gap"], percent))
        table.add_row(row.condition, *shown, "–" if math.isnan(done["seconds"]) else f"{done['seconds']:.3f}", *counted)
    return table


def _runs(results: pd.DataFrame) -> pd.DataFrame:
    """By condition: the runs, those that came to their end, and these runs' mean gap and time per epoch."""
    finished = results["status"] == OK
    by = results.assign(
        done=finished, gap=results["gap"].where(finished), seconds=results["seconds_per_epoch"].where(finished)
    )
    groups = by.groupby("condition", sort=False)
    return groups.agg(total=("done", "size"), done=("done", "sum"), gap=("gap", "mean"), seconds=("seconds", "mean"))


def sampled_table(stored: Stored) -> Table:
    """What the mean over noisy passes does beside the noise off, as a table of at most 80 columns."""
    found = sections.sampled(stored, words.of(stored.study), short=True)
    title = f"\n{sections.SAMPLED} ({stored.study['config']['mc']}, in s seconds)"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.show_edge = False
    for number, head in enumerate(found.head):
        first = {"overflow": "fold", "min_width": 19} if not number else {"justify": "right", "no_wrap": True}
        table.add_column(head, **first)  # type: ignore[arg-type]
    for row in found.rows:
        table.add_row(*row)
    return table


def measures_table(found: Assessment) -> Table:
    """The measures of an assessment as a table of at most 80 columns."""
    made = uncertainty_page.table(found, short=True)
    title = f"{found.inside.examples.name}, {found.method}: noise off, and on: {found.samples} passes"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for number, head in enumerate(made.head):
        table.add_column(head, justify="right" if number else "left", no_wrap=bool(number))
    for row in made.rows:
        table.add_row(*row)
    return table


def caption(stored: Stored) -> str:
    """What the table is, and which conditions it is unfair to."""
    said = "Noise off; mean over folds. Differences are paired by fold and corrected for\n"
    said += "folds that share data; verdicts are adjusted for several methods (Holm, 5 %)."
    if stored.study["judge"] == "test":
        said = "Noise off. Intervals and verdicts are over seeds, for this test split only."
    if falling := unfinished_learning(stored):
        said += f"\nStill learning when the epochs ran out, so try more: {', '.join(falling)}."
    return said


def _difference(row: Comparison, percent: bool) -> str:
    if math.isnan(row.difference):
        return ""
    low, high = (_number(value, percent, sign=True) for value in (row.difference_low, row.difference_high))
    return f"{_number(row.difference, percent, sign=True)} ({low} to {high})"


def _number(value: float, percent: bool, *, sign: bool = False) -> str:
    if math.isnan(value):
        return "–"
    return f"{100 * value:{'+' if sign else ''}.2f}" if percent else f"{value:{'+' if sign else ''}.3g}"


def _judged(outcome: Outcome) -> Metrics:
    return outcome.parts["val"] if "val" in outcome.parts else outcome.parts["test"]


def _line(outcome: Outcome) -> str:
    run = outcome.run
    name = f"{run.condition.label}, repeat {run.repeat}, fold {run.fold}, seed {run.seed}"
    if outcome.status != OK:
        return f"{name}: {outcome.status}. {outcome.reason}"
    train, judged = outcome.parts["train"], _judged(outcome)
    if judged.accuracy is None:
        return f"{name}: training rmse {train.rmse:.4g}, judged {judged.rmse:.4g}"
    return f"{name}: training {100 * (train.accuracy or 0):.2f} %, judged {100 * judged.accuracy:.2f} %"
