"""What many noisy predictions say together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import torch
from torch import Tensor

Kind = Literal["probs", "values"]
Reproducible = Literal["any batch", "same batch"]


@dataclass(frozen=True)
class Prediction:
    """The samples of a model's output, put together; `B` stands for the axes of one pass's output.

    For classification the samples are probabilities, also where the model gives logits; entropies are in nats.

    Attributes:
        kind: `"probs"` or `"values"`.
        num_samples: How many passes there were.
        mean: The mean of the samples, `(B)`; for classification with the classes at `class_dim`.
        variance: Their variance about that mean, divided by `num_samples`, `(B)`.
        samples: All of them, `(S, B)`, if they were to be kept.
        class_dim: The axis of the classes.
        expected_entropy: For classification, the mean of the samples' entropies, `(B)` without the classes.
        votes: For classification, how many samples have a class as their most probable, `(B)`.
        noise_variance: The mean of the variances that the model predicted, `(B)`.
        noise_variances: Those of each sample, `(S, B)`, if samples were to be kept.
        sources: The modules that drew.
        foreign: What drew from PyTorch's generators, and not from keys.
        reproducible: `"any batch"`: the same key gives an example the same samples in any batch, however many are
            computed at once, on any device. `"same batch"`: it does for the same batch on the same device, with the
            same number of samples at once.
    """

    kind: Kind
    num_samples: int
    mean: Tensor
    variance: Tensor
    samples: Tensor | None = None
    class_dim: int = -1
    expected_entropy: Tensor | None = None
    votes: Tensor | None = None
    noise_variance: Tensor | None = None
    noise_variances: Tensor | None = None
    sources: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    reproducible: Reproducible = "any batch"

    @property
    def std(self) -> Tensor:
        """The standard deviation of the samples, `(B)`."""
        return self.variance.sqrt()

    def quantile(self, q: float | Sequence[float] | Tensor) -> Tensor:
        """Quantiles of the samples, `(B)`, or `(Q, B)` for several, interpolated linearly.

        Raises:
            ValueError: The samples were not kept, or `q` is outside [0, 1].
        """
        at = torch.as_tensor(q, dtype=torch.float64)
        if bool(((at < 0) | (at > 1)).any()):
            raise ValueError(f"Prediction.quantile: `q` must be in [0, 1], got {q}.")
        samples = self._kept("quantile")
        return torch.quantile(samples.double(), at.to(samples.device), dim=0).to(samples.dtype)

    @property
    def predictive_entropy(self) -> Tensor:
        """The entropy of the mean probabilities: the whole uncertainty, `(B)` without the classes."""
        self._check("predictive_entropy", "probs")
        return entropy(self.mean, self.class_dim)

    @property
    def mutual_information(self) -> Tensor:
        """What the passes disagree about, BALD: the predictive less the expected entropy, `(B)` without the classes.

        N. Houlsby, F. Huszar, Z. Ghahramani, M. Lengyel. Bayesian Active Learning for Classification and Preference
        Learning. 2011, arXiv:1112.5745, equation 2.
        """
        self._check("mutual_information", "probs")
        return (self.predictive_entropy - self.expected_entropy).clamp(min=0.0)  # type: ignore[operator]

    @property
    def variation_ratio(self) -> Tensor:
        """The part of the samples that are not of the class which most are of, `(B)` without the classes."""
        self._check("variation_ratio", "probs")
        most = self.votes.amax(self.class_dim)  # type: ignore[union-attr]
        return 1.0 - most.to(self.mean.dtype) / self.num_samples

    def predictive_variance(self, tau: float | None = None) -> Tensor:
        """The variance of what will be observed: that of the samples plus the noise's, `(B)`.

        Args:
            tau: The precision of the noise, as in Gal and Ghahramani's model; None: what the model predicted.

        Raises:
            ValueError: `tau` is not positive, or missing where the model predicted no noise.
        """
        self._check("predictive_variance", "values")
        return self.variance + self._noise("predictive_variance", tau, self.noise_variance)

    def log_likelihood(self, targets: Tensor, tau: float | None = None) -> Tensor:
        """The log of the mean density of targets, in nats, summed over nothing: `(B)`.

        `logsumexp over s of log Normal(y; f_s, v_s) - log S`, where the variance `v_s` is `1 / tau` or what the model
        predicted in sample `s`.

        Args:
            targets: `(B)`.
            tau: The precision of the noise; None: what the model predicted.

        Raises:
            ValueError: The samples were not kept, the shapes differ, or `tau` is not positive or missing.

        Reference:
            Y. Gal, Z. Ghahramani. Dropout as a Bayesian Approximation. ICML 2016, arXiv:1506.02142, equation 8.
        """
        self._check("log_likelihood", "values")
        samples = self._kept("log_likelihood")
        if targets.shape != self.mean.shape:
            raise ValueError(
                f"Prediction.log_likelihood: `targets` must have shape {tuple(self.mean.shape)}, "
                f"got {tuple(targets.shape)}."
            )
        noise = torch.as_tensor(self._noise("log_likelihood", tau, self.noise_variances)).to(samples)
        density = -0.5 * ((targets.to(samples) - samples).square() / noise + noise.log() + math.log(2 * math.pi))
        return density.logsumexp(0) - math.log(self.num_samples)

    def _noise(self, what: str, tau: float | None, predicted: Tensor | None) -> Tensor | float:
        if tau is not None and not (isinstance(tau, (int, float)) and 0 < tau < math.inf):
            raise ValueError(f"Prediction.{what}: `tau` must be positive and finite, got {tau}.")
        if tau is not None:
            return 1.0 / tau
        if predicted is None:
            raise ValueError(f"Prediction.{what}: `tau` must be given, since the model predicted no noise.")
        return predicted

    def _kept(self, what: str) -> Tensor:
        if self.samples is None:
            raise ValueError(f"Prediction.{what}: the samples must be kept; predict with `keep_samples=True`.")
        return self.samples

    def _check(self, what: str, kind: Kind) -> None:
        if self.kind != kind:
            wanted = "classification" if kind == "probs" else "regression"
            raise ValueError(f"Prediction.{what}: it is for {wanted}, got a prediction of {self.kind}.")

    def to(self, device: torch.device | str) -> Prediction:
        """The same on another device."""
        moved: dict[str, Any] = {name: value.to(device) for name, value in self._tensors()}
        return replace(self, **moved)

    def _tensors(self) -> list[tuple[str, Tensor]]:
        return [(f.name, value) for f in fields(self) if isinstance(value := getattr(self, f.name), Tensor)]

    def __len__(self) -> int:
        return len(self.mean)

    def __repr__(self) -> str:
        shape = tuple(self.mean.shape)
        return f"Prediction({self.kind}, shape={shape}, num_samples={self.num_samples}, {self.reproducible!r})"


_IN_FRONT = ("samples", "noise_variances")


def joined(parts: Sequence[Prediction]) -> Prediction:
    """One prediction of the examples of several, which are at the first axis."""
    first = parts[0]
    tensors: dict[str, Any] = {}
    for name, _ in first._tensors():
        axis = 1 if name in _IN_FRONT else 0
        tensors[name] = torch.cat([getattr(part, name) for part in parts], axis)
    same = all(part.reproducible == "any batch" for part in parts)
    foreign = tuple(dict.fromkeys(name for part in parts for name in part.foreign))
    return replace(first, **tensors, foreign=foreign, reproducible="any batch" if same else "same batch")


def entropy(probabilities: Tensor, dim: int) -> Tensor:
    """The entropy in nats; a probability of 0 adds 0."""
    result: Tensor = torch.special.entr(probabilities).sum(dim)
    return result
