"""The networks of a comparison, with noise at the inputs and after every hidden activation, never on the output."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from torch import nn

from torchdropout.study.conditions import Condition, noise_at
from torchdropout.study.errors import StudyError

HIDDEN = 512
MAPS = (16, 32)
DENSE = 128

Shape = tuple[int, int, int]
Part = tuple[str, nn.Module | None]  # None marks a site of noise: "input...", "conv..." or "dense..."


def build(model: str, shape: Shape, classes: int, condition: Condition) -> nn.Sequential:
    """A network for images of `shape` (channels, height, width).

    Layers are named and noise has no parameters, so that the same random state gives the same `state_dict`, names
    included, whatever the condition.

    Raises:
        StudyError: The images are too small for the model.
    """
    parts = _mlp(shape, classes) if model == "mlp" else _cnn(shape, classes)
    return nn.Sequential(OrderedDict(_with_noise(parts, condition)))


def _with_noise(parts: list[Part], condition: Condition) -> Iterator[tuple[str, nn.Module]]:
    for name, module in parts:
        placed = noise_at(condition, name.rstrip("0123456789")) if module is None else module
        if placed is not None:
            yield name, placed


def _mlp(shape: Shape, classes: int) -> list[Part]:
    channels, height, width = shape
    return [
        ("flatten", nn.Flatten()),
        ("input", None),
        ("linear1", nn.Linear(channels * height * width, HIDDEN)),
        ("relu1", nn.ReLU()),
        ("dense1", None),
        ("linear2", nn.Linear(HIDDEN, HIDDEN)),
        ("relu2", nn.ReLU()),
        ("dense2", None),
        ("output", nn.Linear(HIDDEN, classes)),
    ]


def _cnn(shape: Shape, classes: int) -> list[Part]:
    channels, height, width = shape
    if min(height, width) < 4:
        raise StudyError(f"compare: model 'cnn' needs images of at least 4 x 4, got {height} x {width}.")
    return [
        ("input", None),
        ("convolution1", nn.Conv2d(channels, MAPS[0], 3, padding=1)),
        ("relu1", nn.ReLU()),
        ("conv1", None),
        ("pool1", nn.MaxPool2d(2)),
        ("convolution2", nn.Conv2d(MAPS[0], MAPS[1], 3, padding=1)),
        ("relu2", nn.ReLU()),
        ("conv2", None),
        ("pool2", nn.MaxPool2d(2)),
        ("flatten", nn.Flatten()),
        ("linear1", nn.Linear(MAPS[1] * (height // 4) * (width // 4), DENSE)),
        ("relu3", nn.ReLU()),
        ("dense1", None),
        ("output", nn.Linear(DENSE, classes)),
    ]
