"""From raw examples to tensors, by numbers fitted on the training part of a fold alone."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from torchdropout.study.datasets import checks, encoding, words
from torchdropout.study.datasets.dataset import Dataset, Inputs
from torchdropout.study.datasets.encoding import Encoding
from torchdropout.study.datasets.words import Words
from torchdropout.study.errors import StudyError


@dataclass(frozen=True, slots=True)
class Preparation:
    """What turns raw examples into tensors and a network's outputs into the target's units; plain numbers throughout.

    Images are scaled by one mean and one standard deviation of all pixels: by pixel, one that is lit in a single image
    would explode. So are sequences and volumes. Numbers are scaled by column, after a missing one has been replaced by
    its column's median. Categories become indicator columns, after a missing one has been replaced by its column's most
    frequent; a category that the training part does not have is zero in all of them. A column that does not vary is
    only shifted. Texts become the numbers of their words.

    Attributes:
        shape: Of one prepared example.
        encoding: What was fitted to the inputs.
        target_center: For regression, the mean of the training part's targets (of their logarithms if `log_target`).
        target_scale: For regression, their standard deviation; 1 if they are all equal.
        log_target: Whether targets are learned as logarithms.
        classification: Whether targets are classes, which stay as they are.
    """

    shape: tuple[int, ...]
    encoding: Encoding | Words
    classification: bool
    target_center: float = 0.0
    target_scale: float = 1.0
    log_target: bool = False

    @property
    def vocabulary(self) -> int:
        """How many numbers of words there are; 0 where examples are no texts."""
        return self.encoding.vocabulary if isinstance(self.encoding, Words) else 0

    def inputs(self, raw: Inputs) -> Tensor:
        """The prepared inputs, float32 of shape (examples, *shape); of texts the numbers of their words, int64.

        Raises:
            StudyError: A column is missing or of another kind, images are of another size, or a text is empty.
        """
        return self.encoding.apply(raw)

    def targets(self, raw: npt.NDArray[Any]) -> Tensor:
        """Classes as int64 of shape (examples,), or standardised targets as float32 of shape (examples, 1)."""
        if self.classification:
            return torch.from_numpy(raw.astype(np.int64))
        values = np.log(raw) if self.log_target else raw
        return torch.from_numpy(((values - self.target_center) / self.target_scale).astype(np.float32))[:, None]

    def in_units(self, outputs: Tensor) -> Tensor:
        """A regression network's outputs (examples, 1) in the target's units: float64 of shape (examples,), on the CPU.

        With `log_target` that is the exponential of the predicted logarithm: a prediction of the median.
        """
        values = outputs.detach().cpu().double().squeeze(1) * self.target_scale + self.target_center
        return values.exp() if self.log_target else values

    def to_json(self) -> dict[str, Any]:
        """Everything as numbers, text and lists, for `from_json`."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Preparation:
        """The preparation that `to_json` described.

        Raises:
            StudyError: Something is missing, unknown or of another type.
        """
        try:
            rest = {name: value for name, value in stored.items() if name not in ("shape", "encoding")}
            fitted = (Words if "words" in stored["encoding"] else Encoding).from_json(stored["encoding"])
            return cls(tuple(map(int, stored["shape"])), fitted, **rest)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            found = f"{type(error).__name__}: {error}"
            raise StudyError(f"preparation: it must be as `Preparation.to_json` wrote it, found {found}.") from error


def fit(data: Dataset, part: npt.NDArray[np.int64], *, log_target: bool = False) -> Preparation:
    """The preparation fitted on the examples numbered in `part`, and on no others.

    Args:
        data: The data set.
        part: The numbers of the examples that train.
        log_target: Whether a regression learns logarithms of its targets.

    Raises:
        StudyError: `log_target` is for a classification, or for targets that are not all positive; or no word of the
            texts occurs twice.
    """
    fitted = _fit_inputs(data, part)
    if log_target:
        _check_positive(data)
    if data.task == "classification":
        return Preparation(fitted.shape, fitted, classification=True)
    targets = np.log(data.targets[part]) if log_target else data.targets[part]
    center, scale = encoding.moments(targets[:, None])
    return Preparation(fitted.shape, fitted, False, float(center[0]), float(scale[0]), log_target)


def _fit_inputs(data: Dataset, part: npt.NDArray[np.int64]) -> Encoding | Words:
    training = rows(data.inputs, part)
    return words.fit(training, data.name) if checks.is_text(training) else encoding.fit(training)


def rows(inputs: Inputs, part: npt.NDArray[np.int64]) -> Inputs:
    """The examples numbered in `part`."""
    return inputs[part] if isinstance(inputs, np.ndarray) else inputs.iloc[part]


def _check_positive(data: Dataset) -> None:
    if data.task != "regression":
        raise StudyError(f"--log-target: the task must be regression, {data.name} is a {data.task}.")
    for where, targets in ((data.name, data.targets), (f"{data.name} (test split)", data.test_targets)):
        if targets is not None and (targets <= 0).any():
            row = int(np.flatnonzero(targets <= 0)[0])
            raise StudyError(f"--log-target: targets must be positive, {where} has {targets[row]:g} in row {row + 1}.")
