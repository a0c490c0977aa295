"""What one comparison is: every setting, checked once, frozen."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from torchdropout.study.errors import StudyError

MODELS = ("linear", "mlp", "cnn", "transformer", "lstm")
OPTIMIZERS = ("adam", "adamw", "sgd")
SCHEDULES = ("constant", "cosine")
ACTIVATIONS = ("relu", "selu")
AUTOCAST = ("none", "bfloat16", "float16")
TASKS = ("classification", "regression")
_LISTS = ("methods", "p", "widths")
_PATHS = ("data_dir", "out")
_NOT_OF_THE_NUMBERS = ("jobs", "out", "data_dir")  # a study may be continued with others


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareConfig:
    """The settings of `torchdropout compare`.

    Attributes:
        data: A data set's name, a file (`.csv`, `.tsv`, `.txt`, `.parquet`, `.npz`), or `module:function`.
        target: The column to predict, for a table.
        text: The column of text to read instead of all others, for a table.
        task: `classification` or `regression`; None to tell from the targets.
        log_target: Whether to learn the logarithm of a regression's target; errors stay in the target's own units.
        max_examples: Keep only so many training examples, a stratified random part; None for all.
        model: The network that every method is placed in: `linear`, `mlp`, `cnn` (of sequences, images or volumes),
            `transformer` (of images or text), `lstm` (of text) or `module:factory`.
        widths: The hidden layers of the `mlp`.
        activation: Of the hidden layers of the `mlp`, the `cnn` or a factory's network: `relu`, or `selu` with the
            initial values that belong to it.
        methods: Names from the catalogue, and `none` for the plain network; names of the table of additions; several of
            one condition joined by a plus sign; `all` for every method of the catalogue that fits the model, its
            activation and the data.
        p: Drop probabilities for each method that takes one, the best of them chosen on an inner validation part of
            the training data; empty for each method's default.
        strength: Strengths of single methods and additions, by name: pairs of a name and its values, the best of them
            chosen as of `p`, before which they come; a mapping where keyword arguments are given.
        p_by_width: Whether a hidden layer's drop probability is in proportion to its width, the widest having `p`.
        folds: The number of folds; 1 for a data set whose given test split judges.
        repeats: How often the data are divided into folds anew.
        seeds: The number of trainings per method and fold.
        epochs: The number of passes over the training part, the same for every method.
        patience: Stop once the loss on an inner validation part has not fallen for so many epochs, and keep the best
            weights; None never to stop early.
        mc: Measure also the mean over so many passes with the noise on (Monte-Carlo dropout); None not to.
        batch_size: Examples per step.
        lr: The learning rate.
        optimizer: `adam`, `adamw` or `sgd` (momentum 0.9).
        weight_decay: The optimizer's.
        schedule: The learning rate over the epochs: `constant` or `cosine`.
        autocast: The lower precision of the training steps: `none`, `bfloat16` or `float16`.
        device: Where to train.
        jobs: Worker processes; None for one per available core, 1 for none but this one.
        data_dir: The folder of a known set's files, or the one that holds it; None for the variable TORCHDROPOUT_DATA.
        out: The folder to write; None for `runs/<data>-<time>`.
    """

    data: str = "digits"
    target: str | None = None
    text: str | None = None
    task: Literal["classification", "regression"] | None = None
    log_target: bool = False
    max_examples: int | None = None
    model: str = "mlp"
    widths: tuple[int, ...] = (512, 512)
    activation: str = "relu"
    methods: tuple[str, ...] = ("none", "dropout", "gaussian")
    p: tuple[float, ...] = ()
    strength: tuple[tuple[str, tuple[float, ...]], ...] = ()
    p_by_width: bool = False
    folds: int = 5
    repeats: int = 1
    seeds: int = 3
    epochs: int = 40
    patience: int | None = None
    mc: int | None = None
    batch_size: int = 64
    lr: float = 0.001
    optimizer: str = "adam"
    weight_decay: float = 0.0
    schedule: str = "constant"
    autocast: str = "none"
    device: str = "cpu"
    jobs: int | None = None
    data_dir: Path | None = None
    out: Path | None = None

    def __post_init__(self) -> None:
        for name in ("folds", "repeats", "seeds", "epochs", "batch_size"):
            _at_least_one(name, getattr(self, name))
        for name in ("max_examples", "patience", "mc", "jobs"):
            if getattr(self, name) is not None:
                _at_least_one(name, getattr(self, name))
        for width in self.widths:
            _at_least_one("widths", width)
        self._check_words()
        self._check_numbers()
        for name in ("methods", "p"):
            _check_distinct(name, getattr(self, name))
        self._check_strengths()

    def _check_words(self) -> None:
        if ":" not in self.model:
            _one_of("model", self.model, (*MODELS, "module:factory"))
        _one_of("activation", self.activation, ACTIVATIONS)
        if self.activation != "relu" and self.model in MODELS and self.model not in ("mlp", "cnn"):
            raise StudyError(f"compare: `activation` must be relu for model {self.model!r}, got {self.activation!r}.")
        _one_of("optimizer", self.optimizer, OPTIMIZERS)
        _one_of("schedule", self.schedule, SCHEDULES)
        _one_of("autocast", self.autocast, AUTOCAST)
        if self.task is not None:
            _one_of("task", self.task, TASKS)
        if not self.methods:
            raise StudyError("compare: `methods` must name at least one method, got none.")
        if self.repeats > 1 and self.folds == 1:
            raise StudyError(f"compare: `repeats` must be 1 where `folds` is 1, got {self.repeats}.")

    def _check_numbers(self) -> None:
        if not (0 < self.lr < math.inf):
            raise StudyError(f"compare: `lr` must be a positive, finite number, got {self.lr}.")
        if not (0 <= self.weight_decay < math.inf):
            raise StudyError(f"compare: `weight_decay` must be a finite number from 0, got {self.weight_decay}.")
        for value in self.p:
            if not 0 <= value <= 1:
                raise StudyError(f"compare: `p` must be in [0, 1], got {value}.")

    def _check_strengths(self) -> None:
        _check_distinct("strength", tuple(name for name, _ in self.strength))
        for name, values in self.strength:
            if not values:
                raise StudyError(f"compare: `strength` must have values for {name}, got none.")
            _check_distinct("strength", values)

    @property
    def workers(self) -> int:
        """The number of processes that train."""
        return self.jobs or available_cores()

    def command(self) -> str:
        """The command line that runs this comparison: what differs from the defaults."""
        words = ["torchdropout", "compare", self.data]
        for field in fields(self)[1:]:
            value = getattr(self, field.name)
            if value != field.default:
                words += _option(field.name, value)
        return shlex.join(words)

    def to_json(self) -> dict[str, Any]:
        """The settings as JSON types."""
        lists: dict[str, Any] = {name: list(getattr(self, name)) for name in _LISTS}
        lists |= {"strength": {name: list(values) for name, values in self.strength}}
        return asdict(self) | lists | {name: str(path) for name in _PATHS if (path := getattr(self, name)) is not None}

    def numbers_differ(self, other: CompareConfig) -> list[str]:
        """The names of the settings in which two studies differ, but for those that change no number."""
        names = [field.name for field in fields(self) if field.name not in _NOT_OF_THE_NUMBERS]
        return [name for name in names if getattr(self, name) != getattr(other, name)]


def from_settings(settings: dict[str, Any]) -> CompareConfig:
    """The configuration of keyword arguments, where lists may stand for tuples and strings for paths.

    Raises:
        TypeError: A setting does not exist, or is of another type.
        StudyError: A setting's value breaks its rule.
    """
    values = dict(settings)
    values |= {name: _several(name, settings[name]) for name in _LISTS if name in settings}
    if "strength" in settings:
        values["strength"] = _by_name("strength", settings["strength"])
    values |= {name: Path(value) for name in _PATHS if (value := settings.get(name)) is not None}
    return CompareConfig(**values)


def placed_in(config: CompareConfig, out: Path) -> CompareConfig:
    """The same configuration with its folder settled."""
    return replace(config, out=out)


def available_cores() -> int:
    """The number of cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _option(name: str, value: object) -> list[str]:
    option = f"--{name.replace('_', '-')}"
    if name == "strength" and isinstance(value, tuple):
        return [word for key, values in value for word in (option, f"{key}={','.join(map(_shown, values))}")]
    if isinstance(value, bool):
        return [option]
    return [option, ",".join(map(_shown, value)) if isinstance(value, tuple) else _shown(value)]


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _several(name: str, values: object) -> tuple[Any, ...]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"compare: `{name}` must be a list, got {values!r}.")
    return tuple(values)


def _by_name(name: str, values: object) -> tuple[tuple[str, tuple[float, ...]], ...]:
    if not isinstance(values, Mapping):
        raise TypeError(f"compare: `{name}` must be a mapping of names to lists of numbers, got {values!r}.")
    return tuple((str(key), tuple(map(float, _several(name, several)))) for key, several in values.items())


def _at_least_one(name: str, value: object) -> None:
    if not isinstance(value, int):
        raise TypeError(f"compare: `{name}` must be an integer, got {value!r}.")
    if value < 1:
        raise StudyError(f"compare: `{name}` must be at least 1, got {value}.")


def _one_of(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise StudyError(f"compare: `{name}` must be one of {', '.join(choices)}, got {value!r}.")


def _check_distinct(name: str, values: tuple[object, ...]) -> None:
    for value in values:
        if values.count(value) > 1:
            raise StudyError(
                f"compare: `{name}` must not name the same value twice, got {value} {values.count(value)} times."
            )
