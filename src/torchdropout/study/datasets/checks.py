"""What must hold of every data set, wherever it came from: one place, one sentence for each rule."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from torchdropout.study.errors import StudyError

if TYPE_CHECKING:
    import pandas as pd

    from torchdropout.study.datasets.dataset import Dataset, Inputs

MOST_LEVELS = 100
_TASKS = ("classification", "regression")
REAL = "buif"


def check(data: Dataset) -> None:
    """Raise a `StudyError` at the first rule that `data` breaks."""
    if data.task not in _TASKS:
        raise StudyError(f"{data.name}: the task must be one of {', '.join(_TASKS)}, found {data.task!r}.")
    _check_part(data.name, data, data.inputs, data.targets)
    if len(data.targets) < 2:
        raise StudyError(f"{data.name}: there must be at least 2 examples, found {len(data.targets)}.")
    if (data.targets == data.targets[0]).all():
        raise StudyError(f"{data.name}: the target must take at least 2 values, found {_value(data)} alone.")
    if (data.test_inputs is None) != (data.test_targets is None):
        raise StudyError(f"{data.name}: a test split must have inputs and targets, found one without the other.")
    if data.test_inputs is not None and data.test_targets is not None:
        where = f"{data.name} (test split)"
        _check_part(where, data, data.test_inputs, data.test_targets)
        _check_alike(where, data.inputs, data.test_inputs)


def _value(data: Dataset) -> str:
    return repr(data.classes[data.targets[0]]) if data.classes else f"{data.targets[0]:g}"


def _check_part(where: str, data: Dataset, inputs: Inputs, targets: npt.NDArray[Any]) -> None:
    _check_array(where, inputs) if isinstance(inputs, np.ndarray) else _check_table(where, inputs)
    _check_targets(where, data, targets)
    if len(inputs) != len(targets):
        found = f"{len(inputs):,} inputs and {len(targets):,} targets"
        raise StudyError(f"{where}: there must be one target for each input, found {found}.")
    for column, values in _number_columns(inputs):
        if np.isinf(values).any():
            rows = np.flatnonzero(np.isinf(values.reshape(len(values), -1)).any(axis=1))
            raise StudyError(f"{where}: inputs must be finite, found {_infinite(values)} in {column}row {rows[0] + 1}.")


def _check_array(where: str, inputs: npt.NDArray[Any]) -> None:
    if inputs.ndim not in (2, 4):
        rule = "of shape (examples, numbers) or (examples, channels, height, width)"
        raise StudyError(f"{where}: inputs must be {rule}, found {inputs.shape}.")
    if inputs.dtype.kind not in REAL:
        raise StudyError(f"{where}: inputs must be real numbers, found {inputs.dtype}.")
    if not inputs.size:
        raise StudyError(f"{where}: there must be at least one example with one number, found shape {inputs.shape}.")
    if inputs.ndim == 4 and inputs.dtype.kind == "f" and np.isnan(inputs).any():
        raise StudyError(f"{where}: pixels must not be missing, found NaN.")


def _check_table(where: str, inputs: pd.DataFrame) -> None:
    if not inputs.shape[1]:
        raise StudyError(f"{where}: there must be at least one column besides the target, found none.")
    names = list(inputs.columns)
    if repeated := [name for name in names if names.count(name) > 1]:
        raise StudyError(
            f"{where}: the names of columns must differ, found {repeated[0]!r} {names.count(repeated[0])} times."
        )
    for name in names:
        _check_column(where, name, inputs[name])


def _check_column(where: str, name: str, column: Any) -> None:
    if column.dtype not in (object, np.float64):
        raise StudyError(f"{where}: column {name!r} must be held as float64 or as text, found {column.dtype}.")
    if len(column) and column.isna().all():
        raise StudyError(f"{where}: column {name!r} must hold a value, found only missing ones; drop it.")
    if column.dtype == object and (levels := column.nunique()) > MOST_LEVELS:
        rule = f"must have at most {MOST_LEVELS} different values to be encoded as categories"
        raise StudyError(f"{where}: column {name!r} {rule}, found {levels:,}; drop it if it is a name or free text.")


def _check_targets(where: str, data: Dataset, targets: npt.NDArray[Any]) -> None:
    expected = np.int64 if data.task == "classification" else np.float64
    if targets.ndim != 1 or targets.dtype != expected:
        found = f"{targets.dtype} of shape {targets.shape}"
        raise StudyError(f"{where}: targets must be {np.dtype(expected)} of shape (examples,), found {found}.")
    if data.task == "regression":
        if data.classes:
            raise StudyError(f"{where}: a regression must have no names of classes, found {len(data.classes)}.")
        if not np.isfinite(targets).all():
            row = np.flatnonzero(~np.isfinite(targets))[0]
            raise StudyError(f"{where}: targets must be finite, found {targets[row]} in row {row + 1}.")
    elif targets.size and not 0 <= targets.min() <= targets.max() < len(data.classes):
        found = f"{targets.min()}..{targets.max()}"
        raise StudyError(f"{where}: targets must be in 0..{len(data.classes) - 1}, one for each class, found {found}.")


def _check_alike(where: str, inputs: Inputs, test: Inputs) -> None:
    first, second = _form(inputs), _form(test)
    if first != second:
        raise StudyError(f"{where}: inputs must be like those of the training part, {first}, found {second}.")


def _form(inputs: Inputs) -> str:
    if isinstance(inputs, np.ndarray):
        return f"an array of shape (examples, {', '.join(map(str, inputs.shape[1:]))})"
    kinds = {name: "text" if inputs[name].dtype == object else "numbers" for name in inputs.columns}
    return "a table of " + ", ".join(f"{name!r} ({kind})" for name, kind in kinds.items())


def _number_columns(inputs: Inputs) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Where infinities could be, with the words that say where."""
    if isinstance(inputs, np.ndarray):
        if inputs.dtype.kind != "f":
            return
        bad = np.isinf(inputs).any(axis=0) if inputs.ndim == 2 else np.zeros(1, bool)
        for number in np.flatnonzero(bad):
            yield f"column {number + 1}, ", inputs[:, number]
        if inputs.ndim == 4:
            yield "", inputs
        return
    for name in inputs.columns:
        if inputs[name].dtype != object:
            yield f"column {name!r}, ", inputs[name].to_numpy()


def _infinite(values: npt.NDArray[Any]) -> str:
    return str(values[np.isinf(values)].flat[0])
