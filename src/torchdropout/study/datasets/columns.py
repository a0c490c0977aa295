"""Tables from anywhere, brought into the two kinds of column that a data set holds: float64, and text or None."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from torchdropout.study.datasets.checks import check_names
from torchdropout.study.errors import StudyError

if TYPE_CHECKING:
    import pandas as pd


def normalised(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    """The same table with numbers as float64 and everything else as text, missing values NaN and None.

    Raises:
        StudyError: Two columns have one name, or one holds neither numbers nor text.
    """
    import pandas as pd  # noqa: PLC0415 - half a second that worker processes need not spend

    names = [str(name) for name in frame.columns]
    check_names(where, names)
    columns = [column(frame.iloc[:, index], f"{where}: column {name!r}") for index, name in enumerate(names)]
    return pd.DataFrame(dict(zip(names, columns, strict=True)), index=range(len(frame)))


def column(values: pd.Series, where: str) -> pd.Series:
    """One column, as `normalised` holds it."""
    import pandas as pd  # noqa: PLC0415 - as above

    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(object)
    values = values.infer_objects()
    kind = pd.api.types
    if kind.is_bool_dtype(values) or kind.is_object_dtype(values) or kind.is_string_dtype(values):
        return pd.Series([_text(value, where) for value in values], dtype=object)
    if kind.is_numeric_dtype(values) and not kind.is_complex_dtype(values):
        return pd.Series(values.to_numpy(np.float64, na_value=np.nan))
    raise StudyError(f"{where} must hold numbers or text, found {values.dtype}; turn it into numbers or drop it.")


def _text(value: Any, where: str) -> str | None:
    import pandas as pd  # noqa: PLC0415 - as above

    if isinstance(value, str | bool | int | float | np.generic):
        return None if pd.isna(value) else str(value)
    if value is None or value is pd.NA:
        return None
    raise StudyError(f"{where} must hold numbers or text, found a {type(value).__name__}; drop it.")
