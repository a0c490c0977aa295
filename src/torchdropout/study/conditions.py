"""What is compared: one condition per method, with the strengths that it may choose from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

import torchdropout
from torchdropout import catalog
from torchdropout.study.config import MODELS, CompareConfig
from torchdropout.study.errors import StudyError

PLAIN = "none"
ALL = "all"
SITES = ("input", "conv", "dense")

# Srivastava et al. 2014, appendix B: inputs are kept with 0.8 and convolutions with 0.75 where hidden layers keep 0.5.
LIMITS = {"input": 0.2, "conv": 0.25, "dense": 1.0}

MakeNoise = Callable[..., nn.Module]


@dataclass(frozen=True, slots=True)
class Condition:
    """A method and the strengths that it may have.

    Attributes:
        method: A name of the catalogue, or `none`.
        candidates: Values of the method's argument, at hidden layers. Of several, every run chooses one on an inner
            validation part of its training data. None for the plain network.
    """

    method: str
    candidates: tuple[float, ...] = ()

    @property
    def argument(self) -> str:
        """The name of the strength: `p`, `std`, or nothing for the plain network."""
        return "" if self.method == PLAIN else catalog.get(self.method).argument

    @property
    def label(self) -> str:
        """What tables and charts call it."""
        if not self.candidates:
            return self.method
        values = ", ".join(f"{value:g}" for value in self.candidates)
        return f"{self.method} {self.argument}{'=' if len(self.candidates) == 1 else ' from '}{values}"


@dataclass(frozen=True, slots=True)
class Placed:
    """A method at one strength: it makes the noise of each site of a network."""

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
        if row.target == "feature maps":
            return self.strength if site == "conv" else None
        return min(self.strength * share, LIMITS[site]) if row.argument == "p" else self.strength

    def noise(self, site: str, share: float = 1.0) -> nn.Module:
        """The layer for a site; the identity where nothing acts."""
        if site not in SITES:
            raise ValueError(f"noise: `site` must be one of {', '.join(SITES)}, got {site!r}.")
        strength = self.strength_at(site, share)
        if strength is None:
            return nn.Identity()
        layer: nn.Module = getattr(torchdropout, catalog.get(self.method).layer)(strength)
        return layer


def expand(config: CompareConfig) -> tuple[Condition, ...]:
    """Every condition of a comparison, in the order the methods were named.

    Raises:
        StudyError: A method is unknown, or cannot be placed in the model, or refuses its strength.
    """
    conditions = tuple(_of_method(name, config) for name in _names(config))
    if config.p and not any(condition.argument == "p" for condition in conditions):
        raise StudyError(
            f"compare: `p` was given, but no method of {', '.join(config.methods)} takes a drop probability."
        )
    for condition in conditions:
        _check_strengths(condition)
    return conditions


def _names(config: CompareConfig) -> tuple[str, ...]:
    if ALL not in config.methods:
        return config.methods
    if len(config.methods) > 1:
        raise StudyError(f"compare: `methods` must name nothing besides {ALL!r}, got {', '.join(config.methods)}.")
    fitting = [
        row.name for row in catalog.METHODS if config.model in row.models or (":" in config.model and row.models)
    ]
    return (PLAIN, *fitting)


def _of_method(name: str, config: CompareConfig) -> Condition:
    if name == PLAIN:
        return Condition(PLAIN)
    row = _row(name)
    if config.model in MODELS and config.model not in row.models:
        where = (
            f"it fits {' and '.join(row.models)}" if row.models else "none of the built-in models has a place for it"
        )
        raise StudyError(f"compare: method {name!r} cannot be placed in model {config.model!r}: {where}.")
    return Condition(name, config.p if row.argument == "p" and config.p else (row.default,))


def _row(name: str) -> catalog.Method:
    try:
        return catalog.get(name)
    except ValueError as error:
        raise StudyError(f"compare: {error}") from error


def _check_strengths(condition: Condition) -> None:
    for value in condition.candidates:
        try:
            for site in SITES:
                Placed(condition.method, value).noise(site)
        except ValueError as error:
            raise StudyError(f"compare: {condition.label} is refused by its layer: {error}") from error
