"""The networks of a comparison, with noise at the inputs and after every hidden activation, never on the output."""

from __future__ import annotations

import math
import shlex
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from torchdropout import catalog
from torchdropout.study import heads
from torchdropout.study.conditions import Placed
from torchdropout.study.config import CompareConfig
from torchdropout.study.errors import StudyError
from torchdropout.study.lstm import TextLSTM
from torchdropout.study.named import importable, raised, resolve
from torchdropout.study.placement import Placement
from torchdropout.study.transformer import TextTransformer, Transformer

if TYPE_CHECKING:
    from torchdropout.study.datasets import Dataset

MAPS = (16, 32)
DENSE = 128
TEXT = "lstm"  # the model that reads texts alone
READERS = (TEXT, "transformer")  # those that can read them

Shape = tuple[int, ...]
Parts = list[tuple[str, nn.Module]]


def build(config: CompareConfig, shape: Shape, outputs: int, placed: Placed, *, vocabulary: int = 0) -> nn.Module:
    """The network of a comparison with one method placed in it.

    Layers are named, and noise is made without touching the random state, so the same state gives the same initial
    values, names included, whatever the method.

    Args:
        config: Which model; `module:factory` names a function `factory(shape, outputs, noise)` that returns a network,
            whose argument `noise` makes a layer for a site: `noise("input")`, `noise("conv")` or `noise("dense")`, and
            the layers that a method may replace: `noise.linear(ins, outs)`, `noise.conv(...)`, `noise.pool(2)`,
            `noise.lstm(ins, outs)`; `noise.width(units)` is how wide a hidden layer is, more than `units` in the
            recipe; convolutions and pools are over as many axes as the examples have, two if they
            have none. `noise.activation(layer)` is the configured activation after such a layer.
        shape: The shape of one example.
        outputs: The number of classes, or 1.
        placed: The method at its strength.
        vocabulary: How many numbers of words there are, where examples are texts.

    Raises:
        StudyError: The examples do not fit the model, the factory fails, or the method has no place in the network.
    """
    place = Placement(placed, config.activation, len(shape) - 1 if len(shape) > 1 else 2)
    if config.model == "transformer":
        model = _transformer(shape, outputs, place, vocabulary)
    elif config.model == TEXT:
        model = TextLSTM(vocabulary, outputs, place)
    elif config.model in _PARTS:
        model = _sequential(_PARTS[config.model](shape, outputs, place, config))
    else:
        model = _made(config.model, shape, outputs, place)
    if (samples := placed.of("multisample")) is not None:
        heads.sample_(model, zeros(shape, vocabulary), int(samples), placed.strength_at("dense") or 0.0, config.model)
        place.acted = True
    if placed.of("recipe") is not None and not place.widened:
        raise StudyError(
            f"{config.model}: for the recipe the factory must ask `noise.width(units)` how wide hidden layers are."
        )
    if not place.acted:
        raise StudyError(f"compare: method {placed.method!r} has no place in model {config.model!r}.")
    return model


def check_reads(config: CompareConfig, data: Dataset) -> None:
    """Raise a `StudyError` where a model that reads text is given something else, or another one text."""
    if data.is_text and config.model not in READERS:
        can = " and ".join(f"--model {model}" for model in READERS)
        raise StudyError(f"compare: model {config.model!r} cannot read {data.name}, which is text; {can} can.")
    if config.model == TEXT and not data.is_text:
        raise StudyError(f"compare: model {TEXT!r} reads text, got {data.description}{_hint(data)}.")


def _hint(data: Dataset) -> str:
    """Which column may be meant, in a table."""
    if isinstance(data.inputs, np.ndarray):
        return ""
    table = data.inputs
    names = [name for name in table if table[name].dtype == object and table[name].nunique() * 2 > len(table)]
    return f"; --text {shlex.quote(names[0])} would read that column" if names else "; --text names a column of text"


def check(model: nn.Module, config: CompareConfig, shape: Shape, outputs: int, *, vocabulary: int = 0) -> None:
    """Run two examples of zeros through a network, on the device of the study.

    Raises:
        StudyError: The device cannot be used, the network fails, or its output does not fit the task.
    """
    name, model = config.model, _moved(model, config.device)
    y = heads.output_of(model, zeros(shape, vocabulary).to(config.device), name)
    if not isinstance(y, Tensor) or y.shape != (2, outputs):
        found = f"a tensor of shape {tuple(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
        raise StudyError(
            f"{name}: the model must return a tensor of shape (2, {outputs}) for two examples, got {found}."
        )


def zeros(shape: Shape, vocabulary: int) -> Tensor:
    """Two examples of zeros."""
    return torch.zeros(2, *shape, dtype=torch.int64 if vocabulary else torch.float32)


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


def _linear(shape: Shape, outputs: int, place: Placement, _: CompareConfig) -> Parts:
    size = _size(shape)
    return [*_inputs(place, size), ("output", place.linear(size, outputs, first=True, last=True))]


def _inputs(place: Placement, size: int) -> Parts:
    return [("whole", place.inputs()), ("flatten", nn.Flatten()), ("input", place("input", features=size))]


def _mlp(shape: Shape, outputs: int, place: Placement, config: CompareConfig) -> Parts:
    before = _size(shape)
    parts = _inputs(place, before)
    for number, width in enumerate(config.widths, 1):
        share = width / max(config.widths) if config.p_by_width else 1.0
        units = place.width(width, share)
        linear = place.linear(before, units, first=number == 1)
        parts += [(f"linear{number}", linear), (f"{config.activation}{number}", place.activation(linear))]
        parts += [(f"dense{number}", place("dense", share, features=units))]
        before = units
    return [*parts, ("output", place.linear(before, outputs, last=True))]


def _cnn(shape: Shape, outputs: int, place: Placement, config: CompareConfig) -> Parts:
    channels, *sizes = _maps(shape)
    parts: Parts = [("whole", place.inputs()), ("input", place("input", features=channels, dim=1))]
    before = channels
    for number, maps in enumerate(MAPS, 1):
        convolution = place.conv(before, maps, 3, first=number == 1, padding=1)
        parts += [
            (f"convolution{number}", convolution),
            (f"{config.activation}{number}", place.activation(convolution)),
            (f"conv{number}", place("conv", features=maps, dim=1, size=min(sizes))),
            (f"pool{number}", place.pool(2)),
        ]
        before, sizes = maps, [size // 2 for size in sizes]
    width = place.width(DENSE)
    linear = place.linear(before * math.prod(sizes), width)
    return [
        *parts,
        ("flatten", nn.Flatten()),
        ("linear1", linear),
        (f"{config.activation}3", place.activation(linear)),
        ("dense1", place("dense", features=width)),
        ("output", place.linear(width, outputs, last=True)),
    ]


_PARTS = {"linear": _linear, "mlp": _mlp, "cnn": _cnn}


def _transformer(shape: Shape, outputs: int, place: Placement, vocabulary: int) -> nn.Module:
    if vocabulary:
        return TextTransformer(vocabulary, shape[0], outputs, place)
    return Transformer(_image(shape, "transformer"), outputs, place)


def _maps(shape: Shape) -> Shape:
    if len(shape) - 1 not in catalog.RANKS or min(shape[1:]) < 4:
        rule = "needs sequences, images or volumes of at least 4 along each axis"
        raise StudyError(f"compare: model 'cnn' {rule}, got {_examples(shape)}.")
    return shape


def _image(shape: Shape, model: str) -> tuple[int, int, int]:
    if len(shape) != 3 or min(shape[1:]) < 4:
        raise StudyError(f"compare: model {model!r} needs images of at least 4 x 4, got {_examples(shape)}.")
    return shape[0], shape[1], shape[2]


def _made(name: str, shape: Shape, outputs: int, place: Placement) -> nn.Module:
    with importable(Path.cwd()):
        factory = resolve(name)
        try:
            model = factory(shape, outputs, place)
        except Exception as error:
            what = f"a network for inputs of {_sizes(shape)}"
            raise StudyError(f"{name}: the factory must return {what}, {raised(error)}.") from error
    if not isinstance(model, nn.Module):
        raise StudyError(f"{name}: the factory must return a torch.nn.Module, got {type(model).__name__}.")
    return model


def _examples(shape: Shape) -> str:
    return f"{catalog.RANKS.get(len(shape) - 1, 'examples')} of {_sizes(shape)}"


def _sizes(shape: Shape) -> str:
    return " x ".join(map(str, shape))
