"""Weight decay on linear regression with 20 points and 200 inputs: what it does, and what the printed norm shows.

The data are those of *Dive into Deep Learning* (A. Zhang, Z. Lipton, M. Li, A. Smola; the section on weight decay):
y = 0.05 + sum_i 0.01 x_i + noise of standard deviation 0.01, with standard normal inputs. As there, the weights start
from standard normal noise, and run 100 epochs in batches of 5 with learning rate 0.003, the loss being half the squared
error. Here it is done twice: by hand, and with `torch.optim.SGD(weight_decay=...)` in a parameter group of the weights
alone, the bias in another group without decay.

What is expected, and why:

- By hand and by the optimizer give the same numbers: the gradient of (lambda / 2) |w|² is lambda w.
- Without decay the training loss goes to 0 and the test loss does not: 20 points cannot fix 200 weights.
- With lambda = 3 the test loss falls by far. But most of that is the decay of the *initial noise*: 180 of the 200
  directions of w are touched by no training point, so the loss never moves them, and only decay shrinks them, by
  1 - 0.003 * 3 per step. After 400 steps of 100 epochs, 0.991^400 = 0.027 of a noise of length 13.4 is left: 0.36.
  This is the norm of w that such programs print; that of the ridge optimum, (X'X / n + lambda I)^-1 X'y / n (centred),
  is a tenth of it.
- So from w = 0 there is no noise to decay, and weight decay changes the test loss little: less than by a factor of 3.
"""
# ruff: noqa: N803, N806 - matrices are capital letters

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from _common import COLOURS, Finding, interval, parse, plus_minus, pyplot, save, show

POINTS, INPUTS, BATCH, RATE, EPOCHS, LAMBDA = 20, 200, 5, 0.003, 100, 3.0


def draw(rng: np.random.Generator, points: int):
    """Inputs, one example per row, and targets."""
    X = rng.standard_normal((points, INPUTS))
    return X, 0.05 + 0.01 * X.sum(axis=1) + rng.normal(0, 0.01, points)


def loss(X, y, w, b) -> float:
    return float(((X @ w + b - y) ** 2).mean() / 2)


def batches(seed: int, epochs: int):
    rng = np.random.default_rng(seed)
    return [batch for _ in range(epochs) for batch in np.split(rng.permutation(POINTS), POINTS // BATCH)]


def by_hand(X, y, w, decay: float, order):
    """Gradient descent, the bias exempt from decay; yields w and b after every step."""
    b = 0.0
    for batch in order:
        error = X[batch] @ w + b - y[batch]
        w = w - RATE * (X[batch].T @ error / len(batch) + decay * w)
        b = b - RATE * error.mean()
        yield w, b


def by_optimizer(X, y, w, decay: float, order):
    """The same with PyTorch, in float64."""
    net = torch.nn.Linear(INPUTS, 1, dtype=torch.float64)
    with torch.no_grad():
        net.weight.copy_(torch.from_numpy(w))
        net.bias.zero_()
    groups = [{"params": [net.weight], "weight_decay": decay}, {"params": [net.bias], "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=RATE)
    inputs, targets = torch.from_numpy(X), torch.from_numpy(y)
    for batch in order:
        optimizer.zero_grad()
        half_squares = (net(inputs[batch])[:, 0] - targets[batch]) ** 2 / 2
        half_squares.mean().backward()
        optimizer.step()
    return net.weight.detach().numpy()[0]


def ridge(X, y, decay: float):
    """The minimum of half the mean squared error plus (decay / 2) |w|², by its closed form; the bias is free."""
    centred = X - X.mean(axis=0)
    w = np.linalg.solve(centred.T @ centred / POINTS + decay * np.eye(INPUTS), centred.T @ (y - y.mean()) / POINTS)
    return w, float(y.mean() - X.mean(axis=0) @ w)


def noise_left(X, w0, steps: int) -> float:
    """The length of the part of w0 that no training point touches, after so many decays."""
    untouched = w0 - np.linalg.pinv(X) @ (X @ w0)
    return float(np.linalg.norm(untouched) * (1 - RATE * LAMBDA) ** steps)


def one_run(seed: int, zero_steps: int) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    X, y = draw(rng, POINTS)
    test, w0, order = draw(rng, 1000), rng.standard_normal(INPUTS), batches(seed, EPOCHS)
    found = {}
    for name, decay in (("none", 0.0), ("decay", LAMBDA)):
        *_, (w, b) = by_hand(X, y, w0, decay, order)
        found |= {f"{name} train": loss(X, y, w, b), f"{name} test": loss(*test, w, b)}
        found[f"{name} difference"] = float(np.abs(w - by_optimizer(X, y, w0, decay, order)).max())
        *_, (w_zero, b_zero) = by_hand(X, y, np.zeros(INPUTS), decay, [np.arange(POINTS)] * zero_steps)
        found[f"{name} zero test"] = loss(*test, w_zero, b_zero)
        found |= {f"{name} norm": float(np.linalg.norm(w)), f"{name} zero norm": float(np.linalg.norm(w_zero))}
    return found | {"left": noise_left(X, w0, len(order)), "ridge": float(np.linalg.norm(ridge(X, y, LAMBDA)[0]))}


def judge(runs: list[dict[str, float]]) -> list[Finding]:
    of = {name: np.array([run[name] for run in runs]) for name in runs[0]}
    worst = max(of["none difference"].max(), of["decay difference"].max())
    noise_share = of["decay norm"] / of["left"]
    from_zero = of["none zero test"] / of["decay zero test"]
    tests = f"{plus_minus(of['none test'], 1)} and {plus_minus(of['decay test'], 3)}"
    zeros = f"{plus_minus(of['none zero test'], 4)} and {plus_minus(of['decay zero test'], 4)}"
    overfit = interval(of["none train"])[0] < 0.01 * interval(of["none test"])[0]
    return [
        Finding("largest difference of a weight, by hand and by optimizer", "< 1e-10", f"{worst:.1e}", worst < 1e-10),
        Finding("training loss without decay", "< 1 % of the test loss", f"{of['none train'].mean():.1e}", overfit),
        Finding("test loss, lambda = 0 and 3", "falls by far", tests, (of["decay test"] < of["none test"] / 10).all()),
        Finding(
            "norm of w, lambda = 3, as popular programs print it",
            f"{plus_minus(of['left'], 3)}: the initial noise not yet decayed",
            plus_minus(of["decay norm"], 3),
            abs(noise_share.mean() - 1) < 0.1,
        ),
        Finding(
            "norm of w, lambda = 3, run from w = 0 to the end",
            f"{plus_minus(of['ridge'], 4)}: the closed-form ridge optimum",
            plus_minus(of["decay zero norm"], 4),
            float(np.abs(of["decay zero norm"] / of["ridge"] - 1).max()) < 1e-3,
        ),
        Finding("test loss from w = 0, lambda = 0 and 3", "within a factor of 3", zeros, 1 / 3 < from_zero.mean() < 3),
    ]


def draw_figure(out: Path, epochs: int) -> None:
    """One run for longer: losses, and the norm of w on its way from the noise to the ridge optimum."""
    plt = pyplot()
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    rng = np.random.default_rng(0)
    X, y = draw(rng, POINTS)
    test, w0, order = draw(rng, 1000), rng.standard_normal(INPUTS), batches(0, epochs)
    epoch = np.arange(1, epochs + 1)
    for decay, colour in ((0.0, COLOURS[1]), (LAMBDA, COLOURS[0])):
        ends = list(by_hand(X, y, w0, decay, order))[POINTS // BATCH - 1 :: POINTS // BATCH]
        left.semilogy(epoch, [loss(X, y, *end) for end in ends], color=colour, label=f"train, λ = {decay:g}")
        left.semilogy(epoch, [loss(*test, *end) for end in ends], "--", color=colour, label=f"test, λ = {decay:g}")
        right.semilogy(epoch, [np.linalg.norm(w) for w, _ in ends], color=colour, label=f"|w|, λ = {decay:g}")
    decayed = [noise_left(X, w0, step * POINTS // BATCH) for step in epoch]
    right.semilogy(epoch, decayed, ":", color=COLOURS[5], label="initial noise, decayed")
    optimum = np.linalg.norm(ridge(X, y, LAMBDA)[0])
    right.axhline(optimum, color=COLOURS[2], linestyle="--", label=f"ridge optimum, {optimum:.3f}")
    right.axvline(EPOCHS, color="#999999", linewidth=0.8)
    right.text(EPOCHS + 3, 2.2, "the norm is printed here", fontsize=8, color="#555555")
    right.set(xlabel="epoch", ylabel="norm of w", ylim=(optimum / 3, 40))
    left.set(xlabel="epoch", ylabel="half the mean squared error", ylim=(1e-6, 1e3))
    left.legend(fontsize=8)
    right.legend(fontsize=8)
    save(figure, out / "weight_decay.png")


def run(small: bool, out: Path) -> list[Finding]:
    findings = judge([one_run(seed, 6_000) for seed in range(5 if small else 20)])
    draw_figure(out, 300)
    return findings


if __name__ == "__main__":
    small, out = parse(__doc__)
    show(run(small, out))
