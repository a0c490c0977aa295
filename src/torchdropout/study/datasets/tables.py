"""Data sets from CSV and Parquet files, one column of which is the target."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from torchdropout.study.datasets import columns, delimited, targets
from torchdropout.study.datasets.dataset import Dataset, Task
from torchdropout.study.errors import StudyError

if TYPE_CHECKING:
    import pandas as pd

    from torchdropout.study.datasets.encoding import Encoding

PARQUET = ".parquet"
SUFFIXES = (".csv", ".tsv", ".txt", ".data", PARQUET)


def load(path: Path, target: str | int | None, task: Task | None) -> Dataset:
    """The data set in a table.

    Args:
        path: A CSV file (see `delimited`) or a Parquet file.
        target: The name of the target's column, or its position: 1 is the first, -1 the last.
        task: Overrides the task that is guessed from the target.

    Raises:
        StudyError: The file or the target cannot be used.
    """
    table = read(path)
    name = target_of(table, target, path)
    found = targets.read(table[name], task, f"{path}: target {name!r}")
    note = f"Target {name!r}. {found.note} It has no given test split."
    return Dataset(str(path), found.task, table.drop(columns=name), found.values, found.classes, note)


def load_inputs(path: Path, encoding: Encoding) -> pd.DataFrame:
    """A table of new examples, with the columns that training saw as text kept as text."""
    categories = {category.column for category in encoding.categories}
    wanted = [*encoding.columns, *categories]
    table = read(path, categories)
    if absent := [name for name in wanted if name not in table.columns]:
        found = listed(table)
        raise StudyError(f"{path}: there must be a column {absent[0]!r}, as in training, found {found}.")
    return table


def read(path: Path, as_text: Collection[str] = (), verbatim: Collection[str] = ()) -> pd.DataFrame:
    """The table in a file, its columns held as float64 or as text; see `delimited.read`.

    Raises:
        StudyError: The file cannot be read as what its name says.
    """
    if path.suffix.lower() != PARQUET:
        return delimited.read(path, as_text, verbatim)
    return columns.normalised(_parquet(path), str(path))


def _parquet(path: Path) -> pd.DataFrame:
    try:
        with path.open("rb") as stream:
            frame = _parsed(stream, path)
    except FileNotFoundError:
        raise StudyError(f"{path}: a file must be here, found none.") from None
    except OSError as error:
        raise StudyError(f"{path}: the file must be readable, found: {error.strerror or error}.") from error
    if not len(frame):
        raise StudyError(f"{path}: there must be rows in the table, found none.")
    return frame


def _parsed(stream: BinaryIO, path: Path) -> pd.DataFrame:
    from pyarrow import parquet  # noqa: PLC0415 - half a second that worker processes need not spend

    try:
        return parquet.ParquetFile(stream).read().to_pandas()
    except Exception as error:  # of a dozen kinds, all about the file: nothing but pyarrow ran
        found = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise StudyError(f"{path}: it must be an intact Parquet file, found: {found}.") from error


def target_of(table: pd.DataFrame, target: str | int | None, path: Path) -> str:
    """The name of the target's column.

    Raises:
        StudyError: None was named, or there is none of that name or at that position.
    """
    if target is None:
        raise StudyError(f"--target: it must name the column to predict, {path} has {listed(table)}.")
    names = [str(name) for name in table.columns]
    if target in names:
        return str(target)
    position = _position(target)
    if position is None or not 1 <= abs(position) <= len(names):
        hint = " (its first line holds a number, so it does not name them)" if names[0] == "column1" else ""
        raise StudyError(f"--target: {path} has no column {target!r}, it has {listed(table)}{hint}.")
    return names[position - 1 if position > 0 else position]


def _position(target: str | int) -> int | None:
    try:
        return int(target)
    except ValueError:
        return None


def listed(table: pd.DataFrame) -> str:
    """The names of the columns, at most twenty of them."""
    names = [repr(name) for name in table.columns]
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
