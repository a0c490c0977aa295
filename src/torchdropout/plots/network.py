"""A small drawn network: the values of its units, its connections, and which of both a layer drops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.patches import Circle
from torch import nn

import torchdropout as td
from torchdropout.catalog import Method
from torchdropout.plots import densities, passes, subjects
from torchdropout.plots.densities import Density
from torchdropout.plots.passes import Strength, make
from torchdropout.plots.picture import BLUE, GREY, ORANGE, PALE, VALUES, Array, Picture, as_array, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIZES = (4, 6, 5, 3)
_RADIUS = 0.37
_NOTHING = 0.005  # smaller values are shown as none
_WIDE = {2: 4.2, 3: 2.1, 4: 1.75}  # between so many columns, in heights of a unit

_BEHIND = {"facecolor": "white", "edgecolor": "none", "pad": 0.4}

Layers = Callable[[int], nn.Module]
Activation = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class State:
    """A network as it is drawn.

    Attributes:
        values: Of the units, column by column.
        weights: `(outs, ins)` between one column and the next.
        dropped: Which units are dropped, column by column.
        cut: Which connections are dropped, gap by gap.
        replaced: Which have the value of another network's, gap by gap.
        labels: What stands under the units of one column, by its number.
    """

    values: tuple[Array, ...]
    weights: tuple[Array, ...]
    dropped: tuple[Array, ...] = ()
    cut: tuple[Array, ...] = ()
    replaced: tuple[Array, ...] = ()
    labels: tuple[int, tuple[str, ...]] | None = None

    def data(self) -> dict[str, Array]:
        """As panels keep it."""
        kept = {f"units {n}": column for n, column in enumerate(self.values)}
        kept |= {f"weights {n}": gap for n, gap in enumerate(self.weights)}
        kept |= {f"dropped {n}": column for n, column in enumerate(self.dropped)}
        kept |= {f"replaced {n}": gap for n, gap in enumerate(self.replaced)}
        return kept | {f"cut {n}": gap for n, gap in enumerate(self.cut)}


def units(
    row: Method, strength: Strength, seed: int, note: str, *, activation: Activation = torch.sigmoid,
    layers: Layers | None = None, within: float = 0.0, density: Density | None = None, face: int = 1,
) -> Picture:  # fmt: skip
    """A method that acts on the units of both hidden layers."""
    layers = layers or (lambda _: make(row, strength))
    run = partial(_run, layers, activation, within)
    states = [
        _run(lambda _: nn.Identity(), activation, within, None),
        *(run(key) for key in passes.keys(seed)),
        run(None),
    ]
    return _picture(states, note, density, face)


def _run(layers: Layers, activation: Activation, within: float, key: torch.Tensor | None) -> State:
    """Forward through the network: noisy with a key, else as in eval."""
    gaps = [subjects.weights(outs, ins, seed) for seed, (ins, outs) in enumerate(pairwise(_SIZES), 5)]
    x = torch.linspace(0.3, 0.9, _SIZES[0])
    values, dropped = [as_array(x)], [np.zeros(_SIZES[0], dtype=bool)]
    for number, gap in enumerate(gaps):
        h, out = activation(gap @ x), np.zeros(len(gap), dtype=bool)
        if number < len(gaps) - 1:
            layer = layers(len(gap))
            if key is None:
                h = layer.eval()(h[None])[0].detach()
            else:
                y, outs = passes.once(layer, h[None], td.fold_in(key, number), within)
                h, out = torch.from_numpy(y[0]), outs[0]
        x = h
        values.append(as_array(x))
        dropped.append(out)
    return State(tuple(values), tuple(map(as_array, gaps)), tuple(dropped))


def dropconnect(row: Method, strength: Strength, seed: int, note: str) -> Picture:
    """Weights and biases that are dropped: those that the output does not depend on."""
    x = torch.linspace(0.4, 1.0, 5)
    linear = _linear(4, 5)
    layer = make(row, strength, 5, 4)
    layer.load_state_dict(linear.state_dict())
    with torch.no_grad():
        before = State(_with_one(x, linear(x)), (_with_bias(linear.weight, linear.bias),))
        after = replace(before, values=_with_one(x, layer.eval()(x[None])[0]))
    states = [before]
    for key in passes.keys(seed):
        y, kept = passes.kept_weights(layer, x[None], key)
        cut = ~np.concatenate([kept["weight"], kept["bias"][:, None]], 1)
        states.append(replace(before, values=_with_one(x, torch.from_numpy(y[0])), cut=(cut,)))
    return _picture([*states, after], note)


def noisy_weights(row: Method, strength: Strength, seed: int, note: str, density: Density | None) -> Picture:
    """Weights that are drawn: what a layer returns for inputs of one unit each."""
    x = torch.linspace(0.4, 1.0, 5)
    layer = make(row, strength, 5, 4, bias=False)
    with torch.no_grad():
        dict(layer.named_parameters())["weight"].copy_(subjects.weights(4, 5, 8) * torch.linspace(0.15, 1.2, 5))
        mean = dict(layer.named_parameters())["weight"].clone()
        drawn = [layer.train()(torch.eye(5), key=key).T for key in passes.keys(seed)]
        tested = layer.eval()(torch.eye(5)).T
    states = [State((as_array(x), as_array(w @ x)), (as_array(w),)) for w in (mean, *drawn, tested)]
    states[3] = replace(states[3], cut=(as_array((tested == 0) & (mean != 0)),))
    return _picture(states, note, density)


def mixout(row: Method, strength: Strength, seed: int, note: str) -> Picture:
    """Weights that are mixed with others: what a layer returns for inputs of one unit each."""
    x = torch.linspace(0.4, 1.0, 5)
    layer = make(row, strength, 5, 4, bias=False)
    with torch.no_grad():
        layer.target.copy_(subjects.weights(4, 5, 8))  # type: ignore[operator]
        dict(layer.named_parameters())["weight"].copy_(layer.target + 0.6 * subjects.weights(4, 5, 9))  # type: ignore[operator]
        own, target = as_array(layer.eval()(torch.eye(5)).T), as_array(layer.target)
        drawn = [as_array(layer.train()(torch.eye(5), key=key).T) for key in passes.keys(seed)]
    states = [State((as_array(x), w @ as_array(x)), (w,)) for w in (own, *drawn, own)]
    states[1:3] = [replace(state, replaced=(state.weights[0] == target,)) for state in states[1:3]]
    return _picture(states, note)


def standout(row: Method, strength: Strength, seed: int, note: str) -> Picture:
    """Units that are kept with a probability of their own, which stands under them."""
    x, linear = torch.linspace(0.4, 1.0, 5), _linear(5, 5)
    layer = make(row, strength, 5, 5, activation="sigmoid", alpha=2.0)
    layer.load_state_dict(linear.state_dict())
    with torch.no_grad():
        h, pi = torch.sigmoid(linear(x)), dict(enumerate(layer.keep_probability(x)))  # type: ignore[operator]
        outputs = [h, *(layer.train()(x[None], key=key)[0] for key in passes.keys(seed)), layer.eval()(x[None])[0]]
    labels = (1, tuple(f"kept {100 * value:.0f} %" for value in pi.values()))
    gap, last = (as_array(linear.weight),), subjects.weights(3, 5, 6)
    states = []
    for h in outputs:
        none = np.zeros(5, dtype=bool)
        values = as_array(x), as_array(h), as_array(torch.sigmoid(last @ h))
        states.append(State(values, (*gap, as_array(last)), (none, as_array(h == 0), none[:3]), labels=labels))
    return _picture(states, note)


def fast(row: Method, strength: Strength, seed: int, note: str, density: Density | None) -> Picture:
    """Pre-activations that are drawn."""
    x, linear = torch.linspace(0.4, 1.0, 5), _linear(4, 5)
    layer = make(row, strength, 5, 4)
    layer.load_state_dict(linear.state_dict())
    with torch.no_grad():
        outputs = [
            linear(x),
            *(layer.train()(x[None], key=key)[0] for key in passes.keys(seed)),
            layer.eval()(x[None])[0],
        ]
    states = [State((as_array(x), as_array(y)), (as_array(linear.weight),)) for y in outputs]
    return _picture(states, note, density, -1)


def _linear(outs: int, ins: int) -> nn.Linear:
    with torch.random.fork_rng(devices=[]):
        linear = nn.Linear(ins, outs)
    with torch.no_grad():
        linear.weight.copy_(subjects.weights(outs, ins, 8))
        linear.bias.copy_(torch.linspace(-0.6, 0.6, outs))
    return linear


def _with_one(x: torch.Tensor, y: torch.Tensor) -> tuple[Array, Array]:
    return np.append(as_array(x), np.float32(1)), as_array(y)


def _with_bias(weight: torch.Tensor, bias: torch.Tensor) -> Array:
    return as_array(torch.cat([weight, bias[:, None]], 1))


def _picture(states: list[State], note: str, density: Density | None = None, face: int = 1) -> Picture:
    everything = np.concatenate([column for state in states for column in state.values])
    low, high = float(min(everything.min(), 0)), float(everything.max())
    paints = [partial(paint_network, state=state, low=low, high=high) for state in states]
    shown = panels(list(paints), [state.data() for state in states])
    return Picture(shown, note, density=densities.panel(density), face=face)


def paint_network(axes: Axes, scale: float, state: State, low: float, high: float) -> None:
    """Units as discs with their values, connections as lines: blue and solid above zero, orange and dashed below."""
    tallest = max(map(len, state.values))
    apart = _WIDE[len(state.values)]
    width = apart * (len(state.values) - 1)
    places = [[(apart * n, k - (len(c) - 1) / 2) for k in range(len(c))] for n, c in enumerate(state.values)]
    for gap in range(len(state.weights)):
        _paint_gap(axes, scale, state, gap, places)
    for n, column in enumerate(state.values):
        for k, value in enumerate(column):
            dropped = bool(state.dropped) and bool(state.dropped[n][k])
            _paint_unit(axes, scale, places[n][k], float(value), (value - low) / (high - low), dropped)
            if state.labels is not None and state.labels[0] == n and scale >= 0.8:
                x, y = places[n][k]
                axes.text(
                    x,
                    y + 0.5,
                    state.labels[1][k],
                    fontsize=6.5 * scale,
                    ha="center",
                    va="center",
                    zorder=6,
                    bbox=_BEHIND,
                )
    reach = tallest / 2 + 0.1
    pad = max(0.0, (2 * reach - width - 1) / 2)
    axes.set(xlim=(-0.5 - pad, width + 0.5 + pad), ylim=(reach, -reach), aspect="equal")
    axes.set_axis_off()


def _paint_gap(axes: Axes, scale: float, state: State, gap: int, places: list[list[tuple[float, float]]]) -> None:
    for out, line in enumerate(state.weights[gap]):
        for source, weight in enumerate(line):
            ends = places[gap][source], places[gap + 1][out]
            cut = bool(state.cut) and bool(state.cut[gap][out, source])
            silent = _is_silent(state, gap, source) or (bool(state.dropped) and bool(state.dropped[gap + 1][out]))
            replaced = bool(state.replaced) and bool(state.replaced[gap][out, source])
            _paint_connection(axes, scale, ends, float(weight), silent or cut, replaced)


def _is_silent(state: State, column: int, unit: int) -> bool:
    """Whether a unit is dropped and hands nothing on; alpha dropout's dropped units have a value."""
    return bool(state.dropped) and bool(state.dropped[column][unit]) and abs(state.values[column][unit]) < _NOTHING


def _paint_connection(
    axes: Axes, scale: float, ends: tuple[tuple[float, float], tuple[float, float]], weight: float, cut: bool,
    replaced: bool,
) -> None:  # fmt: skip
    (x0, y0), (x1, y1) = ends
    if cut:
        axes.plot((x0, x1), (y0, y1), color="#B4B4B4", linewidth=0.9 * scale, linestyle=(0, (1, 2.5)), zorder=1)
        return
    style, colour = ("solid", BLUE) if weight >= 0 else ((0, (4, 1.6)), ORANGE)
    colour = GREY if replaced else colour
    width = scale * (0.5 + 1.5 * min(abs(weight), 2.0))
    axes.plot((x0, x1), (y0, y1), color=colour, linewidth=width, linestyle=style, zorder=1.5)


def _paint_unit(
    axes: Axes, scale: float, place: tuple[float, float], value: float, level: float, dropped: bool
) -> None:
    x, y = place
    face = PALE if dropped else colormaps[VALUES](level)
    axes.add_patch(
        Circle(place, _RADIUS, facecolor=face, edgecolor=GREY if dropped else "black", linewidth=0.8 * scale, zorder=3)
    )
    if dropped:
        reach = _RADIUS * 0.72
        for sign in (1, -1):
            axes.plot(
                (x - reach, x + reach),
                (y - sign * reach, y + sign * reach),
                color="#333333",
                linewidth=1.3 * scale,
                zorder=4,
            )
    if scale >= 0.8 and (not dropped or abs(value) >= _NOTHING):
        dark = not dropped and level < 0.55
        box = {"facecolor": PALE, "edgecolor": "none", "pad": 0.6} if dropped else None
        words = _short(value)
        axes.text(
            x,
            y,
            words,
            fontsize=6.7 * scale,
            ha="center",
            va="center",
            color="white" if dark else "black",
            bbox=box,
            zorder=5,
        )


def _short(value: float) -> str:
    """A number that fits into a unit."""
    size = abs(value)
    form = ".2f" if size < 9.995 else ".1f" if size < 99.95 else ".0f" if size < 9999.5 else ".0e"
    return f"{value if size >= _NOTHING else 0.0:{form}}".replace("-", "−").replace("e+", "e")
