"""Noise before or after modules of a model that exists."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from torchdropout.surgery import _calls, _log
from torchdropout.surgery._select import AFTER, BEFORE, Factory, Where, check_bare, device_of, find, shown

_NEVER_CALLED = (nn.ModuleList, nn.ModuleDict)


def insert_after_(
    model: nn.Module, where: Where, factory: Factory, *, every_call: bool = False, example_inputs: Any = None
) -> list[str]:
    """Put noise on what modules return.

    The modules, their names, types, hooks and parameters stay; noise becomes a child of each, `noise_after`, and where
    it is off, every number is the same to the bit. Further insertions there follow the first.

    Args:
        model: The model, changed in place; not yet wrapped or compiled.
        where: Which modules: a pattern of qualified names (`"layers.*.linear1"`; `""` is the model itself), a type,
            that exactly, or several, or a function of a module and its name. After an `nn.Sequential` is after its
            last.
        factory: Called with each module and its name; makes a new layer for it.
        every_call: Whether a module that a forward pass calls several times gets noise at every call; without it that
            is an error, since such noise is seldom meant.
        example_inputs: What to run a copy of the model on, to count calls, where `torch.fx` cannot trace it: a tensor,
            a tuple of arguments or a dict of named ones.

    Returns:
        The names of the modules.

    Raises:
        ValueError: Nothing matches, a module is never called or more than once, or the model is wrapped. The model is
            then as it was.
        TypeError: The factory returns no new module.

    Example:
        >>> import torch, torchdropout as td
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
        >>> td.insert_after_(model, torch.nn.ReLU, lambda module, name: td.Dropout(0.5))
        ['1']
        >>> list(model.state_dict())
        ['0.weight', '0.bias', '2.weight', '2.bias']
    """
    return _insert("insert_after_", AFTER, model, where, factory, every_call, example_inputs)


def insert_before_(
    model: nn.Module, where: Where, factory: Factory, *, every_call: bool = False, example_inputs: Any = None
) -> list[str]:
    """Put noise on the first argument of modules; for the rest see `insert_after_`.

    Args:
        model: The model, changed in place; not yet wrapped or compiled.
        where: Which modules: a pattern of qualified names (`""` is the model itself: noise on its input), a type, that
            exactly, or several, or a function of a module and its name. Before an `nn.Sequential` is before its first.
        factory: Called with each module and its name; makes a new layer for it.
        every_call: Whether a module that a forward pass calls several times gets noise at every call.
        example_inputs: What to run a copy of the model on, to count calls, where `torch.fx` cannot trace it.

    Returns:
        The names of the modules.

    Raises:
        ValueError: Nothing matches, a module is never called or more than once, or the model is wrapped. The model is
            then as it was.
        TypeError: The factory returns no new module.

    Example:
        >>> import torch, torchdropout as td
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
        >>> td.insert_before_(model, torch.nn.Linear, lambda module, name: td.Dropout(0.2 if name == "0" else 0.5))
        ['0', '2']
    """
    return _insert("insert_before_", BEFORE, model, where, factory, every_call, example_inputs)


def _insert(
    owner: str, slot: str, model: nn.Module, where: Where, factory: Factory, every_call: bool, example_inputs: Any
) -> list[str]:
    check_bare(owner, model)
    places = dict(_place(owner, slot, name, module) for name, module in find(owner, model, where).items())
    if not every_call:
        _check_calls(owner, _calls.count(owner, model, places, example_inputs))
    noises = [made(owner, factory, name, module, model) for name, module in places.items()]
    check_new(owner, noises, model)
    changes: list[_log.Change] = []
    for module, noise in zip(places.values(), noises, strict=True):
        _attach(module, slot, noise)
        changes.append(_Inserted(module, slot))
    _log.add(model, changes)
    return list(places)


def _place(owner: str, slot: str, name: str, module: nn.Module) -> tuple[str, nn.Module]:
    """Where noise is attached: a container's children are what is called."""
    if isinstance(module, _NEVER_CALLED):
        raise ValueError(
            f"{owner}: {shown(name)} must be called in a forward pass, a {type(module).__name__} never is."
        )
    if type(module) is not nn.Sequential:
        return name, module
    children = list(module.named_children())
    if not children:
        raise ValueError(f"{owner}: {shown(name)} must have children, this nn.Sequential is empty.")
    child, inner = children[0 if slot == BEFORE else -1]
    return _place(owner, slot, f"{name}.{child}" if name else child, inner)


def _check_calls(owner: str, calls: dict[str, int]) -> None:
    for name, number in calls.items():
        if number == 0:
            raise ValueError(f"{owner}: {shown(name)} must be called in a forward pass, it never is.")
        if number > 1:
            raise ValueError(
                f"{owner}: {shown(name)} must be called once, a forward pass calls it {number} times; give "
                "`every_call=True` if each of them is meant."
            )


def made(owner: str, factory: Factory, name: str, module: nn.Module, model: nn.Module) -> nn.Module:
    """What a factory makes for a module, in its mode and on its device."""
    layer = factory(module, name)
    if not isinstance(layer, nn.Module):
        what = f"{type(layer).__name__} for {shown(name)}"
        raise TypeError(f"{owner}: `factory` must return a torch.nn.Module, got {what}.")
    device = device_of(module, model)
    return layer.train(module.training) if device is None else layer.to(device).train(module.training)


def check_new(owner: str, made: list[nn.Module], model: nn.Module) -> None:
    """Each module that a factory made is its own."""
    known = {id(module) for module in model.modules()}
    for module in made:
        if id(module) in known:
            raise TypeError(f"{owner}: `factory` must make a new module for each place, got the same {module!r} again.")
        known.add(id(module))


class Surrounded:
    """Stands for the `forward` of a module that has noise before or after it; an object, so that it can be copied."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.own = module.__dict__.get("forward")  # one that was set on the module itself

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Noise, the forward of the module's class, noise."""
        module = self.module
        before, after = module._modules.get(BEFORE), module._modules.get(AFTER)
        if before is not None:
            args, kwargs = _first(before, module, args, kwargs)
        y = self.own(*args, **kwargs) if self.own is not None else type(module).forward(module, *args, **kwargs)
        if after is None:
            return y
        if not isinstance(y, Tensor):
            raise TypeError(
                f"insert_after_: a {type(module).__name__} must return a tensor to have noise after it, got "
                f"{type(y).__name__}."
            )
        return after(y)


def _first(
    noise: nn.Module, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments with noise on the first one."""
    if args:
        return (noise(args[0]), *args[1:]), kwargs
    name = next((name for name in inspect.signature(type(module).forward).parameters if name in kwargs), None)
    return args, kwargs if name is None else kwargs | {name: noise(kwargs[name])}


def _attach(module: nn.Module, slot: str, noise: nn.Module) -> None:
    if slot not in module._modules:
        module.add_module(slot, nn.Sequential().train(module.training))
    module.get_submodule(slot).append(noise)  # type: ignore[operator]
    if not isinstance(module.__dict__.get("forward"), Surrounded):
        module.__dict__["forward"] = Surrounded(module)


@dataclass(frozen=True)
class _Inserted:
    """The last noise of a slot."""

    module: nn.Module
    slot: str

    def undo(self) -> None:
        noises: Any = self.module._modules[self.slot]
        del noises[-1]
        if not len(noises):
            del self.module._modules[self.slot]
        if not {BEFORE, AFTER} & self.module._modules.keys():
            own = self.module.__dict__.pop("forward").own
            if own is not None:
                self.module.__dict__["forward"] = own
