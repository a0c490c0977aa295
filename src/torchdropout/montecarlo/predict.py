"""Monte-Carlo predictions: many noisy passes at the price of few."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from torchdropout import rng
from torchdropout.layers._checks import check_choice, check_number
from torchdropout.losses._passes import Select, selected
from torchdropout.montecarlo._inputs import batch_size
from torchdropout.montecarlo._moments import Collector
from torchdropout.montecarlo._observe import Generators
from torchdropout.montecarlo._plan import Passes, Plan, Way, plan_for
from torchdropout.montecarlo.prediction import Prediction, joined
from torchdropout.montecarlo.sampling import Excluded, sampling

Output = Literal["logits", "probs", "values"]
_OUTPUTS = ("logits", "probs", "values")
_LIVE = 4  # how many tensors of the largest size a pass may hold at once, roughly


@dataclass(frozen=True)
class _Settings:
    """All that does not depend on a batch."""

    owner: str
    num_samples: int
    output: Output
    key: Tensor
    select: Select
    log_variance: Select
    class_dim: int
    batch_dim: int
    keep_samples: bool
    consistent: bool
    exclude: Excluded
    strict: bool
    memory: int

    def __post_init__(self) -> None:
        check_number(self.owner, "num_samples", self.num_samples, "an integer of at least 1", _is_count)
        check_choice(self.owner, "output", self.output, _OUTPUTS)
        check_number(self.owner, "memory", self.memory, "positive", lambda value: value > 0)
        if self.log_variance is not None and self.output != "values":
            raise ValueError(f"{self.owner}: `log_variance` is for output 'values', got {self.output!r}.")

    def take(self, output: Any) -> Tensor:
        """The tensor that is predicted."""
        return selected(self.owner, output, self.select)


def _is_count(value: float) -> bool:
    return value >= 1 and value == int(value)


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
    memory: int = 2**26,
) -> Prediction:
    """Predict with noise live, many times, and put the predictions together: Monte-Carlo dropout.

    The passes run in sampling mode (`torchdropout.sampling`), without gradients. Of a classifier the probabilities are
    averaged, never the logits. What comes before the first live noise is computed once, and several samples are one
    batch where every source draws for each example.

    Small trial passes, at the first call and whenever the model changes, see to it that the spread is honest: that every
    source that was found does draw, that nothing but noise changes, and that an example's noise does not depend on its
    neighbours.

    Args:
        model: Any model, in either mode; it is as before after.
        x: What it takes: a tensor, a tuple of arguments, or a dict of named ones.
        num_samples: How many passes.
        output: What the model gives: `"logits"` or `"probs"` of classes, or `"values"` of a regression.
        key: A seed or a key `(2,)`; sample `s` has the noise of `fold_in(key, s)`. None draws one from PyTorch's default
            generator, which is as it would be after that one draw.
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
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 32), torch.nn.ReLU(), td.Dropout(0.5), torch.nn.Linear(32, 3))
        >>> prediction = td.mc_predict(model, torch.randn(8, 4), num_samples=100, key=0)
        >>> prediction
        Prediction(probs, shape=(8, 3), num_samples=100, 'any batch')
        >>> prediction.mutual_information.shape
        torch.Size([8])

    Reference:
        Y. Gal, Z. Ghahramani. Dropout as a Bayesian Approximation: Representing Model Uncertainty in Deep Learning.
        ICML 2016, arXiv:1506.02142, sections 3 and 4.
    """
    settings = _Settings(
        "mc_predict", num_samples, output, _key(key), select, log_variance, class_dim, batch_dim, keep_samples,
        consistent, exclude, strict, memory,
    )  # fmt: skip
    return _predict(model, x, settings, 0)


def _key(key: int | Tensor | None) -> Tensor:
    return rng.draw() if key is None else rng.key_of(key)


def _predict(model: nn.Module, x: Any, settings: _Settings, first: int) -> Prediction:
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
        generators.seed(rng.fold_in(settings.key, 2**62 + first))
        with torch.no_grad(), sampling(model, exclude=settings.exclude):
            collector = _collect(way.passes(x, plan), settings, first)
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


def _check_sources(settings: _Settings, plan: Plan) -> None:
    trial, problem = plan.trial, ""
    if not trial.sources:
        problem = "no source of noise is live, so every sample would be the same"
    elif trial.silent:
        problem = f"{len(trial.silent)} of the sources of noise that were found drew nothing"
    if settings.consistent and (trial.foreign or not plan.by_example):
        why = f"noise is drawn by {_listed(trial.foreign)}" if trial.foreign else "examples cannot be told apart"
        raise ValueError(
            f"{settings.owner}: `consistent` must be False where {why}; `torchdropout.replace_` puts this package's "
            "layers in place of others."
        )
    if not problem:
        return
    silent = f": {_listed(trial.silent)}" if trial.silent else ""
    if settings.strict:
        raise ValueError(f"{settings.owner}: {problem}{silent}; `strict=False` makes this a warning.")
    warnings.warn(f"{settings.owner}: {problem}{silent}.", stacklevel=4)


def _listed(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return ", ".join(names[:12]) + more


def _collect(passes: Passes, settings: _Settings, first: int) -> Collector:
    collector = Collector(settings.output, settings.class_dim, settings.keep_samples)
    at_once, done = _at_once(passes, settings), 0
    while done < settings.num_samples:
        numbers = range(done, min(done + at_once, settings.num_samples))
        try:
            values, noise = _samples(passes, settings, numbers, first)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            if at_once == 1:
                raise RuntimeError(
                    f"{settings.owner}: one pass over {passes.examples} examples needs more memory than there is; give "
                    "fewer at once, or a loader of smaller batches to mc_predict_loader."
                ) from error
            at_once = -(-at_once // 2)
            continue
        _check_finite(settings, values, numbers)
        collector.add(values, noise)
        done = numbers.stop
    return collector


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)


def _at_once(passes: Passes, settings: _Settings) -> int:
    """How many samples are one batch: as many as the memory allows, in parts of about one size."""
    if not passes.plan.joins:
        return 1
    each = _LIVE * max(1, passes.plan.bytes_each) * passes.examples
    most = max(1, min(settings.num_samples, int(settings.memory) // each))
    parts = -(-settings.num_samples // most)
    return -(-settings.num_samples // parts)


def _samples(
    passes: Passes, settings: _Settings, numbers: range, first: int
) -> tuple[Tensor, Tensor | None]:
    """Outputs `(S, ...)` of a pass, and the log variances beside them."""
    output = passes.run(settings.key, numbers, first, settings.consistent)
    values = _apart(settings.take(output), passes, len(numbers))
    _check_classes(settings, values)
    if settings.log_variance is None:
        return values, None
    noise = _apart(selected(settings.owner, output, settings.log_variance), passes, len(numbers))
    if noise.shape != values.shape:
        raise ValueError(
            f"{settings.owner}: `log_variance` must have the output's shape {tuple(values.shape[1:])}, "
            f"got {tuple(noise.shape[1:])}."
        )
    return values, noise


def _apart(y: Tensor, passes: Passes, count: int) -> Tensor:
    if count == 1:
        return y.unsqueeze(0)
    axis = passes.plan.trial.batch_axis or 0
    return y.unflatten(axis, (count, passes.examples)).movedim(axis, 0)


def _check_classes(settings: _Settings, values: Tensor) -> None:
    if not values.is_floating_point():
        raise TypeError(f"{settings.owner}: the model's output must be floating point, got {values.dtype}.")
    if settings.output == "values":
        return
    dim, rank = settings.class_dim, values.dim() - 1
    if not -rank <= dim < rank or values.shape[dim if dim < 0 else dim + 1] < 2:
        raise ValueError(
            f"{settings.owner}: the output must have two or more classes at axis `class_dim` = {dim}, got shape "
            f"{tuple(values.shape[1:])}; of one logit z, `select=lambda z: torch.nn.functional.pad(z, (1, 0))` makes two."
        )
    if settings.output == "probs":
        _check_probabilities(settings, values, dim if dim < 0 else dim + 1)


def _check_probabilities(settings: _Settings, values: Tensor, dim: int) -> None:
    low, total = values.min(), values.float().sum(dim)
    if low < 0 or not torch.allclose(total, torch.ones_like(total), atol=1e-2, equal_nan=True):
        raise ValueError(
            f"{settings.owner}: with output 'probs' the classes' probabilities must add up to 1, got sums from "
            f"{float(total.min()):g} to {float(total.max()):g}; does the model give logits?"
        )


def _check_finite(settings: _Settings, values: Tensor, numbers: range) -> None:
    bad = values.isnan().flatten(1).any(1)
    if not bool(bad.any()):
        return
    names = ", ".join(str(numbers[i]) for i in bad.nonzero().flatten()[:8].tolist())
    told = f"{settings.owner}: the output has NaN in sample {names}{' and more' if int(bad.sum()) > 8 else ''}"
    if settings.strict:
        raise ValueError(f"{told}, of {settings.num_samples}; `strict=False` makes this a warning.")
    warnings.warn(f"{told}.", stacklevel=5)


def _result(collector: Collector, settings: _Settings, plan: Plan) -> Prediction:
    found = Prediction(
        **collector.result(),
        sources=plan.trial.sources,
        foreign=plan.trial.foreign,
        reproducible="any batch" if plan.stays else "same batch",
    )
    if settings.num_samples > 1 and plan.trial.sources and not bool(found.variance.any()):
        warnings.warn(
            f"{settings.owner}: noise was drawn by {_listed(plan.trial.sources)}, but the output does not depend on it.",
            stacklevel=4,
        )
    return found


def mc_predict_loader(
    model: nn.Module,
    loader: Iterable[Any],
    num_samples: int = 50,
    output: Output = "logits",
    key: int | Tensor | None = None,
    select: Select = None,
    *,
    inputs: Callable[[Any], Any] | None = None,
    progress: bool = False,
    interrupt: Literal["raise", "return"] = "raise",
    log_variance: Select = None,
    class_dim: int = -1,
    keep_samples: bool = False,
    consistent: bool = False,
    exclude: Excluded = (),
    strict: bool = True,
    memory: int = 2**26,
) -> Prediction:
    """`mc_predict` over the batches of a loader, which are moved to the model's device one by one.

    The noise of an example depends on its number in the loader's order, not on its batch.

    Args:
        model: As for `mc_predict`.
        loader: Batches: tensors; tuples or lists, whose first part is the input; or dicts of named arguments.
        num_samples: As for `mc_predict`.
        output: As for `mc_predict`.
        key: As for `mc_predict`.
        select: As for `mc_predict`.
        inputs: What the model takes of a batch, where it is another part: a function of the batch.
        progress: Whether to show a progress bar; it needs `rich`.
        interrupt: What Ctrl-C does: `"raise"`, or `"return"` the prediction of the batches that are done.
        log_variance: As for `mc_predict`.
        class_dim: As for `mc_predict`.
        keep_samples: As for `mc_predict`.
        consistent: As for `mc_predict`.
        exclude: As for `mc_predict`.
        strict: As for `mc_predict`.
        memory: As for `mc_predict`.

    Returns:
        The prediction of all examples, on the CPU.

    Raises:
        ValueError: As `mc_predict`; or the loader gives nothing.
        ImportError: `progress` without `rich`.

    Example:
        >>> import torch, torchdropout as td
        >>> model = torch.nn.Sequential(td.Dropout(0.5), torch.nn.Linear(4, 3))
        >>> loader = torch.utils.data.DataLoader(torch.randn(10, 4), batch_size=4)
        >>> len(td.mc_predict_loader(model, loader, num_samples=20, key=0))
        10
    """
    settings = _Settings(
        "mc_predict_loader", num_samples, output, _key(key), select, log_variance, class_dim, 0, keep_samples,
        consistent, exclude, strict, memory,
    )  # fmt: skip
    check_choice("mc_predict_loader", "interrupt", interrupt, ("raise", "return"))
    parts: list[Prediction] = []
    try:
        for batch in _shown(loader) if progress else loader:
            x = tree_map(_to(device_of(model)), (inputs or _input_of)(batch))
            parts.append(_predict(model, x, settings, sum(map(len, parts))).to("cpu"))
    except KeyboardInterrupt:
        if interrupt == "raise" or not parts:
            raise
        warnings.warn(f"mc_predict_loader: interrupted after {sum(map(len, parts))} examples.", stacklevel=2)
    if not parts:
        raise ValueError("mc_predict_loader: `loader` must give a batch, got none; was it an iterator already used up?")
    return joined(parts)


def _input_of(batch: Any) -> Any:
    return batch[0] if isinstance(batch, (tuple, list)) else batch


def _to(device: torch.device) -> Callable[[Any], Any]:
    return lambda leaf: leaf.to(device, non_blocking=True) if isinstance(leaf, Tensor) else leaf


def _shown(loader: Iterable[Any]) -> Iterator[Any]:
    try:
        from rich.progress import track  # noqa: PLC0415 - only where it is asked for
    except ImportError as error:
        raise ImportError("mc_predict_loader: `progress` needs the package rich: pip install rich.") from error
    total = len(loader) if hasattr(loader, "__len__") else None
    return iter(track(loader, description="Predicting", total=total))
