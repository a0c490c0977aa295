"""The real layers, run with fixed keys: two draws of training, and test. Nothing is drawn that they did not compute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import torchdropout as td
from torchdropout.catalog import Method
from torchdropout.plots.picture import Array, as_array

Strength = float | None


@dataclass(frozen=True)
class Passes:
    """What a layer made of one input: `dropped` is where an output does not depend on its input at all."""

    input: Array
    draws: tuple[Array, Array]
    dropped: tuple[Array, Array]
    test: Array
    removed: Array

    @property
    def outputs(self) -> list[Array]:
        """Input, both draws and test."""
        return [self.input, *self.draws, self.test]

    @property
    def masks(self) -> list[Array | None]:
        """What was dropped, in the same order; None where nothing can be."""
        return [None, *self.dropped, self.removed if self.removed.any() else None]

    def data(self) -> list[dict[str, Array]]:
        """As panels keep it."""
        draws = [{"values": y, "dropped": out} for y, out in zip(self.draws, self.dropped, strict=True)]
        return [{"values": self.input}, *draws, {"values": self.test, "dropped": self.removed}]

    def turned(self, turn: Callable[[Array], Array]) -> Passes:
        """The same in another layout."""
        one, two = map(turn, self.draws)
        out_one, out_two = map(turn, self.dropped)
        return Passes(turn(self.input), (one, two), (out_one, out_two), turn(self.test), turn(self.removed))


def make(row: Method, strength: Strength, *arguments: Any, **options: Any) -> nn.Module:
    """The layer of a row of the catalogue at a strength; the caller's random state is left as it was."""
    if row.argument and strength is not None:
        options[row.argument] = strength
    with torch.random.fork_rng(devices=[]):
        layer: nn.Module = getattr(td, row.layer)(*arguments, **options)
    return layer


def keys(seed: int) -> tuple[Tensor, Tensor]:
    """The keys of the two draws."""
    return td.key(seed), td.key(seed + 1)


def once(layer: nn.Module, x: Tensor, key: Tensor | None, within: float = 0.0) -> tuple[Array, Array]:
    """One pass, in eval without a key, and where the output depends on its input by no more than `within`."""
    leaf = x.clone().requires_grad_()
    y = layer.train(key is not None)(leaf, key=key)
    (slope,) = torch.autograd.grad(y.sum(), leaf)
    return as_array(y), as_array(slope.abs() <= within)


def passes(layer: nn.Module, x: Tensor, seed: int, within: float = 0.0) -> Passes:
    """Both draws and test of an elementwise layer."""
    (one, out_one), (two, out_two) = (once(layer, x, key, within) for key in keys(seed))
    return Passes(as_array(x), (one, two), (out_one, out_two), *once(layer, x, None))


def kept_weights(layer: nn.Module, x: Tensor, key: Tensor) -> tuple[Array, dict[str, Array]]:
    """One pass of one example, and which weights and biases each output depends on: its gradient is not zero."""
    y = layer.train()(x, key=key)
    slopes = torch.autograd.grad(y.abs().sum(), list(layer.parameters()))
    named = zip(dict(layer.named_parameters()), slopes, strict=True)
    return as_array(y), {name: as_array(slope != 0) for name, slope in named}
