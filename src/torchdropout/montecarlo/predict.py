"""Monte-Carlo predictions: many noisy passes at the price of few."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from torchdropout import rng
from torchdropout.losses._passes import Select
from torchdropout.montecarlo._collect import collect
from torchdropout.montecarlo._inputs import batch_size
from torchdropout.montecarlo._moments import Collector
from torchdropout.montecarlo._observe import Generators
from torchdropout.montecarlo._plan import Plan, Way, plan_for
from torchdropout.montecarlo._settings import Output, Settings, key_of
from torchdropout.montecarlo._stand_in import live
from torchdropout.montecarlo.prediction import Prediction
from torchdropout.montecarlo.sampling import Excluded


def mc_predict(
    model: nn.Module,
    x: Any,
    num_samples: int = 50,
    output: Output = "logits",
    key: int | Tensor | None = None,
    select: Select = None,
    *,
    log_variance: Select = None,
    class_dim: int = -1,
    batch_dim: int = 0,
    keep_samples: bool = False,
    consistent: bool = False,
    exclude: Excluded = (),
    strict: bool = True,
    memory: int = 2**24,
) -> Prediction:
    """Predict with noise live, many times, and put the predictions together: Monte-Carlo dropout.

    The passes run in sampling mode (`torchdropout.sampling`), without gradients. Of a classifier the probabilities are
    averaged, never the logits. What comes before the first live noise is computed once, and several samples are one
    batch where every source draws for each example.

    Small trial passes, at the first call and whenever the model changes, see to it that the spread is honest: that
    every source that was found does draw, that nothing but noise changes, and that an example's noise does not depend
    on its neighbours.

    Args:
        model: Any model, in either mode; it is as before after.
        x: What it takes: a tensor, a tuple of arguments, or a dict of named ones.
        num_samples: How many passes.
        output: What the model gives: `"logits"` or `"probs"` of classes, or `"values"` of a regression.
        key: A seed or a key `(2,)`; sample `s` has the noise of `fold_in(key, s)`. None draws one from PyTorch's
            default generator, which is then as it would be after that one draw.
        select: Which tensor of the model's output is meant, where it is no tensor: a key, a number, or a function.
        log_variance: Which is the log of the variance of the noise, if the model predicts that.
        class_dim: The axis of the classes in the output of one pass.
        batch_dim: The axis of the examples in the inputs.
        keep_samples: Whether to keep all samples; quantiles and likelihoods need them. Otherwise memory does not grow
            with their number.
        consistent: Whether all examples share one mask, so that each sample is one function of the input.
        exclude: Modules that stay in eval: patterns of names, or classes.
        strict: Whether a source that draws nothing, no source at all, and NaN raise; otherwise they warn.
        memory: About how many bytes a pass over several samples may take.

    Returns:
        The prediction, on the model's device.

    Raises:
        ValueError: An argument is out of range, nothing draws, a source draws nothing, or an output has NaN.
        TypeError: `model` is no module, or the output no tensor where `select` names none.
        RuntimeError: A module's train mode does more than draw; or one pass needs more memory than there is.

    Example:
        >>> import torch, torchdropout as td
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 32), td.Dropout(0.5), torch.nn.Linear(32, 3))
        >>> prediction = td.mc_predict(model, torch.randn(8, 4), num_samples=100, key=0)
        >>> prediction
        Prediction(probs, shape=(8, 3), num_samples=100, 'any batch')
        >>> prediction.mutual_information.shape
        torch.Size([8])

    Reference:
        Y. Gal, Z. Ghahramani. Dropout as a Bayesian Approximation: Representing Model Uncertainty in Deep Learning.
        ICML 2016, arXiv:1506.02142, sections 3 and 4.
    """
    settings = Settings(
        "mc_predict", num_samples, output, key_of(key), select, log_variance, class_dim, batch_dim, keep_samples,
        consistent, exclude, strict, memory,
    )  # fmt: skip
    return predicted(model, x, settings, 0)


def predicted(model: nn.Module, x: Any, settings: Settings, first: int) -> Prediction:
    """One batch; `first` is the number of its first example."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"{settings.owner}: `model` must be a torch.nn.Module, got {type(model).__name__}.")
    if batch_size(x, settings.batch_dim) == 0:
        raise ValueError(f"{settings.owner}: `x` must have an example, got none.")
    generators = Generators(device_of(model))
    way = Way(model, settings.take, settings.exclude, settings.batch_dim, generators)
    before = generators.state()
    try:
        plan = plan_for(way, x, _told(settings.select))
        _check_sources(settings, plan)
        if not plan.stays:
            generators.seed(rng.fold_in(settings.key, 2**62 + first))
        with torch.no_grad(), live(model, settings.exclude, generators.device):
            collector = collect(way.passes(x, plan), settings, first)
    finally:
        generators.restore(before)
    return _result(collector, settings, plan)


def device_of(model: nn.Module) -> torch.device:
    """Where a model's first parameter lives."""
    parameter = next(model.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def _told(select: Select) -> Any:
    """What tells one way to select from another, of functions their code."""
    return getattr(select, "__code__", select)


def _check_sources(settings: Settings, plan: Plan) -> None:
    trial, problem = plan.trial, ""
    if not trial.sources:
        problem = "no source of noise is live, so every sample would be the same"
    elif trial.silent:
        problem = f"{len(trial.silent)} of the sources of noise that were found drew nothing"
    if settings.consistent and (trial.foreign or not plan.by_example):
        why = f"noise is drawn by {listed(trial.foreign)}" if trial.foreign else "examples cannot be told apart"
        raise ValueError(
            f"{settings.owner}: `consistent` must be False where {why}; `torchdropout.replace_` puts this package's "
            "layers in place of others."
        )
    if not problem:
        return
    silent = f": {listed(trial.silent)}" if trial.silent else ""
    if settings.strict:
        raise ValueError(f"{settings.owner}: {problem}{silent}; `strict=False` makes this a warning.")
    warnings.warn(f"{settings.owner}: {problem}{silent}.", stacklevel=4)


def listed(names: tuple[str, ...]) -> str:
    """The first names, and how many more."""
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return ", ".join(names[:12]) + more


def _result(collector: Collector, settings: Settings, plan: Plan) -> Prediction:
    found = Prediction(
        **collector.result(),
        sources=plan.trial.sources,
        foreign=plan.trial.foreign,
        reproducible="any batch" if plan.stays else "same batch",
    )
    if settings.num_samples > 1 and plan.trial.sources and not bool(found.variance.any()):
        warnings.warn(
            f"{settings.owner}: noise was drawn by {listed(plan.trial.sources)}, but the output does not depend on it.",
            stacklevel=4,
        )
    return found
