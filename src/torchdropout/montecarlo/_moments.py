"""Means, variances and counts of samples that arrive in parts: memory does not grow with their number."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from torchdropout.montecarlo.prediction import entropy


class Running:
    """The mean and the variance so far, in float64.

    Reference: T. Chan, G. Golub, R. LeVeque. Algorithms for Computing the Sample Variance. 1983, equation 2.1.
    """

    def __init__(self) -> None:
        self.count, self.mean, self.squares = 0, torch.zeros(()), torch.zeros(())

    def add(self, part: Tensor) -> None:
        """Samples `(S, ...)`."""
        variance, mean = torch.var_mean(part.double(), 0, correction=0)
        squares = variance * len(part)
        total = self.count + len(part)
        if self.count == 0:
            self.mean, self.squares = mean, squares
        else:
            apart = mean - self.mean
            self.mean = self.mean + apart * (len(part) / total)
            self.squares = self.squares + squares + apart.square() * (self.count * len(part) / total)
        self.count = total


def _softmax(logits: Tensor, dim: int) -> Tensor:
    """In steps, since PyTorch's own is slow over a few classes."""
    y = (logits - logits.amax(dim, keepdim=True)).exp_()
    return y.div_(y.sum(dim, keepdim=True))


class Collector:
    """All that a prediction needs of the samples."""

    def __init__(self, output: str, class_dim: int, keep: bool) -> None:
        self.output, self.class_dim, self.keep = output, class_dim, keep
        self.of_values, self.of_entropy, self.of_noise = Running(), Running(), Running()
        self.votes: Tensor | None = None
        self.kept: list[Tensor] = []
        self.kept_noise: list[Tensor] = []
        self.dtype = torch.float32

    def add(self, samples: Tensor, log_variances: Tensor | None) -> None:
        """Samples `(S, ...)` of a model's output."""
        self.dtype = torch.promote_types(samples.dtype, torch.float32)
        samples = samples.to(self.dtype)
        if self.output != "values":
            samples = self._classified(samples)
        self.of_values.add(samples)
        if log_variances is not None:
            variances = log_variances.to(self.dtype).exp()
            self.of_noise.add(variances)
            if self.keep:
                self.kept_noise.append(variances)
        if self.keep:
            self.kept.append(samples)

    def _classified(self, samples: Tensor) -> Tensor:
        dim = self.class_dim if self.class_dim < 0 else self.class_dim + 1
        probabilities = _softmax(samples, dim) if self.output == "logits" else samples
        self.of_entropy.add(entropy(probabilities, dim))
        first = probabilities.argmax(dim)
        votes = F.one_hot(first, probabilities.shape[dim]).sum(0).movedim(-1, dim if dim < 0 else dim - 1)
        self.votes = votes if self.votes is None else self.votes + votes
        return probabilities

    def result(self) -> dict[str, Any]:
        """The tensors of a prediction."""
        is_class = self.output != "values"
        noise = self.of_noise if self.of_noise.count else None
        return {
            "kind": "probs" if is_class else "values",
            "num_samples": self.of_values.count,
            "mean": self.of_values.mean.to(self.dtype),
            "variance": (self.of_values.squares / self.of_values.count).to(self.dtype),
            "samples": torch.cat(self.kept) if self.keep else None,
            "class_dim": self.class_dim,
            "expected_entropy": self.of_entropy.mean.to(self.dtype) if is_class else None,
            "votes": self.votes,
            "noise_variance": None if noise is None else noise.mean.to(self.dtype),
            "noise_variances": torch.cat(self.kept_noise) if self.keep and self.kept_noise else None,
        }
