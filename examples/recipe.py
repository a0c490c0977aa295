"""The practice recipe for dropout, piece by piece, on a tenth of MNIST: what each piece adds to the one before.

N. Srivastava, G. Hinton, A. Krizhevsky, I. Sutskever, R. Salakhutdinov (Dropout: A Simple Way to Prevent Neural
Networks from Overfitting, JMLR 15, 2014, appendix A) advise:

- drop half of each hidden layer, and a fifth of the inputs;
- where n units are right without dropout, take n / keep of them, since only that part is present at a time;
- learn at 10 to 100 times the usual rate, with momentum 0.95 to 0.99 and a rate that decays, as noisy gradients cancel
  each other (here 10 times in the steps that are made in the end, rate / (1 - momentum): 0.1 and 1);
- hold every unit's incoming weights to a norm of at most c, 3 to 4, or 2 for MNIST, so the high rate does no harm.

What is expected: the paper's table 2 has, for all of MNIST and a million steps, 1.60 % test errors without dropout,
1.25 with it, 1.06 with max-norm too: a third fewer. Here are 6,000 images and 2,400 steps, so errors are more, and
pieces that are made for long training need not show. The whole must be below the plain network, and below a control:
the plain network at the whole's rate, decay and momentum, which says what dropout adds and the rate does not. A piece's
effect is stated with its interval over seeds: where that holds 0, nothing was shown.

The files of MNIST are needed: set TORCHDROPOUT_DATA to a folder that holds `mnist/`.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from _common import BLUE, COLOURS, ORANGE, Finding, images, interval, parse, plus_minus, pyplot, save, show
from torch import Tensor, nn
from torch.nn import functional as F

import torchdropout as td

Data = tuple[Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Recipe:
    """How a network is built and trained; the defaults are the plain one."""

    inputs: float = 0.0
    hidden: float = 0.0
    width: int = 256
    rate: float = 0.01
    momentum: float = 0.9
    last_rate: float = 1.0  # as a part of `rate`, reached exponentially
    max_norm: float = float("inf")


PLAIN = Recipe()
HIDDEN = replace(PLAIN, hidden=0.5)
INPUT = replace(HIDDEN, inputs=0.2)
WIDE = replace(INPUT, width=512)
FAST = replace(WIDE, rate=0.05, momentum=0.95, last_rate=0.01)
WHOLE = replace(FAST, max_norm=2.0)
CONTROL = "plain, but high rate, decay, momentum"
STEPS = {
    "plain": PLAIN,
    CONTROL: replace(PLAIN, rate=0.05, momentum=0.95, last_rate=0.01),
    "+ hidden dropout 0.5": HIDDEN,
    "+ input dropout 0.2": INPUT,
    "+ width n / keep": WIDE,
    "+ high rate, decay, momentum": FAST,
    "+ max-norm 2": WHOLE,
}


def network(recipe: Recipe) -> nn.Sequential:
    width, p = recipe.width, recipe.hidden
    hidden = [nn.Linear(784, width), nn.ReLU(), td.Dropout(p), nn.Linear(width, width), nn.ReLU(), td.Dropout(p)]
    model = nn.Sequential(td.Dropout(recipe.inputs), *hidden, nn.Linear(width, 10))
    for layer in linear_layers(model):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
    return model


def linear_layers(model: nn.Sequential) -> list[nn.Linear]:
    return [layer for layer in model if isinstance(layer, nn.Linear)]


@torch.no_grad()
def hold_norms(model: nn.Sequential, limit: float) -> None:
    """Scale down the incoming weights of every hidden unit whose norm is above the limit."""
    for layer in linear_layers(model)[:-1]:
        norms = layer.weight.norm(dim=1, keepdim=True)
        layer.weight *= (limit / norms.clamp(min=1e-12)).clamp(max=1)


def train(recipe: Recipe, data: Data, epochs: int, seed: int) -> list[float]:
    """Test errors in percent after every epoch."""
    torch.manual_seed(seed)
    x, labels, test_x, test_labels = data
    model = network(recipe)
    optimizer = torch.optim.SGD(model.parameters(), lr=recipe.rate, momentum=recipe.momentum)
    decay = torch.optim.lr_scheduler.ExponentialLR(optimizer, recipe.last_rate ** (1 / epochs))
    order, errors = torch.Generator().manual_seed(seed), []
    for _ in range(epochs):
        for batch in torch.randperm(len(x), generator=order).split(100):
            optimizer.zero_grad()
            F.cross_entropy(model(x[batch]), labels[batch]).backward()
            optimizer.step()
            if recipe.max_norm < float("inf"):
                hold_norms(model, recipe.max_norm)
        decay.step()
        with torch.no_grad():
            wrong = model.eval()(test_x).argmax(1) != test_labels
        model.train()
        errors.append(100 * float(wrong.float().mean()))
    return errors


def draw(path: Path, found: dict[str, list[list[float]]]) -> None:
    figure, (left, right) = pyplot().subplots(1, 2, figsize=(13, 4.5), layout="constrained")
    for place, (name, curves) in enumerate(found.items()):
        colour = ORANGE if name.startswith("plain") else BLUE
        errors = [curve[-1] for curve in curves]
        mean, half = interval(errors)
        left.errorbar(mean, place, xerr=half, fmt="o", color=colour, capsize=5, lw=2)
        left.plot(errors, [place - 0.2] * len(errors), "|", color=colour, ms=9)
    left.set_yticks(range(len(found)), list(found))
    left.invert_yaxis()
    left.set(xlabel="test errors (%); bars: 95 % interval, strokes: seeds", title="What each piece adds")
    for (name, curves), colour, style in zip(found.items(), COLOURS * 2, ("-", "--", ":", "-.") * 2, strict=False):
        mean = np.mean(curves, axis=0)
        right.plot(range(1, len(mean) + 1), mean, style, color=colour, label=name)
    right.set(xlabel="epoch", ylabel="test errors (%), mean of seeds", title="While training", yscale="log")
    right.yaxis.set_major_formatter("{x:g}")
    right.yaxis.set_minor_formatter("{x:g}")
    right.legend(fontsize=8)
    save(figure, path)


def run(small: bool, out: Path) -> list[Finding]:
    x, labels, test_x, test_labels = images("mnist", 1000 if small else 6000)
    data = (x, labels, test_x[:1000], test_labels[:1000]) if small else (x, labels, test_x, test_labels)
    epochs, seeds = (30, 2) if small else (40, 3)
    chosen = {name: STEPS[name] for name in ("plain", list(STEPS)[-1])} if small else STEPS
    found = {name: [train(recipe, data, epochs, seed) for seed in range(seeds)] for name, recipe in chosen.items()}
    draw(out / "recipe.png", found)
    errors = {name: [curve[-1] for curve in curves] for name, curves in found.items()}
    return [whole(errors, 3)] if small else [whole(errors, 10), control(errors), *pieces(errors)]


def whole(errors: dict[str, list[float]], least: float) -> Finding:
    plain, last = errors["plain"], list(errors.values())[-1]
    fewer = 100 * (1 - interval(last)[0] / interval(plain)[0])
    measured = f"{plus_minus(plain)} and {plus_minus(last)} %: {fewer:.0f} % fewer"
    return Finding(
        "plain and the whole recipe: test errors", f"{least} % fewer or more (paper: 34 %)", measured, fewer >= least
    )


def control(errors: dict[str, list[float]]) -> Finding:
    apart = [a - b for a, b in zip(list(errors.values())[-1], errors[CONTROL], strict=True)]
    measured = f"{plus_minus(apart)} points, of {plus_minus(errors[CONTROL])} %"
    return Finding(f"the whole recipe less {CONTROL}", "below 0 at every seed", measured, max(apart) < 0)


def pieces(errors: dict[str, list[float]]) -> list[Finding]:
    """What each piece changes, seed by seed; none of them may be shown to make more errors.

    Five pieces are five chances to be wrong, so a piece fails outside the interval of 99 % (Bonferroni), not of 95 %.
    """
    rows, names = [], [name for name in errors if name != CONTROL]
    for before, name in itertools.pairwise(names):
        apart = [a - b for a, b in zip(errors[name], errors[before], strict=True)]
        mean, half = interval(apart, level=1 - 0.05 / (len(names) - 1))
        measured = f"{plus_minus(apart)} points, to {plus_minus(errors[name])} %"
        rows.append(Finding(name, "not shown to be above 0, five at once", measured, mean - half < 0))
    return rows


if __name__ == "__main__":
    small, out = parse(__doc__)
    show(run(small, out))
