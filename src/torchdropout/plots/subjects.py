"""What the methods act on: photographs and a digit that scikit-learn brings along, waves, and sentences."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from torchdropout.plots.picture import Array

_CROPS = {"china": (20, 52, 320), "flower": (57, 150, 310)}  # top, left, side: the pagoda, the dahlia

SENTENCE = ("the", "dog", "and", "the", "cat", "saw", "the", "bird")
SHORT = ("the", "cat", "sat", "on", "the", "mat")


@cache
def _photograph(name: str, size: int) -> Array:
    from sklearn.datasets import load_sample_image  # noqa: PLC0415 - a second that only pictures need

    top, left, side = _CROPS[name]
    crop = load_sample_image(f"{name}.jpg")[top : top + side, left : left + side].astype(np.float32) / 255
    whole = torch.from_numpy(crop).permute(2, 0, 1)[None]
    small = F.interpolate(whole, (size, size), mode="bilinear", antialias=True)[0]
    return small.numpy()


def photograph(name: str, size: int) -> Tensor:
    """A colour image, `(3, size, size)`, values in [0, 1]."""
    return torch.tensor(_photograph(name, size))


def filters() -> Tensor:
    """Six 3 x 3 filters: brightness, edges in four directions, and detail; `(6, 1, 3, 3)`."""
    across = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 2
    diagonal = torch.tensor([[-2.0, -1.0, 0.0], [-1.0, 0.0, 1.0], [0.0, 1.0, 2.0]]) / 2
    detail = torch.tensor([[-1.0, -1.0, -1.0], [-1.0, 8.0, -1.0], [-1.0, -1.0, -1.0]]) / 4
    brightness = torch.full((3, 3), 1 / 9)
    return torch.stack([brightness, across, across.T, diagonal, diagonal.flip(0), detail])[:, None]


def feature_maps(size: int, count: int = 6) -> Tensor:
    """What the filters, rectified, see in the pagoda; brightened; `(1, count, size, size)`, at most 1."""
    grey = photograph("china", size + 2).mean(0)[None, None]
    maps = F.relu(F.conv2d(grey, filters()[:count]))
    return (maps / maps.amax((2, 3), keepdim=True)) ** 0.6


@cache
def _digit(number: int) -> Array:
    from sklearn.datasets import load_digits  # noqa: PLC0415 - as above

    data = load_digits()
    return np.asarray(data.images[data.target == number][0] / 16, dtype=np.float32)


def digit(number: int = 3) -> Tensor:
    """A handwritten digit, `(1, 1, 8, 8)`, values in [0, 1]."""
    return torch.tensor(_digit(number))[None, None]


def waves(features: int, steps: int) -> Tensor:
    """Slow to fast waves, `(features, steps)`, values in [0.15, 1]."""
    time, number = torch.arange(steps) / steps, torch.arange(features)[:, None]
    return 0.575 + 0.425 * torch.sin(2 * torch.pi * (0.5 + 0.5 * number) * time + 0.9 * number)


def signal(steps: int) -> Tensor:
    """A bump, a step and a spike, `(1, 1, steps)`."""
    time = torch.arange(steps) / steps
    bump = torch.exp(-(((time - 0.2) / 0.07) ** 2))
    step = 0.7 * ((time > 0.42) & (time < 0.66)).float()
    spike = ((time - 0.84).abs() < 0.6 / steps).float()
    return (bump + step + spike)[None, None]


def weights(outs: int, ins: int, seed: int) -> Tensor:
    """Fixed weights of either sign, none of them near zero."""
    random = np.random.default_rng(seed)
    sizes = random.uniform(0.25, 1.3, (outs, ins)) * random.choice([-1.0, 1.0], (outs, ins), p=[0.4, 0.6])
    return torch.tensor(sizes, dtype=torch.float32)
