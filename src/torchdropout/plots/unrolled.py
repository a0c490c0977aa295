"""A real LSTM cell, step by step with the masks that its layer has for a key, and what each step made of its state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import torchdropout as td
from torchdropout.catalog import Method
from torchdropout.plots import subjects
from torchdropout.plots.passes import Strength, keys
from torchdropout.recurrent.kinds import of_strength

INPUTS, UNITS = 4, 4
State = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Unrolled:
    """A cell over some steps of a batch of sequences.

    Attributes:
        cell: The cell, in training with a key and in eval without one.
        plain: PyTorch's cell with the same weights.
        x: The inputs, `(T, N, INPUTS)`.
        key: The masks' key.
    """

    cell: nn.LSTMCell
    plain: nn.LSTMCell
    x: Tensor
    key: Tensor | None = None

    def steps(self) -> Iterator[tuple[Tensor, State, State]]:
        """Input, old state and new one of each step."""
        sequences = self.x.shape[1]
        h, c = (subjects.weights(sequences, UNITS, seed).double() / 2 for seed in (13, 14))
        drawn = {}
        if isinstance(self.cell, td.LSTMCell) and self.key is not None:
            drawn = {"masks": self.cell.draw_masks(sequences, key=self.key)}
        for t, x in enumerate(self.x):
            h, c = h.detach(), c.detach()
            new = self.cell(x, (h, c), **(drawn | {"step": t} if drawn else {}))
            yield x, (h, c), new
            h, c = new


@dataclass(frozen=True)
class States:
    """All of a run, `(T, N, UNITS)` each.

    Attributes:
        old: The states `(h, c)` before each step.
        new: Those after it.
        plain: Those that PyTorch's cell makes of the old ones.
        memory: What it keeps of the old cell states.
    """

    old: State
    new: State
    plain: State
    memory: Tensor


def unrolled(row: Method, strength: Strength, seed: int, steps: int, sequences: int) -> list[Unrolled]:
    """PyTorch's LSTM, two draws of training, and test."""
    kind = of_strength(getattr(td, row.layer), 0.0 if strength is None else float(strength))
    x = subjects.waves(INPUTS * sequences, steps).double().T.reshape(steps, sequences, INPUTS)
    with torch.random.fork_rng(devices=[]):
        plain = _settled(nn.LSTMCell(INPUTS, UNITS))
        training, test = (_settled(td.LSTMCell(INPUTS, UNITS, recurrent=kind)).train(live) for live in (True, False))
    drawn = [Unrolled(training, plain, x, key) for key in keys(seed)]
    return [Unrolled(plain, plain, x), *drawn, Unrolled(test, plain, x)]


def _settled(cell: nn.LSTMCell) -> nn.LSTMCell:
    """Fixed weights in float64; biases, so that no gate is without effect where all that reaches it is dropped."""
    with torch.no_grad():
        cell.weight_ih.copy_(subjects.weights(4 * UNITS, INPUTS, 11))
        cell.weight_hh.copy_(subjects.weights(4 * UNITS, UNITS, 12))
        cell.bias_ih.fill_(0.25)
        cell.bias_hh.zero_()
    return cell.double()


def states(of: Unrolled) -> States:
    """The states of a run, beside those of PyTorch's cell."""
    found = []
    with torch.no_grad():
        for x, old, new in of.steps():
            found.append((*old, *new, *of.plain(x, old), _remembered(of.plain, x, old)))
    h, c, new_h, new_c, plain_h, plain_c, memory = (torch.stack(parts) for parts in zip(*found, strict=True))
    return States((h, c), (new_h, new_c), (plain_h, plain_c), memory)


def _remembered(plain: nn.LSTMCell, x: Tensor, old: State) -> Tensor:
    """The new cell state where the candidate value is zero: its weights and bias are."""
    parameters = {name: value.detach().clone() for name, value in plain.named_parameters()}
    for value in parameters.values():
        value[2 * UNITS : 3 * UNITS] = 0.0
    c: Tensor = torch.func.functional_call(plain, parameters, (x, old))[1]
    return c


def reached(of: Unrolled) -> tuple[Tensor, Tensor]:
    """What reaches the gates of each unit: of the inputs `(T, N, 4, UNITS, INPUTS)`, of the state `(..., UNITS)`.

    The gradient of a weight is that of its gate's bias times what the weight multiplies.
    """
    cell, inputs, state = of.cell, [], []
    for _, _, new in of.steps():
        for h, c in zip(*new, strict=True):
            parameters = [cell.weight_ih, cell.bias_ih, cell.weight_hh, cell.bias_hh]
            w, b, u, a = torch.autograd.grad(h.sum() + c.sum(), parameters, retain_graph=True)
            inputs.append((w / b[:, None]).view(4, UNITS, INPUTS))
            state.append((u / a[:, None]).view(4, UNITS, UNITS))
    steps, sequences, _ = of.x.shape
    into, over = (torch.stack(parts).view(steps, sequences, 4, UNITS, -1) for parts in (inputs, state))
    return into, over
