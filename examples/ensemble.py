"""Dropout against a real ensemble at equal training time, and Bernoulli against Gaussian noise, on a part of MNIST.

Dropout is often called an ensemble of networks that share their weights. Here is the real thing beside it: five plain
networks, whose probabilities are averaged, against one network with dropout (a fifth of the inputs, half of the hidden
units) that trains for five times as many steps. What is expected:

- the ensemble and dropout both make fewer errors than one plain network, and than one trained five times as long: that
  one has nothing more to learn from data that it knows by heart;
- dropout's errors are fewer than the plain network's by a fifth or more (N. Srivastava et al., Dropout, JMLR 15, 2014,
  table 2: 1.60 % without, 1.25 % with dropout, all of MNIST);
- which of the two is better is left to the measurement; B. Lakshminarayanan, A. Pritzel, C. Blundell (Simple and
  Scalable Predictive Uncertainty Estimation using Deep Ensembles, NIPS 2017, arXiv:1612.01474) find ensembles ahead of
  dropout on MNIST, with far more training than here.

Then the noise. It is often said that Gaussian noise avoids dropout's slower training, since no unit is left out. For
multipliers of the same mean and variance, as 0 or 2 at p = 0.5 and Normal(1, 1) are, the effects on the loss of first
and second order are the same, so the steps to a target training loss (noise off) should be too: a ratio of 0.9 to 1.1.

The files of MNIST are needed: set TORCHDROPOUT_DATA to a folder that holds `mnist/`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from _common import COLOURS, Finding, images, interval, parse, plus_minus, pyplot, save, show, span
from torch import Tensor, nn
from torch.nn import functional as F

import torchdropout as td

Data = tuple[Tensor, Tensor, Tensor, Tensor]
Noise = Callable[[float], nn.Module]
MEMBERS = 5
LONGER, ENSEMBLE, DROPOUT = "plain, 5 × longer", "ensemble of 5", "dropout, 5 × longer"
TARGET = 0.2  # nats


def network(noise: Noise = td.Dropout, inputs: float = 0.0, hidden: float = 0.0) -> nn.Sequential:
    layers = [nn.Linear(784, 256), nn.ReLU(), noise(hidden), nn.Linear(256, 256), nn.ReLU(), noise(hidden)]
    return nn.Sequential(td.Dropout(inputs), *layers, nn.Linear(256, 10))


def steps(model: nn.Module, data: Data, epochs: int, seed: int, rate: float = 0.001):
    """Train with Adam in batches of 100, and yield after every step."""
    optimizer, order = torch.optim.Adam(model.parameters(), lr=rate), torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for batch in torch.randperm(len(data[0]), generator=order).split(100):
            optimizer.zero_grad()
            F.cross_entropy(model(data[0][batch]), data[1][batch]).backward()
            optimizer.step()
            yield


def trained(model: nn.Module, data: Data, epochs: int, seed: int) -> tuple[Tensor, float]:
    """The probabilities of the test images after training, and its seconds."""
    start = time.perf_counter()
    for _ in steps(model, data, epochs, seed):
        pass
    seconds = time.perf_counter() - start
    with torch.no_grad():
        return model.eval()(data[2]).softmax(1), seconds


def compete(data: Data, epochs: int, seed: int) -> dict[str, tuple[float, float, float]]:
    """For each way: errors in percent, likelihood in nats (negative log), seconds of training; one plain is a mean."""
    torch.manual_seed(seed)
    members = [trained(network(), data, epochs, 1000 * member + seed) for member in range(MEMBERS)]
    mean = torch.stack([probabilities for probabilities, _ in members]).mean(0)
    together = (*scores(mean, data[3]), sum(seconds for _, seconds in members))
    alone = torch.tensor([(*scores(probabilities, data[3]), seconds) for probabilities, seconds in members])
    found = {"one plain": tuple(alone.mean(0).tolist()), ENSEMBLE: together}
    for name, model in ((LONGER, network()), (DROPOUT, network(inputs=0.2, hidden=0.5))):
        probabilities, seconds = trained(model, data, MEMBERS * epochs, seed)
        found[name] = (*scores(probabilities, data[3]), seconds)
    return found


def scores(probabilities: Tensor, labels: Tensor) -> tuple[float, float]:
    wrong = (probabilities.argmax(1) != labels).float().mean()
    likelihood = probabilities.gather(1, labels[:, None]).clamp(min=1e-12).log().mean()
    return 100 * float(wrong), -float(likelihood)


NOISES: dict[str, tuple[Noise, float]] = {
    "no noise": (td.Dropout, 0.0),
    "Bernoulli": (td.Dropout, 0.5),
    "Gaussian": (td.GaussianDropout, 0.5),
}


def descend(name: str, data: Data, most: int, seed: int) -> list[float]:
    """The training loss, noise off, after every ten steps."""
    torch.manual_seed(seed)
    noise, p = NOISES[name]
    model, losses = network(noise, hidden=p), []
    for number, _ in enumerate(steps(model, data, most, seed, rate=0.0003), 1):
        if number % 10 == 0:
            with torch.no_grad():
                losses.append(float(F.cross_entropy(model.eval()(data[0][:2000]), data[1][:2000])))
            model.train()
    return losses


def first_below(losses: list[float]) -> float:
    """The step at which the loss is first below the target; infinite if it never is."""
    return next((10.0 * number for number, loss in enumerate(losses, 1) if loss < TARGET), math.inf)


def draw(path: Path, races: list[dict], curves: dict[str, list[list[float]]]) -> None:
    figure, (left, right) = pyplot().subplots(1, 2, figsize=(13, 4.5), layout="constrained")
    for place, (name, colour) in enumerate(zip(races[0], COLOURS, strict=False)):
        errors = [race[name][0] for race in races]
        mean, half = interval(errors)
        left.errorbar(mean, place, xerr=half, fmt="o", color=colour, capsize=5, lw=2)
        left.plot(errors, [place - 0.15] * len(errors), "|", color=colour, ms=9)
    left.set_yticks(range(len(races[0])), list(races[0]))
    left.invert_yaxis()
    left.set(xlabel="test errors (%); bars: 95 % interval, strokes: seeds", title="One network, five, and dropout")
    for (name, lines), colour, style in zip(curves.items(), COLOURS, ("-", "--", ":"), strict=False):
        taken, found = [10 * number for number in range(1, len(lines[0]) + 1)], np.array(lines)
        right.plot(taken, found.mean(0), style, color=colour, lw=2, label=name)
        right.fill_between(taken, *span(found), color=colour, alpha=0.2, lw=0)
    right.axhline(TARGET, color="black", lw=1, label="target")
    right.set(yscale="log", xlabel="step", ylabel="training loss, noise off (nats)", title="Which noise is slower?")
    right.legend()
    save(figure, path)


def run(small: bool, out: Path) -> list[Finding]:
    x, labels, test_x, test_labels = images("mnist", 1000 if small else 6000)
    data = (x, labels, test_x[:2000], test_labels[:2000]) if small else (x, labels, test_x, test_labels)
    epochs, most, seeds = (10, 32, 1) if small else (20, 20, 5)
    races = [compete(data, epochs, seed) for seed in range(seeds)]
    curves = {name: [descend(name, data, most, seed) for seed in range(seeds)] for name in NOISES}
    draw(out / "ensemble.png", races, curves)
    rows = [*against_plain(races, small), *speed(curves)]
    return rows if small else [*rows, *against_each_other(races)]


def column(races: list[dict], name: str, part: int = 0) -> list[float]:
    """For every seed, a way's errors (0), likelihood (1) or seconds (2)."""
    return [race[name][part] for race in races]


def against_plain(races: list[dict], small: bool) -> list[Finding]:
    plain = column(races, "one plain")
    rows = []
    for name in (ENSEMBLE, DROPOUT):
        errors = column(races, name)
        fewer = 100 * (1 - interval(errors)[0] / interval(plain)[0])
        least = 20 if name == DROPOUT and not small else 0
        measured = f"{plus_minus(errors)} and {plus_minus(plain)} %: {fewer:.0f} % fewer"
        rows.append(Finding(f"{name}, one plain: test errors", f"more than {least} % fewer", measured, fewer > least))
    return rows


def against_each_other(races: list[dict]) -> list[Finding]:
    errors, likelihoods = (
        [a - b for a, b in zip(column(races, DROPOUT, part), column(races, ENSEMBLE, part), strict=True)]
        for part in (0, 1)
    )
    times = [a / b for a, b in zip(column(races, DROPOUT, 2), column(races, ENSEMBLE, 2), strict=True)]
    longer = [a - b for a, b in zip(column(races, LONGER), column(races, DROPOUT), strict=True)]
    clear = abs(interval(errors)[0]) > interval(errors)[1]
    return [
        Finding(
            f"{LONGER} less {DROPOUT}: errors",
            "above 0",
            f"{plus_minus(longer)} points, of {plus_minus(column(races, LONGER))} %",
            interval(longer)[0] > 0,
        ),
        Finding(
            f"{DROPOUT} less {ENSEMBLE}: errors",
            "not 0: one of them is better",
            f"{plus_minus(errors)} points, {plus_minus(likelihoods, 3)} nats",
            clear,
        ),
        Finding(
            "training time, the same two", "a ratio of 0.8 to 1.5", plus_minus(times), 0.8 < interval(times)[0] < 1.5
        ),
    ]


def speed(curves: dict[str, list[list[float]]]) -> list[Finding]:
    steps_to = {name: [first_below(losses) for losses in lines] for name, lines in curves.items()}
    ratios = [g / b for g, b in zip(steps_to["Gaussian"], steps_to["Bernoulli"], strict=True)]
    slower = [b / n for b, n in zip(steps_to["Bernoulli"], steps_to["no noise"], strict=True)]
    what = f"steps to a training loss of {TARGET}"
    return [
        Finding(
            f"{what}: Bernoulli / no noise", "above 1: dropout is slower", plus_minus(slower), interval(slower)[0] > 1
        ),
        Finding(
            f"{what}: Gaussian / Bernoulli",
            "0.9 to 1.1 (the claim: clearly below 1)",
            plus_minus(ratios),
            0.9 < interval(ratios)[0] < 1.1,
        ),
    ]


if __name__ == "__main__":
    small, out = parse(__doc__)
    show(run(small, out))
