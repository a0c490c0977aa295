"""From settings to conditions: names are taken apart, strengths given, and what does not fit is refused."""

from __future__ import annotations

from torchdropout import catalog
from torchdropout.study import additions, naming
from torchdropout.study.additions import Addition
from torchdropout.study.conditions import Condition, lacks_convolution
from torchdropout.study.config import MODELS, CompareConfig
from torchdropout.study.datasets import Dataset
from torchdropout.study.errors import StudyError
from torchdropout.study.naming import PLAIN, Name

ALL = "all"
_ONLY_OF = {"words": "texts", "patches": "images"}  # what has such places, where a model reads both
_NOISE = ("activations", "SELU activations")


def expand(config: CompareConfig) -> tuple[Condition, ...]:
    """Every condition of a comparison, in the order the methods were named.

    Raises:
        StudyError: A name is unknown, or names do not go together; a method cannot be placed in the model, or not with
            its activation; a strength breaks its rule, or is of nothing that was named.
    """
    named = [naming.parse(text) for text in _names(config)]
    conditions = tuple(_of_name(name, config) for name in named)
    for name in named:
        _check_model(name, config)
    _check_distinct(conditions)
    _check_strengths(conditions, config)
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
            where = f"acts on {catalog.RANKS[row.dims] if row.dims else _ONLY_OF[row.place]}, got {data.description}"
            raise StudyError(f"compare: method {row.name!r} {where}{_hint(row, data.dims)}")
    return conditions


def _fits(row: catalog.Method, config: CompareConfig, data: Dataset) -> bool:
    return _reads(row, config, data) and not (config.model == "cnn" and lacks_convolution(row, data.dims))


def _reads(row: catalog.Method, config: CompareConfig, data: Dataset) -> bool:
    """Whether the examples have the row's axes; what a network of the user's makes of plain numbers is not known."""
    if config.model == "transformer" and row.place in _ONLY_OF and data.is_text != (row.place == "words"):
        return False
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


def _of_name(name: Name, config: CompareConfig) -> Condition:
    given = dict(config.strength)
    added = tuple((row.name, given.get(row.name, (row.default,))) for row in name.added)
    written = name.written if name.added else ()
    return Condition(name.noise, _noise_candidates(name.noise, config), added, written)


def _noise_candidates(noise: str, config: CompareConfig) -> tuple[float, ...]:
    argument = "" if noise == PLAIN else catalog.get(noise).argument
    if not argument:
        return ()
    fallback = config.p if argument == "p" and config.p else (catalog.get(noise).default,)
    return dict(config.strength).get(noise, fallback)


def _check_model(name: Name, config: CompareConfig) -> None:
    """Whether the model has a place for every part of a condition."""
    rows: list[catalog.Method | Addition] = [*name.added]
    rows += [] if name.noise == PLAIN else [catalog.get(name.noise)]
    for row in rows:
        if config.model in MODELS and config.model not in row.models:
            where = f"it fits {' and '.join(row.models)}"
            raise StudyError(f"compare: method {row.name!r} cannot be placed in model {config.model!r}: {where}.")
    if name.noise != PLAIN and (refusal := _activation_refusal(catalog.get(name.noise), config)):
        raise StudyError(f"compare: method {name.noise!r} {refusal}.")


def _activation_refusal(row: catalog.Method, config: CompareConfig) -> str:
    """What the method asks of hidden activations that the network's are not; empty if they suit."""
    selu = config.activation == "selu"
    if row.needs_selu and not selu:
        return f"acts on SELU activations; give --activation selu, got {config.activation}"
    if selu and row.family == "max-pool":
        return "needs activations that are not negative; give --activation relu, got selu"
    return ""


def _check_distinct(conditions: tuple[Condition, ...]) -> None:
    """Names in another order, or a noise method that is named or implied, are the same condition."""
    seen: dict[tuple[object, ...], str] = {}
    for condition in conditions:
        same = condition.method, condition.added
        if same in seen:
            raise StudyError(
                f"compare: `methods` must not name the same thing twice, got {seen[same]} and {condition.name}."
            )
        seen[same] = condition.name


def _check_strengths(conditions: tuple[Condition, ...], config: CompareConfig) -> None:
    if config.p and not any(condition.argument == "p" for condition in conditions):
        raise StudyError(
            f"compare: `p` was given, but no method of {', '.join(config.methods)} takes a drop probability."
        )
    taken = {name for condition in conditions for name, _ in condition.added}
    taken |= {condition.method for condition in conditions if condition.argument}
    for name, values in config.strength:
        naming.check_known(name, "`strength`: ")
        if name not in taken:
            raise StudyError(
                f"compare: `strength` was given for {name}, which takes none or is not in {', '.join(config.methods)}."
            )
        _check_values(name, values)
    if any("recipe" in dict(c.added) and 1 in c.candidates for c in conditions):
        raise StudyError(
            "compare: `p` must be below 1 for recipe, whose hidden layers are wider by 1 / (1 - p), got 1."
        )


def _check_values(name: str, values: tuple[float, ...]) -> None:
    """The rule of a strength, where the table knows it; of other noise, its layer knows."""
    row = additions.find(name)
    rule = row.rule if row else "in [0, 1]" if catalog.get(name).argument == "p" else ""
    for value in values:
        if rule and not additions.RULES[rule](value):
            raise StudyError(f"compare: the strength of {name} must be {rule}, got {value:g}.")
