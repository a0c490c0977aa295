"""Images and feature maps before and after a layer: whole maps, blocks, maxima, pooling windows, kernels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchdropout.catalog import Method
from torchdropout.plots import densities, paint, subjects
from torchdropout.plots.densities import Density
from torchdropout.plots.passes import Passes, Strength, kept_weights, keys, make, passes
from torchdropout.plots.picture import VALUES, Array, Picture, Scale, as_array, limits, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def feature_maps(
    layer: nn.Module, seed: int, note: str, *, size: int = 40, count: int = 6, columns: int = 3,
    activation: str = "relu", within: float = 0.0, density: Density | None = None,
) -> Picture:  # fmt: skip
    """A layer over the feature maps of the pagoda."""
    x = subjects.feature_maps(size, count)
    if activation == "selu":
        x = F.selu(3 * (x - x.mean((2, 3), keepdim=True)))
    return of_maps(passes(layer, x, seed, within), note, columns, density)


def volumes(layer: nn.Module, seed: int, note: str) -> Picture:
    """A layer over three feature maps of a volume, whose slices move across the pagoda."""
    maps = subjects.feature_maps(52, 3)
    x = torch.stack([maps[..., 6:46, start : start + 40] for start in (0, 6, 12)], 2)  # (1, 3, depth, height, width)
    flat = passes(layer, x, seed).turned(lambda y: y.reshape(1, 9, 40, 40))
    return of_maps(flat, note, 3, None)


def of_maps(found: Passes, note: str, columns: int, density: Density | None) -> Picture:
    """Tiles of maps, `(1, count, height, width)`."""
    count = found.input.shape[1]
    rows = -(-count // columns)
    height = rows / columns
    boxes = paint.grid(count, columns, height)
    low, high = limits(found.outputs)
    paints = []
    for y, out in zip(found.outputs, found.masks, strict=True):
        tiles = [paint.Tile(y[0, n], box, None if out is None else out[0, n]) for n, box in enumerate(boxes)]
        paints.append(partial(paint.paint_tiles, tiles=tiles, low=low, high=high, height=height))
    return Picture(
        panels(list(paints), found.data()), note, height, Scale(low, high, "value"), densities.panel(density)
    )


def image(layer: nn.Module, seed: int, note: str, *, size: int = 96, density: Density | None = None) -> Picture:
    """A layer over the photograph of the dahlia."""
    found = passes(layer, subjects.photograph("flower", size)[None], seed)
    paints = []
    for y, out in zip(found.outputs, found.masks, strict=True):
        tile = paint.Tile(y[0].transpose(1, 2, 0), (0, 0, 1, 1), None if out is None else out[0].all(0))
        paints.append(partial(paint.paint_tiles, tiles=[tile], low=0, high=1))
    return Picture(panels(list(paints), found.data()), note, density=densities.panel(density))


def pooling(row: Method, strength: Strength, seed: int, note: str) -> Picture:
    """A pooling of a digit: the pixels that were dropped, and what came out."""
    layer, x = make(row, strength, 2), subjects.digit()
    draws = [(as_array(layer.train()(x, key=key)), dropped_before_pooling(layer, x, key)) for key in keys(seed)]
    pool = F.max_pool2d if row.name.startswith("max") else F.avg_pool2d
    outputs = [as_array(pool(x, 2)), *(y for y, _ in draws), as_array(layer.eval()(x))]
    dropped = [None, *(out for _, out in draws), None]
    low, high = limits([as_array(x), *outputs])
    upper, lower = (0.19, 0.07, 0.62, 0.62), (0.32, 0.78, 0.36, 0.36)
    labels = [(0.5, 0.02, "before pooling"), (0.5, 0.735, "after")]
    paints, data = [], []
    for y, out in zip(outputs, dropped, strict=True):
        tiles = [paint.Tile(as_array(x)[0, 0], upper, None if out is None else out[0, 0]), paint.Tile(y[0, 0], lower)]
        paints.append(partial(paint.paint_tiles, tiles=tiles, low=low, high=high, height=1.15, labels=labels))
        data.append({"values": y} | ({} if out is None else {"dropped": out}))
    return Picture(panels(list(paints), data), note, 1.15, Scale(low, high, "value"))


def dropped_before_pooling(layer: nn.Module, x: Tensor, key: Tensor) -> Array:
    """Which elements a pooling layer of windows of 2 dropped: alone in their windows, they give 0."""
    dropped = torch.zeros(x.shape, dtype=torch.bool)
    axes = x.dim() - 2
    for corner in np.ndindex(*[2] * axes):
        places: tuple[Any, ...] = (..., *(slice(start, None, 2) for start in corner))
        alone = torch.zeros_like(x)
        alone[places] = 1.0
        dropped[places] = layer.train()(alone, key=key) == 0
    return as_array(dropped)


def kernels(row: Method, strength: Strength, seed: int, note: str) -> Picture:
    """DropConnect on the kernels of a convolution: the weights that were dropped, and the maps."""
    grey, weight = subjects.photograph("china", 42).mean(0)[None, None], subjects.filters()[[1, 2, 3]]
    layer = make(row, strength, 1, 3, 3)
    with torch.no_grad():
        dict(layer.named_parameters())["weight"].copy_(weight)
        dict(layer.named_parameters())["bias"].zero_()
        clean, tested = F.conv2d(grey, weight), layer.eval()(grey)
    draws = [kept_weights(layer, grey, key) for key in keys(seed)]
    outputs = [as_array(clean), *(y for y, _ in draws), as_array(tested)]
    return _with_kernels(as_array(weight), outputs, [None, *(~kept["weight"] for _, kept in draws), None], note, None)


def noisy_kernels(row: Method, strength: Strength, seed: int, note: str, density: Density | None) -> Picture:
    """Variational dropout on a convolution: noise in the maps, and weights that test may remove."""
    grey, weight = subjects.photograph("china", 42).mean(0)[None, None], subjects.filters()[[1, 2, 5]] + 0.02
    layer = make(row, strength, 1, 3, 3)
    with torch.no_grad():
        dict(layer.named_parameters())["weight"].copy_(weight)
        dict(layer.named_parameters())["bias"].zero_()
        draws = [as_array(layer.train()(grey, key=key)) for key in keys(seed)]
        taps = _taps(layer.eval())
        outputs = [as_array(F.conv2d(grey, weight)), *draws, as_array(layer(grey))]
    removed = as_array(taps == 0)
    return _with_kernels(
        as_array(weight), outputs, [None, None, None, removed if removed.any() else None], note, density
    )


def _taps(layer: nn.Module) -> Tensor:
    """The kernels that a convolution of one channel uses: its response to a single pixel, turned around."""
    pixel = torch.zeros(1, 1, 5, 5)
    pixel[..., 2, 2] = 1.0
    response: Tensor = layer(pixel)
    return response[0].flip(1, 2)[:, None]


def _with_kernels(
    weight: Array, outputs: list[Array], cut: Sequence[Array | None], note: str, density: Density | None
) -> Picture:
    low, high = limits(outputs)
    bound = float(np.abs(weight).max())
    small, large = paint.grid(3, 3, 0.3, 0.06, 0.07), paint.grid(3, 3, 0.3, 0.06, 0.5)
    paints, data = [], []
    for y, out in zip(outputs, cut, strict=True):
        paints.append(
            partial(_paint_kernels, weight=weight, maps=y, cut=out, boxes=(small, large), ranges=(bound, low, high))
        )
        data.append({"values": y} | ({} if out is None else {"dropped": out}))
    scale = Scale(low, high, "value")
    return Picture(panels(list(paints), data), note, 0.82, scale, densities.panel(density))


def _paint_kernels(
    axes: Axes, scale: float, *, weight: Array, maps: Array, cut: Array | None,
    boxes: tuple[list[paint.Box], list[paint.Box]], ranges: tuple[float, float, float],
) -> None:  # fmt: skip
    """Kernels with their numbers above, the maps below."""
    bound, low, high = ranges
    labels = [(0.5, 0.02, "kernels"), (0.5, 0.45, "feature maps")]
    paint.paint_tiles(axes, scale, [], 0, 1, 0.82, labels)
    for n, box in enumerate(boxes[0]):
        out = None if cut is None else cut[n, 0]
        paint.paint_tile(axes, paint.Tile(weight[n, 0], box, out, "PuOr"), -bound, bound)
    for n, box in enumerate(boxes[1]):
        paint.paint_tile(axes, paint.Tile(maps[0, n], box, None, VALUES), low, high)
