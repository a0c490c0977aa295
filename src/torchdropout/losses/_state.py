"""What a finding about a model depends on, to be compared before it is used again."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from torchdropout.losses import _sources

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_TOLD = ("training", "draws_per", *_HOOKS)  # all that matters of a module that tells what it draws
_KNOWN_TO_MATTER = {*_TOLD, "p", "_p", "dropout", "num_layers", "inplace", "inference", "per", "_recurrent", "forward"}
_SKIPPED = vars(nn.Module()).keys() - set(_TOLD)


def state(model: nn.Module, unseen: tuple[str, ...]) -> list[Any]:
    """All that a cut may depend on: modules, modes, hooks, plain attributes; nothing in modules taken for noise."""
    inside, seen = tuple(f"{name}." for name in unseen), dict[int, Any]()
    return [
        (id(module), type(module), () if f"{name}.".startswith(inside) else _shown_attributes(module, seen))
        for name, module in model.named_modules()
    ]


def _shown_attributes(module: nn.Module, seen: dict[int, Any]) -> list[tuple[str, Any]]:
    held = vars(module)
    if _sources.is_known_module(module):
        return [(name, _shown(held[name], seen)) for name in held if name in _KNOWN_TO_MATTER]
    if _sources.declared(module):
        return [(name, _shown(held[name], seen)) for name in _TOLD if name in held]
    return [(name, _shown(value, seen)) for name, value in held.items() if name not in _SKIPPED]


def _shown(value: Any, seen: dict[int, Any]) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Tensor):
        return Tensor  # looked up in the model by every pass
    if isinstance(value, (tuple, list, set, frozenset)) and len(value) <= 16:
        return type(value), [_shown(each, seen) for each in value]
    return id(value), type(value), len(value) if isinstance(value, dict) else _settings(value, seen)


def _settings(value: Any, seen: dict[int, Any]) -> Any:
    """The plain attributes of an object, as a configuration that many modules hold."""
    if isinstance(value, (nn.Module, type)) or not hasattr(value, "__dict__"):
        return None
    if id(value) not in seen:
        plain = (bool, int, float, str, type(None))
        seen[id(value)] = {name: each for name, each in vars(value).items() if isinstance(each, plain)}
    return seen[id(value)]
