"""Which modules of a model are meant: by pattern, by type, or by a function."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from typing import Any

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.utils.parametrize import type_before_parametrizations

Filter = Callable[[nn.Module, str], bool]
Where = str | type[nn.Module] | tuple[type[nn.Module], ...] | Filter
Factory = Callable[[nn.Module, str], nn.Module]

BEFORE, AFTER = "noise_before", "noise_after"
_WRAPPERS = (DataParallel, DistributedDataParallel)


def check_bare(owner: str, model: nn.Module) -> None:
    """Refuse what wraps a model: it holds on to modules and parameters that would be changed beneath it."""
    if isinstance(model, _WRAPPERS) or hasattr(model, "_orig_mod"):
        name = "a compiled model" if hasattr(model, "_orig_mod") else type(model).__name__
        raise ValueError(f"{owner}: `model` must be changed before it is wrapped, got {name}.")
    if not isinstance(model, nn.Module):
        raise TypeError(f"{owner}: `model` must be a torch.nn.Module, got {type(model).__name__}.")


def named(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """All modules but inserted ones and parametrizations, shared ones under each of their names."""
    for name, module in model.named_modules(remove_duplicate=False):
        if not {BEFORE, AFTER, "parametrizations"} & set(name.split(".")):
            yield name, module


def find(owner: str, model: nn.Module, where: Where) -> dict[str, nn.Module]:
    """The modules meant, each once, by the first of its names.

    Raises:
        ValueError: None is meant; the nearest names are said.
    """
    chosen: dict[int, tuple[str, nn.Module]] = {}
    for name, module in named(model):
        if _is_meant(where, module, name):
            chosen.setdefault(id(module), (name, module))
    if not chosen:
        raise ValueError(f"{owner}: {_shown(where)} must match a module, it matches none{_hint(model, where)}.")
    return dict(chosen.values())


def _is_meant(where: Where, module: nn.Module, name: str) -> bool:
    if isinstance(where, str):
        return fnmatchcase(name, where)
    if isinstance(where, (type, tuple)):
        return type_before_parametrizations(module) in (where if isinstance(where, tuple) else (where,))
    return bool(where(module, name))


def _shown(where: Where) -> str:
    if isinstance(where, str):
        return f"the pattern {where!r}"
    if isinstance(where, (type, tuple)):
        types = where if isinstance(where, tuple) else (where,)
        return "the type " + " or ".join(one.__name__ for one in types)
    return "the filter"


def _hint(model: nn.Module, where: Where) -> str:
    names = [name for name, _ in named(model) if name]
    if isinstance(where, str):
        near = difflib.get_close_matches(where, names, n=3, cutoff=0.3)
        return f"; near it are {', '.join(near)}" if near else ""
    if isinstance(where, (type, tuple)):
        kin = [f"{name} is a {type(module).__name__}" for name, module in named(model) if isinstance(module, where)]
        return f" of exactly that type; {', '.join(kin[:3])}" if kin else ""
    return ""


def shown(name: str) -> str:
    """A module's name in a sentence."""
    return name or "the model itself"


def device_of(module: nn.Module, model: nn.Module) -> Any:
    """Where the parameters of a module are, or those of its model; None where there are none."""
    for owner in (module, model):
        for tensor in (*owner.parameters(), *owner.buffers()):
            return tensor.device
    return None
