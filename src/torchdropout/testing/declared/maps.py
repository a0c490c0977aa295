"""Methods for images and feature maps: pooling, Cutout, Max-Drop and DropBlock."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import torchdropout as td
from torchdropout.layers.avg_pool import Rule
from torchdropout.testing.case import Case, Expectation, Twin, noisy
from torchdropout.testing.claims import TwoPointClaim
from torchdropout.testing.declared._tools import BATCH, enumerated

_P, _KEEP = 0.25, 0.75
_UNSCALED = TwoPointClaim(_KEEP, 0.0, 1.0)


def _pool(
    layer: Callable[..., nn.Module], twin: Callable[[int], nn.Module], pool: Callable[..., Tensor], shape: Sequence[int]
) -> Case:
    """Windows of two with a step of one, so that neighbours share what is dropped of their overlap."""
    axes = len(shape) - 2
    x = torch.tensor([0.5, 2.0, 1.0, 3.0, 1.5, 0.25]).view(1, 1, *[2, 3] if axes == 2 else [6])
    of = enumerated(lambda: layer(2, 1, p=_P), x, tuple(x.shape), _KEEP, lambda x, m: pool(x * m, 2, 1))

    def elements(_: nn.Module, seed: int) -> Tensor:
        return noisy(layer(1, p=_P), torch.ones(256, *shape[1:], dtype=torch.float64), seed)  # windows of one

    return Case(
        lambda: layer(2, p=_P), torch.rand(tuple(shape)), _UNSCALED, elementwise=False, probe=elements,
        remake=lambda p: layer(2, p=p), expected=(of, *_other_averages(layer, axes)),
        twin=Twin(lambda: twin(2), lambda: layer(2, p=0.0)),
    )  # fmt: skip


def _other_averages(layer: Callable[..., nn.Module], axes: int) -> tuple[Expectation, ...]:
    """The rules of average pooling beside the default."""
    if layer not in (td.AvgPoolDropout1d, td.AvgPoolDropout2d):
        return ()
    x = torch.tensor([0.5, 2.0, 1.0, 3.0]).view(1, 1, *[2, 2] if axes == 2 else [4])
    size = 2 if axes == 2 else 4
    rules: dict[Rule, Callable[[Tensor, Tensor], Tensor]] = {
        "inverted": lambda x, m: (x * m).mean().view(1) / _KEEP,
        "survivors": lambda x, m: ((x * m).sum() / m.sum().clamp(min=1.0)).view(1),
    }

    def make(rule: Rule) -> Callable[[], nn.Module]:
        return lambda: layer(size, p=_P, rule=rule)

    return tuple(enumerated(make(rule), x, tuple(x.shape), _KEEP, of) for rule, of in rules.items())


def cutout() -> Case:
    """Every pixel is equally likely to be the centre, and the square may hang over the border."""
    x = torch.arange(1.0, 19.0).view(1, 2, 3, 3)
    centres = [(a, b) for a in range(3) for b in range(3)]
    squares = torch.stack([_cut(x, a, b) for a, b in centres])
    hanging = Expectation(lambda: td.Cutout(2), x, squares, torch.full((9,), 1 / 9), x)
    fitting = torch.stack([x.double(), *(_cut(x, a, b) for a in (1, 2) for b in (1, 2))])
    inside = Expectation(
        lambda: td.Cutout(2, inside=True, probability=0.5), x, fitting, torch.tensor([0.5, *[0.125] * 4]), x
    )

    def corner(layer: nn.Module, seed: int) -> Tensor:
        return noisy(layer, torch.ones(8192, 3, 8, 8, dtype=torch.float64), seed)[..., 0, 0]

    claim = TwoPointClaim(1 - 9 / 64, 0.0, 1.0, shared_dims=(1,))  # of 8 rows 3 have centres that reach the first
    return Case(
        lambda: td.Cutout(0.5), torch.randn(256, 3, 8, 8), claim, probe=corner, expected=(hanging, inside),
        remake=td.Cutout, bad=(-0.25, 1.5, math.nan),
        twin=Twin(nn.Identity, lambda: td.Cutout(0.5, probability=0.0)),
    )  # fmt: skip


def _cut(x: Tensor, row: int, column: int) -> Tensor:
    """With a square of two by two around the corner of a pixel."""
    y = x.double().clone()
    y[..., max(row - 1, 0) : row + 1, max(column - 1, 0) : column + 1] = 0.0
    return y


def max_drop() -> Case:
    """The maximum of each map, with its window; or of the channels at each position."""
    x = torch.tensor([1.0, 4.0, -1.0, 2.0, 3.0, -2.0, 5.0, 0.5]).view(1, 2, 2, 2)

    def maps(x: Tensor, m: Tensor) -> Tensor:
        top = (x == x.amax((-2, -1), keepdim=True)).double()
        return x * (1 - top * (1 - m)) / (1 - _P / 4)

    def channels(x: Tensor, m: Tensor) -> Tensor:
        top = (x == x.amax(1, keepdim=True)).double()
        return x * (1 - top * (1 - m)) / (1 - _P / 2)

    def window(x: Tensor, m: Tensor) -> Tensor:
        hole = torch.ones_like(x)
        hole[..., :2, 2:] = 0.0  # the maximum is in the corner of four by four, its window of three is clipped
        return x * (hole + (1 - hole) * m) / (1 - _P * 9 / 16)

    wide = torch.linspace(-1.0, 1.0, 16).view(1, 1, 4, 4).clone()
    wide[0, 0, 0, 3] = 2.0

    def maxima(layer: nn.Module, seed: int) -> Tensor:
        spiked = torch.ones(256, 64, 4, 4, dtype=torch.float64)
        spiked[..., 1, 2] = 2.0
        return noisy(layer, spiked, seed)[..., 1, 2] / 2.0

    return Case(
        lambda: td.MaxDrop(_P), torch.randn(32, 16, 4, 4), TwoPointClaim(_KEEP, 0.0, 1 / (1 - _P / 16)), probe=maxima,
        expected=(
            enumerated(lambda: td.MaxDrop(_P), x, (1, 2, 1, 1), _KEEP, maps, test=x),
            enumerated(lambda: td.MaxDrop(_P, mode="channel"), x, (1, 1, 2, 2), _KEEP, channels, test=x),
            enumerated(lambda: td.MaxDrop(_P, window=3), wide, (1, 1, 1, 1), _KEEP, window, test=wide),
        ),
        twin=Twin(nn.Identity, lambda: td.MaxDrop(0.0)),
    )  # fmt: skip


def _drop_block(layer: Callable[..., nn.Module], shape: tuple[int, ...]) -> Case:
    """Blocks that fit, odd and even, at the rate that is asked for; normalised by the count of what is kept."""
    axes = len(shape) - 2

    def of(size: int, block: int, gamma: str) -> Expectation:
        x = torch.linspace(0.5, 2.0, size**axes).view(1, 1, *[size] * axes)
        rate = _seed_rate(_P, x, block) if gamma == "exact" else _P / _first_order(x, block)
        seeds = (1, 1, *[size - block + 1] * axes)
        make = lambda: layer(_P, block, gamma=gamma)  # noqa: E731
        return enumerated(make, x, seeds, 1 - rate, lambda x, m: _drop(x, 1 - m, block), test=x, **BATCH)

    def corners(layer: nn.Module, seed: int) -> Tensor:
        y = noisy(layer, torch.ones(256, 64, *shape[2:], dtype=torch.float64), seed)
        return (y.flatten(2)[..., 0] != 0).double()  # only one block reaches a corner

    rate = _seed_rate(_P, torch.ones(1, 1, *shape[2:]), 7)
    return Case(
        lambda: layer(_P), torch.randn(shape), TwoPointClaim(1 - rate, 0.0, 1.0), probe=corners,
        expected=(of(3, 2, "exact"), of(3, 3, "exact"), of(3, 2, "paper")), twin=Twin(nn.Identity, lambda: layer(0.0)),
    )  # fmt: skip


def _grow(seeds: Tensor, block: int) -> Tensor:
    """How many blocks cover each element, given the seeds of those that fit."""
    axes = seeds.dim() - 2
    spread: Callable[..., Tensor] = (F.conv_transpose1d, F.conv_transpose2d)[axes - 1]
    return spread(seeds, torch.ones(1, 1, *[block] * axes, dtype=seeds.dtype))


def _drop(x: Tensor, seeds: Tensor, block: int) -> Tensor:
    mask = (_grow(seeds, block) == 0).double()
    return x * mask * mask.numel() / mask.sum().clamp(min=1.0)


def _first_order(x: Tensor, block: int) -> float:
    """What equation 1 divides by."""
    return math.prod(block * (size - block + 1) / size for size in x.shape[2:])


def _seed_rate(p: float, x: Tensor, block: int) -> float:
    """The rate of seeds at which the share `p` is dropped on average, by bisection."""
    counts = _grow(torch.ones(1, 1, *[size - block + 1 for size in x.shape[2:]], dtype=torch.float64), block)
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2.0
        dropped = float((1 - (1 - middle) ** counts).mean())
        low, high = (middle, high) if dropped < p else (low, middle)
    return low


DECLARATIONS: dict[str, Callable[[], Case]] = {
    "max-pool1d": lambda: _pool(td.MaxPoolDropout1d, nn.MaxPool1d, F.max_pool1d, (32, 16, 8)),
    "max-pool2d": lambda: _pool(td.MaxPoolDropout2d, nn.MaxPool2d, F.max_pool2d, (32, 16, 4, 4)),
    "avg-pool1d": lambda: _pool(td.AvgPoolDropout1d, nn.AvgPool1d, F.avg_pool1d, (32, 16, 8)),
    "avg-pool2d": lambda: _pool(td.AvgPoolDropout2d, nn.AvgPool2d, F.avg_pool2d, (32, 16, 4, 4)),
    "cutout": cutout,
    "max-drop": max_drop,
    "drop-block1d": lambda: _drop_block(td.DropBlock1d, (32, 16, 16)),
    "drop-block2d": lambda: _drop_block(td.DropBlock2d, (32, 16, 14, 14)),
}
