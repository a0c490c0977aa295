"""What the kinds of recurrent dropout mask in an unrolled LSTM: states over time, what reaches gates, and matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from matplotlib import colormaps
from matplotlib.patches import Circle, FancyArrowPatch
from torch import Tensor

from torchdropout.catalog import Method
from torchdropout.plots import paint
from torchdropout.plots.passes import Strength
from torchdropout.plots.picture import BLUE, GREY, ORANGE, PALE, VALUES, Array, Picture, Scale, as_array, limits, panels
from torchdropout.plots.unrolled import UNITS, States, reached, states, unrolled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FIRST = "without noise"
_STEPS = 6
_GATES = "ifgo"


@dataclass(frozen=True)
class _Band:
    """Units over time, `(T, UNITS)` each.

    Attributes:
        name: What stands beside it.
        values: The states.
        old: How much of a unit's old state is in its new one, in parts of what the plain LSTM remembers.
        new: How much of what it has new.
    """

    name: str
    values: Array
    old: Array
    new: Array


def cells(row: Method, strength: Strength, seed: int, note: str) -> Picture:
    """RNNDrop: the cell states of two sequences; at test, by how much outputs are less."""
    found = [states(of) for of in unrolled(row, strength, seed, _STEPS, 2)]
    shares = [_rounded(of.new[1] / of.plain[1]) for of in found]
    bands = [_sequences(of.new[1], share, share) for of, share in zip(found, shares, strict=True)]
    factors = _rounded(found[-1].new[0] / found[-1].plain[0])
    return _picture(bands, note, f"(outputs × {float(factors.mean()):.3g})")


def updates(row: Method, strength: Strength, seed: int, note: str) -> Picture:
    """Recurrent dropout without memory loss: the cell states of two sequences."""
    found = [states(of) for of in unrolled(row, strength, seed, _STEPS, 2)]
    shares = [_rounded((of.new[1] - of.memory) / (of.plain[1] - of.memory)) for of in found]
    bands = [_sequences(of.new[1], s.new_ones(s.shape), s) for of, s in zip(found, shares, strict=True)]
    return _picture(bands, note)


def zones(row: Method, strength: Strength, seed: int, note: str) -> Picture:
    """Zoneout: cell states and hidden states of one sequence."""
    bands = []
    for of in unrolled(row, strength, seed, _STEPS, 1):
        found = states(of)
        bands.append([_zone(found, number, name) for number, name in ((1, "cell states"), (0, "hidden states"))])
    return _picture(bands, note)


def _zone(found: States, number: int, name: str) -> _Band:
    old, new, plain = found.old[number], found.new[number], found.plain[number]
    share = as_array(_rounded((new - plain) / (old - plain)))[:, 0]
    return _Band(name, as_array(new)[:, 0], share, 1.0 - share)


def _sequences(values: Tensor, old: Tensor, new: Tensor) -> list[_Band]:
    """A band for each sequence."""
    arrays = [as_array(part) for part in (values, old, new)]
    return [_Band(f"sequence {n + 1}", *(a[:, n] for a in arrays)) for n in range(values.shape[1])]


def _rounded(share: Tensor) -> Tensor:
    return share.round(decimals=9) + 0.0  # no negative zeros


def _picture(bands: list[list[_Band]], note: str, at_test: str = "") -> Picture:
    low, high = limits([band.values for one in bands for band in one])
    words = ["", "", "", at_test]
    paints = [
        partial(_paint_bands, bands=one, low=low, high=high, words=more) for one, more in zip(bands, words, strict=True)
    ]
    data = [
        {f"{what} {n}": getattr(band, what) for n, band in enumerate(one) for what in ("values", "old", "new")}
        for one in bands
    ]
    return Picture(panels(list(paints), data, _FIRST), note, 1.42, Scale(low, high, "state"))


def _paint_bands(axes: Axes, scale: float, *, bands: list[_Band], low: float, high: float, words: str) -> None:
    """A row for each unit: its states from left to right, what stays of the old, and from below what is new."""
    paint.blank(axes, 1.42)
    for number, band in enumerate(bands):
        top = 0.06 + number * 0.68
        paint.write(axes, scale, 0.02, top + 0.25, band.name, turned=True)
        for t in range(_STEPS):
            for unit in range(UNITS):
                place = 0.21 + 0.148 * t, top + 0.15 * unit
                _paint_paths(axes, scale, place, float(band.old[t, unit]), float(band.new[t, unit]))
                level = (float(band.values[t, unit]) - low) / (high - low)
                dead = band.old[t, unit] == 0 and band.new[t, unit] == 0
                _paint_state(axes, scale, place, None if dead else level)
    paint.write(axes, scale, 0.56, 1.385, f"time {words}".strip())


def _paint_paths(axes: Axes, scale: float, place: tuple[float, float], old: float, new: float) -> None:
    x, y = place
    for start, end, share, colour in (
        ((x - 0.106, y), (x - 0.042, y), old, BLUE),
        ((x - 0.074, y + 0.075), (x - 0.03, y + 0.03), new, ORANGE),
    ):
        if share == 0:
            ends = zip(start, end, strict=True)
            axes.plot(*ends, color=GREY, linewidth=1.1 * scale, linestyle=(0, (1, 2)), zorder=1)
        else:
            width = scale * (0.4 + 1.5 * min(share, 2.0))
            look = {"arrowstyle": "-|>", "mutation_scale": 5 * scale, "color": colour, "linewidth": width}
            axes.add_patch(FancyArrowPatch(start, end, shrinkA=0, shrinkB=0, zorder=2, **look))  # type: ignore[arg-type]


def _paint_state(axes: Axes, scale: float, place: tuple[float, float], level: float | None) -> None:
    face, edge = (PALE, GREY) if level is None else (colormaps[VALUES](level), "black")
    axes.add_patch(Circle(place, 0.04, facecolor=face, edgecolor=edge, linewidth=0.7 * scale, zorder=3))
    if level is None:
        x, y = place
        for sign in (1, -1):
            ends = (x - 0.028, x + 0.028), (y - sign * 0.028, y + sign * 0.028)
            axes.plot(*ends, color="#333333", linewidth=1.2 * scale, zorder=4)


def gates(row: Method, strength: Strength, seed: int, note: str) -> Picture:
    """Variational: what reaches each gate of the state and of the inputs, at four steps of a sequence."""
    found = []
    for of in unrolled(row, strength, seed, 4, 1):
        inputs, state = (as_array(_rounded(part))[:, 0, :, 0].swapaxes(1, 2) for part in reached(of))
        found.append({"state": state, "inputs": inputs})
    low, high = limits([values for of in found for values in of.values()])
    paints = [partial(_paint_gates, parts=tuple(of.values()), low=low, high=high) for of in found]
    data = [of | {f"dropped {name}": values == 0 for name, values in of.items()} for of in found]
    return Picture(panels(list(paints), data, _FIRST), note, 1.08, Scale(low, high, "value"))


def _paint_gates(axes: Axes, scale: float, *, parts: Sequence[Array], low: float, high: float) -> None:
    """The state above, the inputs below; a tile for each step, with a column for each gate."""
    labels = [(0.03, 0.26, "state"), (0.03, 0.75, "inputs")]
    tiles = [
        paint.Tile(values, (0.09 + 0.235 * t, 0.06 + 0.49 * n, 0.205, 0.4), values == 0, crossed=False)
        for n, part in enumerate(parts)
        for t, values in enumerate(part)
    ]
    paint.paint_tiles(axes, scale, tiles, low, high, 1.08)
    for x, y, words in labels:
        paint.write(axes, scale, x, y, words, turned=True)
    for t in range(len(parts[0])):
        for n, gate in enumerate(_GATES):
            paint.write(axes, scale, 0.09 + 0.235 * t + 0.205 * (n + 0.5) / 4, 0.025, gate, size=8)
    paint.write(axes, scale, 0.545, 1.02, "time")


def matrices(row: Method, strength: Strength, seed: int, note: str) -> Picture:
    """Weight drop: the recurrent matrix of each gate, as it is at two steps of two sequences."""
    found = []
    for of in unrolled(row, strength, seed, 2, 2):
        h = states(of).old[0][:, :, None, None]
        weight = of.cell.weight_hh.detach().view(4, UNITS, UNITS)
        found.append(as_array(_rounded(reached(of)[1].detach() / h) * weight).swapaxes(0, 1))
    bound = max(float(abs(values).max()) for values in found)
    paints = [partial(_paint_matrices, values=values, bound=bound) for values in found]
    data = [{"values": values, "dropped": values == 0} for values in found]
    return Picture(panels(list(paints), data, _FIRST), note, 1.02)


def _paint_matrices(axes: Axes, scale: float, *, values: Array, bound: float) -> None:
    """A row for each gate; columns are steps, sequence by sequence."""
    lefts = [0.09 + 0.225 * (2 * n + t) + 0.02 * n for n in range(2) for t in range(2)]
    flat = values.reshape(4, 4, UNITS, UNITS)  # (sequence and step, gate, H, H)
    for gate in range(4):
        tiles = [
            paint.Tile(of[gate], (left, 0.12 + 0.225 * gate, 0.195, 0.195), of[gate] == 0, "PuOr", crossed=False)
            for of, left in zip(flat, lefts, strict=True)
        ]
        paint.paint_tiles(axes, scale, tiles, -bound, bound, 1.02)
    for n in range(2):
        paint.write(axes, scale, lefts[2 * n] + 0.21, 0.02, f"sequence {n + 1}")
    for n, left in enumerate(lefts):
        paint.write(axes, scale, left + 0.1, 0.08, f"step {n % 2 + 1}", size=8)
    for gate, letter in enumerate(_GATES):
        paint.write(axes, scale, 0.045, 0.2175 + 0.225 * gate, letter)
