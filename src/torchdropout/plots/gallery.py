"""All methods small on one page, in groups."""

from __future__ import annotations

from matplotlib.figure import Figure

from torchdropout.plots.picture import Picture
from torchdropout.plots.table import ENTRIES, GROUPS

_COLUMNS, _WIDE, _EDGE = 7, 16.0, 0.2  # inches
_HEAD, _GROUP, _NAME, _GAP = 1.1, 0.5, 0.34, 0.28
_CELL = (_WIDE - 2 * _EDGE - (_COLUMNS - 1) * _GAP) / _COLUMNS


def figure(pictures: dict[str, Picture]) -> Figure:
    """The page: one training draw of each method, or its density."""
    members = {group: [name for name in pictures if ENTRIES[name].group == group] for group in GROUPS}
    rows = {group: -(-len(names) // _COLUMNS) for group, names in members.items()}
    high = _HEAD + sum(_GROUP + n * (_NAME + _CELL + _GAP) for n in rows.values())
    page = Figure(figsize=(_WIDE, high))
    page.text(
        _EDGE / _WIDE, 1 - 0.35 / high, "What each method does in training", fontsize=22, fontweight="bold", va="center"
    )
    words = "Crossed, hatched or dotted: dropped. Curves: the density of the noise. `torchdropout show NAME` says more."
    page.text(_EDGE / _WIDE, 1 - 0.75 / high, words, fontsize=14, va="center", color="#333333")
    top = _HEAD
    for group, names in members.items():
        page.text(
            _EDGE / _WIDE, 1 - (top + 0.2) / high, group, fontsize=17, fontweight="bold", va="center", color="#0072B2"
        )
        top += _GROUP
        for n, name in enumerate(names):
            row, column = divmod(n, _COLUMNS)
            left, above = _EDGE + column * (_CELL + _GAP), top + row * (_NAME + _CELL + _GAP)
            _paint_cell(page, name, pictures[name], (left, above, high))
        top += rows[group] * (_NAME + _CELL + _GAP)
    return page


def _paint_cell(page: Figure, name: str, picture: Picture, place: tuple[float, float, float]) -> None:
    """A method's name, and its panel below."""
    left, above, high = place
    page.text(left / _WIDE, 1 - (above + 0.14) / high, name, fontsize=13.5, va="center")
    panel = picture.thumbnail
    tall = _CELL * min(1.0, picture.height if panel is not picture.density else 0.8)
    bottom = high - above - _NAME - tall
    axes = page.add_axes((left / _WIDE, bottom / high, _CELL / _WIDE, tall / high))
    panel.paint(axes, 0.7)
