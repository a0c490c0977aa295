"""Several noisy passes of a model over the same inputs, at the least cost that keeps their noise apart."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from torchdropout.losses import _sources
from torchdropout.losses.shared_prefix import shared_prefix

_WARNED: WeakSet[nn.Module] = WeakSet()

Select = Callable[[Any], Tensor] | str | int | None


def passes(
    owner: str, model: nn.Module, x: Tensor | tuple[Any, ...], count: int, share: bool, batch_dim: int, select: Select
) -> list[Tensor]:
    """The outputs of so many passes, each with noise of its own.

    What precedes the first live noise is computed once, and the rest for each pass. Where there is no such cut, or
    nothing before it, all passes are one batch; where a live layer draws once for a batch, they are run in turn.
    """
    _check_model(owner, model)
    inputs = x if isinstance(x, tuple) else (x,)
    cut = shared_prefix(model, len(inputs)) if share and not torch.compiler.is_compiling() else None
    if cut is not None and cut.is_silent:
        return [run(owner, model, x, select)] * count
    if cut is not None and cut.saves:
        values = cut.before(inputs)
        return [selected(owner, cut.after(values), select) for _ in range(count)]
    if cut is not None and model not in _WARNED and (cut.reason or cut.unseen):
        _WARNED.add(model)
        warnings.warn(_message(owner, model, cut.reason, cut.unseen), stacklevel=4)
    if _sources.draws_for_batch(model) or (cut is not None and cut.hides_draws):
        return [run(owner, model, x, select) for _ in range(count)]
    return _as_one_batch(owner, model, inputs, count, batch_dim, select)


def run(owner: str, model: nn.Module, x: Tensor | tuple[Any, ...], select: Select) -> Tensor:
    """The output of one pass."""
    _check_model(owner, model)
    return selected(owner, model(*x) if isinstance(x, tuple) else model(x), select)


def _check_model(owner: str, model: nn.Module) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"{owner}: `model` must be a torch.nn.Module, got {type(model).__name__}.")


def _as_one_batch(
    owner: str, model: nn.Module, inputs: tuple[Any, ...], count: int, batch_dim: int, select: Select
) -> list[Tensor]:
    size = _batch_size(owner, inputs, batch_dim)
    repeated = [torch.cat([x] * count, batch_dim) if isinstance(x, Tensor) else x for x in inputs]
    y = selected(owner, model(*repeated), select)
    if not -y.dim() <= batch_dim < y.dim() or y.shape[batch_dim] != count * size:
        raise ValueError(
            f"{owner}: the model's output must have the batch of {count * size} at axis {batch_dim}, as its input, got "
            f"{tuple(y.shape)}; `batch_dim` names the axis."
        )
    return list(y.chunk(count, batch_dim))


def _batch_size(owner: str, inputs: tuple[Any, ...], batch_dim: int) -> int:
    sizes = {x.shape[batch_dim] if -x.dim() <= batch_dim < x.dim() else None for x in inputs if isinstance(x, Tensor)}
    if len(sizes) != 1 or None in sizes:
        shapes = [tuple(x.shape) for x in inputs if isinstance(x, Tensor)]
        raise ValueError(
            f"{owner}: `x` must be tensors with the batch at axis {batch_dim}, of one size there, got {shapes}."
        )
    return next(size for size in sizes if size is not None)


def selected(owner: str, output: Any, select: Select) -> Tensor:
    """The tensor of a model's output that a loss is of."""
    if callable(select):
        output = select(output)
    elif select is not None:
        try:
            output = output[select]
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError(
                f"{owner}: `select` must name a part of the output, got {select!r} of {_kind(output)}."
            ) from error
    if not isinstance(output, Tensor):
        raise TypeError(
            f"{owner}: the model's output must be a tensor, or `select` name one in it, got {_kind(output)}."
        )
    return output


def _kind(output: Any) -> str:
    if isinstance(output, Mapping):
        return f"{type(output).__name__} with the keys {', '.join(map(repr, output))}"
    return f"{type(output).__name__} of {len(output)}" if isinstance(output, (tuple, list)) else type(output).__name__


def _message(owner: str, model: nn.Module, reason: str, unseen: tuple[str, ...]) -> str:
    name, rest = type(model).__name__, "so all of it is computed for every pass; `share=False` says that this is meant."
    if reason:
        return f"{owner}: what {name} computes before its first noise cannot be found, since {reason}, {rest}"
    modules = ", ".join(unseen)
    return f"{owner}: whether {modules} of {name} draws noise cannot be seen (a module tells by `draws_per`), {rest}"
