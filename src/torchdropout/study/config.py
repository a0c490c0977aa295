"""What one comparison is: every setting, checked once, frozen."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torchdropout.study.errors import StudyError

MODELS = ("mlp", "cnn")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareConfig:
    """The settings of `torchdropout compare`.

    Attributes:
        data: The name of a data set: `digits`, `mnist` or `fashion-mnist`.
        model: The network that every method is placed in: `mlp` or `cnn`.
        methods: Names from the catalogue, and `none` for the plain network.
        p: Drop probabilities to try in each method that takes one; empty for each method's default.
        folds: The number of stratified folds.
        seeds: The number of trainings per method and fold.
        epochs: The number of passes over the training part, the same for every method.
        batch_size: Examples per step.
        lr: Adam's learning rate.
        jobs: Worker processes; None for one per available core, 1 for none but this one.
        data_dir: The folder of idx files, or the one that holds it; None for the variable TORCHDROPOUT_DATA.
        out: The folder to write; None for `runs/<data>-<time>`.
    """

    data: str = "digits"
    model: str = "mlp"
    methods: tuple[str, ...] = ("none", "dropout", "gaussian", "gaussian-noise")
    p: tuple[float, ...] = ()
    folds: int = 3
    seeds: int = 2
    epochs: int = 30
    batch_size: int = 64
    lr: float = 0.001
    jobs: int | None = None
    data_dir: Path | None = None
    out: Path | None = None

    def __post_init__(self) -> None:
        for name, least in (("folds", 2), ("seeds", 1), ("epochs", 1), ("batch_size", 1)):
            _at_least(name, getattr(self, name), least)
        if self.jobs is not None:
            _at_least("jobs", self.jobs, 1)
        if not (0 < self.lr < math.inf):
            raise StudyError(f"compare: `lr` must be a positive, finite number, got {self.lr}.")
        if self.model not in MODELS:
            raise StudyError(f"compare: `model` must be one of {', '.join(MODELS)}, got {self.model!r}.")
        _check_probabilities(self.p)
        _check_distinct("methods", self.methods)
        _check_distinct("p", self.p)
        if not self.methods:
            raise StudyError("compare: `methods` must name at least one method, got none.")

    @property
    def workers(self) -> int:
        """The number of processes that train."""
        return self.jobs or available_cores()

    def command(self) -> str:
        """The command line that runs this comparison."""
        words = ["torchdropout", "compare", self.data, "--model", self.model, "--methods", ",".join(self.methods)]
        if self.p:
            words += ["--p", ",".join(f"{value:g}" for value in self.p)]
        for name in ("folds", "seeds", "epochs", "batch_size", "lr", "jobs", "data_dir", "out"):
            value = getattr(self, name)
            if value is not None:
                words += [f"--{name.replace('_', '-')}", str(value)]
        return shlex.join(words)

    def to_json(self) -> dict[str, Any]:
        """The settings as JSON types."""
        paths = {name: str(value) for name in ("data_dir", "out") if (value := getattr(self, name)) is not None}
        return asdict(self) | {"methods": list(self.methods), "p": list(self.p)} | paths


def from_settings(settings: dict[str, Any]) -> CompareConfig:
    """The configuration of keyword arguments, where lists may stand for tuples and strings for paths.

    Raises:
        TypeError: A setting does not exist, or is of another type.
        StudyError: A setting's value breaks its rule.
    """
    values = dict(settings)
    values |= {name: _several(name, settings[name]) for name in ("methods", "p") if name in settings}
    values |= {name: Path(value) for name in ("data_dir", "out") if (value := settings.get(name)) is not None}
    return CompareConfig(**values)


def placed_in(config: CompareConfig, out: Path) -> CompareConfig:
    """The same configuration with its folder settled."""
    return replace(config, out=out)


def available_cores() -> int:
    """The number of cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _several(name: str, values: object) -> tuple[Any, ...]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"compare: `{name}` must be a list, got {values!r}.")
    return tuple(values)


def _at_least(name: str, value: int, least: int) -> None:
    if not isinstance(value, int):
        raise TypeError(f"compare: `{name}` must be an integer, got {value!r}.")
    if value < least:
        raise StudyError(f"compare: `{name}` must be at least {least}, got {value}.")


def _check_probabilities(values: tuple[float, ...]) -> None:
    for value in values:
        if not 0 <= value <= 1:
            raise StudyError(f"compare: `p` must be in [0, 1], got {value}.")


def _check_distinct(name: str, values: tuple[object, ...]) -> None:
    for value in values:
        if values.count(value) > 1:
            raise StudyError(
                f"compare: `{name}` must not name the same value twice, got {value} {values.count(value)} times."
            )
