"""What is compared: a noise method, or none, and what is added to it, with the strengths that they may choose from."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

from torchdropout import catalog
from torchdropout.study import additions
from torchdropout.study.naming import PLAIN, PLUS

SITES = ("input", "conv", "dense")

# Srivastava et al. 2014, appendix B: inputs are kept with 0.8 and convolutions with 0.75 where hidden layers keep 0.5.
LIMITS = {"input": 0.2, "conv": 0.25, "dense": 1.0}

# Where noise of a place acts.
SITES_OF = {
    "activations": SITES,
    "SELU activations": ("conv", "dense"),
    "maps": ("conv",),
    "SELU maps": ("conv",),
}


@dataclass(frozen=True, slots=True)
class Condition:
    """A noise method and what is added to it, each with the strengths that it may have.

    Of several strengths, every run chooses one on an inner validation part of its training data.

    Attributes:
        method: The noise: a name of the catalogue, or `none`.
        candidates: Values of the noise's argument, at hidden layers. None for the plain network, and
            for methods without a strength.
        added: Names of the table of additions, in its order, each with its candidates.
        written: The names as the user joined them; none for those of the noise alone.
    """

    method: str
    candidates: tuple[float, ...] = ()
    added: tuple[tuple[str, tuple[float, ...]], ...] = ()
    written: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its name without strengths."""
        return PLUS.join(self.written) or self.method

    @property
    def argument(self) -> str:
        """The name of the noise's strength: `p`, `std`, or nothing where there is none."""
        return "" if self.method == PLAIN else catalog.get(self.method).argument

    @property
    def placed(self) -> tuple[Placed, ...]:
        """Every combination of strengths; one, where there is no choice."""
        names = [name for name, _ in self.added]
        chosen = list(product(*(values for _, values in self.added)))
        return tuple(
            Placed(self.method, strength, tuple(zip(names, each, strict=True)))
            for strength in self.candidates or (None,)
            for each in chosen
        )

    @property
    def label(self) -> str:
        """What tables and charts call it."""
        strengths = {name: (additions.get(name).argument, values) for name, values in self.added}
        strengths |= {self.method: (self.argument, self.candidates)}
        return f" {PLUS} ".join(_label(name, *strengths[name]) for name in self.written or (self.method,))


@dataclass(frozen=True, slots=True)
class Placed:
    """A condition at one strength of each of its parts.

    Attributes:
        method: The noise: a name of the catalogue, or `none`.
        strength: The value of its argument.
        added: Names of the table of additions, in its order, each with its strength.
    """

    method: str
    strength: float | None = None
    added: tuple[tuple[str, float], ...] = ()

    def of(self, addition: str) -> float | None:
        """The strength of an addition, or None where it is not there."""
        return dict(self.added).get(addition)

    def strength_at(self, site: str, share: float = 1.0) -> float | None:
        """The noise's strength at a site, or None where nothing acts.

        A drop probability is limited to 0.2 at the inputs and to 0.25 after convolutions. Methods that drop whole
        feature maps act after convolutions only, at full strength; those for SELU leave the inputs alone. A standard
        deviation is the same everywhere.

        Args:
            site: `input`, `conv` or `dense`.
            share: The layer's part of the full drop probability.
        """
        if self.strength is None:
            return None
        row = catalog.get(self.method)
        if site not in SITES_OF.get(row.place, SITES):
            return None
        if row.place in ("maps", "SELU maps"):
            return self.strength
        return min(self.strength * share, LIMITS[site]) if row.argument == "p" else self.strength

    def to_json(self) -> dict[str, Any]:
        """Itself as JSON types."""
        return {"method": self.method, "strength": self.strength, "added": dict(self.added)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Placed:
        """What `to_json` wrote."""
        return cls(values["method"], values["strength"], tuple(values["added"].items()))


def lacks_convolution(row: catalog.Method, dims: int) -> bool:
    """Whether a method that replaces all layers has convolutions, but none over so many axes."""
    known = catalog.forms(row) if row.place == "weights" else {}
    return bool(known) and dims not in known


def _label(name: str, argument: str, values: tuple[float, ...]) -> str:
    shown = ", ".join(f"{value:g}" for value in values)
    return f"{name} {argument}{'=' if len(values) == 1 else ' from '}{shown}" if values else name
