"""Small passes before the large ones: what draws, what train modes do besides, and where the examples lie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from torchdropout import rng, streams
from torchdropout.montecarlo._inputs import batch_size, first_rows, repeated
from torchdropout.montecarlo._observe import Generators, Observer
from torchdropout.montecarlo._stand_in import live
from torchdropout.montecarlo.sampling import Excluded, TrainModeError, sampling
from torchdropout.surgery._calls import run
from torchdropout.surgery.sources import noise_sources

Take = Callable[[Any], Tensor]


@dataclass(frozen=True)
class Trial:
    """What the small passes found.

    Attributes:
        sources: The names of what drew.
        silent: What was found and drew nothing, each with the reason.
        foreign: What draws from PyTorch's generators.
        for_batch: Whether a draw covers a whole batch, so that samples must be run one at a time.
        keyed: Whether each draw of this package's was for an example, or rightly for the whole batch.
        batch_axis: The axis of the examples in the output; None if passes cannot be joined to one batch.
        bytes_each: Of the largest tensor of an example.
    """

    sources: tuple[str, ...]
    silent: tuple[str, ...]
    foreign: tuple[str, ...]
    for_batch: bool
    keyed: bool
    batch_axis: int | None
    bytes_each: int


def attempt(
    model: nn.Module, inputs: Any, take: Take, exclude: Excluded, batch_dim: int, generators: Generators
) -> Trial:
    """Run a model on two of its inputs, in eval and with noise, and on these two twice.

    Raises:
        TrainModeError: A module's train mode does more than draw noise.
    """
    few = first_rows(inputs, batch_dim, min(2, batch_size(inputs, batch_dim)))
    twice = repeated(few, batch_dim, 2)
    with torch.compiler.set_stance("force_eager"), torch.no_grad():
        calm, expected = _calm(model, few, generators)
        noisy = _noisy(model, few, exclude, batch_dim, generators)
        _check_structure(model, calm, noisy)
        joined = _noisy(model, twice, exclude, batch_dim, generators)
        axis = _axis(take(expected), take(_calm(model, twice, generators)[1]))
    drew, silent = _sources(model, noisy)
    foreign = dict.fromkeys(f"{d.function} in {d.module or 'the model'}" for d in noisy.draws if d.function)
    return Trial(
        tuple(drew), tuple(silent), tuple(foreign), _for_batch(noisy, joined), noisy.keyed and joined.keyed, axis,
        max(calm.largest, noisy.largest) // batch_size(few, batch_dim),
    )  # fmt: skip


def _calm(model: nn.Module, inputs: Any, generators: Generators) -> tuple[Observer, Any]:
    observer = Observer(model, generators)
    with sampling(model, exclude=("*",)), observer.watching():
        return observer, run(model, inputs)


def _noisy(model: nn.Module, inputs: Any, exclude: Excluded, batch_dim: int, generators: Generators) -> Observer:
    observer = Observer(model, generators)
    keys = streams.Samples(rng.key(0), range(1), 0, batch_size(inputs, batch_dim), note=observer.note)
    with live(model, exclude, generators.device):
        try:
            with observer.watching(), rng.streaming(keys):
                run(model, inputs)
        except Exception as error:
            raise TrainModeError(
                f"mc_predict: the train mode of {_named(model, observer.place)} does more than draw noise, since there "
                f"it raises {type(error).__name__}: {error}; name it in `exclude` to leave it in eval."
            ) from error
    return observer


def _check_structure(model: nn.Module, calm: Observer, noisy: Observer) -> None:
    """Outputs of both modes must be made alike; the innermost module of which they are not is named."""
    for name, visits in noisy.visits.items():
        before = calm.visits.get(name, [])
        pairs = zip(before, visits, strict=False)
        if any(a.structure != b.structure for a, b in pairs):
            raise TrainModeError(
                f"mc_predict: the train mode of {_named(model, name)} does more than draw noise, since its output is "
                "made otherwise than in eval; name it in `exclude` to leave it in eval."
            )


def _named(model: nn.Module, name: str) -> str:
    return f"{name or 'the model itself'} ({type(model.get_submodule(name)).__name__})"


def _sources(model: nn.Module, seen: Observer) -> tuple[list[str], list[str]]:
    """The names of what drew, and what was found but did not draw, with reasons."""
    inside = {name for draw in seen.draws for name in draw.inside}
    at = {draw.module for draw in seen.draws if draw.function}
    drew, silent = dict.fromkeys(f"{d.module or 'the model'}" for d in seen.draws), []
    for source in noise_sources(model):
        if source.name in inside and source.rate != 0:
            continue
        called = seen.visits.get(source.name)
        if called is None and source.rate != 0 and source.name.rpartition(".")[0] in at:
            continue  # its rate is what a function of the module that holds it draws with
        silent.append(f"{source.name or 'the model'} ({source.what}: {_reason(source.rate, called)})")
    silent += [f"{name or 'the model'} ({what}: called with `training` False)" for name, what in seen.silent]
    return list(drew), silent


def _reason(rate: float | None, called: Any) -> str:
    if rate == 0:
        return "its rate is 0"
    if called is None:
        return "it was not called"
    if not any(visit.training for visit in called):
        return "it was in eval"
    return "it was called, but drew nothing"


def _for_batch(one: Observer, two: Observer) -> bool:
    """Whether a draw did not grow with the number of examples."""
    if len(one.draws) != len(two.draws) or any(draw.for_batch for draw in one.draws):
        return True
    foreign = [(a.shape, b.shape) for a, b in zip(one.draws, two.draws, strict=True) if a.function or b.function]
    return not all(_grew(a, b) for a, b in foreign)


def _grew(one: tuple[int, ...] | None, two: tuple[int, ...] | None) -> bool:
    if one is None or two is None or len(one) != len(two):
        return False
    return any(2 * a == b for a, b in zip(one, two, strict=True))


def _axis(one: Tensor, two: Tensor) -> int | None:
    """The axis along which twice the examples give the output twice."""
    if one.dim() != two.dim():
        return None
    axes = [axis for axis, (a, b) in enumerate(zip(one.shape, two.shape, strict=True)) if a != b]
    if len(axes) != 1 or two.shape[axes[0]] != 2 * one.shape[axes[0]]:
        return None
    return axes[0] if alike(torch.cat([one, one], axes[0]), two) else None


def alike(a: Tensor, b: Tensor) -> bool:
    """Equal but for rounding, which other batch sizes bring."""
    if a.shape != b.shape:
        return False
    if not a.is_floating_point():
        return bool(torch.equal(a, b))
    a, b = a.double(), b.double()
    tolerance = 1e-4 if a.numel() == 0 else 1e-4 * max(1e-30, float(a.nan_to_num(0, 0, 0).abs().max()))
    return bool(torch.allclose(a, b, rtol=1e-4, atol=tolerance, equal_nan=True))
