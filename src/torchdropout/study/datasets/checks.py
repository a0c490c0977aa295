"""What must hold of every data set, wherever it came from: one place, one sentence for each rule."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from torchdropout import catalog
from torchdropout.study.errors import StudyError

if TYPE_CHECKING:
    import pandas as pd

    from torchdropout.study.datasets.dataset import Dataset, Inputs

_LARGEST = 1e100
_LARGEST_OF_MAPS = 1e18
MOST_LEVELS = 100
_TASKS = ("classification", "regression")
REAL = "buif"
_SHAPES = (
    "of shape (examples, numbers), (examples, channels, length), (examples, channels, height, width) or (examples, "
    "channels, depth, height, width), or texts as objects (examples,)"
)


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


def is_text(inputs: Inputs) -> bool:
    """Whether examples are texts: an array of objects (examples,)."""
    return isinstance(inputs, np.ndarray) and inputs.ndim == 1 and inputs.dtype == object


def check_texts(where: str, texts: npt.NDArray[Any]) -> None:
    """Raise a `StudyError` if there is no text, or one that is empty or something else."""
    if not len(texts):
        raise StudyError(f"{where}: there must be at least one text, found none.")
    for row, text in enumerate(texts, 1):
        if not isinstance(text, str) or not text.strip():
            raise StudyError(f"{where}: every input must be a text and not empty, found {text!r:.80} in row {row}.")


def _check_part(where: str, data: Dataset, inputs: Inputs, targets: npt.NDArray[Any]) -> None:
    if not isinstance(inputs, np.ndarray):
        _check_table(where, inputs)
    elif is_text(inputs):
        check_texts(where, inputs)
    else:
        _check_array(where, inputs)
    _check_targets(where, data, targets)
    if len(inputs) != len(targets):
        found = f"{len(inputs):,} inputs and {len(targets):,} targets"
        raise StudyError(f"{where}: there must be one target for each input, found {found}.")
    _check_finite(where, inputs)


def _check_array(where: str, inputs: npt.NDArray[Any]) -> None:
    if inputs.ndim not in (2, 3, 4, 5):
        raise StudyError(f"{where}: inputs must be {_SHAPES}, found {inputs.shape}.")
    if inputs.dtype.kind not in REAL:
        raise StudyError(f"{where}: inputs must be real numbers, found {inputs.dtype}.")
    if not inputs.size:
        raise StudyError(f"{where}: there must be at least one example with one number, found shape {inputs.shape}.")
    if inputs.ndim > 2 and inputs.dtype.kind == "f" and np.isnan(inputs).any():
        raise StudyError(f"{where}: values of {catalog.RANKS[inputs.ndim - 2]} must not be missing, found NaN.")


def _check_table(where: str, inputs: pd.DataFrame) -> None:
    if not inputs.shape[1]:
        raise StudyError(f"{where}: there must be at least one column besides the target, found none.")
    check_names(where, list(inputs.columns))
    for name in inputs.columns:
        _check_column(where, name, inputs[name])


def check_names(where: str, names: list[str]) -> None:
    """Raise a `StudyError` if two columns have one name."""
    for name, count in Counter(names).items():
        if count > 1:
            raise StudyError(f"{where}: the names of columns must differ, found {name!r} {count} times.")


def _check_column(where: str, name: str, column: Any) -> None:
    if column.dtype not in (object, np.float64):
        raise StudyError(f"{where}: column {name!r} must be held as float64 or as text, found {column.dtype}.")
    if len(column) and column.isna().all():
        raise StudyError(f"{where}: column {name!r} must hold a value, found only missing ones; drop it.")
    if column.dtype == object and (levels := column.nunique()) > MOST_LEVELS:
        rule = f"must have at most {MOST_LEVELS} different values to be encoded as categories"
        raise StudyError(f"{where}: column {name!r} {rule}, found {levels:,}; {_advice(column)}.")


def _advice(column: Any) -> str:
    """What to do about a column of too many categories; in one of numbers and a few words, the words are the cause."""
    import pandas as pd  # noqa: PLC0415 - half a second that worker processes without tables need not spend

    strange = (pd.to_numeric(column, errors="coerce").isna() & column.notna()).to_numpy()
    if strange.mean() < 0.5:
        row = int(strange.argmax())
        return f"if it should hold numbers, {column.iloc[row]!r} in row {row + 1} is not one"
    return "drop it if it is a name; if it is free text, read it with --text and --model lstm"


def _check_targets(where: str, data: Dataset, targets: npt.NDArray[Any]) -> None:
    expected = np.int64 if data.task == "classification" else np.float64
    if targets.ndim != 1 or targets.dtype != expected:
        found = f"{targets.dtype} of shape {targets.shape}"
        raise StudyError(f"{where}: targets must be {np.dtype(expected)} of shape (examples,), found {found}.")
    if data.task == "regression":
        if data.classes:
            raise StudyError(f"{where}: a regression must have no names of classes, found {len(data.classes)}.")
        usable = np.abs(targets) <= _LARGEST
        if not usable.all():
            rule, row = f"targets must be finite and within ±{_LARGEST:g}", int(usable.argmin())
            raise StudyError(f"{where}: {rule}, found {targets[row]:g} in row {row + 1}.")
    elif targets.size and not 0 <= targets.min() <= targets.max() < len(data.classes):
        found = f"{targets.min()}..{targets.max()}"
        raise StudyError(f"{where}: targets must be in 0..{len(data.classes) - 1}, one for each class, found {found}.")


def _check_alike(where: str, inputs: Inputs, test: Inputs) -> None:
    first, second = _form(inputs), _form(test)
    if first != second:
        raise StudyError(f"{where}: inputs must be like those of the training part, {first}, found {second}.")


def _form(inputs: Inputs) -> str:
    if is_text(inputs):
        return "texts"
    if isinstance(inputs, np.ndarray):
        return f"an array of shape (examples, {', '.join(map(str, inputs.shape[1:]))})"
    kinds = {name: "text" if inputs[name].dtype == object else "numbers" for name in inputs.columns}
    return "a table of " + ", ".join(f"{name!r} ({kind})" for name, kind in kinds.items())


def _check_finite(where: str, inputs: Inputs) -> None:
    """No infinities, nor numbers whose squares overflow: columns are scaled in float64, maps in float32."""
    largest = _LARGEST if inputs.ndim == 2 else _LARGEST_OF_MAPS
    if isinstance(inputs, np.ndarray):
        beyond = _beyond(inputs, largest)
        if beyond is not None:
            row, *rest = map(int, np.unravel_index(beyond, inputs.shape))
            column = f"column {rest[0] + 1}, " if inputs.ndim == 2 else ""
            raise StudyError(_not_finite(where, largest, inputs.flat[beyond], column, row))
        return
    for name in inputs.columns:
        values = inputs[name].to_numpy()
        found = _beyond(values, largest)
        if found is not None:
            raise StudyError(_not_finite(where, largest, values[found], f"column {name!r}, ", found))


def _beyond(values: npt.NDArray[Any], largest: float) -> int | None:
    """Where the first number is that is too large, counted in C order."""
    if values.dtype.kind != "f":
        return None
    beyond = np.abs(values) > min(largest, float(np.finfo(values.dtype).max))
    return int(beyond.argmax()) if beyond.any() else None


def _not_finite(where: str, largest: float, value: float, column: str, row: int) -> str:
    return f"{where}: inputs must be finite and within ±{largest:g}, found {value:g} in {column}row {row + 1}."
