"""The main job: how far a study's model can be believed on examples that it did not learn from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from torchdropout.study import refit
from torchdropout.study.conditions import Placed
from torchdropout.study.datasets.examples import Examples, Trained, labelled, unlabelled
from torchdropout.study.errors import StudyError
from torchdropout.study.fitting import Network
from torchdropout.study.sampled import Passes
from torchdropout.study.uncertainty import measures
from torchdropout.study.uncertainty.measures import Measure
from torchdropout.study.uncertainty.predictions import Classified, Regressed, classified, regressed

FEWEST = 10  # examples; fewer say nothing


@dataclass(frozen=True, slots=True)
class Part:
    """Examples with what the model says of them."""

    examples: Examples
    found: Classified | Regressed


@dataclass(frozen=True, slots=True)
class Assessment:
    """How far a model can be believed.

    Attributes:
        folder: Of the study.
        about: The model's description.
        network: The model.
        samples: The number of passes.
        seed: Of their noise.
        inside: The examples with targets, and the predictions of them.
        outside: Examples of another distribution, where they were given.
        measures: The rows of the table.
        seen: Whether the model learned from these very examples, or from the set that they are called after.
    """

    folder: Path
    about: dict[str, Any]
    network: Network
    samples: int
    seed: int
    inside: Part
    outside: Part | None
    measures: tuple[Measure, ...]
    seen: bool

    @property
    def classes(self) -> list[str]:
        """The names of the classes; none for a regression."""
        return list(self.about["classes"])

    @property
    def is_regression(self) -> bool:
        """Whether numbers are predicted."""
        return self.network.task == "regression"

    @property
    def method(self) -> str:
        """The noise of the model, and what joined it, with their strengths."""
        placed = Placed.from_json(self.about["placed"])
        first = placed.method if placed.strength is None else f"{placed.method} {placed.strength:g}"
        return " + ".join([first, *(f"{name} {strength:g}" for name, strength in placed.added)])


def assess(
    folder: Path | str,
    data: str,
    *,
    ood: str | None = None,
    samples: int = 50,
    seed: int = 0,
    target: str | None = None,
    data_dir: Path | str | None = None,
) -> Assessment:
    """Measure a study's model on examples with targets, with the noise off and by the mean over noisy passes.

    Args:
        folder: What `compare` wrote.
        data: A data set's name (its given test split is used, where it has one), a file with the columns or arrays of
            training, or `module:function`.
        ood: Examples of another distribution, of the same shape or columns; their targets are not looked at.
        samples: How many passes.
        seed: Of the noise.
        target: The targets' column in a table; None for that of training.
        data_dir: The folder of a known set's files; None for that of the study.

    Raises:
        StudyError: The folder holds no model, the model has no noise, or the examples are too few or unlike those of
            training.
    """
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 2:
        raise StudyError(f"uncertainty: `samples` must be an integer from 2, got {samples}.")
    network, about = refit.load(Path(folder))
    trained = _trained(network, about, target, data_dir)
    found = labelled(data, trained)
    foreign = None if ood is None else unlabelled(ood, trained)
    for each in (found, foreign):
        if each is not None and len(each) < FEWEST:
            raise StudyError(f"{each.name}: there must be at least {FEWEST} examples, found {len(each)}.")
    inside = _part(network, found, Passes(samples, seed))
    outside = None if foreign is None else _part(network, foreign, Passes(samples, seed + 1))
    rows = _measures(network, about, inside, outside)
    named = not found.is_test_split and data == about["config"]["data"]
    seen = named or refit.digest(found.inputs) == about.get("learned")
    return Assessment(Path(folder), about, network, samples, seed, inside, outside, tuple(rows), seen)


def _trained(network: Network, about: dict[str, Any], target: str | None, data_dir: Path | str | None) -> Trained:
    config = about["config"]
    where = data_dir or config.get("data_dir")
    return Trained(
        network.preparation,
        "regression" if network.task == "regression" else "classification",
        tuple(about["classes"]),
        target or config.get("target"),
        config.get("text"),
        None if where is None else Path(where),
    )


def _part(network: Network, examples: Examples, passes: Passes) -> Part:
    predict = regressed if network.task == "regression" else classified
    return Part(examples, predict(network, examples.inputs, passes))


def _measures(network: Network, about: dict[str, Any], inside: Part, outside: Part | None) -> list[Measure]:
    targets = inside.examples.targets
    if targets is None:
        raise RuntimeError("uncertainty: labelled examples have no targets.")
    if isinstance(inside.found, Classified):
        rows = measures.of_classes(inside.found, targets.astype(np.int64))
        if outside is not None and isinstance(outside.found, Classified):
            rows += measures.of_detection(inside.found, outside.found)
        return rows
    rows = measures.of_numbers(inside.found, targets, network.preparation, _variance(about))
    if outside is not None and isinstance(outside.found, Regressed):
        rows += measures.of_detected_numbers(inside.found, outside.found)
    return rows


def _variance(about: dict[str, Any]) -> float:
    found = about.get("variance")
    if found is None:
        raise StudyError(
            f"{refit.MODEL}: `variance` must be there, the error on the training data, found none; `torchdropout "
            "compare --resume --out RUN` writes the model anew."
        )
    return float(found)
