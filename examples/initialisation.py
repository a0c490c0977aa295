"""Initialisation: how far a signal gets through twenty layers, forward and backward, before any training.

Inputs of spread 1 go through twenty layers of 256 units; the loss's gradient comes back. The spread (standard
deviation) of the activations A and of their gradients dA is measured at every layer, for weights of standard deviation
0.01 ("plain"), sqrt(2 / (n_in + n_out)) ("Xavier": X. Glorot, Y. Bengio, AISTATS 2010) and sqrt(2 / n_in) ("He":
K. He et al., ICCV 2015, arXiv:1502.01852), with ReLU, and Xavier with tanh too, for which it was made.

What is expected, and why: a layer multiplies the mean square of a signal by n * variance of a weight, times 1/2 where
ReLU removes half of it (He et al., equations 9 and 13). With n = 256, each layer multiplies the spread by

- plain, ReLU: 0.01 * sqrt(256 / 2) = 0.113; over the 19 layers from the first to the last, 1e-18;
- Xavier, ReLU: sqrt(1 / 2) = 0.707, over 19 layers 0.0014;
- He, ReLU: 1. Over 19 layers the spread wanders by chance, less than twofold here;
- Xavier, tanh: a little less than 1, as tanh is flatter than a line, and nearer to 1 the smaller the signal. With q the
  mean square of Z, the next one is the mean of tanh(sqrt(q) z)² over a standard normal z, and going back multiplies by
  the mean of tanh'(sqrt(q) z)² (B. Poole et al., NIPS 2016, arXiv:1606.05340): the factors below are computed so.

And in training: from the plain start a deep network does not begin to learn; from He's it does.
"""
# ruff: noqa: N806 - the names of the classic course

from __future__ import annotations

from pathlib import Path

import numpy as np
from _common import COLOURS, Finding, interval, parse, plus_minus, pyplot, save, show

from torchdropout import scratch
from torchdropout.scratch import activations

LAYERS, WIDTH, EXAMPLES = 20, 256, 256
ACTIVATION = {
    "ReLU": activations.Activation(activations.relu, activations.relu_derivative),
    "tanh": activations.Activation(activations.tanh, activations.tanh_derivative),
}
PLAIN, XAVIER = 0.01 * (WIDTH / 2) ** 0.5, 0.5**0.5


def tanh_factors() -> tuple[float, float]:
    """The factor per layer forward and backward, in a network with very many units."""
    z, chance = np.polynomial.hermite_e.hermegauss(100)
    chance = chance / chance.sum()
    squares = [1.0]  # of Z1, Z2, ...: inputs of spread 1, and Xavier's weights
    for _ in range(LAYERS):
        squares.append(float(chance @ np.tanh(squares[-1] ** 0.5 * z) ** 2))
    slopes = [chance @ activations.tanh_derivative(q**0.5 * z) ** 2 for q in squares[1:LAYERS]]
    steps = 2 * (LAYERS - 1)
    return (squares[LAYERS] / squares[1]) ** (1 / steps), float(np.prod(slopes) ** (1 / steps))


STARTS = {
    "plain, ReLU": (PLAIN, PLAIN),
    "Xavier, ReLU": (XAVIER, XAVIER),
    "He, ReLU": (1.0, 1.0),
    "Xavier, tanh": tanh_factors(),
}


def spreads(method: str, kind: str, seed: int):
    """The standard deviations of A1, ..., A20 and of dA1, ..., dA20; normal noise comes in at either end."""
    rng = np.random.default_rng(seed)
    parameters = scratch.initialize_parameters([WIDTH] * (LAYERS + 1), method, rng)
    function, derivative = ACTIVATION[kind]
    A, Z, forward = rng.standard_normal((WIDTH, EXAMPLES)), {}, []
    for layer in range(1, LAYERS + 1):
        Z[layer] = parameters[f"W{layer}"] @ A
        A = function(Z[layer])
        forward.append(A.std())
    dA, backward = rng.standard_normal((WIDTH, EXAMPLES)), []
    for layer in range(LAYERS, 0, -1):
        backward.append(dA.std())
        dA = parameters[f"W{layer}"].T @ (dA * derivative(Z[layer]))
    return np.array(forward), np.array(backward[::-1])


def measure(seeds: int):
    """Per start: an array (seeds, forward or backward, layers)."""
    return {
        name: np.array([spreads(name.split(",")[0].lower(), name.split(", ")[1], seed) for seed in range(seeds)])
        for name in STARTS
    }


def learns(method: str, seed: int, steps: int) -> float:
    """By how much training lowers the cost: two classes told apart by the first input, ten layers of 30 units."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((5, 200))
    costs: list[float] = []
    scratch.model(X, (X[:1] > 0).astype(float), [5, *[30] * 10, 1], 0.05, steps, method=method, rng=rng, costs=costs)
    return costs[0] - costs[-1]


def judge(found, drops) -> list[Finding]:
    findings = []
    for name, factors in STARTS.items():
        logs = np.log(found[name])
        forward = np.exp((logs[:, 0, -1] - logs[:, 0, 0]) / (LAYERS - 1))
        backward = np.exp((logs[:, 1, 0] - logs[:, 1, -1]) / (LAYERS - 1))
        for signal, rate, factor in zip(("A", "dA"), (forward, backward), factors, strict=True):
            holds = abs(interval(rate)[0] / factor - 1) < 0.03
            what = f"{name}: factor per layer of {signal}"
            findings.append(Finding(what, f"{factor:.3f} (within 3 %)", plus_minus(rate, 3), holds))
    text = {name: plus_minus(values, 4) for name, values in drops.items()}
    stuck = max(np.abs(drops["plain"])) < 0.02
    findings.append(Finding("fall of the cost in training, plain start", "near 0", text["plain"], stuck))
    findings.append(Finding("the same, He's start", "above 0.3", text["he"], min(drops["he"]) > 0.3))
    return findings


def draw_figure(found, out: Path) -> None:
    plt = pyplot()
    figure, both = plt.subplots(1, 2, figsize=(11, 4.4), sharey=True, layout="constrained")
    layers = np.arange(1, LAYERS + 1)
    for axes, direction, title in zip(
        both, (0, 1), ("activations A", "gradients dA, coming from the right"), strict=True
    ):
        for (name, runs), colour, marker in zip(found.items(), COLOURS, "osD^", strict=False):
            middle = np.exp(np.log(runs[:, direction]).mean(axis=0))
            axes.semilogy(layers, middle, marker=marker, markersize=4, color=colour, label=name)
            axes.fill_between(layers, *np.quantile(runs[:, direction], [0, 1], axis=0), color=colour, alpha=0.2)
        axes.set(xlabel="layer", title=title, xticks=range(2, LAYERS + 1, 2))
    both[0].set_ylabel("standard deviation")
    both[0].legend(fontsize=9)
    save(figure, out / "initialisation.png")


def run(small: bool, out: Path) -> list[Finding]:
    found = measure(4 if small else 20)
    drops = {method: [learns(method, seed, 600) for seed in range(2 if small else 10)] for method in ("plain", "he")}
    findings = judge(found, drops)
    draw_figure(found, out)
    return findings


if __name__ == "__main__":
    small, out = parse(__doc__)
    show(run(small, out))
