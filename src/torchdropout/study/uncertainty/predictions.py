"""What a model says of examples with its noise off, and what its noisy passes say together."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from torchdropout.study import sampled
from torchdropout.study.errors import StudyError
from torchdropout.study.fitting import Network
from torchdropout.study.sampled import Passes


@dataclass(frozen=True, slots=True)
class Classified:
    """Predictions of classes, in float64.

    Attributes:
        off: Logarithms of probabilities with the noise off, `(N, C)`.
        on: Those of the mean probabilities over passes, `(N, C)`.
        expected_entropy: The mean entropy of a pass, `(N,)`.
    """

    off: Tensor
    on: Tensor
    expected_entropy: Tensor

    def __len__(self) -> int:
        return len(self.off)

    @property
    def mutual_information(self) -> Tensor:
        """What the passes disagree about, `(N,)`."""
        return (entropy(self.on) - self.expected_entropy).clamp(min=0.0)


@dataclass(frozen=True, slots=True)
class Regressed:
    """Predictions of numbers, standardised, in float64.

    Attributes:
        off: With the noise off, `(N,)`.
        samples: Of every pass, `(S, N)`.
    """

    off: Tensor
    samples: Tensor

    def __len__(self) -> int:
        return len(self.off)

    @property
    def std(self) -> Tensor:
        """The standard deviation of the passes, `(N,)`."""
        return self.samples.std(0, correction=0)


def entropy(log_probabilities: Tensor) -> Tensor:
    """In nats, `(N,)`, of `(N, C)`."""
    p = log_probabilities.exp()
    return -torch.where(p > 0, p * log_probabilities, 0.0).sum(-1)


def classified(network: Network, inputs: Tensor, passes: Passes) -> Classified:
    """The predictions of a classifier.

    Raises:
        StudyError: Nothing in it draws.
    """
    on, expected = [], []
    for part in sampled.predictions(network.model, inputs, passes):
        samples = _drawn(part.samples, part.sources)
        on.append(sampled.log_probabilities(samples))
        expected.append(entropy(samples.double().log_softmax(2)).mean(0))
    return Classified(network.outputs(inputs).double().log_softmax(1), torch.cat(on), torch.cat(expected))


def regressed(network: Network, inputs: Tensor, passes: Passes) -> Regressed:
    """The predictions of a regression.

    Raises:
        StudyError: Nothing in it draws.
    """
    parts = sampled.predictions(network.model, inputs, passes)
    samples = torch.cat([_drawn(part.samples, part.sources) for part in parts], 1)
    return Regressed(network.outputs(inputs).double()[:, 0], samples.double()[:, :, 0])


def _drawn(samples: Tensor | None, sources: tuple[str, ...]) -> Tensor:
    if samples is None or not sources:
        raise StudyError(
            "uncertainty: the model must have noise that is live when its training ends, found none; the best method "
            "of the comparison is kept, so compare methods with noise alone."
        )
    return samples


def log_densities(found: Regressed, targets: Tensor, variance: float, scale: float) -> tuple[Tensor, Tensor]:
    """The log density of each target in its own units, `(N,)`: of a normal, and of a mixture of one for each pass."""
    constant = 0.5 * math.log(2 * math.pi * variance) + math.log(scale)

    def normal(mean: Tensor) -> Tensor:
        return -0.5 * (targets - mean).square() / variance - constant

    return normal(found.off), normal(found.samples).logsumexp(0) - math.log(len(found.samples))
