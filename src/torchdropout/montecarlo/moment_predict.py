"""The mean and the variance of noisy predictions in a single pass, without samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from torchdropout.layers._local import squared_linear
from torchdropout.layers._moments import Moments, relu_moments, sigmoid_moments, wide
from torchdropout.layers.dropout import Dropout
from torchdropout.layers.fast_dropout import FastDropoutLinear
from torchdropout.layers.gaussian import GaussianDropout
from torchdropout.layers.gaussian_noise import GaussianNoise
from torchdropout.montecarlo import _joint
from torchdropout.montecarlo._joint import Joint

_AT_ONCE = 1 << 22  # numbers in the covariance matrices of a layer


def moment_predict(model: nn.Module, x: Tensor, *, correlated: bool = False) -> Moments:
    """The mean and the variance of a network's output under its noise, by fast dropout's rules, in one pass.

    Sums of many units are taken for normal, and units for independent. So the result is nearly that of `mc_predict`
    with endless samples where noise acts on one wide hidden layer, and too small a variance where it acts on several
    layers of a trained network, whose units vary together; `docs/montecarlo.md` shows how far. With `correlated` the
    covariances of units are carried along, which costs a product of matrices for each example and layer.

    Args:
        model: A `torch.nn.Sequential`, nested or not, of linear layers, ReLU, sigmoid, `Flatten`, `Identity`,
            `FastDropoutLinear`, and dropout, Gaussian dropout and Gaussian noise of single elements.
        x: Its input, `(N, ...)`; the mode of the model does not matter.
        correlated: Whether to carry covariances; not with `FastDropoutLinear`, which integrates by itself.

    Returns:
        The mean and the variance of the output, of its shape, the latter in at least float32.

    Raises:
        TypeError: The model has a layer of another kind.

    Example:
        >>> import torch, torchdropout as td
        >>> layers = torch.nn.Linear(4, 100), torch.nn.ReLU(), td.Dropout(0.5), torch.nn.Linear(100, 1)
        >>> td.moment_predict(torch.nn.Sequential(*layers), torch.randn(8, 4)).variance.shape
        torch.Size([8, 1])

    Reference:
        S. Wang, C. Manning. Fast dropout training. ICML 2013, PMLR 28(2):118-126, sections 2 to 4. `correlated` is an
        extension of this package.
    """
    with torch.no_grad():
        if not correlated:
            return _through(model, "", Moments(x, torch.zeros_like(wide(x))), _INDEPENDENT)  # type: ignore[no-any-return]
        parts = [_through(model, "", _start(part), _CORRELATED) for part in _parts(model, x)]
        return Moments(torch.cat([p.mean for p in parts]), torch.cat([p.variance for p in parts]))


def _start(x: Tensor) -> Joint:
    return Joint(x.flatten(1), torch.zeros_like(wide(x.flatten(1))))


def _parts(model: nn.Module, x: Tensor) -> list[Tensor]:
    """Examples whose largest covariance matrices are together not too large."""
    widest = max((m.out_features for m in model.modules() if isinstance(m, nn.Linear)), default=1)
    return list(torch.split(x, max(1, _AT_ONCE // widest**2)))


def _through(module: nn.Module, name: str, given: Any, rules: dict[type[nn.Module], Callable[..., Any]]) -> Any:
    if type(module) is nn.Sequential:
        for inner, child in module.named_children():
            given = _through(child, f"{name}.{inner}".strip("."), given, rules)
        return given
    rule = rules.get(type(module))
    if rule is None:
        known = ", ".join(sorted({kind.__name__ for kind in rules} | {"Sequential"}))
        raise TypeError(
            f"moment_predict: `model` must be made of {known}, got {name or 'a model'} ({type(module).__name__}); "
            "mc_predict takes any model."
        )
    return rule(module, given)


def _noise_of(module: nn.Module) -> tuple[float, float]:
    """The mean and the variance of what a layer multiplies by."""
    p = float(module.p)  # type: ignore[arg-type]
    if getattr(module, "rule", "inverted") == "paper":
        return 1.0 - p, p * (1.0 - p)
    return (1.0, p / (1.0 - p)) if p < 1 else (0.0, 0.0)


def _linear(module: nn.Linear, given: Moments) -> Moments:
    return Moments(module(given.mean), squared_linear(given.variance, module.weight.to(given.variance.dtype)))


def _times(module: nn.Module, given: Moments) -> Moments:
    scale, variance = _noise_of(module)
    squares = wide(given.mean).square()
    return Moments(given.mean * scale, given.variance * (scale**2 + variance) + squares * variance)


def _fast(module: FastDropoutLinear, given: Moments) -> Any:
    mode, module.mode = module.mode, "moments"
    try:
        return module(given)
    finally:
        module.mode = mode


_INDEPENDENT: dict[type[nn.Module], Callable[..., Any]] = {
    nn.Linear: _linear,
    nn.ReLU: lambda _, given: relu_moments(*given),
    nn.Sigmoid: lambda _, given: sigmoid_moments(*given),
    nn.Identity: lambda _, given: given,
    nn.Flatten: lambda module, given: Moments(*(module(t) for t in given)),
    nn.Dropout: _times,
    Dropout: _times,
    GaussianDropout: _times,
    GaussianNoise: lambda module, given: Moments(given.mean, given.variance + module.std**2),
    FastDropoutLinear: _fast,
}

_CORRELATED: dict[type[nn.Module], Callable[..., Any]] = {
    nn.Linear: _joint.linear,
    nn.ReLU: _joint.relu,
    nn.Sigmoid: _joint.sigmoid,
    nn.Identity: lambda _, given: given,
    nn.Flatten: lambda _, given: given,
    nn.Dropout: lambda module, given: _joint.times(*_noise_of(module), given),
    Dropout: lambda module, given: _joint.times(*_noise_of(module), given),
    GaussianDropout: lambda module, given: _joint.times(*_noise_of(module), given),
    GaussianNoise: lambda module, given: _joint.plus(module.std**2, given),
}
