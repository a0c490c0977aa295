"""Methods that learn multiplicative gates: log-normal and concrete dropout."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import torchdropout as td
from torchdropout.testing.case import Case, Divergence, Expectation, Factory, Probe, Twin, noisy
from torchdropout.testing.claims import QuantileClaim
from torchdropout.testing.declared._tools import BATCH, setting, with_values
from torchdropout.testing.integration import integral, panels, truncated_normal


def log_normal() -> Case:
    """One gate a channel, for the batch or each example; the mean gate at test time."""
    mu, log_sigma = -1.0, -0.5

    def layer(channels: int = 2048, **arguments: Any) -> nn.Module:
        return with_values(td.LogNormalDropout(channels, **arguments), mu=mu, log_sigma=log_sigma)

    y, weights, _ = truncated_normal(mu, math.exp(log_sigma), -20.0, 0.0)
    gates, chances = torch.tensor(np.exp(y)), torch.tensor(weights)
    x = torch.tensor([[1.5], [-2.0]], dtype=torch.float64)
    batch = Expectation(lambda: layer(1), x, gates.view(-1, 1, 1) * x, chances, within=1e-6, **BATCH)
    example = Expectation(lambda: layer(1, per="example"), x[:1], gates.view(-1, 1) * x[0], chances, within=1e-6)
    claim = QuantileClaim(_quantiles(mu, math.exp(log_sigma)), (0, 2, 3), float(gates @ chances))
    return Case(
        layer, torch.randn(4, 2048, 2, 2), claim, expected=(batch, example), divergences=_log_normal_divergences(),
        remake=lambda threshold: td.LogNormalDropout(2048, snr_threshold=threshold), bad=(-1.0, math.nan),
        extremes={
            f"mu = {m:g}, log sigma = {s:g}": setting(mu=m, log_sigma=s)
            for m in (-20.0, -10.0, 0.0, 5.0, 20.0) for s in (-20.0, -5.0, 0.0, 5.0, 20.0)
        },
        twin=Twin(nn.Identity, lambda: with_values(layer(), mu=0.0, log_sigma=-20.0).requires_grad_(False)),
    )  # fmt: skip


def _quantiles(mu: float, sigma: float) -> dict[float, float]:
    """The mass below some gates, by integration."""
    levels = {}
    for gate in (0.1, 0.2, 0.3, 0.4, 0.6, 0.8):
        below, above = (panels([*np.linspace(*ends, 41)]) for ends in ((-20.0, math.log(gate)), (math.log(gate), 0.0)))
        lower, upper = (float((w * np.exp(-0.5 * ((y - mu) / sigma) ** 2)).sum()) for y, w in (below, above))
        levels[lower / (lower + upper)] = gate
    return levels


def _log_normal_divergences() -> tuple[Divergence, ...]:
    """The divergence from the uniform distribution on the same interval; of two channels, twice that of one."""

    def make(mu: float, log_sigma: float) -> Factory:
        return lambda: with_values(td.LogNormalDropout(2).double(), mu=mu, log_sigma=log_sigma)

    found = []
    for mu in (-20.0, -10.0, -3.0, 0.0, 1.0, 5.0):
        for log_sigma in (-5.0, -2.0, 0.0, 2.0, 5.0):
            _, weights, log_density = truncated_normal(mu, math.exp(log_sigma), -20.0, 0.0)
            nats = float((weights * (log_density + math.log(20.0))).sum())
            found.append(Divergence(make(mu, log_sigma), 2 * nats, 1e-6, f"mu = {mu:g}, log sigma = {log_sigma:g}"))
    return tuple(found)


def _concrete(
    layer: Callable[..., nn.Module], plain: Callable[[], nn.Module], channels: nn.Module, shape: tuple[int, ...],
    temperature: float, dims: tuple[int, ...],
) -> Case:  # fmt: skip
    """A relaxed Bernoulli gate; `channels` hands its input on, so that gates are seen."""
    p = 0.25

    def gate(u: Tensor | float) -> Tensor:
        drop = (math.log(p / (1 - p)) + torch.logit(torch.as_tensor(u, dtype=torch.float64))) / temperature
        return torch.sigmoid(-drop) / (1 - p)

    def probe() -> Probe:
        ones = torch.ones(2048, *shape[1:], dtype=torch.float64)
        return lambda _, seed: noisy(layer(channels, p).double(), ones, seed)

    def make(strength: float = p) -> nn.Module:
        return layer(plain(), strength)

    nodes, weights = map(torch.tensor, panels([*np.linspace(0.0, 1.0, 65)]))
    x = torch.full((1, 1, *[1] * (len(shape) - 2)), 1.5, dtype=torch.float64)
    of = Expectation(lambda: layer(_small(shape, 1), p), x, (1.5 * gate(nodes)).view(-1, *x.shape), weights)
    levels = {1 - u: float(gate(u)) for u in (0.3, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9)}
    levels = {level: value for level, value in levels.items() if 1e-3 < value * (1 - p) < 1 - 1e-5}
    return Case(
        make, torch.randn(shape), QuantileClaim(levels, dims), elementwise=False, probe=probe(), remake=make,
        bad=(-0.25, 1.0, 1.5, math.nan), expected=(of,), divergences=_concrete_divergences(layer, shape),
        extremes={f"logit p = {logit:g}": setting(p_logit=logit) for logit in (-80.0, -20.0, -13.8, 13.8, 20.0, 80.0)},
        twin=Twin(plain, lambda: with_values(make(), p_logit=-80.0)),
    )  # fmt: skip


def _small(shape: tuple[int, ...], inputs: int, bias: bool = False) -> nn.Module:
    """A layer of weights 1, or a convolution of one position."""
    kernel = {"kernel_size": 1} if len(shape) > 2 else {}
    made: Callable[..., nn.Module] = (nn.Linear, nn.Conv1d, nn.Conv2d)[len(shape) - 2]
    return with_values(made(inputs, 1, bias=bias, **kernel).double(), weight=1.0)


def _concrete_divergences(layer: Callable[..., nn.Module], shape: tuple[int, ...]) -> tuple[Divergence, ...]:
    """Of three inputs; `kl()` leaves out the constant of their components' width."""
    weights = (0.5, -1.0, 2.0)

    def make(p: float, scale: float) -> Factory:
        def made() -> nn.Module:
            wrapped = _small(shape, 3, bias=True)
            with_values(wrapped, weight=torch.tensor(weights).view(wrapped.get_parameter("weight").shape))
            return with_values(layer(wrapped, p, length_scale=scale).double(), p_logit=math.log(p / (1 - p)))

        return made

    found = []
    for p, scale in itertools.product((1e-3, 0.1, 0.5, 0.9), (0.01, 1.0)):
        nats = sum(_of_mixture(p, weight / (1 - p), scale) for weight in weights)
        found.append(Divergence(make(p, scale), nats, 1e-6, f"p = {p}, length scale = {scale}"))
    return tuple(found)


def _of_mixture(p: float, weight: float, scale: float) -> float:
    """The divergence of `p N(0, s**2) + (1 - p) N(weight, s**2)` from `N(0, 1 / scale**2)`, less that at weight 0."""
    s = 1e-3

    def density(y: np.ndarray[Any, Any], centre: float, width: float) -> np.ndarray[Any, Any]:
        return np.exp(-0.5 * ((y - centre) / width) ** 2) / (width * math.sqrt(2.0 * math.pi))

    def excess(y: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        q = p * density(y, 0.0, s) + (1 - p) * density(y, weight, s)
        log_prior = -0.5 * (scale * y) ** 2 + math.log(scale / math.sqrt(2.0 * math.pi))
        return q * (np.log(np.maximum(q, 1e-300)) - log_prior)

    width = -math.log(s * scale) - 0.5 + 0.5 * (s * scale) ** 2
    edges = [[centre + s * step for step in range(-20, 21)] for centre in (0.0, weight)]
    return sum(integral(excess, part) for part in edges) - width


def concrete() -> Case:
    """Every input by itself."""
    channels = with_values(nn.Linear(128, 128), weight=torch.eye(128), bias=0.0)
    return _concrete(td.ConcreteDropout, lambda: nn.Linear(128, 64), channels, (64, 128), 0.1, ())


def _concrete_conv(layer: Callable[..., nn.Module], conv: Callable[..., nn.Module], shape: tuple[int, ...]) -> Case:
    """Channels, as a whole."""
    axes = len(shape) - 2
    channels = with_values(conv(64, 64, 1), weight=torch.eye(64).view(64, 64, *[1] * axes), bias=0.0)
    dims = tuple(range(2, 2 + axes))
    return _concrete(layer, lambda: conv(64, 8, 3, padding=1), channels, shape, 2 / 3, dims)


DECLARATIONS: dict[str, Callable[[], Case]] = {
    "log-normal": log_normal,
    "concrete": concrete,
    "concrete1d": lambda: _concrete_conv(td.ConcreteDropout1d, nn.Conv1d, (32, 64, 8)),
    "concrete2d": lambda: _concrete_conv(td.ConcreteDropout2d, nn.Conv2d, (32, 64, 4, 4)),
}
