"""Residual branches and whole layers that are skipped, as a drawing of the network."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from torch import nn

import torchdropout as td
from torchdropout.catalog import Method
from torchdropout.plots import paint
from torchdropout.plots.passes import Strength, keys, make
from torchdropout.plots.picture import BLUE, GREY, PALE, Array, Picture, as_array, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_EXAMPLES, _BLOCKS, _LAYERS = 3, 4, 5


def branches(row: Method, strength: Strength, seed: int, note: str) -> Picture:
    """What multiplies the branch of each block, for each example: `(blocks, examples)`."""
    layer = make(row, strength)
    ones = torch.ones(_EXAMPLES, 1)
    plain = as_array(torch.ones(_BLOCKS, _EXAMPLES))
    draws = [
        as_array(torch.stack([layer.train()(ones, key=td.fold_in(key, n))[:, 0] for n in range(_BLOCKS)]))
        for key in keys(seed)
    ]
    test = as_array(layer.eval()(ones)[:, 0].expand(_BLOCKS, _EXAMPLES))
    outputs = [plain, *draws, test]
    paints = [partial(_paint_branches, factors=factors) for factors in outputs]
    return Picture(panels(list(paints), [{"values": y, "dropped": y == 0} for y in outputs]), note, 1.1)


def layers(row: Method, strength: Strength, seed: int, note: str) -> Picture:
    """Which layers of a stack run, `(layers,)`: each adds one to what it is given."""
    layer = make(row, strength, _Increment())
    zero = torch.zeros(1)
    draws = [
        as_array(torch.cat([layer.train()(zero, key=td.fold_in(key, n)) for n in range(_LAYERS)])) for key in keys(seed)
    ]
    ran = as_array(torch.ones(_LAYERS))
    outputs = [ran, *draws, as_array(torch.cat([layer.eval()(zero)] * _LAYERS))]
    paints = [partial(_paint_layers, ran=ran) for ran in outputs]
    return Picture(panels(list(paints), [{"values": y, "dropped": y == 0} for y in outputs]), note, 1.1)


class _Increment(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1


def _paint_branches(axes: Axes, scale: float, *, factors: Array) -> None:
    """A column for each example; data go up the line on the left, and through the branch on the right."""
    paint.blank(axes, 1.1)
    blocks, examples = factors.shape
    wide, high = 1 / examples, 0.98 / blocks
    for e in range(examples):
        trunk = e * wide + 0.06
        _arrow(axes, (trunk, 0.99), (trunk, 0.0), scale)
        paint.write(axes, scale, trunk + 0.1, 1.06, f"example {e + 1}")
        for b in range(blocks):
            low = 0.96 - b * high
            factor = float(factors[b, e])
            ends = (trunk, low), (trunk + 0.15, low), (trunk + 0.15, low - 0.8 * high), (trunk, low - 0.8 * high)
            style = (0, (1, 2)) if factor == 0 else "solid"
            axes.plot(
                *zip(*ends, strict=True),
                color=GREY if factor == 0 else BLUE,
                linewidth=1.5 * scale,
                linestyle=style,
                zorder=1,
            )
            _box(axes, scale, (trunk + 0.04, low - 0.64 * high, 0.22, 0.48 * high), f"f × {factor:.3g}", factor == 0)


def _paint_layers(axes: Axes, scale: float, *, ran: Array) -> None:
    """One stack; the arrow goes through a layer that runs and around one that is skipped."""
    paint.blank(axes, 1.1)
    high = 0.98 / len(ran)
    for n, runs in enumerate(ran):
        low = 1.07 - n * high
        box = (0.3, low - 0.8 * high, 0.4, 0.56 * high)
        _box(axes, scale, box, f"layer {n + 1}", runs == 0)
        around = (
            (0.5, low - 0.08 * high),
            (0.82, low - 0.08 * high),
            (0.82, low - 0.92 * high),
            (0.5, low - 0.92 * high),
        )
        if runs:
            _arrow(axes, (0.5, low), (0.5, low - 0.24 * high), scale)
            _line(axes, ((0.5, low - 0.8 * high), (0.5, low - high)), scale)
        else:
            _line(axes, ((0.5, low), *around, (0.5, low - high)), scale)
    _arrow(axes, (0.5, 0.09), (0.5, 0.02), scale)


def _line(axes: Axes, places: tuple[tuple[float, float], ...], scale: float) -> None:
    axes.plot(*zip(*places, strict=True), color="black", linewidth=1.5 * scale, zorder=1)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], scale: float) -> None:
    look = {"arrowstyle": "-|>", "mutation_scale": 9 * scale, "color": "black", "linewidth": 1.5 * scale}
    axes.add_patch(FancyArrowPatch(start, end, shrinkA=0, shrinkB=0, zorder=2, **look))  # type: ignore[arg-type]


def _box(axes: Axes, scale: float, box: paint.Box, words: str, dropped: bool) -> None:
    left, top, wide, tall = box
    look = (
        {"facecolor": PALE, "edgecolor": GREY, "hatch": "//////"}
        if dropped
        else {"facecolor": "#CFE3F1", "edgecolor": BLUE}
    )
    style = "round,pad=0,rounding_size=0.02"
    axes.add_patch(FancyBboxPatch((left, top), wide, tall, boxstyle=style, linewidth=1.1 * scale, zorder=3, **look))  # type: ignore[arg-type]
    if dropped:
        paint.cross(axes, box, 0.15)
    else:
        paint.write(axes, scale, left + wide / 2, top + tall / 2, words, size=8)
