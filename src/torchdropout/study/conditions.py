"""What is compared: one condition per method and strength."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

import torchdropout
from torchdropout import catalog
from torchdropout.study.config import CompareConfig
from torchdropout.study.errors import StudyError

PLAIN = "none"

# Srivastava et al. 2014, appendix B: inputs are kept with 0.8 and convolutions with 0.75 where hidden layers keep 0.5.
INPUT_LIMIT = 0.2
CONV_LIMIT = 0.25


@dataclass(frozen=True, slots=True)
class Condition:
    """A method at one strength.

    Attributes:
        method: A name of the catalogue, or `none`.
        strength: The value of the method's argument, at hidden layers; None for the plain network.
    """

    method: str
    strength: float | None = None

    @property
    def argument(self) -> str:
        """The name of the strength: `p`, `std`, or nothing for the plain network."""
        return "" if self.method == PLAIN else catalog.get(self.method).argument

    @property
    def label(self) -> str:
        """What tables and charts call it."""
        return self.method if self.strength is None else f"{self.method} {self.argument}={self.strength:g}"


def expand(config: CompareConfig) -> tuple[Condition, ...]:
    """Every condition of a comparison, in the order the methods were named.

    Raises:
        StudyError: A method is unknown, or cannot be placed in the model, or refuses its strength.
    """
    conditions = tuple(condition for name in config.methods for condition in _of_method(name, config))
    if config.p and not any(condition.argument == "p" for condition in conditions):
        raise StudyError(
            f"compare: `p` was given, but no method of {', '.join(config.methods)} takes a drop probability."
        )
    for condition in conditions:
        _check_strength(condition)
    return conditions


def noise_at(condition: Condition, site: str) -> nn.Module | None:
    """The layer that a condition puts at a site, `input`, `conv` or `dense`, or None where it puts nothing."""
    strength = strength_at(condition, site)
    if strength is None:
        return None
    layer: nn.Module = getattr(torchdropout, catalog.get(condition.method).layer)(strength)
    return layer


def strength_at(condition: Condition, site: str) -> float | None:
    """The strength of a condition at a site.

    A drop probability is limited to 0.2 at the inputs and to 0.25 after convolutions. Methods that drop whole feature
    maps act after convolutions only, at full strength. A standard deviation is the same everywhere.
    """
    if condition.strength is None:
        return None
    row = catalog.get(condition.method)
    if row.target == "feature maps":
        return condition.strength if site == "conv" else None
    limit = {"input": INPUT_LIMIT, "conv": CONV_LIMIT, "dense": 1.0}[site]
    return min(condition.strength, limit) if row.argument == "p" else condition.strength


def _of_method(name: str, config: CompareConfig) -> list[Condition]:
    if name == PLAIN:
        return [Condition(PLAIN)]
    row = _row(name)
    if config.model not in row.models:
        where = (
            f"it fits {' and '.join(row.models)}" if row.models else "none of the built-in models has a place for it"
        )
        raise StudyError(f"compare: method {name!r} cannot be placed in model {config.model!r}: {where}.")
    strengths = config.p if row.argument == "p" and config.p else (row.default,)
    return [Condition(name, strength) for strength in strengths]


def _row(name: str) -> catalog.Method:
    try:
        return catalog.get(name)
    except ValueError as error:
        raise StudyError(f"compare: {error}") from error


def _check_strength(condition: Condition) -> None:
    try:
        noise_at(condition, "conv")
        noise_at(condition, "dense")
    except ValueError as error:
        raise StudyError(f"compare: {condition.label} is refused by its layer: {error}") from error
