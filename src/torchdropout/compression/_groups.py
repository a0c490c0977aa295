"""Which channels can go: those that are zero for every input, and those that nothing reads.

Torch-Pruning's dependency graph says which channels of which layers belong together. In such a group a channel is dead
if every layer that makes it has only zeros for it and everything on its way keeps zero at zero, and unread if every
layer that takes it has only zeros for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def removable(group: Any, roots: int) -> list[int]:
    """The channels of a group's first layer that can go, by number; at least one stays."""
    dead, unread = torch.ones(roots, dtype=torch.bool), torch.ones(roots, dtype=torch.bool)
    made = read = False
    for module, is_out, own, root in _parts(group):
        if isinstance(module, WEIGHTED) and not _is_depthwise(module):
            zero = _zero_rows(module) if is_out else _zero_columns(module)
            (dead if is_out else unread)[_not(zero, own, root)] = False
            made, read = made or is_out, read or not is_out
        else:
            dead[_not(_keeps_zero(module), own, root)] = False
    gone = (dead if made else torch.zeros_like(dead)) | (unread if read else torch.zeros_like(unread))
    gone &= _leaves_groups_even(group, gone)
    if bool(gone.all()):
        gone[0] = False
    return gone.nonzero().flatten().tolist()


def _not(fine: Tensor, own: Tensor, root: Tensor) -> Tensor:
    """The channels of the first layer of which a layer's are not fine, or which it does not have."""
    known = own < len(fine)
    return root[~(known & fine[own.clamp(max=len(fine) - 1)])]


def touches_output(group: Any) -> bool:
    """Whether the model returns channels of a group, or it has layers that mix its channels."""
    mixing = (nn.LayerNorm, nn.GroupNorm, nn.MultiheadAttention, nn.LSTM, nn.GRU, nn.Embedding, nn.Parameter)
    return any(isinstance(dep.target.module, mixing) or "Output" in str(dep.target.name) for dep, _ in group)


def _parts(group: Any) -> Iterator[tuple[nn.Module, bool, Tensor, Tensor]]:
    """Layers of a group: whether their outputs are meant, which channels, and which of the first layer these are."""
    for item in group.items:
        module = item.dep.target.module
        if not list(module.parameters(recurse=False)) and not isinstance(module, _BATCH_NORMS):
            continue
        is_out = "out" in item.dep.handler.__name__
        root = item.root_idxs if item.root_idxs is not None else item.idxs
        yield module, is_out, torch.tensor(item.idxs), torch.tensor(root)


def _is_depthwise(module: Any) -> bool:
    return getattr(module, "groups", 1) > 1 and module.groups == module.out_channels


@torch.no_grad()
def _zero_rows(module: Any) -> Tensor:
    zero: Tensor = (module.weight == 0).flatten(1).all(1)
    return zero if module.bias is None else zero & (module.bias == 0)


@torch.no_grad()
def _zero_columns(module: Any) -> Tensor:
    groups = getattr(module, "groups", 1)
    out, inputs = module.weight.shape[:2]
    by_group: Tensor = (module.weight == 0).reshape(groups, out // groups, inputs, -1)
    return by_group.all(3).all(1).flatten()


@torch.no_grad()
def _keeps_zero(module: Any) -> Tensor:
    """Whether each channel that is zero before a layer is zero behind it."""
    if isinstance(module, _BATCH_NORMS):
        return _norm_keeps_zero(module)
    if isinstance(module, nn.PReLU):
        return torch.ones(1 << 20, dtype=torch.bool)  # of any number of channels
    if _is_depthwise(module):
        none = torch.ones(module.out_channels, dtype=torch.bool)
        return none if module.bias is None else module.bias == 0
    return torch.zeros(1, dtype=torch.bool)


def _norm_keeps_zero(module: Any) -> Tensor:
    if module.running_mean is None:
        return torch.zeros(module.num_features, dtype=torch.bool)
    scale = (module.running_var + module.eps).rsqrt() * (1.0 if module.weight is None else module.weight)
    shift: Tensor = -module.running_mean * scale + (0.0 if module.bias is None else module.bias)
    return shift == 0


def _leaves_groups_even(group: Any, gone: Tensor) -> Tensor:
    """Of grouped convolutions, those channels whose place is free in every group."""
    kept = torch.ones_like(gone)
    for module, is_out, own, root in _parts(group):
        count: int = getattr(module, "groups", 1)
        if count > 1 and not _is_depthwise(module):
            size = int(module.out_channels if is_out else module.in_channels)  # type: ignore[arg-type]
            free = torch.zeros(size, dtype=torch.bool)
            known = own < size
            free[own[known]] = gone[root[known]]
            even = free.view(count, -1).all(0).repeat(count)
            kept[_not(even, own, root)] = False
    return kept
