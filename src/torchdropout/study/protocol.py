"""Who trains on what: folds, random states and scaling, the same for every condition."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from torchdropout.study.conditions import Condition
from torchdropout.study.config import CompareConfig
from torchdropout.study.data import Dataset
from torchdropout.study.errors import StudyError

Indices = npt.NDArray[np.int64]
Fold = tuple[Indices, Indices]


@dataclass(frozen=True, slots=True)
class Run:
    """One training.

    Attributes:
        condition: What is compared: a method at a strength.
        repeat: Which division of the data into folds.
        fold: Which fold validates.
        seed: Which training on this fold.
    """

    condition: Condition
    repeat: int
    fold: int
    seed: int


@dataclass(frozen=True, slots=True)
class RandomState:
    """The three seeds of a run; they do not depend on its condition."""

    parameters: int
    order: int
    noise: int


@dataclass(frozen=True, slots=True)
class Split:
    """Scaled inputs and their labels."""

    inputs: Tensor
    labels: Tensor


def plan(config: CompareConfig, conditions: tuple[Condition, ...]) -> list[Run]:
    """Every run, so ordered that an unfinished study has all conditions alike."""
    return [
        Run(condition, 0, fold, seed)
        for seed in range(config.seeds)
        for fold in range(config.folds)
        for condition in conditions
    ]


def random_state(run: Run) -> RandomState:
    """The seeds of a run, from its repeat, fold and seed."""
    sequence = np.random.SeedSequence((run.repeat, run.fold, run.seed))
    return RandomState(*(int(word) for word in sequence.generate_state(3, np.uint32)))


def folds(labels: Indices, count: int, repeat: int = 0) -> list[Fold]:
    """Shuffled folds with the proportions of classes kept: indices to train on and to validate on.

    Raises:
        StudyError: A class has fewer examples than there are folds.
    """
    from sklearn.model_selection import StratifiedKFold  # noqa: PLC0415 - worker processes are given the folds

    classes, counts = np.unique(labels, return_counts=True)
    if counts.min() < count:
        found = f"class {classes[counts.argmin()]} has {counts.min()}"
        raise StudyError(f"compare: every class must have an example for each of the {count} folds, {found}.")
    splitter = StratifiedKFold(count, shuffle=True, random_state=repeat)
    return list(splitter.split(np.zeros(len(labels)), labels))


def scaled(data: Dataset, fold: Fold) -> tuple[Split, Split]:
    """The training and validation part of a fold, scaled by the training part's mean and standard deviation.

    The two numbers are taken over all pixels together: by pixel, one that is lit in a single image would explode.
    """
    training, validation = (torch.from_numpy(data.inputs[part].astype(np.float32)) for part in fold)
    labels = [torch.from_numpy(data.labels[part]) for part in fold]
    deviation, mean = (float(value) for value in torch.std_mean(training, correction=0))
    scale = 1.0 / deviation if deviation > 0 else 1.0
    return Split((training - mean) * scale, labels[0]), Split((validation - mean) * scale, labels[1])
