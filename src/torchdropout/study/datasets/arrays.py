"""Data sets from arrays: those of an .npz file, or those that a function returns."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from torchdropout.study.datasets import columns, targets
from torchdropout.study.datasets.dataset import Dataset, Inputs, Task
from torchdropout.study.errors import StudyError

SUFFIX = ".npz"
_REQUIRED = ("inputs", "targets")
_TEST = ("test_inputs", "test_targets")


def load(path: Path, task: Task | None) -> Dataset:
    """The data set in an .npz file: arrays `inputs` and `targets`, and for a test split `test_inputs`, `test_targets`.

    Raises:
        StudyError: The file is missing or broken, or its arrays cannot be used.
    """
    found = _read(path)
    names = set(found)
    if not set(_REQUIRED) <= names <= {*_REQUIRED, *_TEST} or len(names & set(_TEST)) == 1:
        rule = "the arrays must be inputs and targets, and for a test split test_inputs and test_targets"
        raise StudyError(f"{path}: {rule}, found {', '.join(sorted(names)) or 'none'}.")
    parts = [found[name] for name in (*_REQUIRED, *_TEST) if name in found]
    return assemble(str(path), parts, task)


def load_inputs(path: Path) -> npt.NDArray[Any]:
    """The array `inputs` of an .npz file."""
    found = _read(path)
    if "inputs" not in found:
        raise StudyError(f"{path}: there must be an array inputs, found {', '.join(sorted(found)) or 'none'}.")
    return _array(found["inputs"])


def load_targets(path: Path) -> npt.NDArray[Any]:
    """The array `targets` of an .npz file."""
    found = _read(path)
    if "targets" not in found:
        raise StudyError(f"{path}: there must be an array targets, found {', '.join(sorted(found)) or 'none'}.")
    return found["targets"]


def assemble(name: str, parts: list[Any], task: Task | None) -> Dataset:
    """The data set of inputs and targets, and of a test split's if there are four parts.

    Raises:
        StudyError: They do not fit together, or are of a kind that cannot be used.
    """
    inputs, found = _inputs(parts[0], name), targets.read(_column(parts[1], name), task, name)
    note = f"{found.note} It has {'a' if len(parts) == 4 else 'no'} given test split."
    if len(parts) == 2:
        return Dataset(name, found.task, inputs, found.values, found.classes, note)
    where = f"{name} (test split)"
    test_targets = found.alike(_column(parts[3], where), where)
    test_inputs = _inputs(parts[2], where)
    return Dataset(name, found.task, inputs, found.values, found.classes, note, test_inputs, test_targets)


def _inputs(values: Any, where: str) -> Inputs:
    import pandas as pd  # noqa: PLC0415 - half a second that worker processes need not spend

    if isinstance(values, pd.DataFrame):
        return columns.normalised(values, where)
    return _array(np.asarray(values))


def _array(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Texts as objects, everything else as it is."""
    return values.astype(object) if values.ndim == 1 and values.dtype.kind in "UT" else values


def _column(values: Any, where: str) -> Any:
    """Targets as a column of float64 or of text."""
    import pandas as pd  # noqa: PLC0415 - as above

    array = values if isinstance(values, pd.Series) else np.asarray(values)
    if array.ndim != 1:
        raise StudyError(f"{where}: targets must be of shape (examples,), found {array.shape}.")
    return columns.column(pd.Series(array).reset_index(drop=True), f"{where}: targets")


def _read(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        with path.open("rb") as stream:
            if not zipfile.is_zipfile(stream):
                raise StudyError(f"{path}: it must be an .npz file of numpy.savez, found another kind or half of one.")
            stream.seek(0)
            return _unpack(stream, path)
    except FileNotFoundError:
        raise StudyError(f"{path}: a file must be here, found none.") from None
    except OSError as error:
        raise StudyError(f"{path}: the file must be readable, found: {error.strerror or error}.") from error


def _unpack(stream: BinaryIO, path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        with np.load(stream, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except Exception as error:  # of a dozen kinds, all about the file: nothing but NumPy ran
        found = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise StudyError(f"{path}: it must be intact and hold arrays of numbers or text, found: {found}.") from error
