"""Memorising random labels: a network that classifies well can as well learn by heart what has no rule.

The labels of handwritten digits are replaced by random ones. Nothing is left to learn, so at the test every network
must be at chance: 10 % for ten classes. What is expected of the training accuracy, and why:

- Without regularization it reaches 100 %: the network has 85,000 weights for a thousand labels. C. Zhang, S. Bengio,
  M. Hardt, B. Recht, O. Vinyals (Understanding Deep Learning Requires Rethinking Generalization, ICLR 2017,
  arXiv:1611.03530, table 1) report the same of CIFAR-10: training accuracies of 99 to 100 %, test accuracies near 10 %.
- Dropout and weight decay make memorising slower or incomplete, and so narrow the gap between training and test; but
  they cannot lift the test, and a network can still hold far more than chance (the same paper, section 3).
- With the true labels, the same networks in the same time are right at the test on more than nine digits of ten: it is
  not the network's size that decides whether it generalizes.

Decay is AdamW's, 1.0, strong on purpose; dropout drops half of each hidden layer. Accuracies are with the noise off.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from _common import BLUE, ORANGE, Finding, interval, parse, plus_minus, pyplot, save, show, span
from torch import Tensor, nn
from torch.nn import functional as F

import torchdropout as td
from torchdropout.study import load_data

METHODS = {"none": (0.0, 0.0), "dropout": (0.5, 0.0), "decay": (0.0, 1.0), "both": (0.5, 1.0)}
TEST = 397
LABELS = ("true", "random")
Result = dict[tuple[str, str], list[list[tuple[float, float]]]]


def network(p: float, width: int = 256) -> nn.Sequential:
    hidden = [nn.Linear(64, width), nn.ReLU(), td.Dropout(p), nn.Linear(width, width), nn.ReLU(), td.Dropout(p)]
    return nn.Sequential(*hidden, nn.Linear(width, 10))


@torch.no_grad()
def accuracy(model: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """In percent, the noise off."""
    model.eval()
    right = (model(inputs).argmax(1) == labels).float().mean()
    model.train()
    return 100 * float(right)


def train(
    model: nn.Module, decay: float, epochs: int, parts: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]
) -> list[tuple[float, float]]:
    """Training and test accuracy after every epoch."""
    (inputs, labels), test = parts
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.003, weight_decay=decay)
    curve = []
    for _ in range(epochs):
        for batch in torch.randperm(len(inputs)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(inputs[batch]), labels[batch]).backward()
            optimizer.step()
        curve.append((accuracy(model, inputs, labels), accuracy(model, *test)))
    return curve


def digits(seed: int, train_size: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The bundled digits, pixels from 0 to 1, split at random: so many to train, `TEST` to test."""
    data = load_data("digits")
    inputs, labels = torch.from_numpy(data.inputs).flatten(1).float() / 16, torch.from_numpy(data.targets)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    test, kept = order[:TEST], order[TEST : TEST + train_size]
    return (inputs[kept], labels[kept]), (inputs[test], labels[test])


def measure(seeds: int, train_size: int, epochs: int) -> Result:
    found: Result = {(kind, method): [] for kind in LABELS for method in METHODS}
    for seed in range(seeds):
        (inputs, labels), test = digits(seed, train_size)
        shuffled = torch.randint(10, labels.shape, generator=torch.Generator().manual_seed(1000 + seed))
        for (kind, method), curves in found.items():
            torch.manual_seed(seed)
            p, decay = METHODS[method]
            targets = labels if kind == "true" else shuffled
            curves.append(train(network(p), decay, epochs, ((inputs, targets), test)))
    return found


def last(found: Result, kind: str, method: str, part: int) -> list[float]:
    """The accuracies at the end, a number for each seed; part 0 is training, 1 the test."""
    return [curve[-1][part] for curve in found[kind, method]]


def draw(path: Path, found: Result) -> None:
    figure, axes = pyplot().subplots(2, 4, figsize=(13, 5.5), sharex=True, sharey=True, layout="constrained")
    for row, kind in zip(axes, LABELS, strict=True):
        for axis, method in zip(row, METHODS, strict=True):
            curves = np.array(found[kind, method])  # (seeds, epochs, 2)
            epochs = range(1, curves.shape[1] + 1)
            for part, name, colour, style in ((0, "training", BLUE, "-"), (1, "test", ORANGE, "--")):
                axis.plot(epochs, curves[:, :, part].mean(0), style, color=colour, lw=2, label=name)
                axis.fill_between(epochs, *span(curves[:, :, part]), color=colour, alpha=0.25, lw=0)
            axis.axhline(10, color="black", lw=0.8, ls=":")
            axis.set_title(f"{kind} labels, {'no regularization' if method == 'none' else method}")
    axes[0, 0].legend(loc="center right", fontsize=9)
    axes[1, 3].text(len(epochs), 11.5, "chance", ha="right", fontsize=8)
    figure.supxlabel("epoch (bands: all seeds)")
    figure.supylabel("accuracy (%)")
    save(figure, path)


def run(small: bool, out: Path) -> list[Finding]:
    found = measure(2, 300, 60) if small else measure(10, 1000, 100)
    draw(out / "random_labels.png", found)
    return [*memorised(found), *chance(found), *generalized(found)]


def memorised(found: Result) -> list[Finding]:
    plain = last(found, "random", "none", 0)
    expected = "99 to 100 % (Zhang et al.: 99 to 100)"
    rows = [Finding("random labels, none: training", expected, plus_minus(plain, 1, " %"), interval(plain)[0] >= 99)]
    for method in ("dropout", "decay", "both"):
        values = last(found, "random", method, 0)
        what = f"random labels, {method}: training"
        expected = "below that of none, yet above 20 %, twice chance"
        lower = all(value < other for value, other in zip(values, plain, strict=True))
        rows.append(Finding(what, expected, plus_minus(values, 1, " %"), lower and min(values) > 20))
    return rows


def chance(found: Result) -> list[Finding]:
    """The test with random labels; its standard error is that of guessing, over all seeds."""
    rows = []
    for method in METHODS:
        tests = last(found, "random", method, 1)
        allowed = 3 * 100 * (0.1 * 0.9 / (TEST * len(tests))) ** 0.5
        expected = f"10 ± {allowed:.1f} % (three standard errors of guessing)"
        holds = abs(interval(tests)[0] - 10) < allowed
        rows.append(Finding(f"random labels, {method}: test", expected, plus_minus(tests, 1, " %"), holds))
    return rows


def generalized(found: Result) -> list[Finding]:
    rows = []
    for method in METHODS:
        tests = last(found, "true", method, 1)
        what, measured = f"true labels, {method}: test", plus_minus(tests, 1, " %")
        rows.append(Finding(what, "above 90 %", measured, interval(tests)[0] > 90))
    return rows


if __name__ == "__main__":
    small, out = parse(__doc__)
    show(run(small, out))
