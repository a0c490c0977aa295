"""The catalogue of methods on a terminal."""

from __future__ import annotations

from dataclasses import fields

from rich import box
from rich.table import Table

from torchdropout import catalog
from torchdropout.study import additions
from torchdropout.study.errors import StudyError


def everything() -> Table:
    """A row for each method, whole on 80 columns."""
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    table.add_column("name", no_wrap=True)
    for heading, width in (("noise", 11), ("shared over", 11), ("on", 12)):
        table.add_column(heading, min_width=width, overflow="fold")
    table.add_column("default", no_wrap=True)
    table.add_column("compare in", width=12)
    for row in catalog.METHODS:
        default = f"{row.argument}={row.default:g}" if row.argument else "–"
        table.add_row(row.name, row.noise, row.shared, row.target, default, ", ".join(row.models) or "–")
    return table


def added() -> Table:
    """A row for each penalty, constraint, objective and schedule."""
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    table.add_column("name", no_wrap=True)
    table.add_column("what it does")
    table.add_column("default", no_wrap=True)
    for row in additions.ADDITIONS:
        table.add_row(row.name, row.what, f"{row.argument}={row.default:.3g}")
    return table


def in_full(name: str) -> Table:
    """Every field of one method or addition.

    Raises:
        StudyError: There is no such method.
    """
    try:
        row = additions.find(name) or catalog.get(name)
    except ValueError as error:
        raise StudyError(f"methods: {error}") from error
    table = Table.grid(padding=(0, 2))
    for field in fields(row):
        value = getattr(row, "usage" if field.name == "layer" else field.name)
        shown = ", ".join(map(str, value)) if isinstance(value, tuple) else "" if value is None else str(value)
        table.add_row(field.name.replace("_", " "), shown or "–")
    return table
