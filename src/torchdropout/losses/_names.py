"""Names of modules and parameters as their owner knows them, and which of them a filter chooses."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase

from torch import Tensor, nn

Filter = Callable[[Tensor, str], bool] | str | None

_WRAPPED = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")


def unwrapped(model: nn.Module) -> nn.Module:
    """The model that data-parallel and compiled ones wrap."""
    while True:
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        elif isinstance(inner := vars(model)["_modules"].get("_orig_mod"), nn.Module):
            model = inner
        else:
            return model


def plain_name(name: str) -> str:
    """A qualified name without the parts that wrappers of single layers put into it."""
    return ".".join(part for part in name.split(".") if part not in _WRAPPED)


def chosen(owner: str, named: Iterable[tuple[str, Tensor]], filter_fn: Filter) -> set[str]:
    """The names that a filter chooses, which are some.

    Args:
        owner: Who asks, for its errors.
        named: Names and weights.
        filter_fn: A function of a weight and its name, a pattern as `fnmatch` has it, or None for all.
    """
    listed = list(named)
    if filter_fn is None:
        return {name for name, _ in listed}
    if isinstance(filter_fn, str):
        pattern = filter_fn
        found = {name for name, _ in listed if fnmatchcase(name, pattern)}
    elif callable(filter_fn):
        found = {name for name, weight in listed if filter_fn(weight, name)}
    else:
        raise TypeError(f"{owner}: `filter_fn` must be a function or a pattern of names, got {filter_fn!r}.")
    if not found:
        raise ValueError(f"{owner}: `filter_fn` must choose a weight, {_what_there_is(filter_fn, listed)}.")
    return found


def _what_there_is(filter_fn: Filter, listed: list[tuple[str, Tensor]]) -> str:
    names = [name for name, _ in listed]
    if not names:
        return "there is none to choose from"
    if isinstance(filter_fn, str):
        near = difflib.get_close_matches(filter_fn, names, n=3, cutoff=0.3) or names[:3]
        return f"got {filter_fn!r}; the closest names are {', '.join(near)}"
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return f"it chose none of {', '.join(names[:8])}{more}"
