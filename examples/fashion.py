"""Fashion-MNIST three times: softmax regression, a hidden layer, and two hidden layers with dropout.

Each is written twice: from scratch, where parameters are tensors and dropout is a function of three lines, and in a few
lines of `torch.nn`. Both start from the same numbers and see the same batches, so without dropout they are the same
training: their losses must agree to rounding (in float64; in float32 a rounding that turns one ReLU off grows to the
fourth digit within a few epochs). With dropout the masks differ, so the accuracies agree within chance.

What is expected after 10 epochs of plain gradient descent in batches of 256, from the curves that *Dive into Deep
Learning* (A. Zhang, Z. Lipton, M. Li, A. Smola) shows for the same networks:

- softmax regression, learning rate 0.1: a test accuracy of 0.80 to 0.85;
- one hidden layer of 256, learning rate 0.1: 0.83 to 0.88, more than softmax regression;
- two hidden layers of 256 with dropout 0.2 and 0.5, learning rate 0.5: 0.83 to 0.89.

The files of Fashion-MNIST are needed: set TORCHDROPOUT_DATA to a folder that holds `fashion-mnist/`.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from _common import COLOURS, Finding, images, interval, parse, plus_minus, pyplot, save, show
from torch import Tensor, nn

import torchdropout as td
from torchdropout.study.datasets.canonical import CLASSES

SIZES = {"softmax": (784, 10), "mlp": (784, 256, 10), "dropout": (784, 256, 256, 10)}
RATES = {"softmax": 0.1, "mlp": 0.1, "dropout": 0.5}
DROP = {"softmax": (), "mlp": (0.0,), "dropout": (0.2, 0.5)}
PUBLISHED = {"softmax": (0.80, 0.85), "mlp": (0.83, 0.88), "dropout": (0.83, 0.89)}
Data = tuple[Tensor, Tensor, Tensor, Tensor]
Curve = dict[str, list[float]]


# From scratch.


def initial(sizes: tuple[int, ...], generator: torch.Generator) -> list[Tensor]:
    """Weights and biases in turn; weights of variance 2 / inputs (He et al. 2015), biases 0."""
    parameters = []
    for inputs, outputs in itertools.pairwise(sizes):
        parameters.append(torch.randn(inputs, outputs, generator=generator) * (2 / inputs) ** 0.5)
        parameters.append(torch.zeros(outputs))
    return parameters


def dropout(x: Tensor, p: float) -> Tensor:
    """Each element is dropped with probability p; those kept are scaled, so that the mean stays."""
    kept = torch.rand(x.shape) < 1 - p
    return x * kept / (1 - p)


def logits(x: Tensor, parameters: list[Tensor], drop: tuple[float, ...] = ()) -> Tensor:
    """The network's outputs; `drop` is empty when the noise is off."""
    layers = list(zip(parameters[::2], parameters[1::2], strict=True))
    for number, (weight, bias) in enumerate(layers[:-1]):
        x = torch.clamp(x @ weight + bias, min=0)
        x = dropout(x, drop[number]) if drop else x
    weight, bias = layers[-1]
    return x @ weight + bias


def cross_entropy(z: Tensor, labels: Tensor) -> Tensor:
    """The mean of -log softmax(z)[label]; the largest logit is subtracted first, so that no exponential overflows."""
    z = z - z.max(1, keepdim=True).values
    return (z.exp().sum(1).log() - z[torch.arange(len(z)), labels]).mean()


def scratch(
    name: str, parameters: list[Tensor]
) -> tuple[Callable[[Tensor, Tensor], float], Callable[[Tensor], Tensor]]:
    """A function that makes one step of gradient descent and returns the loss, and one that gives outputs."""
    for parameter in parameters:
        parameter.requires_grad_()

    def step(x: Tensor, labels: Tensor) -> float:
        loss = cross_entropy(logits(x, parameters, DROP[name]), labels)
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.data -= RATES[name] * gradient
        return float(loss.detach())

    return step, lambda x: logits(x, parameters)


# The same in torch.nn.


def concise(
    name: str, parameters: list[Tensor]
) -> tuple[Callable[[Tensor, Tensor], float], Callable[[Tensor], Tensor]]:
    layers: list[nn.Module] = []
    for inputs, outputs, p in zip(SIZES[name][:-1], SIZES[name][1:], (*DROP[name], None), strict=True):
        layers += [nn.Linear(inputs, outputs)] + ([] if p is None else [nn.ReLU(), td.Dropout(p)])
    model = nn.Sequential(*layers)
    for own, given in zip(model.parameters(), parameters, strict=True):
        own.data = given.detach().mT.clone() if given.ndim == 2 else given.detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=RATES[name])

    def step(x: Tensor, labels: Tensor) -> float:
        loss = nn.functional.cross_entropy(model.train()(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step, lambda x: model.eval()(x)  # noqa: PLW0108 - train mode comes back with every step


# Training either, with live curves.


@torch.no_grad()
def accuracy(outputs: Callable[[Tensor], Tensor], x: Tensor, labels: Tensor) -> float:
    return float((outputs(x).argmax(1) == labels).float().mean())


def sparkline(values: list[float]) -> str:
    low, high = min(values), max(values)
    return "".join("▁▂▃▄▅▆▇█"[round(7 * (value - low) / (high - low or 1))] for value in values)


def train(title: str, step: Callable, outputs: Callable, data: Data, epochs: int, seed: int) -> Curve:
    """Loss, training and test accuracy after each epoch; in a terminal, the curves grow while it trains."""
    x, labels, test_x, test_labels = data
    order = torch.Generator().manual_seed(seed)
    curve: Curve = {"loss": [], "training": [], "test": []}
    for epoch in range(1, epochs + 1):
        losses = [step(x[b], labels[b]) for b in torch.randperm(len(x), generator=order).split(256)]
        curve["loss"].append(sum(losses) / len(losses))
        curve["training"].append(accuracy(outputs, x[:10_000], labels[:10_000]))
        curve["test"].append(accuracy(outputs, test_x, test_labels))
        if sys.stdout.isatty():
            lines = "  ".join(f"{name} {sparkline(found)} {found[-1]:.3f}" for name, found in curve.items())
            print(f"\r{title:<18} {epoch:>2}/{epochs}  {lines}", end="\n" if epoch == epochs else "", flush=True)
    return curve


def measure(data: Data, epochs: int, seeds: int) -> tuple[dict[tuple[str, str], list[Curve]], Callable]:
    """The curves of each network, each way, each seed; and the last one's outputs."""
    found: dict[tuple[str, str], list[Curve]] = {}
    for name, sizes in SIZES.items():
        for seed in range(seeds):
            for way, build in (("scratch", scratch), ("concise", concise)):
                torch.manual_seed(seed)  # of the masks
                parameters = initial(sizes, torch.Generator().manual_seed(seed))
                step, outputs = build(name, parameters)
                curve = train(f"{name}, {way}", step, outputs, data, epochs, seed)
                found.setdefault((name, way), []).append(curve)
    return found, outputs


def draw(path: Path, found: dict[tuple[str, str], list[Curve]], outputs: Callable, data: Data) -> None:
    figure = pyplot().figure(figsize=(13, 8), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=(1, 1.05))
    for axis, name in zip(upper.subplots(1, 3, sharey=True), SIZES, strict=True):
        for way, style, width in (("scratch", "-", 5), ("concise", "--", 1.5)):
            for part, colour in zip(("loss", "training", "test"), COLOURS, strict=False):
                mean = np.mean([curve[part] for curve in found[name, way]], axis=0)
                label = f"{part}{'' if part == 'loss' else ' accuracy'}, {way}"
                axis.plot(
                    range(1, len(mean) + 1),
                    mean,
                    style,
                    color=colour,
                    lw=width,
                    alpha=0.35 if way == "scratch" else 1,
                    label=label,
                )
        axis.set(title=f"{name}: {'-'.join(map(str, SIZES[name]))}", xlabel="epoch", ylim=(0.2, 1))
    axis.legend(fontsize=8)
    upper.supylabel("cross-entropy (nats), accuracy")
    predictions(lower, outputs, *data[2:])
    save(figure, path)


def predictions(figure, outputs: Callable, x: Tensor, labels: Tensor) -> None:
    """The first test images, each under what the network with dropout says of it."""
    names = CLASSES["fashion-mnist"]
    with torch.no_grad():
        said = outputs(x[:30]).argmax(1)
    for axis, image, guess, label in zip(figure.subplots(3, 10).flat, x, said, labels, strict=False):
        axis.imshow(image.view(28, 28).numpy(), cmap="gray_r")
        right = guess == label
        axis.set_title(
            names[guess] + ("" if right else f"\n✗ {names[label]}"), fontsize=8, color="black" if right else COLOURS[3]
        )
        axis.axis("off")
    figure.suptitle("Predictions (where wrong: ✗ and the truth)", fontsize=11)


def run(small: bool, out: Path) -> list[Finding]:
    data = images("fashion-mnist", 4000 if small else None)
    found, outputs = measure(data, *((6, 1) if small else (10, 3)))
    draw(out / "fashion.png", found, outputs, data)
    ranges = dict.fromkeys(SIZES, (0.55, 0.85)) if small else PUBLISHED
    return [same_training(data), *accuracies(found, ranges, small), same_with_dropout(found)]


def same_training(data: Data) -> Finding:
    """Fifty steps of the network without dropout, both ways, in float64."""
    losses = []
    for build in (scratch, concise):
        parameters = [parameter.double() for parameter in initial(SIZES["mlp"], torch.Generator().manual_seed(0))]
        step, _ = build("mlp", parameters)
        losses.append([step(data[0][k : k + 64].double(), data[1][k : k + 64]) for k in range(0, 50 * 64, 64)])
    apart = max(abs(a - b) for a, b in zip(*losses, strict=True))
    what = "mlp, 50 steps in float64: losses from scratch and concise"
    return Finding(what, "equal to 1e-10", f"{apart:.0e} apart", apart < 1e-10)


def last(found: dict[tuple[str, str], list[Curve]], name: str, way: str) -> list[float]:
    return [curve["test"][-1] for curve in found[name, way]]


def accuracies(found: dict[tuple[str, str], list[Curve]], ranges: dict, small: bool) -> list[Finding]:
    source = "a reduced size: nothing published" if small else "D2L's curves"
    rows = []
    for name, (low, high) in ranges.items():
        for way in ("scratch", "concise"):
            values = last(found, name, way)
            what, expected = f"{name}, {way}: test accuracy", f"{low:.2f} to {high:.2f} ({source})"
            rows.append(Finding(what, expected, plus_minus(values, 4), low <= interval(values)[0] <= high))
    return rows


def same_with_dropout(found: dict[tuple[str, str], list[Curve]]) -> Finding:
    ways = [last(found, "dropout", way) for way in ("scratch", "concise")]
    apart = [a - b for a, b in zip(*ways, strict=True)]
    what = "dropout: test accuracy from scratch less concise"
    return Finding(what, "0, within 0.03", plus_minus(apart, 4), abs(interval(apart)[0]) < 0.03)


if __name__ == "__main__":
    small, out = parse(__doc__)
    show(run(small, out))
