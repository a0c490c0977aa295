"""Weights and channels that the noise says are useless become zero, for good."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

import torchdropout as td
from torchdropout.compression._fold import Neighbours, host_of
from torchdropout.compression._plain import is_ours, plain, scale_of
from torchdropout.layers._checks import check_number
from torchdropout.layers._sparse import check_threshold
from torchdropout.surgery._log import CHANGES
from torchdropout.surgery._select import AFTER, BEFORE, check_bare


@dataclass(frozen=True)
class Pruned:
    """What was removed in a layer.

    Attributes:
        name: The layer's qualified name.
        what: `"weights"`, `"channels"` of its output, or `"input channels"`.
        total: How many there were.
        kept: How many are left.
        all_noise: Whether all of them were to go, so that the one with the least noise was kept.
    """

    name: str
    what: str
    total: int
    kept: int
    all_noise: bool = False

    def __str__(self) -> str:
        more = ", the least noisy: all were to go" if self.all_noise else ""
        return f"{self.kept:>9} of {self.total:>9} {self.what} left{more}"


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
        return "\n".join(f"{layer.name:<{width}}  {layer}" for layer in self.layers)


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
    """Set a layer's threshold, and where it would remove everything, keep one."""
    if isinstance(module, td.LogNormalDropout):
        limit = module.snr_threshold if snr is None else snr
        module.snr_threshold = limit
        everything = not bool(module.mask.any())
        module.snr_threshold = min(limit, float(module.snr().max()) * (1.0 - 1e-6))
        host, slot = host_of(name)
        what = "input channels" if slot == BEFORE else "channels"
        return Pruned(host, what, module.mask.numel(), int(module.mask.sum()), everything)
    module.threshold = module.threshold if threshold is None else threshold
    everything = not bool(module.mask.any())
    if everything:
        signal = (2 * module.weight.abs().log() - module.log_sigma2).flatten()
        best = torch.zeros_like(signal, dtype=torch.bool)
        best[signal.argmax()] = True
        best = best.view_as(module.weight)
        module.weight.masked_fill_(~best, 0.0)
        module.log_sigma2.masked_fill_(best, -40.0)
    kept = int((module.mask & (module.weight != 0)).sum())
    return Pruned(name, "weights", module.weight.numel(), kept, everything)


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
    scales = {name: (scale_of(ours[name]), getattr(ours[name], "dim", 1)) for name, new in made.items() if new is None}
    if "" in made:
        raise ValueError(f"{owner}: the model itself is a {type(model).__name__}; put it into a torch.nn.Sequential.")
    before = [(module, dict(module._modules), vars(module).get("forward")) for module in model.modules()]
    try:
        _put(model, {module: made[name] for name, module in ours.items()})
        _without_slots(owner, model)
        if scales:
            neighbours = Neighbours(owner, model, num_inputs)
            for name, (scale, dim) in scales.items():
                neighbours.fold(name, scale, dim)
    except ValueError:
        for module, children, forward in before:
            module._modules.clear()
            module._modules.update(children)
            if forward is not None:
                vars(module)["forward"] = forward
        raise
    vars(model).pop(CHANGES, None)  # there is nothing to go back to


def _put(model: nn.Module, made: dict[nn.Module, nn.Module | None]) -> None:
    """Each new layer in all places of the old one; noise that was inserted at the old one goes to the new one."""
    for parent in [*model.modules()]:
        for child, old in [*parent._modules.items()]:
            if old is not None and old in made:
                new = made[old] or nn.Identity()
                for slot in {BEFORE, AFTER} & old._modules.keys():
                    noise = old._modules[slot]
                    _put(noise, made)  # type: ignore[arg-type]
                    new._modules[slot] = noise
                parent._modules[child] = new


def _without_slots(owner: str, model: nn.Module) -> None:
    """Inserted noise that does nothing any more is taken out."""
    for name, module in [*model.named_modules()]:
        for slot in {BEFORE, AFTER} & module._modules.keys():
            left = [each for each in module._modules[slot] if not isinstance(each, nn.Identity)]
            if left:
                raise ValueError(f"{owner}: {name}.{slot} has a {type(left[0]).__name__}, which has no plain layer.")
            del module._modules[slot]
            inserted = vars(module).pop("forward", None)
            if getattr(inserted, "own", None) is not None:
                vars(module)["forward"] = inserted.own


def _inside(model: nn.Module, name: str) -> bool:
    """Whether a module lies in another of this package's, which is replaced with it."""
    parts = name.split(".")
    outer = [n for n in range(1, len(parts)) if is_ours(model.get_submodule(".".join(parts[:n])))]
    return any(parts[n] not in (BEFORE, AFTER) for n in outer)
