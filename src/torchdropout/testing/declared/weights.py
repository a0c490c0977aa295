"""Methods with weights of their own: standout, fast dropout, DropConnect and mixout."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import torchdropout as td
from torchdropout.testing.case import Case, Expectation, Probe, Twin, noisy
from torchdropout.testing.claims import GaussianNoiseClaim, TwoPointClaim
from torchdropout.testing.declared._tools import BATCH, enumerated, integrated, with_values
from torchdropout.testing.integration import normal_line

_P, _KEEP = 0.25, 0.75
_W = torch.tensor([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75]], dtype=torch.float64)
_B = torch.tensor([0.1, -0.2], dtype=torch.float64)
_X = torch.tensor([[1.0, 2.0, -0.5]], dtype=torch.float64)
_NO_NUMBER = (math.inf, math.nan)


class _SampledThenIntegrated(nn.Module):
    """Fast dropout that samples in training and integrates in eval."""

    def __init__(self, layer: td.FastDropoutLinear) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        self.layer.mode = "sample" if self.training else "moments"
        y = self.layer(x)
        return y if isinstance(y, Tensor) else y.mean


def standout() -> Case:
    """Keep probabilities from the layer's own pre-activations, or from a net's."""
    z = (_X @ _W.T + _B)[0]

    def of(keep: Tensor, **arguments: Any) -> Expectation:
        def small() -> nn.Module:
            layer = with_values(td.StandoutLinear(3, 2, activation="tanh", **arguments), weight=_W, bias=_B)
            if layer.belief_weight is not None:
                with_values(layer, belief_weight=-_W, belief_bias=_B)
            return layer

        return enumerated(small, _X, (1, 2), keep, lambda x, m: m * torch.tanh(F.linear(x, _W, _B)))

    def masks(layer: nn.Module, seed: int) -> Tensor:
        with_values(layer, weight=0.0, bias=1.0)  # so that h is 1 and pi is sigmoid(1)
        return noisy(layer.double(), torch.ones(4096, 128, dtype=torch.float64), seed)

    beliefs = (
        of(torch.sigmoid(0.5 * z + 0.3), alpha=0.5, beta=0.3),
        of(torch.sigmoid((_X @ (0.5 * _W + 0.3).T)[0]), belief="elementwise", alpha=0.5, beta=0.3),
        of(torch.sigmoid((-_X @ _W.T + _B)[0]), belief="untied"),
    )
    return Case(
        lambda: td.StandoutLinear(128, 64), torch.randn(64, 128), TwoPointClaim(1 / (1 + math.exp(-1.0)), 0.0, 1.0),
        elementwise=False, probe=masks, expected=beliefs, bad=_NO_NUMBER,
        remake=lambda beta: td.StandoutLinear(128, 64, beta=beta),
        extremes={f"beta = {beta:g}": _beta(beta) for beta in (-1e4, -20.0, 20.0, 1e4)},
        twin=Twin(_linear_then_relu, lambda: td.StandoutLinear(128, 64, alpha=0.0, beta=50.0)),
    )  # fmt: skip


def _linear_then_relu() -> nn.Module:
    return nn.Sequential(nn.Linear(128, 64), nn.ReLU())


def _beta(beta: float) -> Callable[[nn.Module], object]:
    return lambda layer: setattr(layer, "beta", beta)


def fast_dropout() -> Case:
    """A normal with the moments of the sum over dropped inputs; in eval the plain layer, or the moments."""
    odds = _P / _KEEP
    mean, std = (_X @ _W.T + _B)[0], (odds * (_X**2 @ (_W**2).T)[0]).sqrt()

    def small(**arguments: Any) -> td.FastDropoutLinear:
        layer = td.FastDropoutLinear(3, 2, p=_P, **arguments)
        with_values(layer, weight=_W, bias=_B)
        return layer

    def draws(layer: nn.Module, seed: int) -> Tensor:
        with_values(layer, weight=0.1, bias=-0.5)
        return noisy(layer.double(), torch.ones(4096, 128, dtype=torch.float64), seed)

    plain = integrated(small, _X, 2, lambda x, z: mean + std * z)
    one, weights = normal_line(-float(mean[1] / std[1]))
    rectified = Expectation(
        lambda: nn.Sequential(_SampledThenIntegrated(small(activation="relu")), _Last()), _X,
        (mean[1] + std[1] * one).relu().unsqueeze(1), weights, within=1e-6, bounded=False,
    )  # fmt: skip
    return Case(
        lambda: td.FastDropoutLinear(128, 64, p=_P), torch.randn(64, 128),
        GaussianNoiseClaim(math.sqrt(odds * 128 * 0.01), 12.3), elementwise=False, probe=draws,
        expected=(plain, rectified), bad=(-0.25, 1.0, 1.5, math.nan),
        remake=lambda p: td.FastDropoutLinear(128, 64, p=p),
        twin=Twin(
            lambda: nn.Linear(128, 64), lambda: td.FastDropoutLinear.from_linear(nn.Linear(128, 64), p=0.0)
        ),
    )  # fmt: skip


class _Last(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[..., -1:]


def _bits(layer: Callable[[], nn.Module], inputs: tuple[int, ...], count: int) -> Probe:
    """The masks themselves: weights that are powers of two make each output the number whose bits are kept.

    Returned are draws with an axis more, the weights of one output and its bias.
    """

    def read(_: nn.Module, seed: int) -> Tensor:
        small = layer().double()
        powers = 2.0 ** torch.arange(count, dtype=torch.float64)
        shape = small.get_parameter("weight").shape
        with_values(small, weight=powers[:-1].view(1, *shape[1:]).expand(shape), bias=powers[-1])
        y = noisy(small, torch.ones(inputs, dtype=torch.float64), seed)
        return torch.stack([torch.floor(y / power) % 2.0 for power in powers], -1)

    return read


def dropconnect() -> Case:
    """A mask for each example and weight, and the moments of the paper's inference."""

    def small(inputs: int = 3, outputs: int = 2, **arguments: Any) -> Callable[[], nn.Module]:
        weight, bias = _W[:outputs, :inputs], _B[:outputs]
        return lambda: with_values(td.DropConnectLinear(inputs, outputs, **arguments), weight=weight, bias=bias)

    def outcome(x: Tensor, m: Tensor) -> Tensor:
        return F.linear(x, m[:6].view(2, 3) * _W, m[6:] * _B)

    # The paper takes pre-activations for normal: in this example it errs by 0.0226, and dropout's rule by 0.075.
    averaged = enumerated(small(activation="relu"), _X, (8,), 0.5, lambda x, m: outcome(x, m).relu(), within=0.025)
    two = torch.tensor([[1.0, 2.0], [-0.5, 1.0]], dtype=torch.float64)
    batch = enumerated(
        small(2, 1, p=_P, shared="batch"), two, (3,), _KEEP,
        lambda x, m: F.linear(x, m[:2] * _W[:1, :2], m[2:] * _B[:1]), **BATCH,
    )  # fmt: skip
    return Case(
        lambda: td.DropConnectLinear(128, 64, p=_P), torch.randn(64, 128), TwoPointClaim(_KEEP, 0.0, 1.0),
        elementwise=False, probe=_bits(lambda: td.DropConnectLinear(8, 32, p=_P), (512, 8), 9),
        remake=lambda p: td.DropConnectLinear(128, 64, p=p),
        expected=(enumerated(small(p=_P), _X, (8,), _KEEP, outcome), averaged, batch),
        twin=Twin(
            lambda: nn.Linear(128, 64, bias=False),
            lambda: td.DropConnectLinear.from_linear(nn.Linear(128, 64, bias=False), p=0.0),
            lambda: td.DropConnectLinear(128, 64, bias=False, p=_P),
        ),
    )  # fmt: skip


def _dropconnect_conv(axes: int, shape: tuple[int, ...]) -> Case:
    """A mask for each example and kernel, which all positions share; every argument of the convolution is kept."""
    conv, layer = ((nn.Conv1d, td.DropConnectConv1d), (nn.Conv2d, td.DropConnectConv2d))[axes - 1]
    kernel, bias = torch.tensor([1.5, -0.5], dtype=torch.float64).view(1, 1, *[1] * (axes - 1), 2), _B[:1]
    x = torch.tensor([1.0, 2.0, -0.5], dtype=torch.float64).view(1, 1, *[1] * (axes - 1), 3)
    convolve: Callable[..., Tensor] = (F.conv1d, F.conv2d)[axes - 1]
    size = (*[1] * (axes - 1), 2)

    def plain() -> nn.Module:
        return conv(16, 8, 3, stride=2, padding=1, groups=2, bias=False, padding_mode="reflect")

    of = enumerated(
        lambda: with_values(layer(1, 1, size, p=_P), weight=kernel, bias=bias), x, (3,), _KEEP,
        lambda x, m: convolve(x, m[:2].view(kernel.shape) * kernel, m[2:] * bias),
    )  # fmt: skip
    claim = TwoPointClaim(_KEEP, 0.0, 1.0, tuple(range(2, 2 + axes)))
    return Case(
        lambda: layer(16, 8, 3, padding=1, p=_P), torch.randn(shape), claim, elementwise=False,
        probe=_bits(lambda: layer(1, 16, 2, p=_P), (256, 1, *[3] * axes), 2**axes + 1),
        remake=lambda p: layer(16, 8, 3, p=p), expected=(of,),
        twin=Twin(plain, lambda: layer.from_conv(plain(), p=0.0), lambda: layer.from_conv(plain(), p=_P)),
    )  # fmt: skip


def mixout() -> Case:
    """Weights are the target's, or as far beyond the layer's own as keeps the mean; one draw serves a column."""
    target = torch.tensor([[-0.5, 1.0, 0.25], [0.75, 2.0, -1.5]], dtype=torch.float64)

    def small(**arguments: Any) -> Callable[[], nn.Module]:
        return lambda: with_values(td.MixoutLinear(3, 2, p=_P, **arguments), weight=_W, bias=_B, target=target)

    def outcome(x: Tensor, m: Tensor) -> Tensor:
        return F.linear(x, (m * _W + (1 - m) * target - _P * target) / _KEEP, _B)

    def columns(_: nn.Module, seed: int) -> Tensor:
        layer = with_values(td.MixoutLinear(2048, 4, bias=False, p=_P), weight=2.0, target=1.0)
        return noisy(layer.double(), torch.eye(2048, dtype=torch.float64).expand(2, -1, -1), seed)

    two = torch.cat([_X, torch.tensor([[-0.5, 1.0, 1.5]], dtype=torch.float64)])
    return Case(
        lambda: with_values(td.MixoutLinear(128, 64, p=_P), target=0.05 * torch.randn(64, 128)), torch.randn(64, 128),
        TwoPointClaim(_KEEP, 1.0, 1.0 + 1 / _KEEP, (0, 2)), elementwise=False, probe=columns,
        remake=lambda p: td.MixoutLinear(128, 64, p=p),
        expected=(
            enumerated(small(), two, (1, 3), _KEEP, outcome, **BATCH),
            enumerated(small(per="weight"), _X, (2, 3), _KEEP, outcome, **BATCH),
        ),
        twin=Twin(
            lambda: nn.Linear(128, 64), lambda: td.MixoutLinear.from_linear(nn.Linear(128, 64), p=0.0),
            lambda: td.MixoutLinear.from_linear(nn.Linear(128, 64), p=_P),
        ),
    )  # fmt: skip


DECLARATIONS: dict[str, Callable[[], Case]] = {
    "standout": standout,
    "fast-dropout": fast_dropout,
    "dropconnect": dropconnect,
    "dropconnect1d": lambda: _dropconnect_conv(1, (32, 16, 8)),
    "dropconnect2d": lambda: _dropconnect_conv(2, (32, 16, 4, 4)),
    "mixout": mixout,
}
