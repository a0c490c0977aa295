"""Methods that multiply elements by noise, or add it. Strengths are multiples of 1/256, which are realised exactly."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import torchdropout as td
from torchdropout.testing.case import Case, Expectation, Twin, noisy
from torchdropout.testing.claims import GaussianNoiseClaim, QuantileClaim, TwoPointClaim
from torchdropout.testing.declared._tools import BATCH, enumerated, integrated, scaled
from torchdropout.testing.integration import masks, panels

_P, _KEEP = 0.25, 0.75
_LIMIT = -1.7580993408473766  # of SELU, Klambauer et al. 2017


def _shared(layer: Callable[[float], nn.Module], shape: tuple[int, ...], dims: tuple[int, ...], **more: Any) -> Case:
    """Dropout whose draws some axes share."""
    small = torch.tensor([1.5, -2.0, 0.5, 3.0, -1.0, 2.5, 1.0, -0.5]).view(2, 2, *[1] * (len(shape) - 3), 2)
    noise = [1 if dim in dims else size for dim, size in enumerate(small.shape)]
    of = enumerated(lambda: layer(_P), small, tuple(noise), _KEEP, lambda x, m: x * m / _KEEP, **BATCH)
    twin = Twin(nn.Identity, lambda: layer(0.0))
    return Case(lambda: layer(_P), torch.randn(shape), scaled(_P, dims), expected=(of,), twin=twin, **more)


def dropout() -> Case:
    """Independent elements; the paper's rule scales at test time."""
    x = torch.tensor([[1.5, -2.0, 0.5]])
    inverted = enumerated(lambda: td.Dropout(_P), x, (1, 3), _KEEP, lambda x, m: x * m / _KEEP)
    paper = enumerated(lambda: td.Dropout(_P, rule="paper"), x, (1, 3), _KEEP, lambda x, m: x * m)
    twin = Twin(nn.Identity, lambda: td.Dropout(0.0))
    return Case(lambda: td.Dropout(_P), torch.randn(64, 128), scaled(_P), expected=(inverted, paper), twin=twin)


def drop_path() -> Case:
    """Per example; or, as in the paper, per batch and scaled at test time."""
    x = torch.tensor([[1.5, -2.0], [0.5, 1.0]])
    example = enumerated(lambda: td.DropPath(_P), x, (2, 1), _KEEP, lambda x, m: x * m / _KEEP, **BATCH)
    paper = enumerated(
        lambda: td.DropPath(_P, per="batch", rule="paper"), x, (1, 1), _KEEP, lambda x, m: x * m, **BATCH
    )
    twin = Twin(nn.Identity, lambda: td.DropPath(0.0))
    input_ = torch.randn(2048, 4, 2)
    return Case(lambda: td.DropPath(_P), input_, scaled(_P, (1, 2)), expected=(example, paper), twin=twin)


def locked() -> Case:
    """One mask for all time steps of a sequence, whichever axis is time."""
    x = torch.tensor([1.5, -2.0, 0.5, 3.0, -1.0, 2.5, 1.0, -0.5]).view(2, 2, 2)
    later = enumerated(
        lambda: td.LockedDropout(_P, batch_first=True), x, (2, 1, 2), _KEEP, lambda x, m: x * m / _KEEP, **BATCH
    )
    case = _shared(td.LockedDropout, (8, 32, 64), (0,))
    return Case(case.factory, case.input, case.claim, expected=(*case.expected, later), twin=case.twin)


def _alpha(layer: Callable[[float], nn.Module], shape: tuple[int, ...], dims: tuple[int, ...]) -> Case:
    p = 0.125
    a = ((1 - p) * (1 + p * _LIMIT**2)) ** -0.5
    b = -a * p * _LIMIT

    def outcome(x: Tensor, m: Tensor) -> Tensor:
        y: Tensor = a * (x * m + _LIMIT * (1 - m)) + b
        return y

    claim = TwoPointClaim(1 - p, a * _LIMIT + b, a + b, dims)
    small = torch.tensor([1.5, -2.0, 0.5, 3.0]).view(1, 2, *[1] * (len(shape) - 3), 2)
    noise = [1 if dim in dims else size for dim, size in enumerate(small.shape)]
    of = enumerated(lambda: layer(p), small, tuple(noise), 1 - p, outcome, test=small)
    twin = Twin(nn.Identity, lambda: layer(0.0))
    return Case(lambda: layer(p), torch.randn(shape), claim, expected=(of,), twin=twin)


def gaussian() -> Case:
    """The variance of dropout's own noise; p = 1 has none."""
    std = math.sqrt(_P / _KEEP)
    x = torch.tensor([[1.5, -2.0]])
    of = integrated(lambda: td.GaussianDropout(_P), x, 2, lambda x, z: x * (1 + std * z))
    bad = (-0.25, 1.0, 1.5, math.nan)
    twin = Twin(nn.Identity, lambda: td.GaussianDropout(0.0))
    factory, claim = (lambda: td.GaussianDropout(_P)), GaussianNoiseClaim(std)
    return Case(factory, torch.randn(64, 128), claim, bad=bad, expected=(of,), twin=twin)


def gaussian_noise() -> Case:
    """Added noise."""
    x = torch.tensor([[1.5, -2.0]])
    of = integrated(lambda: td.GaussianNoise(0.2), x, 2, lambda x, z: x + 0.2 * z)
    twin = Twin(nn.Identity, lambda: td.GaussianNoise(0.0))
    factory, claim = (lambda: td.GaussianNoise(0.2)), GaussianNoiseClaim(0.2)
    bad = (-0.5, math.inf, math.nan)
    more: dict[str, Any] = {"remake": td.GaussianNoise, "bad": bad, "expected": (of,), "twin": twin}
    return Case(factory, torch.randn(64, 128), claim, **more)


def stochastic_rate() -> Case:
    """One rate a call, then independent elements: of equal rate, so elements and examples are correlated."""

    def of(high: float, *, is_unbiased: bool) -> Expectation:
        x = torch.tensor([[1.5], [-2.0]], dtype=torch.float64)
        outcomes, weights = [], []
        for rate, share in zip(*panels([0.0, min(high, 1 / 3), high]), strict=True):
            every, chances = masks((2, 1), 1.0 - rate)
            outcomes.append(x * every * min(1.0 / (1.0 - rate), 1.5))
            weights.append(chances * share / high)
        factory = lambda: td.StochasticRateDropout(high=high)  # noqa: E731
        return Expectation(
            factory, x.float(), torch.cat(outcomes), torch.cat(weights), None if is_unbiased else x, **BATCH
        )

    def rates(layer: nn.Module, seed: int) -> Tensor:
        ones = torch.ones(64, dtype=torch.float64)
        return torch.stack([1 - 1 / noisy(layer, ones, 1000 * seed + call).max() for call in range(2000)])

    return Case(
        td.StochasticRateDropout, torch.randn(64, 128), QuantileClaim({0.25: 0.1, 0.5: 0.2, 0.75: 0.3}), probe=rates,
        remake=lambda high: td.StochasticRateDropout(high=high),
        expected=(of(0.4, is_unbiased=False), of(0.3, is_unbiased=True)),
        twin=Twin(nn.Identity, lambda: td.StochasticRateDropout(high=0.0)),
    )  # fmt: skip


DECLARATIONS: dict[str, Callable[[], Case]] = {
    "dropout": dropout,
    "dropout1d": lambda: _shared(td.Dropout1d, (32, 64, 8), (2,)),
    "dropout2d": lambda: _shared(td.Dropout2d, (32, 64, 4, 4), (2, 3)),
    "dropout3d": lambda: _shared(td.Dropout3d, (32, 64, 2, 2, 2), (2, 3, 4)),
    "alpha": lambda: _alpha(td.AlphaDropout, (64, 128), ()),
    "feature-alpha": lambda: _alpha(td.FeatureAlphaDropout, (32, 64, 4, 4), (2, 3)),
    "gaussian": gaussian,
    "gaussian-noise": gaussian_noise,
    "drop-path": drop_path,
    "locked": locked,
    "stochastic-rate": stochastic_rate,
}
