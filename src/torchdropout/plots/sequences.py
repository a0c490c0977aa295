"""Sequences before and after a layer: features over time, signals with their kernels, and pooled steps."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from matplotlib.patches import Rectangle
from torch import nn
from torch.nn import functional as F

from torchdropout.catalog import Method
from torchdropout.plots import densities, paint, subjects
from torchdropout.plots.densities import Density
from torchdropout.plots.maps import dropped_before_pooling
from torchdropout.plots.passes import Passes, Strength, kept_weights, keys, make, passes
from torchdropout.plots.picture import BLUE, GREY, ORANGE, PALE, Array, Picture, Scale, as_array, limits, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FEATURES, _STEPS = 8, 24
_CHANNELS = (BLUE, ORANGE)


def features(
    layer: nn.Module, seed: int, note: str, *, examples: int = 1, within: float = 0.0, density: Density | None = None
) -> Picture:
    """A layer over `(N, features, time)`."""
    x = subjects.waves(_FEATURES, _STEPS).expand(examples, _FEATURES, _STEPS).clone()
    return _of_features(passes(layer, x, seed, within), note, density)


def locked(row: Method, strength: Strength, seed: int, note: str) -> Picture:
    """Two sequences, `(N, T, F)`."""
    x = subjects.waves(_FEATURES, _STEPS).T.expand(2, _STEPS, _FEATURES).clone()
    found = passes(make(row, strength, batch_first=True), x, seed)
    return _of_features(found.turned(lambda y: y.swapaxes(1, 2)), note, None)


def _of_features(found: Passes, note: str, density: Density | None) -> Picture:
    examples = found.input.shape[0]
    low, high = limits(found.outputs)
    tall = 0.72 if examples == 1 else 0.42
    height = 0.02 + examples * (tall + 0.06) + 0.06
    labels = [(0.54, height - 0.04, "time")]
    labels += [(0.03, 0.02 + n * (tall + 0.06) + tall / 2, "features") for n in range(examples)]
    boxes = [(0.08, 0.02 + n * (tall + 0.06), 0.92, tall) for n in range(examples)]
    paints = []
    for y, out in zip(found.outputs, found.masks, strict=True):
        tiles = [paint.Tile(y[n], box, None if out is None else out[n]) for n, box in enumerate(boxes)]
        paints.append(partial(_paint_features, tiles=tiles, low=low, high=high, height=height, labels=labels))
    return Picture(
        panels(list(paints), found.data()), note, height, Scale(low, high, "value"), densities.panel(density)
    )


def _paint_features(
    axes: Axes, scale: float, *, tiles: list[paint.Tile], low: float, high: float, height: float,
    labels: list[tuple[float, float, str]],
) -> None:  # fmt: skip
    paint.paint_tiles(axes, scale, tiles, low, high, height)
    for x, y, words in labels:
        paint.write(axes, scale, x, y, words, turned=words == "features")


def pooling(row: Method, strength: Strength, seed: int, note: str) -> Picture:
    """Pooling of twelve steps by twos: which were dropped, and what came out."""
    x = (subjects.waves(3, 12)[2] ** 2)[None, None]
    layer, pool = make(row, strength, 2), F.max_pool1d if row.name.startswith("max") else F.avg_pool1d
    draws = [(as_array(layer.train()(x, key=key)), dropped_before_pooling(layer, x, key)) for key in keys(seed)]
    outputs = [as_array(pool(x, 2)), *(y for y, _ in draws), as_array(layer.eval()(x))]
    dropped = [None, *(out for _, out in draws), None]
    paints, data = [], []
    for y, out in zip(outputs, dropped, strict=True):
        paints.append(
            partial(_paint_pooling, x=as_array(x)[0, 0], y=y[0, 0], dropped=None if out is None else out[0, 0])
        )
        data.append({"values": y} | ({} if out is None else {"dropped": out}))
    return Picture(panels(list(paints), data), note, 0.95)


def _paint_pooling(axes: Axes, scale: float, *, x: Array, y: Array, dropped: Array | None) -> None:
    """Bars before and after; a window has one shade."""
    paint.blank(axes, 0.95)
    paint.write(axes, scale, 0.5, 0.02, "before pooling")
    paint.write(axes, scale, 0.5, 0.53, "after")
    for top, bars in ((0.07, x), (0.58, y)):
        wide = 1 / len(bars)
        for n, value in enumerate(bars):
            out = dropped is not None and bars is x and bool(dropped[n])
            shade = _CHANNELS[n * len(y) // len(bars) % 2]
            _bar(axes, (n * wide + 0.1 * wide, top, 0.8 * wide, 0.37), float(value), shade, out)


def _bar(axes: Axes, box: paint.Box, value: float, colour: str, dropped: bool) -> None:
    left, top, wide, tall = box
    high = max(tall * value, 0.004)
    look = (
        {"facecolor": PALE, "edgecolor": GREY, "hatch": "//////"}
        if dropped
        else {"facecolor": colour, "edgecolor": "black"}
    )
    axes.add_patch(Rectangle((left, top + tall - high), wide, high, linewidth=0.6, **look))  # type: ignore[arg-type]
    if dropped:
        side = wide * 0.8
        paint.cross(axes, (left + (wide - side) / 2, top + tall - high / 2 - side / 2, side, side))


def kernels(row: Method, strength: Strength, seed: int, note: str) -> Picture:
    """DropConnect on a convolution of a signal."""
    x, layer, weight = _convolution(row, strength)
    clean = F.conv1d(x, weight, padding=2)
    draws = [kept_weights(layer, x, key) for key in keys(seed)]
    outputs = [as_array(clean), *(y for y, _ in draws), as_array(layer.eval()(x))]
    return _signals(x, weight, outputs, [None, *(~kept["weight"] for _, kept in draws), None], note, None)


def noisy(row: Method, strength: Strength, seed: int, note: str, density: Density | None) -> Picture:
    """Variational dropout on a convolution of a signal: noise in what comes out, and weights that test may remove."""
    x, layer, weight = _convolution(row, strength)
    with torch.no_grad():
        draws = [as_array(layer.train()(x, key=key)) for key in keys(seed)]
        pixel = torch.zeros(1, 1, 9)
        pixel[..., 4] = 1.0
        taps = layer.eval()(pixel)[0, :, 2:7].flip(1)[:, None]
        outputs = [as_array(F.conv1d(x, weight, padding=2)), *draws, as_array(layer(x))]
    removed = as_array((taps == 0) & (weight != 0))
    return _signals(x, weight, outputs, [None, None, None, removed if removed.any() else None], note, density)


def _convolution(row: Method, strength: Strength) -> tuple[torch.Tensor, nn.Module, torch.Tensor]:
    """A signal, the method's convolution of it, and its kernels: a running mean, and a difference."""
    weight = torch.tensor([[[0.05, 0.25, 0.4, 0.25, 0.05]], [[-0.5, -0.25, 0.03, 0.25, 0.5]]])
    layer = make(row, strength, 1, 2, 5, padding=2)
    with torch.no_grad():
        dict(layer.named_parameters())["weight"].copy_(weight)
        dict(layer.named_parameters())["bias"].zero_()
    return subjects.signal(72), layer, weight


def _signals(
    x: torch.Tensor, weight: torch.Tensor, outputs: list[Array], cut: list[Array | None], note: str,
    density: Density | None,
) -> Picture:  # fmt: skip
    span = limits(outputs)
    paints, data = [], []
    for y, out in zip(outputs, cut, strict=True):
        taps = None if out is None else out[:, 0]
        state = {
            "x": as_array(x)[0, 0],
            "weight": as_array(weight)[:, 0],
            "y": y[0],
            "clean": outputs[0][0],
            "cut": taps,
        }
        paints.append(partial(_paint_signals, span=span, **state))
        data.append({"values": y} | ({} if out is None else {"dropped": out}))
    return Picture(panels(list(paints), data), note, 1.08, None, densities.panel(density))


def _paint_signals(
    axes: Axes, scale: float, *, x: Array, weight: Array, y: Array, clean: Array, cut: Array | None,
    span: tuple[float, float],
) -> None:  # fmt: skip
    """The signal above, both kernels between, both outputs below, with the noiseless one in grey."""
    paint.blank(axes, 1.08)
    paint.write(axes, scale, 0.5, 0.02, "signal")
    paint.write(axes, scale, 0.5, 0.29, "kernels")
    paint.write(axes, scale, 0.5, 0.605, "outputs")
    _curve(axes, x, (0, 0.06, 1, 0.17), (0.0, 1.0), "black", 1.4 * scale)
    for n, colour in enumerate(_CHANNELS):
        for k, value in enumerate(weight[n]):
            out = cut is not None and bool(cut[n, k])
            _tap(axes, (0.06 + 0.52 * n + 0.075 * k, 0.44), float(value), colour, out)
        axes.plot((0.04 + 0.52 * n, 0.46 + 0.52 * n), (0.44, 0.44), color="black", linewidth=0.7)
        box = (0.0, 0.65 + 0.215 * n, 1.0, 0.2)
        _curve(axes, clean[n], box, span, "#A0A0A0", 2.4 * scale)
        _curve(axes, y[n], box, span, colour, 1.3 * scale)


def _curve(axes: Axes, y: Array, box: paint.Box, span: tuple[float, float], colour: str, width: float) -> None:
    left, top, wide, tall = box
    heights = top + tall * (1 - (y - span[0]) / (span[1] - span[0]))
    axes.plot(left + wide * np.linspace(0, 1, len(y)), heights, color=colour, linewidth=width)


def _tap(axes: Axes, place: tuple[float, float], value: float, colour: str, dropped: bool) -> None:
    x, zero = place
    high = 0.24 * value
    look = (
        {"facecolor": PALE, "edgecolor": GREY, "hatch": "//////"}
        if dropped
        else {"facecolor": colour, "edgecolor": "black"}
    )
    axes.add_patch(Rectangle((x, zero), 0.06, -high, linewidth=0.6, **look))  # type: ignore[arg-type]
    if dropped:
        paint.cross(axes, (x + 0.006, zero - high / 2 - 0.024, 0.048, 0.048))
