"""Layers of a model that exists, put in the place of others with what these have learned."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils import parametrize

from torchdropout.surgery import _log
from torchdropout.surgery._select import Factory, Where, check_bare, find
from torchdropout.surgery.insert import Surrounded, check_new, made

_HOOKS = (
    "_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs", "_backward_hooks", "_backward_pre_hooks",
)  # fmt: skip


def replace_(
    model: nn.Module, replacements: Mapping[Where, Factory], *, optimizer: torch.optim.Optimizer | None = None
) -> list[str]:
    """Put other layers in the place of a model's.

    A factory gets the old module and its name and makes the new one, as `torchdropout.DropConnectLinear.from_linear`
    does. Where both have a parameter of the same name and value, the new layer takes the old one's itself: ties between
    layers hold, and an optimizer that was made before goes on. Hooks, parametrizations, the mode and the device are
    taken over too. A module with several names is replaced under all of them by one new layer.

    Args:
        model: The model, changed in place; not yet wrapped or compiled.
        replacements: A factory for each choice of modules: a pattern of qualified names, a type, that exactly, or
            several, or a function of a module and its name.
        optimizer: An optimizer of the model, if there is one: nothing is replaced where it would no longer hold the
            model's parameters.

    Returns:
        The names of the layers that were replaced.

    Raises:
        ValueError: A choice matches nothing, two choices overlap, the model itself is meant, it is wrapped, or
            `optimizer` would miss parameters. The model is then as it was.
        TypeError: A factory returns no new module.

    Example:
        >>> import torch, torchdropout as td
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.ReLU(), torch.nn.Dropout(0.3))
        >>> td.replace_(model, {torch.nn.Dropout: lambda module, name: td.GaussianDropout(module.p)})
        ['2']
        >>> model[2]
        GaussianDropout(p=0.3)
    """
    check_bare("replace_", model)
    pairs = _pairs(model, replacements)
    before = dict(model.named_parameters())
    new = [made("replace_", factory, name, module, model) for name, (module, factory) in pairs.items()]
    check_new("replace_", new, model)
    changes: list[_log.Change] = []
    for (module, _), layer in zip(pairs.values(), new, strict=True):
        _take_over(module, layer)
        changes.append(_swap(model, module, layer))
    try:
        if optimizer is not None:
            _check_optimizer(optimizer, before, model)
    except ValueError:
        for change in reversed(changes):
            change.undo()
        raise
    _log.add(model, changes)
    return list(pairs)


def _pairs(model: nn.Module, replacements: Mapping[Where, Factory]) -> dict[str, tuple[nn.Module, Factory]]:
    """The modules and their factories, checked: each is meant once, and none lies in another."""
    if not replacements:
        raise ValueError("replace_: `replacements` must hold a choice of modules, it is empty.")
    pairs: dict[str, tuple[nn.Module, Factory]] = {}
    for where, factory in replacements.items():
        for name, module in find("replace_", model, where).items():
            if name == "":
                raise ValueError("replace_: modules inside the model must be meant, got the model itself.")
            if name in pairs:
                raise ValueError(f"replace_: `replacements` must not overlap, two of them match {name}.")
            pairs[name] = (module, factory)
    for outer, inner in itertools.permutations(pairs, 2):
        if inner.startswith(outer + "."):
            raise ValueError(f"replace_: `replacements` must not overlap, {inner} lies in {outer}.")
    return pairs


def _take_over(old: nn.Module, new: nn.Module) -> None:
    if any(module is old for module in new.modules()):  # it was wrapped, and keeps all that it has
        return
    for name in _HOOKS:
        getattr(new, name).update(getattr(old, name))
    for tensor_name in list(getattr(old, "parametrizations", ())):
        for each in getattr(old, "parametrizations")[tensor_name]:  # noqa: B009 - a property of modules that have any
            parametrize.register_parametrization(new, tensor_name, each, unsafe=True)
    theirs = dict(old.named_parameters())
    for name, parameter in list(new.named_parameters()):
        known = theirs.get(name)
        parametrized = name.startswith("parametrizations.")
        if known is not None and known.shape == parameter.shape and (parametrized or torch.equal(known, parameter)):
            owner, _, attribute = name.rpartition(".")
            setattr(new.get_submodule(owner), attribute, known)
    if isinstance(old.__dict__.get("forward"), Surrounded):  # noise that was inserted around the old layer stays
        _surround(old, new)


def _surround(old: nn.Module, new: nn.Module) -> None:
    for slot in ("noise_before", "noise_after"):
        if slot in old._modules:
            new.add_module(slot, old._modules[slot])
    new.__dict__["forward"] = Surrounded(new)


def _places(model: nn.Module, module: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """Every parent and name that a module has in a model."""
    for parent in model.modules():
        for name, child in parent._modules.items():
            if child is module:
                yield parent, name


def _swap(model: nn.Module, old: nn.Module, new: nn.Module) -> _Replaced:
    places = tuple(_places(model, old))
    for parent, name in places:
        parent._modules[name] = new
    return _Replaced(places, old)


@dataclass(frozen=True)
class _Replaced:
    """A module and where it was."""

    places: tuple[tuple[nn.Module, str], ...]
    module: nn.Module

    def undo(self) -> None:
        for parent, name in self.places:
            parent._modules[name] = self.module


def _check_optimizer(
    optimizer: torch.optim.Optimizer, before: Mapping[str, nn.Parameter], model: nn.Module
) -> None:  # fmt: skip
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    after = dict(model.named_parameters())
    kept = {id(p) for p in after.values()}
    lost = [name for name, p in before.items() if id(p) in held and id(p) not in kept]
    missing = [name for name, p in after.items() if id(p) not in held and id(p) not in {id(q) for q in before.values()}]
    if lost or missing:
        parts = [f"it holds {', '.join(lost)} that the model would lose"] * bool(lost)
        parts += [f"it misses {', '.join(missing)} that the model would gain"] * bool(missing)
        raise ValueError(f"replace_: `optimizer` must be made after this, {' and '.join(parts)}.")
