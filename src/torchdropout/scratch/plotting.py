"""Pictures: the regions that a network tells apart in the plane, and the activation functions. They need matplotlib."""
# ruff: noqa: N803, N806 - the course's names: capital letters for arrays that hold one example per column

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from torchdropout.scratch import checks
from torchdropout.scratch.activations import ACTIVATIONS, softmax
from torchdropout.scratch.checks import Array, Arrays, depth
from torchdropout.scratch.network import predict

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Told apart with every common colour blindness (Okabe and Ito 2008); the classes have different markers as well.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9")
MARKERS = "os^Dv*"


def plot_decision_boundary(parameters: Arrays, X: Any, Y: Any, axes: Axes | None = None, points: int = 300) -> Axes:
    """Colour the plane by the predicted class, and draw the examples on it.

    Args:
        parameters: W1, b1, ... of a network with two inputs and at most six classes.
        X: Inputs, shape (2, examples).
        Y: Labels, shape (outputs, examples).
        axes: Where to draw; the current axes if None.
        points: The grid has `points` x `points` predictions.

    Returns:
        The axes.

    Raises:
        ValueError: The inputs do not have two rows, there are more than six classes, or X and Y do not fit.
        ModuleNotFoundError: matplotlib is not installed.
    """
    X = checks.check_inputs(X, parameters)
    outputs = parameters[f"W{depth(parameters)}"].shape[0]
    Y = checks.check_labels(Y, (outputs, X.shape[1]))
    if X.shape[0] != 2 or outputs > len(COLOURS):
        raise ValueError(f"only 2 features and at most 6 classes can be drawn, got {X.shape[0]} and {outputs}.")
    if axes is None:
        from matplotlib import pyplot  # noqa: PLC0415 - only where a picture is asked for

        axes = pyplot.gca()
    _colour_regions(parameters, X, axes, points)
    classes = Y[0] if outputs == 1 else Y.argmax(axis=0)
    for k in range(max(outputs, 2)):
        of_class = X[:, classes == k]
        style: dict[str, Any] = {"marker": MARKERS[k], "color": COLOURS[k], "s": 16, "linewidths": 0.5}
        axes.scatter(of_class[0], of_class[1], edgecolors="white", label=f"class {k}", **style)
    return axes


def _colour_regions(parameters: Arrays, X: Array, axes: Axes, points: int) -> None:
    margin = 0.08 * (X.max(axis=1) - X.min(axis=1)) + 1e-9
    low, high = X.min(axis=1) - margin, X.max(axis=1) + margin
    x, y = np.meshgrid(np.linspace(low[0], high[0], points), np.linspace(low[1], high[1], points))
    classes = predict(np.stack([x.ravel(), y.ravel()]), parameters).reshape(x.shape)
    levels = np.arange(len(COLOURS) + 1) - 0.5
    axes.contourf(x, y, classes, levels=levels, colors=COLOURS, alpha=0.22)
    axes.contour(x, y, classes, levels=levels[1:-1], colors="#444444", linewidths=0.8)
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))


def draw_activations(path: str | Path) -> Path:
    """Draw every activation function with its derivative in a grid, into a file whose suffix says the format.

    Args:
        path: The file, e.g. activations.png.

    Returns:
        The path.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        ValueError: matplotlib does not know the suffix.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - only where a picture is asked for

    figure = Figure(figsize=(12, 8.4), layout="constrained")
    grid = figure.subplots(3, 4, sharex=True).flat
    Z = np.linspace(-7, 7, 1401)
    curves = {name: (of.function(Z), of.derivative(Z)) for name, of in ACTIVATIONS.items()}
    curves["softmax, first of (z, 0, 0)"] = _softmax_curves(Z)
    for axes, (name, (values, derivatives)) in zip(grid, curves.items(), strict=True):
        axes.axhline(0, color="#999999", linewidth=0.8)
        axes.axvline(0, color="#999999", linewidth=0.8)
        axes.plot(Z, values, color=COLOURS[0], linewidth=2, label="function")
        axes.plot(Z, _without_jumps(derivatives), color=COLOURS[1], linewidth=1.6, linestyle="--", label="derivative")
        axes.set_title(name)
        axes.set(xlim=(-7, 7), ylim=_limits(values), xticks=range(-6, 7, 3))
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(path, dpi=120)
    return Path(path)


def _softmax_curves(Z: Array) -> tuple[Array, Array]:
    A = softmax(np.stack([Z, np.zeros_like(Z), np.zeros_like(Z)]))[0]
    return A, A * (1 - A)


def _without_jumps(values: Array) -> Array:
    """NaN just after a jump, so that no line is drawn across it."""
    jumps = np.abs(np.diff(values, prepend=values[0])) > 0.1
    return np.where(jumps, np.nan, values)


def _limits(values: Array) -> tuple[float, float]:
    return (-2.2, 6.6) if values.max() > 2 else (-1.2, 1.4)
