"""The conformance suite on a terminal: progress, a table of checks by method, and what failed."""

from __future__ import annotations

import string
import textwrap

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from torchdropout import catalog
from torchdropout.study.errors import StudyError
from torchdropout.testing import CHECKS, Outcome, check_method

Outcomes = dict[str, dict[str, Outcome]]

_MARKS = {"pass": "+", "fail": "X", "n/a": "–"}
_STYLES = {"pass": "green", "fail": "bold red", "n/a": "dim"}
_LETTERS = dict(zip(CHECKS, string.ascii_letters, strict=False))


def run(name: str | None) -> Outcomes:
    """Every check of one method, or of all; progress goes to the error stream.

    Raises:
        StudyError: There is no such method.
    """
    if name is not None and name not in catalog.names():
        try:
            catalog.get(name)
        except ValueError as error:
            raise StudyError(f"conformance: {error}") from error
    names = catalog.names() if name is None else [name]
    console = Console(stderr=True, highlight=False)
    bar = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    found: Outcomes = {}
    with Progress(TextColumn("{task.description}"), *bar, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=len(names))
        for number, one in enumerate(names, start=1):
            progress.update(task, description=one)
            found[one] = check_method(one)
            progress.advance(task)
            if not console.is_terminal:
                console.print(f"{number}/{len(names)} {one}: {_counted(found[one])}", markup=False, soft_wrap=True)
    return found


def count(found: Outcomes, status: str) -> int:
    """How many checks ended so."""
    return sum(outcome.status == status for of in found.values() for outcome in of.values())


def summary(found: Outcomes) -> str:
    """The counts over all methods."""
    methods = f"{len(found)} method{'s' if len(found) > 1 else ''}"
    return f"{methods}: {', '.join(f'{count(found, status)} {status}' for status in _MARKS)}"


def by_method(found: Outcomes) -> Table:
    """A row for each method, a letter for each check."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("method", no_wrap=True)
    table.add_column("".join(_LETTERS.values()), no_wrap=True)
    for heading in _MARKS:
        table.add_column(heading, justify="right", no_wrap=True)
    for name, of in found.items():
        marks = Text.assemble(*((_MARKS[outcome.status], _STYLES[outcome.status]) for outcome in of.values()))
        table.add_row(name, marks, *(str(count({name: of}, status)) for status in _MARKS))
    return table


def legend(width: int = 80) -> str:
    """What the letters and the marks mean."""
    letters = "  ".join(f"{letter}\N{NO-BREAK SPACE}{name}" for name, letter in _LETTERS.items())
    lines = textwrap.fill(letters, width).replace("\N{NO-BREAK SPACE}", " ")
    return f"{lines}\n+ pass  X fail  – does not apply"


def failures(found: Outcomes) -> str:
    """A line for each check that failed; empty if none did."""
    rows = ((name, check, of) for name, outcomes in found.items() for check, of in outcomes.items())
    return "\n".join(f"{name}, {check}: {of.detail}" for name, check, of in rows if of.status == "fail")


def of_method(outcomes: dict[str, Outcome]) -> Table:
    """A row for each check of one method: what it checks, what failed, or why it does not apply."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("check", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("what is checked, or what was found")
    for name, (status, detail) in outcomes.items():
        what = (CHECKS[name].__doc__ or "").strip() if status == "pass" else detail
        table.add_row(name, Text("–" if status == "n/a" else status, _STYLES[status]), Text(what))
    return table


def _counted(outcomes: dict[str, Outcome]) -> str:
    return ", ".join(f"{count({'': outcomes}, status)} {status}" for status in _MARKS)
