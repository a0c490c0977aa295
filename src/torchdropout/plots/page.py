"""A picture on its page: title, the catalogue's line, four panels, the density, the note; and files of every kind."""

from __future__ import annotations

import textwrap
from contextlib import AbstractContextManager
from pathlib import Path

from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.style import context

from torchdropout.catalog import Method
from torchdropout.plots.picture import GREY, VALUES, Picture, Scale

_WIDE, _PANEL, _GAP, _EDGE = 12.6, 2.75, 0.2, 0.3  # inches
_ABOVE, _BELOW, _DENSITY = 1.3, 0.75, 2.9
STYLE = {"hatch.linewidth": 0.6, "hatch.color": GREY, "svg.hashsalt": "torchdropout", "svg.fonttype": "path"}
_FORMATS = (".png", ".svg", ".pdf")


def style() -> AbstractContextManager[None]:
    """Matplotlib's own defaults and ours, whatever the user's configuration says."""
    return context(["default", STYLE])


def figure(row: Method, picture: Picture, heading: str) -> Figure:
    """The page of one method."""
    panel = _PANEL * picture.height
    lower = _DENSITY if picture.density else 0.0
    high = _ABOVE + panel + lower + _BELOW
    page = Figure(figsize=(_WIDE, high))
    page.text(_EDGE / _WIDE, 1 - 0.36 / high, heading, fontsize=17, fontweight="bold", va="center")
    page.text(_EDGE / _WIDE, 1 - 0.74 / high, caption(row), fontsize=10.5, color="#333333", va="center")
    for n, part in enumerate(picture.panels):
        left = _EDGE + n * (_PANEL + _GAP)
        axes = page.add_axes((left / _WIDE, (_BELOW + lower) / high, _PANEL / _WIDE, panel / high))
        part.paint(axes, 1.0)
        axes.set_title(part.title, fontsize=12, pad=7)
    if picture.scale is not None:
        _paint_scale(page, picture.scale, (_BELOW + lower, panel, high))
    if picture.density is not None:
        axes = page.add_axes((1.1 / _WIDE, (_BELOW + 0.62) / high, 7.6 / _WIDE, (_DENSITY - 0.95) / high))
        picture.density.paint(axes, 1.0)
    note = "\n".join(textwrap.wrap(picture.note, 150))
    page.text(_EDGE / _WIDE, 0.4 / high, note, fontsize=10.5, va="center", linespacing=1.35)
    return page


def caption(row: Method) -> str:
    """The catalogue's line."""
    parts = ("noise", row.noise), ("shared over", row.shared), ("acts on", row.target), ("at test time", row.test_time)
    return "   |   ".join(f"{name}: {words}" for name, words in parts)


def _paint_scale(page: Figure, scale: Scale, place: tuple[float, float, float]) -> None:
    bottom, panel, high = place
    left = _EDGE + 4 * (_PANEL + _GAP)
    axes = page.add_axes((left / _WIDE, (bottom + 0.1 * panel) / high, 0.11 / _WIDE, 0.8 * panel / high))
    bar = page.colorbar(ScalarMappable(Normalize(scale.low, scale.high), VALUES), cax=axes)
    bar.ax.tick_params(labelsize=7, length=2, pad=1)
    bar.ax.set_title(scale.label, fontsize=8, pad=8)
    bar.outline.set_linewidth(0.5)


def save(page: Figure, path: Path, dpi: int = 120) -> Path:
    """Write the page as its suffix says, with nothing in the file that changes from run to run.

    Raises:
        ValueError: The suffix is none of .png, .svg and .pdf, or the file cannot be written.
    """
    kind = path.suffix.lower()
    if kind not in _FORMATS:
        raise ValueError(f"the picture's file must end with .png, .svg or .pdf, got {str(path)!r}.")
    metadata = {".png": {"Software": None}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}[kind]
    try:
        page.savefig(path, dpi=dpi, metadata=metadata)
    except OSError as error:
        raise ValueError(f"{path}: the picture must be a file that can be written, found: {error.strerror}.") from error
    return path
