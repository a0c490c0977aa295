"""A physically smaller model: channels that are zero, or that nothing reads, are taken out of every layer."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.utils._pytree import tree_map

from torchdropout.compression import _constants, _groups, _recurrent
from torchdropout.compression._plain import is_ours
from torchdropout.compression._run import first_outputs, outputs, tensors
from torchdropout.compression.heads import FewerHeads, left
from torchdropout.compression.prune import to_plain_
from torchdropout.surgery._select import check_bare


def shrink(model: nn.Module, example_inputs: Any, *, tolerance: float = 1e-4) -> nn.Module:
    """A plain, physically smaller copy of a pruned model: units and channels that do nothing are gone from every layer.

    A unit or channel does nothing if all layers that make it have only zeros for it, biases and batch norms too, and
    nothing on its way (an activation, a residual sum) makes it other than zero; or if all layers that take it have only
    zeros for it. One that is constant, since only a bias is left of what makes it, joins the biases of the linear
    layers and unpadded convolutions behind it. Attention heads go, for which `torch.nn.MultiheadAttention` becomes a
    `torchdropout.compression.heads.FewerHeads`, and units of LSTM, GRU and RNN. A layer whose units are all superfluous
    keeps one. Layers of this package become plain ones; those that compute nothing in eval are identities.
    `torchdropout.prune_` makes the zeros; any other way to them will do.

    The result is in eval, and is compared with the model on `example_inputs` and on random inputs like them after every
    step; what disagrees is not done, or, where that cannot be told apart, the whole is refused.

    Args:
        model: The pruned model; it is not changed.
        example_inputs: A tensor, a tuple of arguments, or a dict of named ones, that reach all parts of the model.
        tolerance: By how much outputs may differ, as a part of the largest.

    Returns:
        The smaller model.

    Raises:
        ValueError: The model cannot be traced, `example_inputs` do not reach a layer, a noise layer has no plain one,
            or the outputs disagree.
        ImportError: Torch-Pruning is not installed.

    Example:
        >>> import torch, torchdropout as td
        >>> model = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
        >>> _ = model[0].weight.data[1:].zero_(), model[0].bias.data[1:].zero_()
        >>> td.shrink(model, torch.randn(3, 8))
        Sequential(
          (0): Linear(in_features=8, out_features=1, bias=True)
          (1): ReLU()
          (2): Linear(in_features=1, out_features=2, bias=True)
        )
    """
    check_bare("shrink", model)
    inputs = _probes(example_inputs)
    small = _copy(model).eval()
    expected = [first_outputs("shrink", model, each) for each in inputs]
    if any(is_ours(module) for module in small.modules()):
        to_plain_("shrink", small, len(example_inputs) if isinstance(example_inputs, (tuple, list)) else 1)
    _without_masks(small)
    _check_alike(small, inputs, expected, tolerance)
    _check_reached(small, example_inputs)
    seen = _Seen(inputs, expected, tolerance)
    for change in (_without_constants, _without_heads, _without_recurrent_units):
        small = change(small, seen)
    return _without_channels(small, seen)


@dataclass(frozen=True)
class _Seen:
    """Inputs, the original's outputs on them, and how near to these those of a smaller model must be."""

    inputs: list[Any]
    expected: list[list[Tensor]]
    tolerance: float

    def agrees(self, model: nn.Module) -> bool:
        """Whether a model gives the original's outputs."""
        return _alike(model, self.inputs, self.expected, self.tolerance)


def _without_constants(model: nn.Module, seen: _Seen) -> nn.Module:
    first = seen.inputs[0]
    count = len(first) if isinstance(first, (tuple, list, dict)) else 1
    for name in _constants.names(model):
        candidate = _constants.fold(copy.deepcopy(model), name, count)
        if candidate is not None and seen.agrees(candidate):
            model = candidate
    return model


def _without_heads(model: nn.Module, seen: _Seen) -> nn.Module:
    for name in [n for n, m in model.named_modules() if type(m) is nn.MultiheadAttention]:
        attention = model.get_submodule(name)
        kept = left(attention)  # type: ignore[arg-type]
        if kept is not None and name:
            candidate = copy.deepcopy(model)
            candidate.set_submodule(name, FewerHeads(attention, kept))  # type: ignore[arg-type]
            model = candidate if seen.agrees(candidate) else model
    return model


def _without_recurrent_units(model: nn.Module, seen: _Seen) -> nn.Module:
    for name in [n for n, m in model.named_modules() if type(m) in _recurrent.KINDS and n]:
        candidate = _recurrent.smaller(copy.deepcopy(model), name)
        if candidate is not None and seen.agrees(candidate):
            model = candidate
    return model


def _copy(model: nn.Module) -> nn.Module:
    """A copy; what PyTorch's masks last computed has a graph, which cannot be copied, and is computed anew."""
    for module in model.modules():
        for name in [name.removesuffix("_orig") for name in module._parameters if name.endswith("_orig")]:
            vars(module)[name] = getattr(module, name).detach()
    return copy.deepcopy(model)


def _without_masks(model: nn.Module) -> None:
    for module in model.modules():
        for name in [name.removesuffix("_orig") for name in module._parameters if name.endswith("_orig")]:
            prune.remove(module, name)  # type: ignore[no-untyped-call]


class _UntraceableError(ValueError):
    """Torch-Pruning cannot trace a model."""


def _without_channels(model: nn.Module, seen: _Seen) -> nn.Module:
    """The model without the channels that can go, a group of layers after the other, until there are none."""
    names = [name for name, module in model.named_modules() if type(module) in _groups.WEIGHTED]
    skipped, changed = set[tuple[str, int]](), True
    while changed:
        changed = False
        for name in names:
            try:
                found = _candidate(model, name, seen.inputs[0], skipped)
            except _UntraceableError as error:
                if not any(isinstance(module, _recurrent.KINDS) for module in model.modules()):
                    raise
                message = (
                    f"shrink: channels are left as they are beside recurrent layers; {str(error)[len('shrink: ') :]}"
                )
                warnings.warn(message, stacklevel=3)
                return model
            if found is None:
                continue
            candidate, size = found
            if seen.agrees(candidate):
                model, changed = candidate, True
            else:
                skipped.add((name, size))
    return model


def _candidate(model: nn.Module, name: str, inputs: Any, skipped: set[tuple[str, int]]) -> tuple[nn.Module, int] | None:
    """A copy without the channels of a layer's group that can go, and the layer's size before."""
    twin = copy.deepcopy(model)
    layer = twin.get_submodule(name)
    graph = _graph(twin, inputs)
    pruner = graph.get_pruner_of_module(layer)
    if pruner is None or (name, size := pruner.get_out_channels(layer)) in skipped:
        return None
    group = graph.get_pruning_group(layer, pruner.prune_out_channels, list(range(size)))
    if _groups.touches_output(group) or (not graph.check_pruning_group(group) and size == 1):
        return None
    gone = _groups.removable(group, size)
    if not gone:
        return None
    graph.get_pruning_group(layer, pruner.prune_out_channels, gone).prune()
    return twin, size


def _graph(model: nn.Module, inputs: Any) -> Any:
    try:
        import torch_pruning  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ImportError("shrink: it needs Torch-Pruning: pip install 'torchdropout[compress]'.") from error
    given = dict(inputs) if isinstance(inputs, dict) else list(inputs) if isinstance(inputs, tuple) else inputs
    try:
        with torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch_pruning.DependencyGraph().build_dependency(
                model, given, output_transform=tensors, verbose=False
            )
    except Exception as error:  # whatever tracing meets in a model
        reason = " ".join(str(error).split()) or type(error).__name__
        raise _UntraceableError(f"shrink: `model` must be one that Torch-Pruning can trace; found: {reason}") from error


def _probes(example_inputs: Any) -> list[Any]:
    """The inputs, and random ones like them."""
    generator = torch.Generator().manual_seed(0)

    def like(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor) or not leaf.is_floating_point():
            return leaf
        drawn = torch.randn(leaf.shape, generator=generator, dtype=torch.float64).to(leaf)
        return drawn * leaf.std(correction=0).clamp(min=0.1) + leaf.mean()

    return [example_inputs, tree_map(like, example_inputs)]


def _difference(model: nn.Module, inputs: list[Any], expected: list[list[Tensor]]) -> float:
    """The largest difference of outputs, as a part of the largest output."""
    worst = 0.0
    for each, wanted in zip(inputs, expected, strict=True):
        found = outputs(model, each)
        if [y.shape for y in found] != [y.shape for y in wanted]:
            return float("inf")
        for a, b in zip(found, wanted, strict=True):
            scale = float(b.abs().max()) if b.numel() else 1.0
            worst = max(worst, float((a.double() - b.double()).abs().max()) / max(scale, 1e-12)) if b.numel() else worst
    return worst


def _alike(model: nn.Module, inputs: list[Any], expected: list[list[Tensor]], tolerance: float) -> bool:
    try:
        return _difference(model, inputs, expected) <= tolerance
    except Exception:  # shapes that no longer fit, as where a forward has numbers in it, or what is not there any more
        return False


def _check_alike(model: nn.Module, inputs: list[Any], expected: list[list[Tensor]], tolerance: float) -> None:
    worst = _difference(model, inputs, expected)
    if worst > tolerance:
        raise ValueError(
            f"shrink: the plain model must give the model's outputs, they differ by {worst:.3g} of the largest."
        )


def _check_reached(model: nn.Module, inputs: Any) -> None:
    """Every layer with weights must be called."""
    called = set[str]()
    hooks = [
        module.register_forward_pre_hook(lambda *_, name=name: called.add(name))
        for name, module in model.named_modules()
    ]
    outputs(model, inputs)
    for hook in hooks:
        hook.remove()
    missed = [
        name for name, module in model.named_modules()
        if isinstance(module, _groups.WEIGHTED) and name not in called and "out_proj" not in name
    ]  # fmt: skip
    if missed:
        raise ValueError(f"shrink: `example_inputs` must reach every layer, {', '.join(missed[:8])} was not called.")
