"""Recurrent layers whose outputs show what multiplied inside them.

Gates are open or shut, so that a unit's new cell state is 1 and nothing stays of the old; those of a reader are so but
for one, which takes what is to be read. All is in float64, where 40 is as good as infinity.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from torchdropout.recurrent.kinds import Kind
from torchdropout.testing.case import Probe, noisy
from torchdropout.testing.declared._lstm import Noisy, Weights

_OPEN, _SHUT = 40.0, -40.0
_ONE = (_OPEN, _SHUT, _OPEN, _OPEN)  # biases of i, f, g, o
_STATE = math.tanh(1.0)  # the output of such a unit
_STEPS = 5


def _units(count: int) -> Tensor:
    """The biases `(4, count)` of units whose output is always tanh(1)."""
    return torch.tensor(_ONE, dtype=torch.float64)[:, None].repeat(1, count)


def _readers(count: int) -> Tensor:
    """The biases `(4, 4 count)` of readers: of gate i, of f, of g, of o."""
    biases = _units(4).fill_diagonal_(0.0)
    biases[0, 1:], biases[1, 1] = _OPEN, 0.0
    return biases.repeat_interleave(count, 1)


def _read(y: Tensor) -> Tensor:
    """What the gates of readers were given, `(N, T - 1, 4, count)`, from the readers' outputs `(N, T, 4 count)`."""
    i, f, g, o = y.chunk(4, -1)
    kept = (torch.atanh(f[:, 1:]) - 1.0) / torch.atanh(f[:, :-1])  # c[t] is 1 + f c[t - 1]
    given = [torch.logit(torch.atanh(i[:, 1:])), torch.logit(kept), torch.atanh(torch.atanh(g[:, 1:]))]
    return torch.stack([*given, torch.logit(o[:, 1:] / _STATE)], 2).round(decimals=9)


def _blank(bias: Tensor, inputs: int) -> Weights:
    """No weights but biases."""
    units = bias.shape[1]
    zeros = torch.zeros(4, units, units + inputs, dtype=torch.float64)
    return Weights(zeros[..., units:], zeros[..., :units], bias)


def _built(kind: Kind, weights: Weights) -> Noisy:
    _, units, inputs = weights.w.shape
    layer = Noisy(kind, inputs, units).double()
    weights.given_to(layer.layer)
    return layer


def gate_masks(kind: Kind, size: int = 8, sequences: int = 256) -> Probe:
    """What multiplies the inputs and the state in each gate: `(N, T, 2, 4, size)`, inputs first."""

    def read(_: nn.Module, seed: int) -> Tensor:
        weights = _blank(torch.cat([_readers(size), _readers(size), _units(size)], 1), size)
        for gate in range(4):
            rows, columns = torch.arange(gate * size, (gate + 1) * size), torch.arange(size)
            weights.w[gate, rows, columns] = 1.0
            weights.u[gate, 4 * size + rows, 8 * size + columns] = 1.0 / _STATE
        y = noisy(_built(kind, weights), torch.ones(sequences, _STEPS, size, dtype=torch.float64), seed)
        return torch.stack([_read(part) for part in y[..., : 8 * size].chunk(2, -1)], 2)

    return read


def weight_masks(kind: Kind, size: int = 8, readers: int = 64) -> Probe:
    """What multiplies the recurrent weights: `(N, 2, size, 4, readers)`; the second axis is time.

    One unit after another is 1, so that each step shows one column of the matrix, and the whole is shown twice.
    """

    def read(_: nn.Module, seed: int) -> Tensor:
        weights = _blank(torch.cat([_readers(readers), _units(size)], 1), size)
        weights.b[2, 4 * readers :] = 0.0
        weights.w[2, 4 * readers :] = _OPEN * torch.eye(size)
        for gate in range(4):
            weights.u[gate, gate * readers : (gate + 1) * readers, 4 * readers :] = 1.0 / _STATE
        one_hot = torch.eye(size, dtype=torch.float64).repeat(2, 1)
        x = torch.cat([one_hot, one_hot[:1]]).expand(2, -1, -1)
        found = _read(noisy(_built(kind, weights), x, seed)[..., : 4 * readers])
        return found.view(2, 2, size, 4, readers)

    return read


def cell_masks(kind: Kind, size: int = 32, sequences: int = 256) -> Probe:
    """What multiplies the candidate value, or the new cell state: `(N, T, size)`."""

    def read(_: nn.Module, seed: int) -> Tensor:
        layer = _built(kind, _blank(_units(size), 1))
        y = noisy(layer, torch.zeros(sequences, _STEPS, 1, dtype=torch.float64), seed)
        return torch.atanh(y).round(decimals=9)

    return read


def zones(kind: Kind, size: int = 16, sequences: int = 256) -> Probe:
    """1 where a state is new: `(N, T, 2, size)`, cell states first.

    Step t adds `2**t / 32` to the cell state, so that the last one is the number whose bits say when it was new.
    """

    def read(_: nn.Module, seed: int) -> Tensor:
        weights = _blank(_units(size), 1)
        weights.b[1], weights.b[2], weights.w[2] = _OPEN, 0.0, 1.0
        added = (2.0 ** torch.arange(_STEPS, dtype=torch.float64) / 32.0)[:, None]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            h, (_, c) = _built(kind, weights).layer.train()(torch.atanh(added).expand(sequences, -1, -1))
        number = (32.0 * c[0, :, None]).round()
        new_c = torch.floor(number / (32.0 * added)) % 2.0 + (32.0 * c[0, :, None] - number)
        zero = torch.zeros_like(h[:, :1])
        old_c, old_h = (torch.cat([zero, s[:, :-1]], 1) for s in ((new_c * added).cumsum(1), h))
        new_h = (h - old_h) / (torch.tanh(old_c + added) - old_h)
        return torch.stack([new_c, new_h], 2).round(decimals=9)

    return read
