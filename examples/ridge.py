"""Noise on the inputs of a linear regression is a penalty: dropout a scaled ridge, Gaussian noise a plain one.

With n examples in the rows of X, keep probability k, masks M of independent 0 and 1, and Gaussian noise E:

- Dropout: mean over M of |y - (M * X / k) w|² = |y - X w|² + (1 - k) / k * sum_j (sum_i x_ij²) w_j². So training with
  dropout ends at w = (X'X + (1 - k) / k diag(X'X))^-1 X'y, a ridge whose strength is scaled by each input's size
  (Srivastava et al., JMLR 2014, section 9.1, equation for the marginalised loss; Wager, Wang and Liang, NIPS 2013).
- Gaussian noise of variance s²: mean over E of |y - (X + s E) w|² = |y - X w|² + n s² |w|², Tikhonov's penalty, so
  training ends at w = (X'X + n s² I)^-1 X'y.
- For a network f that is not linear, the second holds for small noise: the mean of the squared error grows by
  s² f'(x)², up to terms in s⁴ (Bishop, Neural Computation 7, 1995), where the network fits its targets.

What is expected: the first two equal for every w, checked by adding up all 2^8 masks of an example, and by quadrature;
training with fresh noise at each of its steps to come as near the closed form as chance allows, an error that falls
with the square root of the number of steps; the third to come nearer with s², by a factor of about 9 from 0.3 to 0.1.
"""
# ruff: noqa: N803, N806 - matrices are capital letters

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
from _common import COLOURS, Finding, parse, plus_minus, pyplot, save, show

from torchdropout.scratch import activations

EXAMPLES, INPUTS, KEEP, SIGMA, RUNS = 40, 8, 0.5, 0.7, 10
NAMES = {"dropout": f"dropout, keep {KEEP}", "gauss": f"Gaussian noise, s = {SIGMA}"}


def draw(seed: int):
    """Inputs of sizes from 0.5 to 2 that go together, and targets."""
    rng = np.random.default_rng(seed)
    X = (rng.standard_normal((EXAMPLES, INPUTS)) + 0.7 * rng.standard_normal((EXAMPLES, 1))) * np.geomspace(0.5, 2, 8)
    return X, X @ rng.standard_normal(INPUTS) + rng.standard_normal(EXAMPLES)


def strengths(X, kind: str):
    """What multiplies w_j² in the sum over the examples."""
    return (1 - KEEP) / KEEP * (X**2).sum(axis=0) if kind == "dropout" else np.full(INPUTS, EXAMPLES * SIGMA**2)


def closed_form(X, y, penalties):
    return np.linalg.solve(X.T @ X + np.diag(penalties), X.T @ y)


def expected_loss(X, y, w, kind: str) -> float:
    """The mean of the summed squared error over the noise, without the formula in question."""
    if kind == "dropout":
        masks = np.array(list(itertools.product([0, 1], repeat=INPUTS)))
        chances = np.prod(np.where(masks == 1, KEEP, 1 - KEEP), axis=1)
        errors = y[:, None] - X @ (masks * w / KEEP).T
        return float((errors**2 @ chances).sum())
    nodes, chances = np.polynomial.hermite_e.hermegauss(20)  # E w is normal with variance |w|²
    errors = (y - X @ w)[:, None] - SIGMA * np.linalg.norm(w) * nodes
    return float((errors**2 @ (chances / chances.sum())).sum())


def penalised_loss(X, y, w, kind: str) -> float:
    return float(((y - X @ w) ** 2).sum() + strengths(X, kind) @ w**2)


def train(X, y, kind: str, steps: int, rate: float = 0.01):
    """Ten runs at once of gradient descent, fresh noise at every step; yields the mean of each run's weights so far.

    The gradient's mean is linear in w, so the mean of the weights has no bias, at any learning rate that is stable.
    """
    rng = np.random.default_rng(1)
    w, mean = np.zeros((RUNS, INPUTS)), np.zeros((RUNS, INPUTS))
    start = steps // 20  # the way from 0 is not counted
    for step in range(1, steps + 1):
        if kind == "dropout":
            noisy = X * (rng.random((RUNS, *X.shape)) < KEEP) / KEEP
        else:
            noisy = X + SIGMA * rng.standard_normal((RUNS, *X.shape))
        error = (noisy @ w[:, :, None])[:, :, 0] - y
        w = w - rate * (error[:, None, :] @ noisy)[:, 0] / EXAMPLES
        if step > start:
            mean += (w - mean) / (step - start)
            yield step - start, mean


def distances(weights, w) -> np.ndarray:
    """How far each run is, relative to the length of the closed form."""
    return np.linalg.norm(weights - w, axis=-1) / np.linalg.norm(w)


def bishop(sigmas):
    """By how much noise raises the mean squared error of a small tanh network, over what f'² predicts."""
    rng = np.random.default_rng(0)
    V, c, a = rng.normal(0, 1.5, (20, 1)), rng.normal(0, 1, (20, 1)), rng.normal(0, 0.4, (1, 20))
    nodes, chances = np.polynomial.hermite_e.hermegauss(60)
    x = np.linspace(-2, 2, 81)[None]

    def f(inputs):
        return (a @ activations.tanh(V @ inputs + c))[0]

    slopes = (a @ (V * activations.tanh_derivative(V @ x + c)))[0]
    ratios = []
    for sigma in sigmas:
        errors = np.array([f(x + sigma * node) - f(x) for node in nodes])  # the targets are f(x): it fits them
        growth = (chances / chances.sum()) @ (errors**2).mean(axis=1)
        ratios.append(float(growth / (sigma**2 * (slopes**2).mean())))
    return ratios


def judge(X, y, ends, paths, sigmas, ratios) -> list[Finding]:
    findings = []
    rng = np.random.default_rng(2)
    for kind, name in NAMES.items():
        pairs = [(expected_loss(X, y, w, kind), penalised_loss(X, y, w, kind)) for w in rng.normal(size=(100, INPUTS))]
        worst = max(abs(a / b - 1) for a, b in pairs)
        w, plain = closed_form(X, y, strengths(X, kind)), closed_form(X, y, np.zeros(INPUTS))
        end, path = distances(ends[kind], w), paths[kind]
        away = distances(plain, w)
        slope = np.polyfit(np.log([step for step, _ in path]), np.log([error for _, error in path]), 1)[0]
        measured = f"{plus_minus(100 * end, 2, ' %')} (least squares is {100 * away:.0f} % away)"
        findings += [
            Finding(f"{name}: mean loss against the formula", "equal, to 1e-12", f"{worst:.0e}", worst < 1e-12),
            Finding(f"{name}: w trained against closed form", "equal but for chance", measured, end.mean() < away / 10),
            Finding(f"{name}: error ~ steps to the power", "-0.5", f"{slope:.2f}", -0.7 < slope < -0.3),
        ]
    off = [abs(ratio - 1) for ratio in ratios]
    text = ", ".join(f"{ratio:.4f} (s = {sigma:g})" for sigma, ratio in zip(sigmas, ratios, strict=True))
    nearer = 5 < off[0] / off[1] < 15 and off[-1] < 0.01
    return [*findings, Finding("tanh network: growth of the error over s² f'²", "to 1, with s²", text, nearer)]


def draw_figure(X, y, ends, paths, out: Path) -> None:
    plt = pyplot()
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(14, 4.2), layout="constrained")
    j = np.arange(1, INPUTS + 1)
    left.plot(j, closed_form(X, y, np.zeros(INPUTS)), "x", color="#888888", label="least squares")
    for shift, (kind, name), colour in zip((-0.15, 0.15), NAMES.items(), COLOURS, strict=False):
        left.plot(j + shift, closed_form(X, y, strengths(X, kind)), "_", color=colour, markersize=16, markeredgewidth=2)
        left.plot(j + shift, ends[kind].mean(axis=0), "o", color=colour, markersize=4, label=name)
        middle.loglog(*zip(*paths[kind], strict=True), "o-", color=colour, markersize=3, label=name)
    left.plot([], [], "_", color="#444444", markersize=12, label="closed form")
    left.set(xlabel="input", ylabel="weight", title="trained with noise (dots), closed form (bars)")
    steps = np.array([step for step, _ in paths["dropout"]])
    half = paths["dropout"][0][1] * (steps / steps[0]) ** -0.5
    middle.loglog(steps, half, ":", color="#444444", label="steps to the power -1/2")
    middle.set(xlabel="steps", ylabel="relative distance to the closed form", title="ten runs, their mean")
    sigmas = np.geomspace(0.01, 1, 13)
    off = np.abs(np.array(bishop(sigmas)) - 1)
    right.loglog(sigmas, off, "o-", color=COLOURS[2], markersize=3, label="tanh network")
    right.loglog(sigmas, off[0] * (sigmas / sigmas[0]) ** 2, ":", color="#444444", label="s²")
    right.set(xlabel="s", ylabel="|growth of the error / (s² f'²) - 1|", title="Gaussian noise as Tikhonov's penalty")
    middle.set_ylim(5e-4, 0.1)
    right.yaxis.set_minor_formatter("")
    middle.yaxis.set_minor_formatter("")
    for axes in (left, middle, right):
        axes.legend(fontsize=8)
    save(figure, out / "ridge.png")


def run(small: bool, out: Path) -> list[Finding]:
    X, y = draw(0)
    ends, paths, steps = {}, {}, 10_000 if small else 100_000
    for kind in NAMES:
        w = closed_form(X, y, strengths(X, kind))
        marks = set(np.geomspace(100, 0.95 * steps, 12).astype(int))
        paths[kind] = []
        for step, mean in train(X, y, kind, steps):
            if step in marks:
                paths[kind].append((step, float(distances(mean, w).mean())))
        ends[kind] = mean
    sigmas = (0.3, 0.1, 0.03)
    findings = judge(X, y, ends, paths, sigmas, bishop(sigmas))
    draw_figure(X, y, ends, paths, out)
    return findings


if __name__ == "__main__":
    small, out = parse(__doc__)
    show(run(small, out))
