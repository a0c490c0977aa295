"""What is measured of a network, its noise off: losses, accuracy or error in units, likelihood, calibration."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from torchdropout.calibration.reliability import BINS, binned

_CHUNK = 1 << 16  # input values; the maps of a convolutional network are tens of times as large, and caches are not

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
class Sampled:
    """What the mean over several noisy passes does on one part of the data; None where a figure does not apply.

    Attributes:
        passes: How many.
        seconds: How long they took.
        accuracy: As in `Metrics`, of the mean probabilities.
        rmse: As in `Metrics`, of the mean prediction.
        nll: As in `Metrics`: of the mean probabilities, or of a mixture of normals, one about each pass's prediction.
        ece: As in `Metrics`, of the mean probabilities.
    """

    passes: int
    seconds: float
    accuracy: float | None = None
    rmse: float | None = None
    nll: float | None = None
    ece: float | None = None


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
        sampled: The figures with the noise on, where they were asked for; a network without noise has its own.
    """

    loss: float
    accuracy: float | None = None
    rmse: float | None = None
    nll: float | None = None
    ece: float | None = None
    bins: tuple[Bin, ...] = ()
    sampled: Sampled | None = None

    def without_noise(self, passes: int) -> Sampled:
        """What so many passes would give if nothing drew."""
        return Sampled(passes, 0.0, self.accuracy, self.rmse, self.nll, self.ece)


def loss_of(task: str) -> Loss:
    """The training loss: cross-entropy of logits, or mean squared error."""
    return functional.cross_entropy if task == "classification" else functional.mse_loss


@torch.no_grad()
def outputs(model: nn.Module, inputs: Tensor) -> Tensor:
    """A network's outputs in eval mode, by parts; the model is left in the mode it had."""
    noisy = model.training
    model.eval()
    y = torch.cat([model(chunk).float() for chunk in torch.split(inputs, rows_at_once(inputs))])
    model.train(noisy)
    return y


def rows_at_once(inputs: Tensor) -> int:
    """How many examples a network is given at once."""
    return max(1, _CHUNK // max(1, inputs[0].numel())) if len(inputs) else 1


def classified(logits: Tensor, targets: Tensor) -> Metrics:
    """The figures of a classification from logits `(n, classes)` and classes `(n,)`.

    The likelihood is that of the logits: from probabilities, as scikit-learn takes it, it would have to be clipped.
    """
    from sklearn.metrics import accuracy_score  # noqa: PLC0415 - half a second that predicting need not spend

    loss = float(functional.cross_entropy(logits, targets))
    confidence, predicted = logits.double().softmax(1).max(1)
    bins = calibration(confidence, (predicted == targets).double())
    ece = sum(b.count * abs(b.confidence - b.accuracy) for b in bins) / len(targets)
    return Metrics(loss, accuracy=float(accuracy_score(targets, predicted)), nll=loss, ece=ece, bins=bins)


def regressed(
    standardised: tuple[Tensor, Tensor], in_units: tuple[Tensor, Tensor], variance: float | None, scale: float
) -> Metrics:
    """The figures of a regression.

    Args:
        standardised: Outputs and targets as trained on.
        in_units: Both in the target's own units.
        variance: That of the normal whose likelihood is reported, in standardised units; None for the mean squared
            error of these very predictions.
        scale: The target's units (of its logarithm, if that is learnt) per standardised one.
    """
    from sklearn.metrics import mean_squared_error, root_mean_squared_error  # noqa: PLC0415 - as above

    loss = float(mean_squared_error(*(value.double() for value in standardised)))
    rmse = float(root_mean_squared_error(*(value.double() for value in in_units)))
    variance = loss if variance is None else variance
    nll = 0.5 * (math.log(2 * math.pi * variance) + loss / variance) + math.log(scale) if variance > 0 else None
    return Metrics(loss, rmse=rmse, nll=nll)


def calibration(confidence: Tensor, right: Tensor) -> tuple[Bin, ...]:
    """The non-empty ones of 15 bins of equal width.

    Reference: C. Guo, G. Pleiss, Y. Sun, K. Weinberger. On Calibration of Modern Neural Networks. ICML 2017,
    arXiv:1706.04599, equation 3.
    """
    found = binned(confidence.double().numpy(), right.numpy() > 0, BINS, "width")
    return tuple(Bin(round(each.low * BINS), each.count, each.confidence, each.accuracy) for each in found)
