"""Sampling mode: noise is live and everything else as in eval."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.nn.utils.spectral_norm import SpectralNorm

Excluded = Iterable[str | type[nn.Module]]

# Their train mode does something else than to draw: batch, instance and sync norms use and move statistics, spectral
# norms take a step of their power iteration.
_NORMS = (nn.modules.batchnorm._NormBase, parametrizations._SpectralNorm)

_USERS: WeakKeyDictionary[nn.Module, tuple[int, int]] = WeakKeyDictionary()  # of a module: the thread, and how often
_LOCK = threading.Lock()


class TrainModeError(RuntimeError):
    """A module's train mode does something else than to draw noise."""


@contextmanager
def sampling(model: nn.Module, *, exclude: Excluded = ()) -> Iterator[nn.Module]:
    """Make every source of noise in a model live, and nothing else, for a block.

    Modules are put in train mode but for norms that use or move statistics (batch, instance, sync and spectral norm),
    which stay in eval. So dropout of every kind draws: modules of this package, of PyTorch and of others, inside
    recurrent, attention and encoder layers, and calls of functions with `training=self.training`. After the block every
    module has the mode it had. Gradients are computed or not, as around the block.

    Where a module's train mode changes a buffer, as a norm written by hand does, the buffer gets its value back and the
    block ends in an error that names the module. `mc_predict` finds other things that train modes do.

    Args:
        model: The model; wrapped and compiled ones too.
        exclude: Modules that stay in eval, by patterns of qualified names as `fnmatch` has them (`""` is the model
            itself), or by classes. What an excluded module holds is not excluded with it.

    Yields:
        The model.

    Raises:
        TypeError: `model` is no module.
        ValueError: A name or class of `exclude` fits no module.
        RuntimeError: Another thread samples the same model; or, after the block, a buffer changed.

    Example:
        >>> import torch, torchdropout as td
        >>> model = torch.nn.Sequential(torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.5)).eval()
        >>> with td.sampling(model), torch.no_grad():
        ...     y = model(torch.ones(2, 4))
        >>> bool((y == 0).any()), model.training, model[0].num_batches_tracked
        (True, False, tensor(0))
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"sampling: `model` must be a torch.nn.Module, got {type(model).__name__}.")
    live = _live(model, exclude)
    _enter(live)
    modes = [(module, module.training) for module in live]
    single = [module for module in live if hasattr(type(module), "one_sample")]
    held = _buffers(module for module, is_live in live.items() if is_live)
    try:
        for module, is_live in live.items():
            _set_mode(module, is_live)
        for module in single:
            module.one_sample = True  # type: ignore[assignment]
        yield model
    finally:
        for module, mode in modes:
            _set_mode(module, mode)
        for module in single:
            del module.one_sample
        _leave(live)
        changed = _put_back(model, held)
    if changed:
        raise TrainModeError(
            f"sampling: the train mode of {', '.join(changed)} changes a buffer, so it does more than draw noise; name "
            "it in `exclude` to leave it in eval. The buffer has its old value."
        )


def _set_mode(module: nn.Module, training: bool) -> None:
    """As `module.training = training`, without what looks for parameters there."""
    if "training" in vars(module):
        vars(module)["training"] = training
    else:
        module.training = training


def _live(model: nn.Module, exclude: Excluded) -> dict[nn.Module, bool]:
    """Every module, and whether its train mode is wanted."""
    named = list(model.named_modules())
    out = set[nn.Module]()
    for each in [exclude] if isinstance(exclude, (str, type)) else exclude:
        found = [m for name, m in named if _fits(name, m, each)]
        if not found:
            what = each if isinstance(each, str) else each.__name__
            raise ValueError(f"sampling: `exclude` must name modules of the model, got {what!r}, which fits none.")
        out.update(found)
    return {module: module not in out and not _is_norm(module) for _, module in named}


def _fits(name: str, module: nn.Module, wanted: str | type[nn.Module]) -> bool:
    return fnmatchcase(name, wanted) if isinstance(wanted, str) else isinstance(module, wanted)


def _is_norm(module: nn.Module) -> bool:
    hooks = module._forward_pre_hooks
    return isinstance(module, _NORMS) or (bool(hooks) and any(isinstance(h, SpectralNorm) for h in hooks.values()))


def _enter(modules: Iterable[nn.Module]) -> None:
    thread = threading.get_ident()
    with _LOCK:
        for module in modules:
            if _USERS.get(module, (thread, 0))[0] != thread:
                raise RuntimeError(
                    f"sampling: one thread at a time may sample a model, and another samples this "
                    f"{type(module).__name__} now; give each thread a copy."
                )
        for module in modules:
            _USERS[module] = thread, _USERS.get(module, (thread, 0))[1] + 1


def _leave(modules: Iterable[nn.Module]) -> None:
    with _LOCK:
        for module in modules:
            thread, depth = _USERS[module]
            if depth == 1:
                del _USERS[module]
            else:
                _USERS[module] = thread, depth - 1


def _buffers(modules: Iterable[nn.Module]) -> list[tuple[nn.Module, str, Tensor, Tensor]]:
    """The buffers that a train mode might change, and copies; PyTorch's own modules change none of theirs but norms."""
    return [
        (module, name, buffer, buffer.detach().clone())
        for module in modules
        if module._buffers and not _is_torchs(module)
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]


def _is_torchs(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.nn.") and not _is_observer(module)


def _is_observer(module: nn.Module) -> bool:
    return "observer" in type(module).__module__


def _put_back(model: nn.Module, held: list[tuple[nn.Module, str, Tensor, Tensor]]) -> list[str]:
    """Give changed buffers their values back; the names of their modules."""
    if not held:
        return []
    changed = []
    names = {module: name for name, module in model.named_modules()}
    for module, name, buffer, old in held:
        same = module._buffers.get(name) is buffer and _equal(buffer, old)
        if not same:
            with torch.no_grad():
                module._buffers[name] = buffer.copy_(old) if buffer.shape == old.shape else old
            changed.append(f"{names[module] or 'the model'} ({type(module).__name__})")
    return list(dict.fromkeys(changed))


def _equal(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return bool(torch.equal(a, b) or (a.is_floating_point() and torch.equal(a.nan_to_num(), b.nan_to_num())))
