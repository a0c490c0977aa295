"""What the command line shows of a compression: progress, then a table."""

from __future__ import annotations

from types import TracebackType

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from torchdropout.study.compressing import Compressed


class Steps:
    """Progress on the error stream: a bar on a terminal, a line for each kind of work elsewhere."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
        text = TextColumn("{task.description}")
        self.progress = Progress(text, *columns, console=self.console, disable=not self.console.is_terminal)
        self.task = self.progress.add_task("reading", total=None)
        self._last = ""

    def __enter__(self) -> Steps:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def tick(self, what: str, total: int) -> None:
        """A step is done."""
        self.progress.update(self.task, description=what, total=total, advance=1)
        if what != self._last and not self.console.is_terminal:
            self.console.print(what, markup=False)
        self._last = what


def table(done: Compressed) -> Table:
    """Before and after, in at most 80 columns."""
    about = done.about
    shown = Table(title=f"{about['study']['data']}, {about['study']['model']}, {about['method']}", title_justify="left",
                  box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)  # fmt: skip
    shown.add_column("")
    for head in ("before", "after", "times less"):
        shown.add_column(head, justify="right", no_wrap=True)
    rows = [("parameters", "parameters"), ("not zero", "nonzero"), ("operations", "flops")]
    numbers = [(label, about["before"][name], about["after"][name]) for label, name in rows]
    numbers.append(("bytes", about["bytes"]["before"], about["bytes"]["after"]))
    for label, a, b in numbers:
        shown.add_row(label, f"{a:,}", f"{b:,}", f"{a / b:.1f}" if b else "–")
    for label, name in (("accuracy, held out", "judged"), ("accuracy, test split", "test")):
        if name in about:
            found = about[name]
            shown.add_row(label, f"{100 * found['before']:.2f} %", f"{100 * found['after']:.2f} %", "")
    return shown
