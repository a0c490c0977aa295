"""A method's picture, and the page of all methods, into files."""

from __future__ import annotations

from pathlib import Path

from torchdropout import catalog
from torchdropout.catalog import Method
from torchdropout.plots import gallery, page
from torchdropout.plots.passes import Strength
from torchdropout.plots.picture import Picture
from torchdropout.plots.table import ENTRIES


def picture(name: str, strength: Strength = None) -> Picture:
    """What a method does, as panels with their data.

    Args:
        name: The method, as `torchdropout methods` calls it.
        strength: The value of the argument that the catalogue names; a telling one if None.

    Raises:
        ValueError: No method is called so, the strength is out of range, or the method has none.
    """
    row = catalog.get(name)
    if strength is not None and not row.argument:
        raise ValueError(f"{name!r} has no strength: it learns how much noise there is.")
    entry = ENTRIES[name]
    return entry.build(row, used_strength(row, strength), entry.seed, entry.note)


def used_strength(row: Method, given: Strength) -> Strength:
    """The strength of a picture: what was given, else what shows the method best; None where it has none."""
    if not row.argument:
        return None
    usual = ENTRIES[row.name].strength
    return next(value for value in (given, usual, row.default) if value is not None)


def draw(name: str, path: str | Path | None = None, strength: Strength = None) -> Path:
    """Draw what a method does: input, two draws of training, test.

    Args:
        name: The method, as `torchdropout methods` calls it.
        path: The file, ending with .png, .svg or .pdf; NAME.png in the current folder if None.
        strength: The value of the argument that the catalogue names; a telling one if None.

    Returns:
        The path.

    Raises:
        ValueError: As `picture`, or the file has another ending or cannot be written.
    """
    shown = picture(name, strength)
    row = catalog.get(name)
    used = used_strength(row, strength)
    heading = row.title if used is None else f"{row.title}: {row.argument} = {used:g}"
    with page.style():
        return page.save(page.figure(row, shown, heading), Path(path or f"{name}.png"))


def draw_gallery(path: str | Path = "gallery.png") -> Path:
    """Draw all methods small on one page, each with a telling strength.

    Args:
        path: The file, ending with .png, .svg or .pdf.

    Returns:
        The path.

    Raises:
        ValueError: The file has another ending or cannot be written.
    """
    with page.style():
        return page.save(gallery.figure({name: picture(name) for name in ENTRIES}), Path(path), dpi=100)
