"""Texts from files: one column of a table, a line each, or an array."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from torchdropout.study.datasets import arrays, delimited, tables, targets
from torchdropout.study.datasets.dataset import Dataset, Task
from torchdropout.study.errors import StudyError

if TYPE_CHECKING:
    import pandas as pd

LINES = ".txt"


def load(path: Path, text: str, target: str | int | None, task: Task | None) -> Dataset:
    """The data set of one column of text in a table; its other columns but the target are not used.

    Args:
        path: A CSV file (see `delimited`) or a Parquet file.
        text: The name of the texts' column.
        target: The name of the target's column, or its position: 1 is the first, -1 the last.
        task: Overrides the task that is guessed from the target.

    Raises:
        StudyError: The file, the texts or the target cannot be used.
    """
    table = tables.read(path, verbatim=(text,))
    name = tables.target_of(table, target, path)
    if text == name:
        raise StudyError(f"--text: it must be another column than the target, got {text!r} for both.")
    if text not in table.columns:
        raise StudyError(f"--text: {path} has no column {text!r}, it has {tables.listed(table)}.")
    values, found = _texts(table[text], text, path), targets.read(table[name], task, f"{path}: target {name!r}")
    unused = [repr(other) for other in table.columns if other not in (text, name)]
    left = f" Not used: {', '.join(unused)}." if unused else ""
    note = f"Texts of column {text!r}, target {name!r}.{left} {found.note} It has no given test split."
    return Dataset(str(path), found.task, values, found.values, found.classes, note)


def load_inputs(path: Path, column: str) -> npt.NDArray[Any]:
    """New texts: the column of a table, the lines of a .txt file that does not name it, or an .npz file's `inputs`."""
    suffix = path.suffix.lower()
    if suffix == arrays.SUFFIX:
        return arrays.load_inputs(path)
    if suffix == LINES and not _names(column, (lines := delimited.lines(path))[0]):
        return np.array(lines, dtype=object)
    table = tables.read(path, verbatim=(column,))
    if column not in table.columns:
        found = tables.listed(table)
        raise StudyError(f"{path}: there must be a column {column!r}, as in training, found {found}.")
    return _texts(table[column], column, path)


def _names(column: str, first: str) -> bool:
    """Whether a first line is that of a table that has the column."""
    fields = (field for mark in delimited.SEPARATORS for field in first.split(mark))
    return any(field.strip().strip('"') == column for field in fields)


def _texts(column: pd.Series, name: str, path: Path) -> npt.NDArray[Any]:
    """The column's values, an array of objects."""
    import pandas as pd  # noqa: PLC0415 - half a second that worker processes need not spend

    if column.dtype != object or pd.to_numeric(column, errors="coerce").notna().all():
        rule = f"column {name!r} must hold text"
        raise StudyError(f"{path}: {rule}, found nothing but numbers, {column.iloc[0]} in row 1.")
    return cast(npt.NDArray[Any], column.to_numpy(object))
