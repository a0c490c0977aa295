"""Examples for a model that was trained before: of a known set, a file or a function, with targets or without."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from torchdropout.study.datasets import arrays, tables
from torchdropout.study.datasets.columns import column as as_column
from torchdropout.study.datasets.dataset import Dataset, Inputs, Task
from torchdropout.study.datasets.encoding import Encoding
from torchdropout.study.datasets.loading import NAMES, TEXT_COLUMN, load, load_inputs
from torchdropout.study.datasets.targets import Targets
from torchdropout.study.errors import StudyError

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from torchdropout.study.datasets.prepare import Preparation

_FILES = (arrays.SUFFIX, *tables.SUFFIXES)


@dataclass(frozen=True, slots=True)
class Trained:
    """What a model was trained on, as far as new examples must be like it.

    Attributes:
        preparation: What makes tensors of raw examples.
        task: `classification` or `regression`.
        classes: The names of the classes.
        target: The target's column in a table.
        text: The texts' column in a table.
        data_dir: Where the files of known sets are.
    """

    preparation: Preparation
    task: Task
    classes: tuple[str, ...]
    target: str | None = None
    text: str | None = None
    data_dir: Path | None = None


@dataclass(frozen=True, slots=True)
class Examples:
    """New examples.

    Attributes:
        name: Where they are from.
        raw: As they were found.
        inputs: Prepared.
        targets: Classes as the model numbers them, or numbers; None where there need not be any.
        is_test_split: Whether they are the given test split of a set.
    """

    name: str
    raw: Inputs
    inputs: Tensor
    targets: npt.NDArray[Any] | None
    is_test_split: bool = False

    def __len__(self) -> int:
        return len(self.inputs)


def labelled(name: str, trained: Trained) -> Examples:
    """Examples with their targets; of a set with a given test split, that split.

    Args:
        name: As for `load`; a table has the columns of training, its target among them.
        trained: What they must be like.

    Raises:
        StudyError: They cannot be had, or are unlike those of training.
    """
    if _is_file(name):
        found = load_inputs(name, trained.preparation, column=trained.text or TEXT_COLUMN)
        examples = _examples(name, trained, found, None)
        wanted = Targets(trained.task, np.zeros(0), trained.classes, "")
        targets = wanted.alike(_targets(Path(name), trained), f"{name} (targets)")
        return _with_targets(examples, targets)
    data = _loaded(name, trained, trained.task)
    if data.task != trained.task:
        raise StudyError(f"{name}: its targets must be those of a {trained.task}, as in training, found {data.task}.")
    if data.test_inputs is None or data.test_targets is None:
        return _examples(name, trained, data.inputs, _as_numbered(name, data, data.targets, trained))
    targets = _as_numbered(name, data, data.test_targets, trained)
    return _examples(name, trained, data.test_inputs, targets, is_test_split=True)


def unlabelled(name: str, trained: Trained) -> Examples:
    """Examples whose targets are not looked at.

    Raises:
        StudyError: As `labelled`.
    """
    if _is_file(name):
        inputs = load_inputs(name, trained.preparation, column=trained.text or TEXT_COLUMN)
        return _examples(name, trained, inputs, None)
    data = _loaded(name, trained, None)
    inputs = data.inputs if data.test_inputs is None else data.test_inputs
    return _examples(name, trained, inputs, None, data.test_inputs is not None)


def _is_file(name: str) -> bool:
    return name not in NAMES and Path(name).suffix.lower() in _FILES


def _loaded(name: str, trained: Trained, task: Task | None) -> Dataset:
    return load(name, task=None if name in NAMES else task, data_dir=trained.data_dir)


def _examples(
    name: str, trained: Trained, raw: Inputs, targets: npt.NDArray[Any] | None, is_test_split: bool = False
) -> Examples:
    try:
        inputs = trained.preparation.inputs(raw)
    except StudyError as error:
        raise StudyError(f"{name}: {error}") from error
    if not bool(inputs.isfinite().all()):
        raise StudyError(f"{name}: inputs must be finite numbers, found NaN or an infinity.")
    return Examples(name, _used(raw, trained), inputs, targets, is_test_split)


def _with_targets(found: Examples, targets: npt.NDArray[Any]) -> Examples:
    if len(targets) != len(found):
        raise StudyError(
            f"{found.name}: there must be a target for each of {len(found):,} inputs, found {len(targets):,}."
        )
    return replace(found, targets=targets)


def _used(raw: Inputs, trained: Trained) -> Inputs:
    """Of a table the columns that the model reads, in the table's order."""
    encoding = trained.preparation.encoding
    if isinstance(raw, np.ndarray) or not isinstance(encoding, Encoding):
        return raw
    read = {*encoding.columns, *(category.column for category in encoding.categories)}
    return raw[[name for name in raw.columns if name in read]]


def _targets(path: Path, trained: Trained) -> pd.Series:
    """The column of targets of a file."""
    import pandas as pd  # noqa: PLC0415 - half a second that worker processes need not spend

    if path.suffix.lower() == arrays.SUFFIX:
        return as_column(pd.Series(arrays.load_targets(path)), f"{path} (targets)")
    table = tables.read(path, verbatim=() if trained.text is None else (trained.text,))
    return table[tables.target_of(table, trained.target, path)]


def _as_numbered(name: str, data: Dataset, targets: npt.NDArray[Any], trained: Trained) -> npt.NDArray[Any]:
    """Classes by the numbers that they have in the model; numbers as they are."""
    if data.task == "regression":
        return targets
    numbers = {label: number for number, label in enumerate(trained.classes)}
    present = [data.classes[n] for n in np.unique(targets)]
    if unknown := [label for label in present if label not in numbers]:
        known = ", ".join(trained.classes[:10]) + (", ..." if len(trained.classes) > 10 else "")
        raise StudyError(f"{name}: classes must be those of training, {known}, found {unknown[0]!r}.")
    table = np.array([numbers.get(label, -1) for label in data.classes], dtype=np.int64)
    renumbered: npt.NDArray[np.int64] = table[targets]
    return renumbered
