"""What is measured of a network, its noise off: losses, accuracy or error in units, likelihood, calibration."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

BINS = 15
_CHUNK = 4096

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Split:
    """Prepared inputs and targets."""

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)


@dataclass(frozen=True, slots=True)
class Bin:
    """The predictions whose confidence lies in one of 15 equal intervals of [0, 1]."""

    bin: int
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Metrics:
    """What a network does on one part of the data; None where a figure does not apply.

    Attributes:
        loss: The training loss: cross-entropy in nats, or the mean squared error of the standardised targets.
        accuracy: The part of the examples whose most probable class is right.
        rmse: The root of the mean squared error in the target's own units.
        nll: The mean negative log-likelihood in nats: the cross-entropy, or that of a normal with a given variance.
        ece: The expected calibration error: the mean distance between confidence and accuracy over the bins.
        bins: What the error is made of.
    """

    loss: float
    accuracy: float | None = None
    rmse: float | None = None
    nll: float | None = None
    ece: float | None = None
    bins: tuple[Bin, ...] = ()


def loss_of(task: str) -> Loss:
    """The training loss: cross-entropy of logits, or mean squared error."""
    return functional.cross_entropy if task == "classification" else functional.mse_loss


@torch.no_grad()
def outputs(model: nn.Module, inputs: Tensor) -> Tensor:
    """A network's outputs in eval mode, by parts; the model is left in the mode it had."""
    noisy = model.training
    model.eval()
    y = torch.cat([model(chunk).float() for chunk in torch.split(inputs, _CHUNK)])
    model.train(noisy)
    return y


def classified(logits: Tensor, targets: Tensor) -> Metrics:
    """The figures of a classification from logits `(n, classes)` and classes `(n,)`."""
    loss = float(functional.cross_entropy(logits, targets))
    confidence, predicted = logits.double().softmax(1).max(1)
    right = (predicted == targets).double()
    bins = calibration(confidence, right)
    ece = sum(b.count * abs(b.confidence - b.accuracy) for b in bins) / len(targets)
    return Metrics(loss, accuracy=float(right.mean()), nll=loss, ece=ece, bins=bins)


def regressed(
    standardised: tuple[Tensor, Tensor], in_units: tuple[Tensor, Tensor], variance: float, scale: float
) -> Metrics:
    """The figures of a regression.

    Args:
        standardised: Outputs and targets as trained on.
        in_units: Both in the target's own units.
        variance: That of the normal whose likelihood is reported, in standardised units.
        scale: The target's units (of its logarithm, if that is learnt) per standardised one.
    """
    loss = _mean_square(*standardised)
    rmse = math.sqrt(_mean_square(*in_units))
    nll = 0.5 * (math.log(2 * math.pi * variance) + loss / variance) + math.log(scale) if variance > 0 else None
    return Metrics(loss, rmse=rmse, nll=nll)


def _mean_square(y: Tensor, targets: Tensor) -> float:
    return float(functional.mse_loss(y.double(), targets.double()))


def calibration(confidence: Tensor, right: Tensor) -> tuple[Bin, ...]:
    """The non-empty ones of 15 bins of equal width.

    Reference: C. Guo, G. Pleiss, Y. Sun, K. Weinberger. On Calibration of Modern Neural Networks. ICML 2017,
    arXiv:1706.04599, equation 3.
    """
    number = (confidence * BINS).ceil().long().clamp(1, BINS) - 1
    count = torch.bincount(number, minlength=BINS)
    sums = [torch.bincount(number, weights=values, minlength=BINS) for values in (confidence, right)]
    return tuple(
        Bin(b, int(count[b]), float(sums[0][b] / count[b]), float(sums[1][b] / count[b]))
        for b in range(BINS)
        if count[b]
    )
