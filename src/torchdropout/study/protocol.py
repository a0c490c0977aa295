"""Who trains on what: folds, inner parts and random states, the same for every condition."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from torchdropout.study.conditions import Condition
from torchdropout.study.config import CompareConfig
from torchdropout.study.datasets import Dataset
from torchdropout.study.errors import StudyError

Indices = npt.NDArray[np.int64]

VALIDATION, TEST = "val", "test"  # what judges a study: the fold that was left out, or the given test split
INNER = 0.2  # the part of the training data that chooses strengths and the time to stop


@dataclass(frozen=True, slots=True)
class Fold:
    """A division of the data.

    Attributes:
        train: The examples to learn from.
        val: The examples that judge; none where the given test split does.
        inner_train: The part of `train` to learn from while something is chosen on the rest.
        inner_val: That rest.
    """

    train: Indices
    val: Indices
    inner_train: Indices
    inner_val: Indices


@dataclass(frozen=True, slots=True)
class Run:
    """One training.

    Attributes:
        condition: What is compared.
        repeat: Which division of the data into folds.
        fold: Which fold judges.
        seed: Which training on this fold.
    """

    condition: Condition
    repeat: int
    fold: int
    seed: int

    @property
    def key(self) -> tuple[str, int, int, int]:
        """What tells it from the other runs of a study."""
        return self.condition.label, self.repeat, self.fold, self.seed


@dataclass(frozen=True, slots=True)
class RandomState:
    """The three seeds of a run; they do not depend on its condition."""

    parameters: int
    order: int
    noise: int


def plan(config: CompareConfig, conditions: tuple[Condition, ...]) -> list[Run]:
    """Every run, so ordered that an unfinished study has all conditions alike."""
    return [
        Run(condition, repeat, fold, seed)
        for seed in range(config.seeds)
        for repeat in range(config.repeats)
        for fold in range(config.folds)
        for condition in conditions
    ]


def random_state(repeat: int, fold: int, seed: int) -> RandomState:
    """The seeds of a training."""
    sequence = np.random.SeedSequence((repeat, fold, seed))
    return RandomState(*(int(word) for word in sequence.generate_state(3, np.uint32)))


def judge(config: CompareConfig, data: Dataset) -> str:
    """Whether folds judge, or the given test split.

    Raises:
        StudyError: There is one fold and no given test split.
    """
    if config.folds > 1:
        return VALIDATION
    if data.test_targets is None:
        raise StudyError(
            f"compare: `folds` must be at least 2, got 1, and {data.name} has no given test split to judge."
        )
    return TEST


def divide(config: CompareConfig, data: Dataset) -> dict[tuple[int, int], Fold]:
    """The folds of every repeat, shuffled; those of a classification keep the proportions of the classes.

    Raises:
        StudyError: A class has fewer examples than there are folds, or there are fewer examples than folds.
    """
    _check_enough(config, data)
    return {
        (repeat, number): _fold(data, train, val, (repeat, number))
        for repeat in range(config.repeats)
        for number, (train, val) in enumerate(_outer(config.folds, data, repeat))
    }


def everything(data: Dataset) -> Fold:
    """All training data, without a part that judges."""
    return _fold(data, np.arange(len(data.targets)), np.arange(0), (0, 0))


def _outer(count: int, data: Dataset, repeat: int) -> list[tuple[Indices, Indices]]:
    from sklearn.model_selection import KFold, StratifiedKFold  # noqa: PLC0415 - workers are given the folds

    if count == 1:
        return [(np.arange(len(data.targets)), np.arange(0))]
    kind = StratifiedKFold if data.task == "classification" else KFold
    splitter = kind(count, shuffle=True, random_state=repeat)
    return list(splitter.split(np.zeros(len(data.targets)), data.targets))


def _fold(data: Dataset, train: Indices, val: Indices, number: tuple[int, int]) -> Fold:
    from sklearn.model_selection import train_test_split  # noqa: PLC0415

    seed = int(np.random.SeedSequence(number).generate_state(1, np.uint32)[0])
    targets = data.targets[train]
    enough = data.task == "classification" and np.unique(targets, return_counts=True)[1].min() > 1
    enough = enough and len(train) * INNER >= len(data.classes)
    inner = train_test_split(train, test_size=INNER, random_state=seed, stratify=targets if enough else None)
    return Fold(train, val, *(np.sort(part) for part in inner))


def _check_enough(config: CompareConfig, data: Dataset) -> None:
    if data.task == "classification":
        counts = np.bincount(data.targets, minlength=len(data.classes))
        least = max(config.folds, 2)
        if counts.min() < least:
            found = f"class {data.classes[counts.argmin()]!r} has {counts.min()}"
            raise StudyError(f"compare: every class must have an example for each of the {least} folds, {found}.")
    if len(data.targets) < 2 * config.folds + 3:
        raise StudyError(
            f"compare: {config.folds} folds need {2 * config.folds + 3} examples, got {len(data.targets)}."
        )
