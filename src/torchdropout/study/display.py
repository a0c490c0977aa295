"""What the command line shows: progress while runs train, then the table."""

from __future__ import annotations

from types import TracebackType

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from torchdropout.study.execution import OK, Outcome
from torchdropout.study.protocol import Run
from torchdropout.study.summary import Summary

CAPTION = "Noise off; mean ± standard deviation over folds. Differences not tested."


class RunsDisplay:
    """Progress on the error stream: a bar on a terminal, a line per run elsewhere."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        bar = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
        self.progress = Progress(TextColumn("runs"), *bar, console=self.console, disable=not self.console.is_terminal)
        self.task = self.progress.add_task("runs", total=None)
        self.done = 0
        self.total = 0

    def __enter__(self) -> RunsDisplay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def start(self, runs: list[Run]) -> None:
        """Show how many runs there are."""
        self.total = len(runs)
        self.progress.update(self.task, total=self.total)
        self.progress.start()

    def advance(self, outcome: Outcome) -> None:
        """Show that a run is over."""
        self.done += 1
        self.progress.advance(self.task)
        if outcome.status != OK or not self.console.is_terminal:
            self.console.print(f"{self.done}/{self.total} {_line(outcome)}", markup=False, soft_wrap=True)


def result_table(rows: list[Summary], title: str) -> Table:
    """The summary as a table of at most 80 columns, in the order of the conditions."""
    incomplete = any(row.finished < row.runs for row in rows)
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.title_justify = "left"
    table.add_column("condition", overflow="fold")
    for heading in ("train %", "validation %", "gap", "val loss", "s/epoch", *(["runs"] if incomplete else [])):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        counted = [f"{row.finished}/{row.runs}"] if incomplete else []
        table.add_row(row.condition, *_figures(row), *counted)
    return table


def _figures(row: Summary) -> list[str]:
    figures = row.metrics
    return [
        figures["train_accuracy"].percent(spread=False),
        figures["val_accuracy"].percent(),
        figures["gap"].percent(),
        figures["val_loss"].plain(spread=False),
        figures["seconds_per_epoch"].plain(spread=False),
    ]


def _line(outcome: Outcome) -> str:
    run = outcome.run
    name = f"{run.condition.label}, fold {run.fold}, seed {run.seed}"
    if outcome.status != OK:
        return f"{name}: {outcome.status}. {outcome.reason}"
    last = outcome.curve[-1]
    return f"{name}: training {100 * last.train_accuracy:.2f} %, validation {100 * last.val_accuracy:.2f} %"
