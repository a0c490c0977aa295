"""How the layer of each row is made for its picture, on what it acts, and which density its noise has."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn
from torch.nn import functional as F

from torchdropout.catalog import Method
from torchdropout.plots import densities, maps, network, sequences
from torchdropout.plots.densities import DRAWS, Density
from torchdropout.plots.passes import Strength, make
from torchdropout.plots.picture import Picture


def _number(strength: Strength) -> float:
    return 0.0 if strength is None else float(strength)


def _std(p: Strength) -> float:
    """Of normal noise with the variance of dropout's own."""
    return math.sqrt(_number(p) / (1 - _number(p)))


def _ones() -> torch.Tensor:
    return torch.ones(DRAWS)


def gaussian(row: Method, p: Strength, seed: int, note: str) -> Picture:
    """Units times normal noise."""
    layer = make(row, p)
    density = densities.normal(layer, _ones(), 1, _std(p), "what multiplies a unit", "exact: Normal(1, p/(1-p))")
    return network.units(row, p, seed, note, density=density, face=-1)


def gaussian_noise(row: Method, std: Strength, seed: int, note: str) -> Picture:
    """Normal noise on a photograph."""
    layer = make(row, std)
    density = densities.normal(
        layer, torch.zeros(DRAWS), 0, _number(std), "what is added to a pixel", "exact: Normal(0, std²)"
    )
    return maps.image(layer, seed, note, density=density)


def selu_units(row: Method, p: Strength, seed: int, note: str) -> Picture:
    """Units with the activation that alpha dropout is for."""
    return network.units(row, p, seed, note, activation=F.selu)


def variational_units(row: Method, p: Strength, seed: int, note: str) -> Picture:
    """Units times normal noise of learned variance."""
    layer = make(row, p, DRAWS)
    density = densities.normal(layer, _ones(), 1, _std(p), "what multiplies a unit", "exact: Normal(1, alpha)")
    return network.units(row, p, seed, note, layers=lambda features: make(row, p, features), density=density)


def _weight_noise(row: Method, p: Strength) -> Density | None:
    """A single weight of 1, read off by an input of 1."""
    layer, ones = _single_weight(row, p)
    return densities.normal(layer, ones, 1, _std(p), "what multiplies a weight", "exact: Normal(1, alpha)")


def _single_weight(row: Method, strength: Strength) -> tuple[nn.Module, torch.Tensor]:
    axes = 0 if row.layer.endswith("Linear") else int(row.layer[-2])
    layer = make(row, strength, 1, 1, *([1] if axes else []), bias=False)
    with torch.no_grad():
        dict(layer.named_parameters())["weight"].fill_(1.0)
    return layer, torch.ones(DRAWS, 1, *[1] * axes)


def variational(row: Method, p: Strength, seed: int, note: str) -> Picture:
    """Weights times normal noise."""
    return network.noisy_weights(row, p, seed, note, _weight_noise(row, p))


def variational1d(row: Method, p: Strength, seed: int, note: str) -> Picture:
    """A convolution of a signal with noisy weights."""
    return sequences.noisy(row, p, seed, note, _weight_noise(row, p))


def variational2d(row: Method, p: Strength, seed: int, note: str) -> Picture:
    """A convolution of an image with noisy weights."""
    return maps.noisy_kernels(row, p, seed, note, _weight_noise(row, p))


def sparse(row: Method, _: Strength, seed: int, note: str) -> Picture:
    """Weights with normal noise, some of which test removes."""
    return network.noisy_weights(_noisy(row), -1.5, seed, note, _sparse_noise(row, -1.5))


def sparse1d(row: Method, _: Strength, seed: int, note: str) -> Picture:
    """The same in a convolution of a signal."""
    return sequences.noisy(_noisy(row), -2.9, seed, note, _sparse_noise(row, -2.9))


def sparse2d(row: Method, _: Strength, seed: int, note: str) -> Picture:
    """The same in a convolution of an image."""
    return maps.noisy_kernels(_noisy(row), -3.0, seed, note, _sparse_noise(row, -3.0))


def _noisy(row: Method) -> Method:
    """The row as if the variance that the layer learns were its strength: as it starts, there is hardly any noise."""
    return replace(row, argument="log_sigma2")


def _sparse_noise(row: Method, log_sigma2: float) -> Density | None:
    layer, ones = _single_weight(_noisy(row), log_sigma2)
    std = math.exp(log_sigma2 / 2)
    return densities.normal(layer, ones, 1, std, "a weight whose mean is 1", "exact: Normal(1, sigma²)")


def fast(row: Method, p: Strength, seed: int, note: str) -> Picture:
    """One output of a layer with eight inputs: the normal that is drawn, and the sums over all masks."""
    weight, keep = torch.tensor([0.9, -0.5, 0.7, 0.4, -0.8, 1.1, 0.3, 0.6]), 1 - _number(p)
    layer = make(row, p, 8, 1, bias=False)
    with torch.no_grad():
        dict(layer.named_parameters())["weight"].copy_(weight)
    masks = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 8)
    sums = masks @ weight / keep
    std = float((weight.square().sum() * (1 - keep) / keep).sqrt())
    density = densities.normal(
        layer,
        torch.ones(DRAWS, 8),
        float(weight.sum()),
        std,
        "pre-activation of a unit with eight inputs",
        "exact: Normal(mu, s²)",
    )
    chances = torch.where(masks > 0, keep, 1 - keep).prod(1)
    masked = sums.numpy(), chances.numpy(), "dropout itself, all 256 masks"
    if density is not None:
        density = replace(density, masks=masked)
    return network.fast(row, p, seed, note, density)


def concrete_units(row: Method, p: Strength, seed: int, note: str) -> Picture:
    """Units times a relaxed mask."""

    def layers(features: int) -> nn.Module:
        return make(row, p, _identity(nn.Linear, features))

    density = densities.relaxed(layers(1), torch.ones(DRAWS, 1), _number(p), 0.1, "what multiplies a unit")
    return network.units(row, p, seed, note, layers=layers, within=0.01, density=density)


def concrete1d(row: Method, p: Strength, seed: int, note: str) -> Picture:
    """Features of a sequence times a relaxed mask."""

    def layer(channels: int) -> nn.Module:
        return make(row, p, _identity(nn.Conv1d, channels, 1))

    density = densities.relaxed(layer(1), torch.ones(DRAWS, 1, 1), _number(p), 2 / 3, "what multiplies a feature")
    return sequences.features(layer(8), seed, note, density=density, within=0.01)


def concrete2d(row: Method, p: Strength, seed: int, note: str) -> Picture:
    """Feature maps times a relaxed mask."""

    def layer(channels: int) -> nn.Module:
        return make(row, p, _identity(nn.Conv2d, channels, 1))

    density = densities.relaxed(layer(1), torch.ones(DRAWS, 1, 1, 1), _number(p), 2 / 3, "what multiplies a map")
    return maps.feature_maps(layer(6), seed, note, density=density, within=0.01)


def _identity(kind: Callable[..., nn.Module], features: int, *kernel: int) -> nn.Module:
    """A linear layer or convolution that returns its input, so that the noise in front of it is seen."""
    with torch.random.fork_rng(devices=[]):
        layer = kind(features, features, *kernel, bias=False)
    weight = dict(layer.named_parameters())["weight"]
    with torch.no_grad():
        weight.copy_(torch.eye(features).view_as(weight))
    return layer


def log_normal(row: Method, strength: Strength, seed: int, note: str) -> Picture:
    """Gates as training may leave them: from nearly fixed to all noise."""
    mu, log_sigma = (-0.1, -0.4, -0.8, -0.3, -1.5, -2.0), (-2.5, -1.2, -0.7, -3.0, 0.3, 1.4)
    layer, single = make(row, strength, 6), make(row, strength, 1, per="example")
    _settle(layer, mu, log_sigma)
    curves = []
    for n in (1, 2, 4):
        _settle(single, mu[n : n + 1], log_sigma[n : n + 1])
        drawn = densities.draws_of(single, torch.ones(DRAWS, 1))
        curves.append(
            densities.truncated_log_normal(drawn, mu[n], math.exp(log_sigma[n]), (-20.0, 0.0), f"exact: map {n + 1}")
        )
    density = Density("what multiplies a map", tuple(curves))
    return maps.feature_maps(layer, seed, note, density=density)


def _settle(layer: nn.Module, mu: tuple[float, ...], log_sigma: tuple[float, ...]) -> None:
    with torch.no_grad():
        for name, values in (("mu", mu), ("log_sigma", log_sigma)):
            dict(layer.named_parameters())[name].copy_(torch.tensor(values))


def of_maps(row: Method, strength: Strength, seed: int, note: str) -> Picture:
    """Six feature maps."""
    return maps.feature_maps(make(row, strength), seed, note)


def large_maps(row: Method, strength: Strength, seed: int, note: str) -> Picture:
    """Four feature maps."""
    return maps.feature_maps(make(row, strength), seed, note, count=4, columns=2)


def selu_maps(row: Method, strength: Strength, seed: int, note: str) -> Picture:
    """Feature maps with the activation that alpha dropout is for."""
    return maps.feature_maps(make(row, strength), seed, note, activation="selu")


def maxima(row: Method, strength: Strength, seed: int, note: str) -> Picture:
    """Feature maps whose maxima go with a window that can be seen."""
    return maps.feature_maps(make(row, strength, window=5), seed, note)


def volumes(row: Method, strength: Strength, seed: int, note: str) -> Picture:
    """Feature maps with depth."""
    return maps.volumes(make(row, strength), seed, note)


def cutout(row: Method, size: Strength, seed: int, note: str) -> Picture:
    """A photograph; whole numbers above 1 are pixels."""
    pixels = size is not None and size > 1 and float(size).is_integer()
    return maps.image(make(row, int(_number(size)) if pixels else size), seed, note)


def channels(row: Method, strength: Strength, seed: int, note: str) -> Picture:
    """Features of a sequence."""
    return sequences.features(make(row, strength), seed, note)


def blocks1d(row: Method, strength: Strength, seed: int, note: str) -> Picture:
    """Features of a sequence, in which blocks of five go."""
    return sequences.features(make(row, strength, block_size=5), seed, note)
