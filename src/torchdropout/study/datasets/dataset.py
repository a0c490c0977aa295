"""What a comparison trains on: inputs, targets, and a fingerprint of both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from torchdropout import catalog
from torchdropout.study.datasets import checks, words

if TYPE_CHECKING:
    import pandas as pd

Task = Literal["classification", "regression"]
Inputs: TypeAlias = "npt.NDArray[Any] | pd.DataFrame"


@dataclass(frozen=True, slots=True)
class Dataset:
    """Examples in memory, checked when they are put together.

    Attributes:
        name: What the command line calls it.
        task: `classification` or `regression`.
        inputs: Unscaled, one of four kinds: sequences (examples, channels, length), images (examples, channels, height,
            width) or volumes (examples, channels, depth, height, width); numbers (examples, numbers), where NaN is a
            missing value; a table whose columns hold numbers or, as text, categories; or texts, strings in an array of
            objects (examples,).
        targets: Classes from 0 (int64), or numbers (float64).
        classes: The names of the classes; none for regression.
        note: What a reader of the results should know about the set.
        fingerprint: A sha256 of the task, the names of classes and columns, and every value; computed, never given.
        test_inputs: The inputs of a given test split.
        test_targets: Its targets.

    Raises:
        StudyError: The parts do not fit together, or hold what no network can be trained on.
    """

    name: str
    task: Task
    inputs: Inputs
    targets: npt.NDArray[Any]
    classes: tuple[str, ...]
    note: str
    fingerprint: str = field(init=False)
    test_inputs: Inputs | None = None
    test_targets: npt.NDArray[Any] | None = None

    def __post_init__(self) -> None:
        checks.check(self)
        object.__setattr__(self, "fingerprint", _fingerprint(self))

    @property
    def is_text(self) -> bool:
        """Whether examples are texts."""
        return checks.is_text(self.inputs)

    @property
    def dims(self) -> int:
        """How many axes of positions an example has: 1 in a sequence, 2 in an image, 3 in a volume, else 0."""
        return max(0, self.inputs.ndim - 2) if isinstance(self.inputs, np.ndarray) else 0

    @property
    def description(self) -> str:
        """What one example is: "images of 1 × 8 × 8", "13 numbers", "11 numbers and 2 categories", "texts of ..."."""
        if self.is_text:
            return f"texts of {_count(round(words.mean_length(self.inputs)), 'word', 'words')} on average"
        if self.dims:
            return f"{catalog.RANKS[self.dims]} of {' × '.join(map(str, self.inputs.shape[1:]))}"
        if isinstance(self.inputs, np.ndarray):
            return _count(self.inputs.shape[1], "number", "numbers")
        categories = sum(dtype.kind == "O" for dtype in self.inputs.dtypes)
        numbers = self.inputs.shape[1] - categories
        kinds = ((numbers, "number", "numbers"), (categories, "category", "categories"))
        return " and ".join(_count(*kind) for kind in kinds if kind[0])


def _count(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def _fingerprint(data: Dataset) -> str:
    digest = hashlib.sha256()
    for part in _parts(data):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


def _parts(data: Dataset) -> Iterator[bytes]:
    """Everything hashed, each part with its length, so that no two data sets run together into the same bytes.

    The set's own name and note are left out: the same file elsewhere is the same data.
    """
    yield json.dumps([data.task, data.classes]).encode()
    for values in (data.inputs, data.targets, data.test_inputs, data.test_targets):
        if values is None or isinstance(values, np.ndarray):
            yield from _array(values)
        else:
            for name in values.columns:
                yield json.dumps(name).encode()
                yield from _array(values[name].to_numpy())


def _array(values: npt.NDArray[Any] | None) -> Iterator[bytes]:
    if values is None:
        yield b"none"
    elif values.dtype == object:
        yield json.dumps(values.tolist()).encode()
    else:
        little = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
        yield json.dumps([little.dtype.str, little.shape]).encode()
        yield little.tobytes()
