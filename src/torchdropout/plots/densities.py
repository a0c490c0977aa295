"""The density of a layer's noise: many draws of the real layer, and the exact curve."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

import torchdropout as td
from torchdropout.plots.picture import BLUE, GREY, ORANGE, RED, Array, Panel, as_array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DRAWS = 200_000


@dataclass(frozen=True)
class Curve:
    """An exact density, and the draws that should follow it."""

    name: str
    draws: Array
    x: Array
    y: Array


@dataclass(frozen=True)
class Density:
    """One or more curves over one axis.

    Attributes:
        axis: What the values are.
        curves: The curves, each with its draws.
        logarithmic: Whether heights are shown by their logarithm.
        masks: What the normal replaces, where that is not one: values, their probabilities, and what they are.
    """

    axis: str
    curves: tuple[Curve, ...]
    logarithmic: bool = False
    masks: tuple[Array, Array, str] | None = None


def draws_of(layer: nn.Module, x: torch.Tensor, seed: int = 99) -> Array:
    """What the layer, in training, makes of `x`, flattened."""
    with torch.no_grad():
        return as_array(layer.train()(x, key=td.key(seed))).ravel()


def normal(layer: nn.Module, x: torch.Tensor, mean: float, std: float, axis: str, name: str) -> Density | None:
    """Noise that should be normal; None where there is hardly any."""
    if std < 1e-6:
        return None
    places = np.linspace(mean - 4 * std, mean + 4 * std, 401)
    heights = np.exp(-0.5 * ((places - mean) / std) ** 2) / (std * math.sqrt(2 * math.pi))
    return Density(axis, (Curve(name, draws_of(layer, x), places, heights),))


def relaxed(layer: nn.Module, x: torch.Tensor, p: float, temperature: float, axis: str) -> Density:
    """Concrete dropout's multiplier: a relaxed Bernoulli variable over its keep probability."""
    keep, odds = 1 - p, (1 - p) / p
    places = np.linspace(0.0015, 0.9985, 999)
    up, down = places**-temperature, (1 - places) ** -temperature
    heights = temperature * odds * (up / places) * (down / (1 - places)) / (down + odds * up) ** 2
    curve = Curve("exact: relaxed Bernoulli / keep", draws_of(layer, x), places / keep, heights * keep)
    return Density(axis, (curve,), logarithmic=True)


def truncated_log_normal(draws: Array, mu: float, sigma: float, bounds: tuple[float, float], name: str) -> Curve:
    """The gate of log-normal dropout: the exponential of a truncated normal."""
    places = np.linspace(1e-3, math.exp(bounds[1]), 500)
    cdf = [0.5 * (1 + math.erf((bound - mu) / (sigma * math.sqrt(2)))) for bound in bounds]
    heights = np.exp(-0.5 * ((np.log(places) - mu) / sigma) ** 2) / (places * sigma * math.sqrt(2 * math.pi))
    return Curve(name, draws, places, heights / (cdf[1] - cdf[0]))


def panel(density: Density | None) -> Panel | None:
    """The panel, with its data."""
    if density is None:
        return None
    data: dict[str, Array] = {}
    for n, curve in enumerate(density.curves):
        data |= {f"draws {n}": curve.draws, f"x {n}": curve.x, f"y {n}": curve.y}
    return Panel("density of the noise", partial(_paint, density=density), data)


def _paint(axes: Axes, scale: float, density: Density) -> None:
    small = scale < 0.8
    low, high = min(c.x[0] for c in density.curves), max(c.x[-1] for c in density.curves)
    edges = np.linspace(low, high, 41 if small else 61)
    for curve, colour, style in zip(density.curves, (BLUE, ORANGE, RED), ("-", "--", ":"), strict=False):
        heights = np.histogram(curve.draws, edges)[0] / (len(curve.draws) * np.diff(edges))
        axes.stairs(heights, edges, fill=True, color=colour, alpha=0.28, linewidth=0)
        axes.plot(curve.x, curve.y, color=colour, linestyle=style, linewidth=2.2 * max(scale, 0.7), label=curve.name)
    if density.masks is not None:
        values, probabilities, name = density.masks
        bins = np.linspace(low, high, 31)
        heights = np.histogram(values, bins, weights=probabilities)[0] / np.diff(bins)
        axes.stairs(heights, bins, color="black", linewidth=1.3 * max(scale, 0.7), label=name)
    if density.logarithmic:
        axes.set_yscale("log")
        axes.set_ylim(*_decades(density.curves))
    else:
        axes.set_ylim(0, None)
    axes.set_xlim(low, high)
    axes.spines[["top", "right"]].set_visible(False)
    if small:
        axes.set(xticks=[], yticks=[])
        axes.minorticks_off()
        return
    axes.set_xlabel(density.axis, fontsize=10)
    axes.set_ylabel("density", fontsize=10)
    axes.tick_params(labelsize=9)
    _legend(axes, len(density.curves))


def _legend(axes: Axes, curves: int) -> None:
    from matplotlib.patches import Patch  # noqa: PLC0415 - beside its use

    handles, names = axes.get_legend_handles_labels()
    draws = Patch(facecolor=BLUE if curves == 1 else GREY, alpha=0.28)
    axes.legend(
        [*handles, draws], [*names, f"{DRAWS:,} draws of the layer"], fontsize=9, frameon=False, loc="center left",
        bbox_to_anchor=(1.01, 0.5),
    )  # fmt: skip


def _decades(curves: Sequence[Curve]) -> tuple[float, float]:
    top = max(float(curve.y.max()) for curve in curves)
    return max(min(float(curve.y.min()) for curve in curves) / 2, top * 1e-4), top * 2
