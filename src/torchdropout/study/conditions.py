"""What is compared: one condition per method, with the strengths that it may choose from."""

from __future__ import annotations

from dataclasses import dataclass

from torchdropout import catalog
from torchdropout.study.config import MODELS, CompareConfig
from torchdropout.study.datasets import Dataset
from torchdropout.study.errors import StudyError

PLAIN = "none"
ALL = "all"
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
_NOISE = ("activations", "SELU activations")


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


def expand(config: CompareConfig) -> tuple[Condition, ...]:
    """Every condition of a comparison, in the order the methods were named.

    Raises:
        StudyError: A method is unknown, or cannot be placed in the model, or not with its activation.
    """
    conditions = tuple(_of_method(name, config) for name in _names(config))
    if config.p and not any(condition.argument == "p" for condition in conditions):
        raise StudyError(
            f"compare: `p` was given, but no method of {', '.join(config.methods)} takes a drop probability."
        )
    return conditions


def fitting(conditions: tuple[Condition, ...], config: CompareConfig, data: Dataset) -> tuple[Condition, ...]:
    """The conditions, less those of all methods that do not fit the examples' axes.

    Raises:
        StudyError: A method that was named acts on sequences, images or volumes, and the examples are something else.
    """
    if ALL in config.methods:
        return tuple(c for c in conditions if c.method == PLAIN or _fits(catalog.get(c.method), config, data))
    for row in (catalog.get(condition.method) for condition in conditions if condition.method != PLAIN):
        if not _reads(row, config, data):
            where = f"acts on {catalog.RANKS[row.dims or 0]}, got {data.description}"
            raise StudyError(f"compare: method {row.name!r} {where}{_hint(row, data.dims)}")
    return conditions


def lacks_convolution(row: catalog.Method, dims: int) -> bool:
    """Whether a method that replaces all layers has convolutions, but none over so many axes."""
    known = catalog.forms(row) if row.place == "weights" else {}
    return bool(known) and dims not in known


def _fits(row: catalog.Method, config: CompareConfig, data: Dataset) -> bool:
    return _reads(row, config, data) and not (config.model == "cnn" and lacks_convolution(row, data.dims))


def _reads(row: catalog.Method, config: CompareConfig, data: Dataset) -> bool:
    """Whether the examples have the row's axes; what a network of the user's makes of plain numbers is not known."""
    return row.dims in (None, data.dims) or (":" in config.model and not data.dims)


def _hint(row: catalog.Method, dims: int) -> str:
    """The row of the same method that fits."""
    known = catalog.forms(row)
    if dims in known:
        return f"; did you mean {known[dims].name!r}?"
    return f"; it has no form for {catalog.RANKS[dims]}." if dims else "."


def _names(config: CompareConfig) -> tuple[str, ...]:
    if ALL not in config.methods:
        return config.methods
    if len(config.methods) > 1:
        raise StudyError(f"compare: `methods` must name nothing besides {ALL!r}, got {', '.join(config.methods)}.")
    own = ":" in config.model  # what a user's network has a place for, apart from noise, is not known
    rows = [row for row in catalog.METHODS if (row.place in _NOISE if own else config.model in row.models)]
    return (PLAIN, *(row.name for row in rows if not _activation_refusal(row, config)))


def _of_method(name: str, config: CompareConfig) -> Condition:
    if name == PLAIN:
        return Condition(PLAIN)
    row = _row(name)
    if config.model in MODELS and config.model not in row.models:
        where = f"it fits {' and '.join(row.models)}"
        raise StudyError(f"compare: method {name!r} cannot be placed in model {config.model!r}: {where}.")
    if refusal := _activation_refusal(row, config):
        raise StudyError(f"compare: method {name!r} {refusal}.")
    if not row.argument:
        return Condition(name)
    return Condition(name, config.p if row.argument == "p" and config.p else (row.default,))


def _activation_refusal(row: catalog.Method, config: CompareConfig) -> str:
    """What the method asks of hidden activations that the network's are not; empty if they suit."""
    selu = config.activation == "selu"
    if row.needs_selu and not selu:
        return f"acts on SELU activations; give --activation selu, got {config.activation}"
    if selu and row.family == "max-pool":
        return "needs activations that are not negative; give --activation relu, got selu"
    return ""


def _row(name: str) -> catalog.Method:
    try:
        return catalog.get(name)
    except ValueError as error:
        raise StudyError(f"compare: {error}") from error
