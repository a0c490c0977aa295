"""What a user calls a condition: one name, or several joined by a plus sign, taken apart and checked."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from itertools import combinations

import torchdropout
from torchdropout import catalog
from torchdropout.layers._rate import Rate
from torchdropout.study import additions
from torchdropout.study.additions import Addition
from torchdropout.study.errors import StudyError

PLAIN = "none"
PLUS = "+"


@dataclass(frozen=True, slots=True)
class Name:
    """A condition's name, taken apart.

    Attributes:
        written: Its names, in the order in which they were written.
        noise: The noise method: a name of the catalogue, or `none`.
        added: The rest, in the order of its table.
    """

    written: tuple[str, ...]
    noise: str
    added: tuple[Addition, ...] = ()


def parse(text: str) -> Name:
    """Take a name apart.

    Raises:
        StudyError: A name is unknown or stands there twice, or names do not go together.
    """
    written = tuple(word.strip() for word in text.split(PLUS))
    _check(text, written)
    added = tuple(row for row in additions.ADDITIONS if row.name in written)
    named = [name for name in written if not additions.find(name)]
    if len(named) > 1:
        why = "a difference could be laid to neither, so a condition has one at most"
        raise StudyError(f"compare: {text!r} names two noise methods, {named[0]} and {named[1]}: {why}.")
    for first, second in combinations(added, 2):
        if why := additions.clash(first, second):
            raise StudyError(f"compare: {text!r} joins {first.name} and {second.name}: {why}.")
    noise = named[0] if named else next((row.noise for row in added if row.noise), PLAIN)
    for row in added:
        _check_noise(text, row, noise)
    return Name(written, noise, added)


def known() -> list[str]:
    """Every name that a condition can be made of."""
    return [PLAIN, *catalog.names(), *additions.names()]


def check_known(name: str, where: str = "") -> None:
    """Raise a `StudyError` that suggests the nearest name where nothing is called so."""
    if name in known():
        return
    near = difflib.get_close_matches(name, known(), n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    listed = ", ".join(known())
    raise StudyError(f"compare: {where}no method is called {name!r}.{hint} Known: {listed}.")


def _check(text: str, written: tuple[str, ...]) -> None:
    if "" in written:
        raise StudyError(f"compare: `methods` must be names, several of them joined by {PLUS}, got {text!r}.")
    for name in written:
        check_known(name, f"{text!r}: " if len(written) > 1 else "")
        if written.count(name) > 1:
            raise StudyError(
                f"compare: {text!r} must not name the same thing twice, got {name} {written.count(name)} times."
            )
    if PLAIN in written and len(written) > 1:
        raise StudyError(f"compare: {text!r} must not join {PLAIN}, the plain network, with anything.")


def _check_noise(text: str, row: Addition, noise: str) -> None:
    if row.only and noise != row.noise:
        raise StudyError(
            f"compare: {text!r} must have no noise but {row.noise}, of which {row.name} is made, got {noise}."
        )
    if row.kind == "schedule" and not has_rate(catalog.get(noise)):
        raise StudyError(
            f"compare: {text!r}: {row.name} changes drop probabilities, and {noise} has none that are set."
        )


def has_rate(row: catalog.Method) -> bool:
    """Whether a method has a drop probability that can be set at every step, and is not learned."""
    return row.is_kind or issubclass(getattr(torchdropout, row.layer), Rate)
