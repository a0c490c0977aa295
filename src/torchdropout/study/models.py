"""The networks of a comparison, with noise at the inputs and after every hidden activation, never on the output."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor, nn

from torchdropout.study.conditions import MakeNoise, Placed
from torchdropout.study.config import CompareConfig
from torchdropout.study.errors import StudyError
from torchdropout.study.named import importable, raised, resolve

MAPS = (16, 32)
DENSE = 128

Shape = tuple[int, ...]
Parts = list[tuple[str, nn.Module]]


def build(config: CompareConfig, shape: Shape, outputs: int, placed: Placed) -> nn.Module:
    """The network of a comparison with one method placed in it.

    Layers are named, and noise is made without touching the random state, so the same state gives the same initial
    values, names included, whatever the method.

    Args:
        config: Which model; `module:factory` names a function `factory(shape, outputs, noise)` that returns a network,
            whose argument `noise` makes a layer for a site: `noise("input")`, `noise("conv")` or `noise("dense")`.
        shape: The shape of one example.
        outputs: The number of classes, or 1.
        placed: The method at its strength.

    Raises:
        StudyError: The examples do not fit the model, or the factory fails.
    """

    def noise(site: str, share: float = 1.0) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            return placed.noise(site, share)

    if config.model == "linear":
        return _sequential(_linear(shape, outputs, noise))
    if config.model == "mlp":
        return _sequential(_mlp(shape, outputs, noise, config))
    if config.model == "cnn":
        return _sequential(_cnn(shape, outputs, noise))
    return _made(config.model, shape, outputs, noise)


def check(model: nn.Module, config: CompareConfig, shape: Shape, outputs: int) -> None:
    """Run two examples of zeros through a network, on the device of the study.

    Raises:
        StudyError: The device cannot be used, the network fails, or its output does not fit the task.
    """
    name, model = config.model, _moved(model.eval(), config.device)
    try:
        with torch.no_grad():
            y = model(torch.zeros(2, *shape, device=config.device))
            y = y.cpu() if isinstance(y, Tensor) else y
    except Exception as error:
        raise StudyError(
            f"{name}: the model must accept inputs of shape (2, {_sizes(shape)}), {raised(error)}"
        ) from error
    if not isinstance(y, Tensor) or y.shape != (2, outputs):
        found = f"a tensor of shape {tuple(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
        raise StudyError(
            f"{name}: the model must return a tensor of shape (2, {outputs}) for two examples, got {found}."
        )


def _moved(model: nn.Module, device: str) -> nn.Module:
    try:
        return model.to(device)
    except (RuntimeError, AssertionError) as error:  # the latter where torch was built without the device
        raise StudyError(
            f"compare: `device` must be one that torch can use here, got {device!r}: {raised(error)}"
        ) from error


def _sequential(parts: Parts) -> nn.Sequential:
    return nn.Sequential(OrderedDict((name, part) for name, part in parts if not isinstance(part, nn.Identity)))


def _size(shape: Shape) -> int:
    return int(torch.Size(shape).numel())


def _linear(shape: Shape, outputs: int, noise: MakeNoise) -> Parts:
    return [("flatten", nn.Flatten()), ("input", noise("input")), ("output", nn.Linear(_size(shape), outputs))]


def _mlp(shape: Shape, outputs: int, noise: MakeNoise, config: CompareConfig) -> Parts:
    parts: Parts = [("flatten", nn.Flatten()), ("input", noise("input"))]
    before = _size(shape)
    for number, width in enumerate(config.widths, 1):
        share = width / max(config.widths) if config.p_by_width else 1.0
        parts += [(f"linear{number}", nn.Linear(before, width)), (f"relu{number}", nn.ReLU())]
        parts += [(f"dense{number}", noise("dense", share))]
        before = width
    return [*parts, ("output", nn.Linear(before, outputs))]


def _cnn(shape: Shape, outputs: int, noise: MakeNoise) -> Parts:
    if len(shape) != 3 or min(shape[1:]) < 4:
        raise StudyError(f"compare: model 'cnn' needs images of at least 4 x 4, got examples of {_sizes(shape)}.")
    channels, height, width = shape
    return [
        ("input", noise("input")),
        ("convolution1", nn.Conv2d(channels, MAPS[0], 3, padding=1)),
        ("relu1", nn.ReLU()),
        ("conv1", noise("conv")),
        ("pool1", nn.MaxPool2d(2)),
        ("convolution2", nn.Conv2d(MAPS[0], MAPS[1], 3, padding=1)),
        ("relu2", nn.ReLU()),
        ("conv2", noise("conv")),
        ("pool2", nn.MaxPool2d(2)),
        ("flatten", nn.Flatten()),
        ("linear1", nn.Linear(MAPS[1] * (height // 4) * (width // 4), DENSE)),
        ("relu3", nn.ReLU()),
        ("dense1", noise("dense")),
        ("output", nn.Linear(DENSE, outputs)),
    ]


def _made(name: str, shape: Shape, outputs: int, noise: MakeNoise) -> nn.Module:
    with importable(Path.cwd()):
        factory = resolve(name)
        try:
            model = factory(shape, outputs, noise)
        except Exception as error:
            what = f"a network for inputs of {_sizes(shape)}"
            raise StudyError(f"{name}: the factory must return {what}, {raised(error)}.") from error
    if not isinstance(model, nn.Module):
        raise StudyError(f"{name}: the factory must return a torch.nn.Module, got {type(model).__name__}.")
    return model


def _sizes(shape: Shape) -> str:
    return " x ".join(map(str, shape))
