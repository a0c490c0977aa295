"""What a column of targets is: classes or numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from torchdropout.study.errors import StudyError

if TYPE_CHECKING:
    import pandas as pd

    from torchdropout.study.datasets.dataset import Task

MOST_CLASSES = 20


@dataclass(frozen=True, slots=True)
class Targets:
    """Targets as a data set holds them, with the task they are for and the names of their classes."""

    task: Task
    values: npt.NDArray[Any]
    classes: tuple[str, ...]
    note: str

    def alike(self, column: pd.Series, where: str) -> npt.NDArray[Any]:
        """Another part's targets, held alike.

        Raises:
            StudyError: They are missing, of another kind, or of classes that the first part does not have.
        """
        _check_present(column, where)
        if self.task == "regression":
            return _numbers(column, where)
        names = _names(column)
        if unknown := sorted(set(names) - set(self.classes)):
            raise StudyError(f"{where}: targets must be classes of the training part, found {unknown[0]!r}.")
        return _numbered(names, self.classes)


def read(column: pd.Series, task: Task | None, where: str) -> Targets:
    """The targets in a column of float64 or of text.

    Text is for classification. Numbers are for regression if one is not whole or if they take more than 20 values,
    otherwise for classification. `task` overrides that.

    Raises:
        StudyError: Some are missing, or they do not fit the task.
    """
    _check_present(column, where)
    kind = _guess(column)
    if (task or kind) == "regression":
        return Targets("regression", _numbers(column, where), (), _note("regression", task, column))
    names = _names(column)
    if column.dtype == object:
        classes = tuple(sorted(set(names)))
    else:
        classes = tuple(_name(value) for value in np.unique(column.to_numpy()))
    return Targets("classification", _numbered(names, classes), classes, _note("classification", task, column))


def _check_present(column: pd.Series, where: str) -> None:
    missing = column.isna().to_numpy()
    if missing.any():
        found = f"{missing.sum():,} of {len(missing):,} are missing, the first in row {missing.argmax() + 1}"
        raise StudyError(f"{where}: every example must have a target, {found}.")


def _guess(column: pd.Series) -> Task:
    if column.dtype == object:
        return "classification"
    whole = bool((column % 1 == 0).all())
    return "classification" if whole and column.nunique() <= MOST_CLASSES else "regression"


def _note(task: Task, given: Task | None, column: pd.Series) -> str:
    if given is not None:
        return f"The task, {task}, was given."
    return f"The task, {task}, was taken from the target's {column.nunique():,} different values."


def _numbers(column: pd.Series, where: str) -> npt.NDArray[np.float64]:
    if column.dtype == object:
        raise StudyError(f"{where}: the target of a regression must hold numbers, found {column.iloc[0]!r}.")
    values: npt.NDArray[np.float64] = column.to_numpy(np.float64)
    return values


def _names(column: pd.Series) -> list[str]:
    return column.tolist() if column.dtype == object else [_name(value) for value in column]


def _name(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def _numbered(names: list[str], classes: tuple[str, ...]) -> npt.NDArray[np.int64]:
    number = {name: index for index, name in enumerate(classes)}
    return np.array([number[name] for name in names], dtype=np.int64)
