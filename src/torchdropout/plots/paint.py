"""Brushes: tiles of pixels, hatching for what was dropped, words. Coordinates are 0 to 1, y down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.collections import PatchCollection
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from torchdropout.plots.picture import GREY, PALE, VALUES, Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Box = tuple[float, float, float, float]  # left, top, width, height
READABLE = 0.8  # texts smaller than this part of their size are left out


@dataclass(frozen=True)
class Tile:
    """Pixels `(H, W)` or `(H, W, 3)` in a box, and those that were dropped; a cross where that is all of them."""

    pixels: Array
    box: Box
    dropped: Array | None = None
    colours: str = VALUES
    crossed: bool = True


def blank(axes: Axes, height: float = 1.0) -> None:
    """A panel without axes, 1 wide and `height` high, y down."""
    axes.set(xlim=(-0.01, 1.01), ylim=(height + 0.01, -0.01), aspect="equal")
    axes.set_axis_off()


def grid(count: int, columns: int, height: float = 1.0, gap: float = 0.04, top: float = 0.0) -> list[Box]:
    """Boxes for `count` tiles in rows."""
    rows = -(-count // columns)
    wide, high = (1 + gap) / columns, (height + gap) / rows
    return [(n % columns * wide, top + n // columns * high, wide - gap, high - gap) for n in range(count)]


def paint_tile(axes: Axes, tile: Tile, low: float, high: float) -> None:
    """The pixels, and hatching over those that were dropped."""
    left, top, wide, tall = tile.box
    extent = (left, left + wide, top + tall, top)
    limits = axes.get_xlim(), axes.get_ylim()
    norm = Normalize(low, high) if tile.pixels.ndim == 2 else None
    pixels = tile.pixels if norm else tile.pixels.clip(0, 1)
    axes.imshow(pixels, cmap=tile.colours, norm=norm, extent=extent, interpolation="nearest", aspect="auto")
    axes.set(xlim=limits[0], ylim=limits[1], aspect="equal")
    if tile.dropped is not None and tile.dropped.any():
        hatch(axes, tile.dropped, tile.box)
        if tile.crossed and tile.dropped.all():
            cross(axes, tile.box)
    axes.add_patch(Rectangle((left, top), wide, tall, fill=False, edgecolor="#444444", linewidth=0.6))


def hatch(axes: Axes, dropped: Array, box: Box) -> None:
    """Pale hatching over the dropped pixels."""
    left, top, wide, tall = box
    high, across = dropped.shape
    runs = [(0, 0, high, across)] if dropped.all() else _runs(dropped)
    y, x = tall / high, wide / across
    patches = [Rectangle((left + c * x, top + r * y), w * x, h * y) for r, c, h, w in runs]
    axes.add_collection(PatchCollection(patches, facecolor=PALE, edgecolor=GREY, linewidth=0, hatch="//////", zorder=2))


def _runs(dropped: Array) -> list[tuple[int, int, int, int]]:
    """Row, column, height 1 and width of what is dropped side by side."""
    found = []
    for row, line in enumerate(dropped):
        ends = np.flatnonzero(np.diff(np.concatenate([[0], line.astype(int), [0]])))
        found += [(row, int(a), 1, int(b - a)) for a, b in zip(ends[::2], ends[1::2], strict=True)]
    return found


def cross(axes: Axes, box: Box, inset: float = 0.12) -> None:
    """A cross over a box, dark with a light rim."""
    left, top, wide, tall = box
    x = left + inset * wide, left + (1 - inset) * wide
    y = top + inset * tall, top + (1 - inset) * tall
    for ends in (y, y[::-1]):
        axes.plot(
            x,
            ends,
            color="black",
            linewidth=1.6,
            zorder=4,
            path_effects=[withStroke(linewidth=3.4, foreground="white")],
        )


def paint_tiles(
    axes: Axes, scale: float, tiles: Sequence[Tile], low: float, high: float, height: float = 1.0,
    labels: Sequence[tuple[float, float, str]] = (),
) -> None:  # fmt: skip
    """Several tiles, and words at places."""
    blank(axes, height)
    for tile in tiles:
        paint_tile(axes, tile, low, high)
    for x, y, words in labels:
        write(axes, scale, x, y, words)


def write(
    axes: Axes, scale: float, x: float, y: float, words: str, *, size: float = 9, turned: bool = False,
    colour: str = "#333333", align: str = "center",
) -> None:  # fmt: skip
    """Words at a place, unless they would be too small to read."""
    if scale >= READABLE:
        axes.text(
            x,
            y,
            words,
            fontsize=size * scale,
            ha=align,
            va="center",
            rotation=90 if turned else 0,
            color=colour,
            zorder=6,
        )
