"""The inputs' half of a preparation: medians, means, deviations and categories, and how they are applied."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from torchdropout.study.datasets.checks import REAL
from torchdropout.study.errors import StudyError

if TYPE_CHECKING:
    import pandas as pd

    from torchdropout.study.datasets.dataset import Inputs

Numbers = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Category:
    """A column of categories.

    Attributes:
        column: Its name.
        fill: What stands in for a missing value.
        levels: The categories, one indicator each.
    """

    column: str
    fill: str
    levels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Encoding:
    """What was fitted to inputs.

    Attributes:
        shape: Of one prepared example.
        columns: The names of a table's columns of numbers; none for arrays.
        categories: A table's columns of categories.
        fill: Stands in for missing numbers, by column; none for sequences, images and volumes.
        center: Subtracted, by column; one number for sequences, images and volumes.
        scale: Divided by, by column; one number for sequences, images and volumes.
    """

    shape: tuple[int, ...]
    columns: tuple[str, ...]
    categories: tuple[Category, ...]
    fill: tuple[float, ...]
    center: tuple[float, ...]
    scale: tuple[float, ...]

    def apply(self, raw: Inputs) -> Tensor:
        """The prepared inputs, float32."""
        if isinstance(raw, np.ndarray):
            self._check(raw)
            return self._maps(raw) if raw.ndim > 2 else self._scaled(raw)
        if not self.columns and not self.categories:
            raise StudyError(f"inputs: they must be {self._wanted} as in training, found a table.")
        numbers = np.column_stack([_numbers(raw, name) for name in self.columns] or [np.zeros((len(raw), 0))])
        return torch.cat([self._scaled(numbers), *(_indicators(raw, category) for category in self.categories)], 1)

    @property
    def _wanted(self) -> str:
        sizes = ", ".join(map(str, self.shape))
        return "a table" if self.columns or self.categories else f"an array of shape (examples, {sizes})"

    def _check(self, raw: Numbers) -> None:
        if self.columns or self.categories or raw.shape[1:] != self.shape:
            raise StudyError(f"inputs: they must be {self._wanted} as in training, found shape {raw.shape}.")
        if raw.dtype.kind not in REAL:
            raise StudyError(f"inputs: they must be real numbers, found {raw.dtype}.")

    def _maps(self, raw: Numbers) -> Tensor:
        return torch.from_numpy(raw.astype(np.float32)).sub_(self.center[0]).mul_(1 / self.scale[0])

    def _scaled(self, raw: Numbers) -> Tensor:
        values = torch.from_numpy(raw.astype(_precision(raw)))
        fill, center, scale = (torch.tensor(row, dtype=values.dtype) for row in (self.fill, self.center, self.scale))
        if values.isnan().any():
            values = torch.where(values.isnan(), fill, values)
        return values.sub_(center).div_(scale).float()

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Encoding:
        """The encoding in a preparation's JSON."""
        rest = dict(stored)
        shape, columns = tuple(map(int, rest.pop("shape"))), tuple(map(str, rest.pop("columns")))
        categories = [
            Category(str(one["column"]), str(one["fill"]), tuple(map(str, one["levels"])))
            for one in rest.pop("categories")
        ]
        return cls(shape, columns, tuple(categories), **{key: tuple(map(float, row)) for key, row in rest.items()})


def fit(inputs: Inputs) -> Encoding:
    """The encoding fitted on these inputs, all of which train."""
    if not isinstance(inputs, np.ndarray):
        return _fit_table(inputs)
    if inputs.ndim > 2:
        deviation, mean = torch.std_mean(torch.from_numpy(inputs.astype(np.float32)), correction=0)
        return Encoding(inputs.shape[1:], (), (), (), (float(mean),), (float(deviation) or 1.0,))
    return Encoding(inputs.shape[1:], (), (), *_fit_numbers(inputs))


def moments(values: Numbers) -> tuple[Numbers, Numbers]:
    """Mean and standard deviation by column, the latter 1 where nothing varies."""
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415 - a second that reading a stored model need not spend

    scaler = StandardScaler().fit(values.astype(np.float64, copy=False))
    return cast(Numbers, scaler.mean_), cast(Numbers, scaler.scale_)


def _fit_table(table: pd.DataFrame) -> Encoding:
    names = [str(name) for name in table.columns if table[name].dtype != object]
    categories = tuple(_fit_category(table, name) for name in table.columns if table[name].dtype == object)
    width = len(names) + sum(len(category.levels) for category in categories)
    numbers = _fit_numbers(table[names].to_numpy(np.float64)) if names else ((), (), ())
    return Encoding((width,), tuple(names), categories, *numbers)


def _fit_numbers(values: Numbers) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    if values.dtype.kind != "f":  # nothing can be missing
        fill = np.zeros(values.shape[1])
    else:
        fill = _medians(values)
        if np.isnan(values).any():
            values = np.where(np.isnan(values), fill, values)
    center, scale = moments(values)
    return tuple(fill.tolist()), tuple(center.tolist()), tuple(scale.tolist())


def _medians(values: Numbers) -> Numbers:
    """By column, 0 where all is missing. Scikit-learn's imputer gives the same, by masked arrays ten times slower."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
        return cast(Numbers, np.nan_to_num(np.nanmedian(values, axis=0), nan=0.0))


def _fit_category(table: pd.DataFrame, name: str) -> Category:
    from sklearn.impute import SimpleImputer  # noqa: PLC0415 - as above
    from sklearn.preprocessing import OneHotEncoder  # noqa: PLC0415 - as above

    column = table[[name]]
    if column[name].isna().all():
        return Category(name, "", ())
    imputer = SimpleImputer(strategy="most_frequent", missing_values=None).fit(column)
    encoder = OneHotEncoder(handle_unknown="ignore").fit(imputer.transform(column))
    return Category(name, str(imputer.statistics_[0]), tuple(map(str, encoder.categories_[0])))


def _numbers(table: pd.DataFrame, name: str) -> Numbers:
    values = _column(table, name)
    if values.dtype == object:
        raise StudyError(
            f"inputs: column {name!r} must hold numbers, as in training, found {values.dropna().iloc[0]!r}."
        )
    return cast(Numbers, values.to_numpy(np.float64))


def _indicators(table: pd.DataFrame, category: Category) -> Tensor:
    import pandas as pd  # noqa: PLC0415 - half a second that worker processes without tables need not spend

    values = _column(table, category.column)
    if values.dtype != object:
        raise StudyError(f"inputs: column {category.column!r} must hold text, as in training, found {values.dtype}.")
    codes = pd.Index(category.levels).get_indexer(values.fillna(category.fill))  # -1 for an unknown level
    return torch.from_numpy(codes[:, None] == np.arange(len(category.levels))).float()


def _column(table: pd.DataFrame, name: str) -> pd.Series:
    if name not in table.columns:
        found = ", ".join(map(repr, table.columns))
        raise StudyError(f"inputs: there must be a column {name!r}, as in training, found {found}.")
    return table[name]


def _precision(values: Numbers) -> type[np.float32] | type[np.float64]:
    """Bytes and single precision fit into float32; everything else is scaled in float64."""
    return np.float32 if values.dtype.itemsize <= 2 or values.dtype == np.float32 else np.float64
