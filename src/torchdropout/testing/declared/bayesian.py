"""Methods that learn the noise of weights: variational and sparse variational dropout."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import torchdropout as td
from torchdropout.layers._kl import Form
from torchdropout.testing.case import Case, Divergence, Expectation, Factory, Probe, Twin, noisy
from torchdropout.testing.claims import GaussianNoiseClaim
from torchdropout.testing.declared._tools import integrated, setting, with_values
from torchdropout.testing.integration import log_uniform_divergence

_W = torch.tensor([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75]], dtype=torch.float64)
_B = torch.tensor([0.1, -0.2], dtype=torch.float64)
_X = torch.tensor([[1.0, 2.0, -0.5]], dtype=torch.float64)
_LOG_ALPHAS = (-20.0, -8.0, -4.0, -2.0, -1.0, -0.1, 0.0, 2.0, 20.0)


def _convolutions(axes: int) -> tuple[Any, Any, Any]:
    """The plain one, the variational and the sparse one."""
    if axes == 1:
        return nn.Conv1d, td.VariationalConv1d, td.SparseVariationalConv1d
    return nn.Conv2d, td.VariationalConv2d, td.SparseVariationalConv2d


class _InEval(nn.Module):
    """A layer without noise, where clipping leaves its parameters no limit without any."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer.eval()(x)
        return y


def _outputs(shape: tuple[int, ...], **values: float) -> Probe:
    """The outputs for ones, all weights being 0.1 and the bias, which has no noise, -1."""

    def draws(layer: nn.Module, seed: int) -> Tensor:
        with_values(layer, weight=0.1, bias=-1.0, **values)
        return noisy(layer.double(), torch.ones(shape, dtype=torch.float64), seed)

    return draws


def _normal_weights(
    layer: Callable[..., nn.Module], shape: tuple[int, ...], weights: int, variance: float, **values: float
) -> dict[str, Any]:
    """The claim of an output that sums so many independent weights, each of mean 0.1 and this variance."""
    claim = GaussianNoiseClaim(math.sqrt(weights * variance), 0.1 * weights - 1.0)
    large = (2048, *shape[1:])
    return {"claim": claim, "probe": _outputs(large, **values), "elementwise": False}


def _located(
    layer: Callable[..., nn.Module], axes: int, variance: Callable[[Tensor], Tensor], **values: float
) -> Expectation:
    """A kernel of two weights over three inputs: two outputs, whose noise is independent."""
    kernel = torch.tensor([1.5, -0.5], dtype=torch.float64).view(1, 1, *[1] * (axes - 1), 2)
    x = torch.tensor([1.0, 2.0, -0.5], dtype=torch.float64).view(1, 1, *[1] * (axes - 1), 3)

    def make() -> nn.Module:
        return with_values(layer(1, 1, kernel.shape[2:]), weight=kernel, bias=-1.0, **values)

    def outcome(x: Tensor, z: Tensor) -> Tensor:
        pairs, weights = x.flatten().unfold(0, 2, 1), kernel.flatten()
        return pairs @ weights - 1.0 + (pairs.square() @ variance(weights)).sqrt() * z

    return integrated(make, x, 2, outcome)


def variational_dropout() -> Case:
    """Type A: Gaussian dropout of learned variance."""
    x = torch.tensor([[1.5, -2.0]])
    of = integrated(lambda: td.VariationalDropout(2, 0.2), x, 2, lambda x, z: x * (1 + 0.5 * z))

    def layer(p: float = 0.2) -> nn.Module:
        return td.VariationalDropout(128, p)

    kl = _divergences(lambda form: td.VariationalDropout(3, kl=form), 3)
    twin = Twin(nn.Identity, lambda: with_values(layer(), log_alpha=-80.0))
    return Case(
        layer, torch.randn(64, 128), GaussianNoiseClaim(0.5), expected=(of,), divergences=kl, twin=twin, remake=layer,
        bad=(-0.25, 0.75, math.nan), extremes=_log_alphas(),
    )  # fmt: skip


def _divergences(layer: Callable[[Form], nn.Module], count: int) -> tuple[Divergence, ...]:
    """Every form: the closed one, and the fits with the deviations that are published of them."""
    published: dict[Form, float] = {"exact": 1e-6, "fitted": 0.01, "polynomial": 0.041}

    def make(form: Form, log_alpha: float) -> Factory:
        return lambda: with_values(layer(form).double(), log_alpha=log_alpha)

    found = []
    for (form, within), log_alpha in itertools.product(published.items(), _LOG_ALPHAS):
        nats = count * log_uniform_divergence(min(log_alpha, 0.0))  # alpha is at most 1
        what = f"{form} at log alpha = {log_alpha:g}"
        found.append(Divergence(make(form, log_alpha), nats, within * count, what))
    return tuple(found)


def _log_alphas() -> dict[str, Callable[[nn.Module], object]]:
    return {f"log alpha = {value:g}": setting(log_alpha=value) for value in (-20.0, 20.0)}


def variational() -> Case:
    """Type B: independent weights, sampled at the outputs."""

    def small() -> nn.Module:
        return with_values(td.VariationalLinear(3, 2, p=0.2), weight=_W, bias=_B)

    std = (0.25 * (_X**2 @ (_W**2).T)).sqrt()
    of = integrated(small, _X, 2, lambda x, z: x @ _W.T + _B + std * z)

    def layer(p: float = 0.2) -> nn.Module:
        return td.VariationalLinear(128, 64, p=p)

    def quiet() -> nn.Module:
        return with_values(td.VariationalLinear.from_linear(nn.Linear(128, 64)), log_alpha=-80.0)

    return Case(
        layer, torch.randn(64, 128), **_normal_weights(layer, (64, 128), 128, 0.25 * 0.01), expected=(of,),
        divergences=_divergences(lambda form: td.VariationalLinear(3, 2, kl=form), 6), extremes=_log_alphas(),
        remake=layer, bad=(-0.25, 0.75, math.nan), twin=Twin(lambda: nn.Linear(128, 64), quiet),
    )  # fmt: skip


def _variational_conv(axes: int, shape: tuple[int, ...]) -> Case:
    conv, made, _ = _convolutions(axes)

    def layer(p: float = 0.2) -> nn.Module:
        return made(shape[1], 8, 3, p=p)  # type: ignore[no-any-return]

    def plain() -> nn.Module:
        return conv(shape[1], 8, 3, stride=2, padding=1, groups=2, bias=False, padding_mode="reflect")  # type: ignore[no-any-return]

    of = _located(made, axes, lambda w: 0.25 * w.square(), log_alpha=math.log(0.25))
    return Case(
        layer, torch.randn(shape), **_normal_weights(layer, shape, shape[1] * 3**axes, 0.25 * 0.01), expected=(of,),
        divergences=_divergences(lambda form: made(1, 2, 3, kl=form), 2 * 3**axes), extremes=_log_alphas(),
        remake=layer, bad=(-0.25, 0.75, math.nan),
        twin=Twin(
            plain, lambda: with_values(made.from_conv(plain()), log_alpha=-80.0), lambda: made.from_conv(plain(), p=0.2)
        ),
    )  # fmt: skip


def sparse_variational() -> Case:
    """Additive noise of its own for each weight; the bias has none."""

    def small() -> nn.Module:
        return with_values(td.SparseVariationalLinear(3, 2), weight=_W, bias=_B, log_sigma2=-2.0)

    std = (math.exp(-2.0) * (_X**2).sum()).sqrt()
    of = integrated(small, _X, 2, lambda x, z: x @ _W.T + _B + std * z)

    def layer(log_sigma2: float = -10.0) -> nn.Module:
        return td.SparseVariationalLinear(128, 64, log_sigma2=log_sigma2)

    def quiet() -> nn.Module:
        return _InEval(td.SparseVariationalLinear.from_linear(nn.Linear(128, 64), log_sigma2=-40.0))

    return Case(
        layer, torch.randn(64, 128), **_normal_weights(layer, (64, 128), 128, math.exp(-4.0), log_sigma2=-4.0),
        expected=(of,), divergences=_fitted(lambda: td.SparseVariationalLinear(3, 2), 6), extremes=_noise_levels(),
        remake=layer, bad=(math.inf, math.nan), twin=Twin(lambda: nn.Linear(128, 64), quiet),
    )  # fmt: skip


def _fitted(layer: Factory, count: int) -> tuple[Divergence, ...]:
    """The paper's fit, which is used within its limits of log alpha; weights are 1, so that it is log sigma**2."""

    def make(log_sigma2: float) -> Factory:
        return lambda: with_values(layer().double(), weight=1.0, log_sigma2=log_sigma2)

    grid = (-8.0, -5.0, -3.0, -1.0, 0.0, 1.0, 2.0, 4.0, 8.0)
    return tuple(
        Divergence(make(at), count * log_uniform_divergence(at), 0.01 * count, f"log alpha = {at:g}") for at in grid
    )


def _noise_levels() -> dict[str, Callable[[nn.Module], object]]:
    levels = {
        f"log sigma**2 = {level:g}, weight = {weight:g}": setting(log_sigma2=level, weight=weight)
        for level in (-20.0, 20.0)
        for weight in (0.0, 1e-12, 1.0)
    }
    return dict(levels)


def _sparse_conv(axes: int, shape: tuple[int, ...]) -> Case:
    conv, _, made = _convolutions(axes)

    def layer(log_sigma2: float = -10.0) -> nn.Module:
        return made(shape[1], 8, 3, log_sigma2=log_sigma2)  # type: ignore[no-any-return]

    def plain() -> nn.Module:
        return conv(shape[1], 8, 3, stride=2, padding=1, groups=2, bias=False, padding_mode="reflect")  # type: ignore[no-any-return]

    weights = shape[1] * 3**axes
    of = _located(made, axes, lambda w: torch.full_like(w, math.exp(-2.0)), log_sigma2=-2.0)
    return Case(
        layer, torch.randn(shape), **_normal_weights(layer, shape, weights, math.exp(-4.0), log_sigma2=-4.0),
        expected=(of,),
        divergences=_fitted(lambda: made(1, 2, 3), 2 * 3**axes), extremes=_noise_levels(),
        remake=layer, bad=(math.inf, math.nan),
        twin=Twin(plain, lambda: _InEval(made.from_conv(plain(), log_sigma2=-40.0)), lambda: made.from_conv(plain())),
    )  # fmt: skip


DECLARATIONS: dict[str, Callable[[], Case]] = {
    "variational-dropout": variational_dropout,
    "variational": variational,
    "variational1d": lambda: _variational_conv(1, (16, 32, 8)),
    "variational2d": lambda: _variational_conv(2, (16, 32, 6, 6)),
    "sparse-variational": sparse_variational,
    "sparse-variational1d": lambda: _sparse_conv(1, (16, 32, 8)),
    "sparse-variational2d": lambda: _sparse_conv(2, (16, 32, 6, 6)),
}
