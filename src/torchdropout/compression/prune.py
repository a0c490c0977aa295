"""Weights and channels that the noise says are useless become zero, for good."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

import torchdropout as td
from torchdropout.compression._fold import Neighbours
from torchdropout.compression._plain import is_ours, plain, scale_of
from torchdropout.layers._checks import check_number
from torchdropout.layers._sparse import check_threshold
from torchdropout.surgery._select import check_bare


@dataclass(frozen=True)
class Pruned:
    """What was removed in a layer.

    Attributes:
        name: The layer's qualified name.
        what: `"weights"` or `"channels"`.
        total: How many there were.
        kept: How many are left.
    """

    name: str
    what: str
    total: int
    kept: int


@dataclass(frozen=True)
class PruneReport:
    """What was removed, a layer after the other; it prints as a table."""

    layers: tuple[Pruned, ...]

    @property
    def sparsity(self) -> float:
        """The part of all weights, or of all channels, that is gone."""
        total = sum(layer.total for layer in self.layers)
        return 1.0 - sum(layer.kept for layer in self.layers) / total

    def __str__(self) -> str:
        width = max(len(layer.name) for layer in self.layers)
        return "\n".join(
            f"{layer.name:<{width}}  {layer.kept:>9} of {layer.total:>9} {layer.what} left" for layer in self.layers
        )


@torch.no_grad()
def prune_(
    model: nn.Module, *, threshold: float | None = None, snr: float | None = None, num_inputs: int = 1
) -> PruneReport:
    """Make zero what learned noise says is useless, and put plain PyTorch layers in the place of all noise.

    Of sparse variational layers the weights with `log alpha >= threshold` become zero. Of log-normal gates the channels
    with a ratio of mean to deviation up to `snr` become zero, behind the batch norm that follows, too; the others are
    scaled by the gate's mean, in the weights before or behind it. All other noise layers become what they compute in
    eval. At least one weight or channel of a layer is kept, that with the least noise.

    When training goes on, `constrain_(optimizer, model, FixedZeros())` keeps the zeros.

    Args:
        model: The model, changed in place.
        threshold: Of log alpha; None: each layer's own, which is 3 unless set.
        snr: Of gates; None: each layer's own, which is 1 unless set.
        num_inputs: How many arguments the model's forward takes.

    Returns:
        What was removed from each layer.

    Raises:
        ValueError: The model has no such layers; a noise layer has no plain one; or a gate cannot be folded. The model
            is then as it was.

    Example:
        >>> import torch, torchdropout as td
        >>> model = torch.nn.Sequential(torch.nn.Linear(8, 4), td.LogNormalDropout(4), torch.nn.ReLU())
        >>> _ = model[1].log_sigma.data[:3].fill_(5.0)
        >>> print(td.prune_(model))
        1          1 of         4 channels left
        >>> model
        Sequential(
          (0): Linear(in_features=8, out_features=4, bias=True)
          (1): Identity()
          (2): ReLU()
        )
    """
    check_bare("prune_", model)
    if threshold is not None:
        check_threshold("prune_", threshold)
    if snr is not None:
        check_number("prune_", "snr", snr, "at least 0", lambda value: value >= 0)
    layers = {name: module for name, module in model.named_modules() if _decides(module)}
    if not layers:
        raise ValueError("prune_: the model must have sparse variational layers or log-normal gates, got neither.")
    before = {module: (vars(module).get("threshold"), vars(module).get("snr_threshold")) for module in layers.values()}
    saved = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    try:
        report = PruneReport(tuple(_settle(name, module, threshold, snr) for name, module in layers.items()))
        to_plain_("prune_", model, num_inputs)
    except ValueError:
        _restore(model, before, saved)
        raise
    return report


def _decides(module: nn.Module) -> bool:
    sparse = (td.SparseVariationalLinear, td.SparseVariationalConv1d, td.SparseVariationalConv2d)
    return isinstance(module, (*sparse, td.LogNormalDropout))


def _settle(name: str, module: Any, threshold: float | None, snr: float | None) -> Pruned:
    """Set a layer's threshold so that it keeps at least one."""
    if isinstance(module, td.LogNormalDropout):
        limit, what = module.snr_threshold if snr is None else snr, "channels"
        module.snr_threshold = min(limit, float(module.snr().max()) * (1.0 - 1e-6))
    else:
        limit, what = module.threshold if threshold is None else threshold, "weights"
        module.threshold = max(limit, float(module.log_alpha.min()) + 1e-5)
    return Pruned(name, what, module.mask.numel(), int(module.mask.sum()))


def _restore(model: nn.Module, before: dict[nn.Module, tuple[object, object]], saved: dict[str, torch.Tensor]) -> None:
    for module, (threshold, snr) in before.items():
        if threshold is not None:
            module.threshold = threshold  # type: ignore[assignment]
        if snr is not None:
            module.snr_threshold = snr  # type: ignore[assignment]
    model.load_state_dict(saved)


def to_plain_(owner: str, model: nn.Module, num_inputs: int = 1) -> None:
    """Plain layers in the place of all of this package's; nothing is replaced unless all can be."""
    ours = {name: module for name, module in model.named_modules() if is_ours(module) and not _inside(model, name)}
    made = {name: plain(owner, module, name) for name, module in ours.items()}
    scales = {name: scale_of(ours[name]) for name, new in made.items() if new is None}
    if "" in made:
        raise ValueError(f"{owner}: the model itself is a {type(model).__name__}; put it into a torch.nn.Sequential.")
    places = [(parent, child, model) for parent in model.modules() for child in parent._modules]
    olds = [(parent, child, parent._modules[child]) for parent, child, _ in places]
    names = {module: name for name, module in ours.items()}
    for parent, child, old in olds:
        if old in names:
            new = made[names[old]]
            parent._modules[child] = nn.Identity() if new is None else new
    if not scales:
        return
    try:
        neighbours = Neighbours(owner, model, num_inputs)
        for name, scale in scales.items():
            neighbours.fold(name, scale)
    except ValueError:
        for parent, child, old in olds:
            parent._modules[child] = old
        raise


def _inside(model: nn.Module, name: str) -> bool:
    """Whether a module lies in another of this package's, which is replaced with it."""
    parts = name.split(".")
    return any(is_ours(model.get_submodule(".".join(parts[:n]))) for n in range(1, len(parts)))
