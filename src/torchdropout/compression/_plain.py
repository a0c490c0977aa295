"""Plain PyTorch layers in the place of this package's, each computing what the other computes in eval."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import torchdropout as td
from torchdropout import laws

Made = nn.Module | None  # None: a scale, which has to be folded into a neighbour


def _linear(module: Any, weight: Tensor | None = None, bias: Tensor | None = None) -> nn.Linear:
    new = nn.Linear(module.in_features, module.out_features, module.bias is not None)
    return _filled(new, module, weight, bias)  # type: ignore[no-any-return]


def _conv(module: Any, weight: Tensor | None = None, bias: Tensor | None = None) -> nn.Module:
    kind: Any = next(k for k in (nn.Conv1d, nn.Conv2d, nn.Conv3d) if isinstance(module, k))
    names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
    new = kind(**{name: getattr(module, name) for name in names}, bias=module.bias is not None)
    return _filled(new, module, weight, bias)  # type: ignore[no-any-return]


def _filled(new: Any, module: Any, weight: Tensor | None, bias: Tensor | None) -> Any:
    new.to(module.weight.device, module.weight.dtype)
    with torch.no_grad():
        new.weight.copy_(module.weight if weight is None else weight)
        if module.bias is not None:
            new.bias.copy_(module.bias if bias is None else bias)
    return new.train(module.training)


def _weighted(module: Any, weight: Tensor | None = None, bias: Tensor | None = None) -> Any:
    return (_linear if isinstance(module, nn.Linear) else _conv)(module, weight, bias)


def _sparse(module: Any) -> nn.Module:
    """The means, zero where they are mostly noise."""
    return _weighted(module, torch.where(module.mask, module.weight, 0.0))  # type: ignore[no-any-return]


def _dropconnect(module: Any) -> nn.Module:
    if module.inference == "sample" or module.activation != "identity":
        raise ValueError(
            f"its eval with inference={module.inference!r} and activation={module.activation!r} is no linear layer"
        )
    keep = float(laws.keep(module.p))
    return _weighted(module, module.weight * keep, None if module.bias is None else module.bias * keep)  # type: ignore[no-any-return]


def _fast(module: Any) -> nn.Module:
    if module.mode != "sample" or module.activation != "identity":
        raise ValueError(f"its eval with mode={module.mode!r} and activation={module.activation!r} is no linear layer")
    return _linear(module)


def _concrete(module: Any) -> nn.Module:
    if module.inference == "sample":
        raise ValueError("its eval draws")
    inner = module.layer
    if not isinstance(inner, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        raise ValueError(f"it wraps a {type(inner).__name__}")
    with torch.no_grad():  # eval multiplies the input by a number, which the weights can do
        wanted = module.layer
        ones = torch.ones(2, *[1] * _rank(inner), dtype=inner.weight.dtype, device=inner.weight.device)
        scale = _scale_of_input(module, ones)
    return _weighted(wanted, inner.weight * scale)  # type: ignore[no-any-return]


def _rank(inner: nn.Module) -> int:
    return 1 if isinstance(inner, nn.Linear) else 1 + len(inner.kernel_size)  # type: ignore[arg-type]


def _scale_of_input(module: Any, ones: Tensor) -> float:
    """What a concrete layer multiplies its input by in eval, seen by an identity in the place of the layer."""
    inner, module.layer = module.layer, nn.Identity()
    mode = module.training
    try:
        return float(module.eval()(ones).flatten()[0])
    finally:
        module.layer = inner
        module.train(mode)


def _silent(module: Any) -> Made:
    """The identity, or a scale by the paper's rule."""
    return None if getattr(module, "rule", "inverted") == "paper" else nn.Identity()


def _recurrent(module: Any) -> nn.Module:
    if any(isinstance(kind, (td.CellDropout, td.Zoneout)) for kind in module.recurrent):
        raise ValueError("its test rule is part of the recurrence")
    kind = getattr(nn, type(module).__name__)
    names = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional")
    options = {name: getattr(module, name) for name in names} | module._more_options(module)
    weight = next(module.parameters())
    new = kind(**options, device=weight.device, dtype=weight.dtype)
    new.load_state_dict(module.state_dict())
    return new.train(module.training)  # type: ignore[no-any-return]


_RULES: dict[tuple[type[nn.Module], ...], Callable[[Any], Made]] = {
    (td.SparseVariationalLinear, td.SparseVariationalConv1d, td.SparseVariationalConv2d): _sparse,
    (td.VariationalLinear, td.VariationalConv1d, td.VariationalConv2d, td.MixoutLinear): _weighted,
    (td.DropConnectLinear, td.DropConnectConv1d, td.DropConnectConv2d): _dropconnect,
    (td.FastDropoutLinear,): _fast,
    (td.ConcreteDropout, td.ConcreteDropout1d, td.ConcreteDropout2d): _concrete,
    (td.LSTM, td.GRU, td.RNN): _recurrent,
    (td.EmbeddingDropout,): lambda module: module.embedding,
    (td.LayerDrop,): lambda module: module.layer,
    (td.LogNormalDropout,): lambda _: None,
    (td.MultiSampleDropout,): lambda module: module.head,
    (
        td.Dropout, td.Dropout1d, td.Dropout2d, td.Dropout3d, td.AlphaDropout, td.FeatureAlphaDropout,
        td.GaussianDropout, td.GaussianNoise, td.StochasticRateDropout, td.VariationalDropout, td.DropPath, td.MaxDrop,
        td.DropBlock1d, td.DropBlock2d, td.Cutout, td.LockedDropout, td.WordDropout, td.PatchDropout, td.DropKey,
    ): _silent,
}  # fmt: skip
RULES = {kind: rule for kinds, rule in _RULES.items() for kind in kinds}


def is_ours(module: nn.Module) -> bool:
    """Whether a module's class is this package's."""
    return type(module).__module__.startswith(
        ("torchdropout.layers.", "torchdropout.recurrent.", "torchdropout.losses.")
    )


def plain(owner: str, module: nn.Module, name: str) -> Made:
    """The plain layer of one of this package's, or None for a scale of its input.

    Raises:
        ValueError: No plain layer computes what the module computes in eval.
    """
    rule = RULES.get(type(module))
    if rule is None:
        raise ValueError(f"{owner}: {name} ({type(module).__name__}) has no plain layer that computes its eval.")
    try:
        return rule(module)
    except ValueError as error:
        raise ValueError(f"{owner}: {name} ({type(module).__name__}) has no plain layer, since {error}.") from error


def scale_of(module: Any) -> Tensor:
    """What a layer multiplies by in eval: a number, or one for each channel."""
    if isinstance(module, td.LogNormalDropout):
        with torch.no_grad():
            return torch.where(module.mask, module.mean(), 0.0)
    return torch.tensor(float(laws.keep(module.p)))
