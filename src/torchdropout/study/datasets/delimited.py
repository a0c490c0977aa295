"""Text files of separated fields: what separates them, whether the first line names them, and where they are broken.

The separator is the first of tab, semicolon and comma that splits the first line, outside quotes; if none does, white
space. The first line names the columns unless one of its fields is a number; then they are column1, column2 and so on.
A field is missing if it is empty or one of NA, N/A, NaN, null, None and ?, in any case. A column is one of numbers if
all the others are.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from torchdropout.study.datasets.checks import check_names
from torchdropout.study.errors import StudyError

if TYPE_CHECKING:
    import pandas as pd

SEPARATORS = ("\t", ";", ",")
_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})

Row = list[str]


def read(path: Path, as_text: Collection[str] = (), verbatim: Collection[str] = ()) -> pd.DataFrame:
    """The table in a file, as `columns.normalised` has it.

    Args:
        path: The file.
        as_text: Names of columns that stay text even if all they hold are numbers.
        verbatim: Names of columns of free text, in which nothing is missing, "none" and "?" being what they say. Where
            there is one, white space does not separate: a first line without a separator names the one column.

    Raises:
        StudyError: The file cannot be read, is not UTF-8, or is not a table.
    """
    import pandas as pd  # noqa: PLC0415 - half a second that worker processes need not spend

    rows = _rows(_text(path), path, verbatim)
    names = _names(rows[0], path)
    body = rows if _is_data(rows[0]) else rows[1:]
    if not body:
        raise StudyError(f"{path}: there must be rows below the names of the columns, found none.")
    fields = (pd.Series(values, dtype=object) for values in zip(*body, strict=True))
    named = zip(names, fields, strict=True)
    return pd.DataFrame({name: one if name in verbatim else _column(one, name in as_text) for name, one in named})


def lines(path: Path) -> Row:
    """The lines of a file.

    Raises:
        StudyError: The file cannot be read, is not UTF-8, or is empty.
    """
    text = _text(path).replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n")
    if not text:
        raise StudyError(f"{path}: there must be a line in the file, found it empty.")
    return text.split("\n")


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise StudyError(f"{path}: a file must be here, found none.") from None
    except OSError as error:
        raise StudyError(f"{path}: the file must be readable, found: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        found = f"byte 0x{error.object[error.start]:02x} at position {error.start:,}"
        raise StudyError(f"{path}: the text must be UTF-8, found {found}.") from error


def _rows(text: str, path: Path, verbatim: Collection[str]) -> list[Row]:
    """All rows, of equal lengths."""
    numbered = list(_split(text, path, verbatim))
    if not numbered:
        raise StudyError(f"{path}: there must be a table in the file, found it empty.")
    length = len(numbered[0][1])
    for line, row in numbered:
        if len(row) != length:
            raise StudyError(f"{path}: line {line} must have {length} fields like the first line, found {len(row)}.")
    return [row for _, row in numbered]


def _split(text: str, path: Path, verbatim: Collection[str]) -> Iterator[tuple[int, Row]]:
    """The rows that are not blank, each with the number of the line it ends in."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    separator = next((mark for mark in SEPARATORS if len(next(csv.reader([first], delimiter=mark))) > 1), None)
    if separator is None and not verbatim:
        yield from ((number, line.split()) for number, line in enumerate(text.splitlines(), 1) if line.strip())
        return
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator or ",", skipinitialspace=True, strict=True)
    try:
        for row in reader:
            if any(field.strip() for field in row) or (separator is None and row):
                yield reader.line_num, [field.strip() for field in row]
    except csv.Error as error:
        raise StudyError(
            f"{path}: line {reader.line_num} must be fields between separators, found: {error}."
        ) from error


def _is_data(first: Row) -> bool:
    return any(_is_number(field) for field in first)


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _names(first: Row, path: Path) -> Row:
    if _is_data(first):
        return [f"column{position}" for position in range(1, len(first) + 1)]
    if "" in first:
        raise StudyError(f"{path}: the first line must name every column, column {first.index('') + 1} has no name.")
    check_names(str(path), first)
    return first


def _column(fields: pd.Series, as_text: bool) -> pd.Series:
    import pandas as pd  # noqa: PLC0415 - as above

    missing = fields.str.lower().isin(_MISSING)
    present = fields.where(~missing, None)
    numbers = pd.to_numeric(present, errors="coerce")
    if as_text or (numbers.isna() & ~missing).any():
        return present.astype(object)
    return numbers.astype(np.float64)
