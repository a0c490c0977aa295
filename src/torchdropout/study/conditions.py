"""What is compared: one condition per method, with the strengths that it may choose from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from torchdropout import catalog
from torchdropout.study.config import MODELS, CompareConfig
from torchdropout.study.datasets import Dataset
from torchdropout.study.errors import StudyError

PLAIN = "none"
ALL = "all"
SITES = ("input", "conv", "dense")

# Srivastava et al. 2014, appendix B: inputs are kept with 0.8 and convolutions with 0.75 where hidden layers keep 0.5.
LIMITS = {"input": 0.2, "conv": 0.25, "dense": 1.0}


@dataclass(frozen=True, slots=True)
class Condition:
    """A method and the strengths that it may have.

    Attributes:
        method: A name of the catalogue, or `none`.
        candidates: Values of the method's argument, at hidden layers. Of several, every run chooses one on an inner
            validation part of its training data. None for the plain network, and
            for methods without a strength.
    """

    method: str
    candidates: tuple[float, ...] = ()

    @property
    def argument(self) -> str:
        """The name of the strength: `p`, `std`, or nothing for the plain network."""
        return "" if self.method == PLAIN else catalog.get(self.method).argument

    @property
    def placed(self) -> tuple[Placed, ...]:
        """The method at each strength; once, without one, where it has none."""
        return tuple(Placed(self.method, value) for value in self.candidates or (None,))

    @property
    def label(self) -> str:
        """What tables and charts call it."""
        if not self.candidates:
            return self.method
        values = ", ".join(f"{value:g}" for value in self.candidates)
        return f"{self.method} {self.argument}{'=' if len(self.candidates) == 1 else ' from '}{values}"


@dataclass(frozen=True, slots=True)
class Placed:
    """A method at one strength."""

    method: str
    strength: float | None = None

    def strength_at(self, site: str, share: float = 1.0) -> float | None:
        """The strength at a site, or None where nothing acts.

        A drop probability is limited to 0.2 at the inputs and to 0.25 after convolutions. Methods that drop whole
        feature maps act after convolutions only, at full strength. A standard deviation is the same everywhere.

        Args:
            site: `input`, `conv` or `dense`.
            share: The layer's part of the full drop probability.
        """
        if self.strength is None:
            return None
        row = catalog.get(self.method)
        if row.place == "maps":
            return self.strength if site == "conv" else None
        return min(self.strength * share, LIMITS[site]) if row.argument == "p" else self.strength


def expand(config: CompareConfig) -> tuple[Condition, ...]:
    """Every condition of a comparison, in the order the methods were named.

    Raises:
        StudyError: A method is unknown, or cannot be placed in the model.
    """
    conditions = tuple(_of_method(name, config) for name in _names(config))
    if config.p and not any(condition.argument == "p" for condition in conditions):
        raise StudyError(
            f"compare: `p` was given, but no method of {', '.join(config.methods)} takes a drop probability."
        )
    return conditions


def fitting(conditions: tuple[Condition, ...], config: CompareConfig, data: Dataset) -> tuple[Condition, ...]:
    """All methods, less those that act on images where the examples are none; methods that were named stay."""
    images = isinstance(data.inputs, np.ndarray) and data.inputs.ndim == 4
    if images or ALL not in config.methods:
        return conditions
    return tuple(c for c in conditions if c.method == PLAIN or catalog.get(c.method).place != "inputs")


def _names(config: CompareConfig) -> tuple[str, ...]:
    if ALL not in config.methods:
        return config.methods
    if len(config.methods) > 1:
        raise StudyError(f"compare: `methods` must name nothing besides {ALL!r}, got {', '.join(config.methods)}.")
    own = ":" in config.model  # what a user's network has a place for, apart from noise, is not known
    fits = [row.name for row in catalog.METHODS if (row.place == "activations" if own else config.model in row.models)]
    return (PLAIN, *fits)


def _of_method(name: str, config: CompareConfig) -> Condition:
    if name == PLAIN:
        return Condition(PLAIN)
    row = _row(name)
    if config.model in MODELS and config.model not in row.models:
        where = (
            f"it fits {' and '.join(row.models)}" if row.models else "none of the built-in models has a place for it"
        )
        raise StudyError(f"compare: method {name!r} cannot be placed in model {config.model!r}: {where}.")
    if not row.argument:
        return Condition(name)
    return Condition(name, config.p if row.argument == "p" and config.p else (row.default,))


def _row(name: str) -> catalog.Method:
    try:
        return catalog.get(name)
    except ValueError as error:
        raise StudyError(f"compare: {error}") from error
