"""What `torchdropout show` draws: a method, all of them, or the activation functions; errors are one sentence."""

from __future__ import annotations

import difflib
from pathlib import Path

from torchdropout import catalog, plots
from torchdropout.scratch import draw_activations
from torchdropout.study.errors import StudyError

_OTHERS = ("all", "activations")


def draw(name: str, path: Path, p: float | None = None, strength: float | None = None) -> Path:
    """Draw into a file, and return its path.

    Args:
        name: A method of the catalogue, `all` or `activations`.
        path: The file, ending with .png, .svg or .pdf.
        p: The drop probability, for methods that have one.
        strength: The value of the argument that the catalogue names.

    Raises:
        StudyError: The name is unknown, the file cannot be written, or the method does not take the strength.
    """
    try:
        if name in _OTHERS:
            return _draw_other(name, path, p, strength)
        _check_name(name)
        return plots.draw(name, path, _strength(name, p, strength))
    except ValueError as error:
        raise StudyError(f"show: {error}") from error


def _draw_other(name: str, path: Path, p: float | None, strength: float | None) -> Path:
    if p is not None or strength is not None:
        raise ValueError(f"{name!r} takes neither --p nor --strength.")
    if name == "all":
        return plots.draw_gallery(path)
    try:
        return draw_activations(path)
    except OSError as error:
        raise ValueError(f"{path}: the picture must be a file that can be written, found: {error.strerror}.") from error


def _check_name(name: str) -> None:
    """Suggest what is no method, too, where it is nearer."""
    near = difflib.get_close_matches(name, [*catalog.names(), *_OTHERS], n=1, cutoff=0.4)
    if near and near[0] in _OTHERS:
        raise ValueError(f"nothing is called {name!r}. Did you mean {near[0]!r}?")
    catalog.get(name)


def _strength(name: str, p: float | None, strength: float | None) -> float | None:
    argument = catalog.get(name).argument
    if p is not None and strength is not None:
        raise ValueError("--p and --strength cannot both be given.")
    if p is not None and argument not in ("", "p"):
        raise ValueError(f"{name!r} has no `p`: its strength is `{argument}`, which --strength sets.")
    return strength if p is None else p
