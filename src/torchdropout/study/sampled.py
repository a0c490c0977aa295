"""What a network says with its noise on: the mean over several passes, which a plain network has no use for."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from torchdropout import rng
from torchdropout.montecarlo.predict import mc_predict
from torchdropout.montecarlo.prediction import Prediction
from torchdropout.study import metrics
from torchdropout.study.datasets.prepare import Preparation
from torchdropout.study.errors import StudyError
from torchdropout.study.metrics import Sampled, Split

_QUIET = "mc_predict: (no source of noise|.* of the sources of noise|noise was drawn|the output has NaN)"


@dataclass(frozen=True, slots=True)
class Passes:
    """How many noisy passes, and the seed of their noise."""

    count: int
    seed: int


def predictions(model: nn.Module, inputs: Tensor, passes: Passes) -> Iterator[Prediction]:
    """Predictions of all examples, by parts, with every sample of the raw outputs, on the CPU.

    Noise that is switched off, as early dropout's is at last, makes all samples alike and is no error here.

    Raises:
        FloatingPointError: A pass gave NaN or an infinity.
        StudyError: The network's train mode does more than draw noise.
    """
    key = rng.key(passes.seed)
    for number, part in enumerate(torch.split(inputs, metrics.rows_at_once(inputs))):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", _QUIET)
            found = _predicted(model, part, passes.count, rng.fold_in(key, number))
        if found.samples is None or not bool(found.samples.isfinite().all()):
            raise FloatingPointError("A noisy pass of the trained network gave NaN or an infinity.")
        yield found


def _predicted(model: nn.Module, part: Tensor, count: int, key: Tensor) -> Prediction:
    try:
        found = mc_predict(model, part, count, "values", key, keep_samples=True, strict=False)
    except (RuntimeError, ValueError) as error:
        raise StudyError(f"compare: `mc` needs a network that can be sampled, got: {error}") from error
    return found.to("cpu")


def log_probabilities(samples: Tensor) -> Tensor:
    """Logarithms of the mean probabilities `(N, C)` from logits `(S, N, C)`: none of them rounds to minus infinity."""
    return samples.double().log_softmax(2).logsumexp(0) - math.log(len(samples))


def measure(
    model: nn.Module, preparation: Preparation, split: Split, passes: Passes, variance: float | None = None
) -> Sampled | None:
    """The figures of the mean over passes; None where nothing draws, so that passes would not differ.

    Args:
        model: The network.
        preparation: What makes units of its outputs.
        split: What to measure on.
        passes: How many, and their seed.
        variance: That of the noise of a regression's targets, in standardised units.
    """
    start, targets = time.perf_counter(), split.targets.cpu()
    parts = list(predictions(model, split.inputs, passes))
    seconds = time.perf_counter() - start
    if not any(part.sources for part in parts):
        return None
    samples = torch.cat([part.samples for part in parts if part.samples is not None], 1)
    if preparation.classification:
        found = metrics.classified(log_probabilities(samples), targets)
        return Sampled(passes.count, seconds, accuracy=found.accuracy, nll=found.nll, ece=found.ece)
    mean = samples.double().mean(0)
    units = preparation.in_units(mean), preparation.in_units(targets)
    found = metrics.regressed((mean, targets), units, None, preparation.target_scale)
    nll = mixture_nll(samples, targets, variance, preparation.target_scale)
    return Sampled(passes.count, seconds, rmse=found.rmse, nll=nll)


def mixture_nll(samples: Tensor, targets: Tensor, variance: float | None, scale: float) -> float | None:
    """The mean negative log-likelihood of a mixture of normals, one about each sample; None without a variance.

    Args:
        samples: Standardised predictions `(S, N, 1)`.
        targets: Standardised targets `(N, 1)`.
        variance: Of each normal.
        scale: The target's units per standardised one.

    Reference: Y. Gal, Z. Ghahramani. Dropout as a Bayesian Approximation. ICML 2016, arXiv:1506.02142, equation 8.
    """
    if not variance:
        return None
    kind = Prediction("values", len(samples), samples.double().mean(0), samples.double().var(0, correction=0))
    return math.log(scale) - float(replace(kind, samples=samples.double()).log_likelihood(targets, 1 / variance).mean())


def check(model: nn.Module, example: Tensor) -> None:
    """Raise a `StudyError` where a network's passes would not be noise alone."""
    for _ in predictions(model, example, Passes(2, 0)):
        return
