"""A sequence through one layer and one direction, step by step: plain loops, given the masks.

Everything is time-major. Gates lie as in PyTorch: i, f, g, o of an LSTM and r, z, n of a GRU. A cell's step is a
function of its own, which `cells.py` shares.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.compiler import is_compiling
from torch.nn import functional as F
from torch.utils._triton import has_triton

from torchdropout import ops

State = tuple[Tensor, ...]


class Weights(NamedTuple):
    """The parameters of one layer and direction."""

    ih: Tensor
    hh: Tensor
    bias_ih: Tensor | None
    bias_hh: Tensor | None
    hr: Tensor | None


class StepMasks(NamedTuple):
    """What multiplies where, already scaled; None where nothing does. H is the cells' size, O the outputs'.

    Attributes:
        hidden: `(N, G, O)`, on the state before its product with the weights; G is 1 or the number of gates.
        cell: `(N, H)`, on the new cell state.
        update: `(T, N, H)` or `(1, N, H)`, on the candidate value.
        zone_cell: `(T, N, H)`: 1 keeps the old cell state, 0 takes the new, between them a mean.
        zone_hidden: `(T, N, O)`, likewise of the hidden state.
        output: `(N, H)`, on an LSTM's output, before its projection.
        lengths: `(N,)` int64: from there on a sequence's state stays and its outputs are zero.
    """

    hidden: Tensor | None = None
    cell: Tensor | None = None
    update: Tensor | None = None
    zone_cell: Tensor | None = None
    zone_hidden: Tensor | None = None
    output: Tensor | None = None
    lengths: Tensor | None = None

    def at(self, step: int) -> StepMasks:
        """The masks of one step: the same without the axis of time."""
        update, zones = self.update, (self.zone_cell, self.zone_hidden)
        if update is not None:
            update = update[step if len(update) > 1 else 0]
        return self._replace(
            update=update,
            zone_cell=None if zones[0] is None else zones[0][step],
            zone_hidden=None if zones[1] is None else zones[1][step],
        )


def project(x: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None) -> Tensor:
    """The products of inputs `(..., N, I)` with the weights of all gates; the masks are `(N, G, I)`."""
    if ops.sequence_serves(x, weight):
        return ops.project(x, weight, bias, mask)
    if mask is None:
        return F.linear(x, weight, bias)
    groups = mask.shape[1]
    biases: Sequence[Any] = [None] * groups if bias is None else bias.chunk(groups)
    masked = [(x * mask[:, group]).to(x.dtype) for group in range(groups)]
    return torch.cat([F.linear(*part) for part in zip(masked, weight.chunk(groups), biases, strict=True)], -1)


def lstm(x: Tensor, state: State, weights: Weights, of_input: Tensor | None, masks: StepMasks) -> tuple[Tensor, State]:
    """An LSTM's sequence.

    Args:
        x: `(T, N, I)`.
        state: `(h, c)`, of `(N, O)` and `(N, H)`.
        weights: Of the layer and direction.
        of_input: `(N, 4, I)`, what multiplies the inputs of each gate, or None.
        masks: What is dropped.

    Returns:
        The outputs `(T, N, O)` and the last state.
    """
    h, c = state
    bias = None if weights.bias_ih is None or weights.bias_hh is None else weights.bias_ih + weights.bias_hh
    if weights.hr is None and ops.sequence_serves(x, h, c, weights.hh):
        *multipliers, _ = masks
        of_gates = weights.ih, weights.hh, bias
        outputs, h, c = ops.lstm(x, of_gates, h, c, of_input, tuple(multipliers), _lengths(masks, x))
        return outputs, (h, c)
    projected = project(x, weights.ih, bias, of_input)
    return _loop(lstm_step, projected, state, masks, weights.hh, weights.hr)


def gru(x: Tensor, state: State, weights: Weights, of_input: Tensor | None, masks: StepMasks) -> tuple[Tensor, State]:
    """A GRU's sequence; for the arguments see `lstm`, the state is `(h,)`."""
    early, late = biases_of_gru(weights)
    projected = project(x, weights.ih, early, of_input)
    if ops.sequence_serves(projected, state[0], weights.hh):
        *multipliers, _ = masks
        outputs, last = ops.gru(projected, state[0], weights.hh, late, tuple(multipliers), _lengths(masks, projected))
        return outputs, (last,)
    return _loop(gru_step, projected, state, masks, weights.hh, late)


def biases_of_gru(weights: Weights) -> tuple[Tensor | None, Tensor | None]:
    """Those that may be added to the products of the inputs, and the state's in the candidate, which `r` multiplies."""
    if weights.bias_ih is None or weights.bias_hh is None:
        return None, None
    hidden = len(weights.bias_hh) // 3
    late = weights.bias_hh[2 * hidden :]
    return weights.bias_ih + torch.cat([weights.bias_hh[: 2 * hidden], torch.zeros_like(late)]), late


def rnn(
    x: Tensor, state: State, weights: Weights, of_input: Tensor | None, masks: StepMasks, nonlinearity: str
) -> tuple[Tensor, State]:
    """A plain RNN's sequence, `nonlinearity` being `tanh` or `relu`; for the rest see `lstm`, the state is `(h,)`."""
    bias = None if weights.bias_ih is None or weights.bias_hh is None else weights.bias_ih + weights.bias_hh
    projected = project(x, weights.ih, bias, of_input)
    if ops.sequence_serves(projected, state[0], weights.hh):
        *multipliers, _ = masks
        lengths = _lengths(masks, projected)
        outputs, last = ops.rnn(projected, state[0], weights.hh, tuple(multipliers), lengths, nonlinearity)
        return outputs, (last,)
    return _loop(rnn_step, projected, state, masks, weights.hh, nonlinearity)


def _lengths(masks: StepMasks, projected: Tensor) -> Tensor:
    steps, rows = projected.shape[:2]
    return torch.full((rows,), steps, dtype=torch.int64) if masks.lengths is None else masks.lengths


def _loop(
    step: Callable[..., State], projected: Tensor, state: State, masks: StepMasks, *parameters: Any
) -> tuple[Tensor, State]:
    outputs, step = [], _compiled(step) if _compiles(projected) else step
    for t, x in enumerate(projected.unbind(0)):
        new = step(x, state, masks.at(t), *parameters)
        if masks.lengths is None:
            state = new
            outputs.append(new[0])
            continue
        goes_on = (masks.lengths > t).unsqueeze(-1)
        state = tuple(torch.where(goes_on, n, old.to(n.dtype)) for n, old in zip(new, state, strict=True))
        outputs.append(torch.where(goes_on, new[0], 0))
    return torch.stack(outputs), state


def _compiles(x: Tensor) -> bool:
    """Whether a step is worth a kernel of its own: on a GPU, where its dozen operations wait for one another."""
    return x.is_cuda and not is_compiling() and not ops.plain_operations_wanted(x) and has_triton()


@functools.cache
def _compiled(step: Callable[..., State]) -> Callable[..., State]:
    return torch.compile(step, dynamic=True)


def lstm_step(x: Tensor, state: State, masks: StepMasks, weight_hh: Tensor, weight_hr: Tensor | None = None) -> State:
    """The next `(h, c)`."""
    h, c = (s.to(x.dtype) for s in state)
    i, f, g, o = (x + _of_state(h, weight_hh, masks.hidden, 4)).chunk(4, -1)
    new_c = torch.sigmoid(f) * c + torch.sigmoid(i) * _times(torch.tanh(g), masks.update)
    new_c = _times(new_c, masks.cell)
    new_h = _times(torch.sigmoid(o) * torch.tanh(new_c), masks.output)
    if weight_hr is not None:
        new_h = F.linear(new_h, weight_hr)
    return _zoned(new_h, h, masks.zone_hidden), _zoned(new_c, c, masks.zone_cell)


def gru_step(x: Tensor, state: State, masks: StepMasks, weight_hh: Tensor, bias_hh: Tensor | None) -> State:
    """The next `(h,)`."""
    (h,) = state
    x_r, x_z, x_n = x.chunk(3, -1)
    h_r, h_z, h_n = _of_state(h, weight_hh, masks.hidden, 3).chunk(3, -1)
    if bias_hh is not None:
        h_n = h_n + bias_hh.to(h_n.dtype)
    z = torch.sigmoid(x_z + h_z)
    n = _times(torch.tanh(x_n + torch.sigmoid(x_r + h_r) * h_n), masks.update)
    return (_zoned((1 - z) * n + z * h, h, masks.zone_hidden),)


def rnn_step(x: Tensor, state: State, masks: StepMasks, weight_hh: Tensor, nonlinearity: str) -> State:
    """The next `(h,)`."""
    (h,) = state
    a = x + _of_state(h, weight_hh, masks.hidden, 1)
    return (_zoned(torch.tanh(a) if nonlinearity == "tanh" else torch.relu(a), h, masks.zone_hidden),)


def _of_state(h: Tensor, weight: Tensor, mask: Tensor | None, gates: int) -> Tensor:
    """The product of a state with the weights of all gates, `(N, G H)`; each gate may have its own mask."""
    if mask is None or mask.shape[1] == 1:
        return F.linear(_times(h, None if mask is None else mask.squeeze(1)), weight)
    masked = _times(h.unsqueeze(1), mask).transpose(0, 1)
    by_gate = weight.reshape(gates, -1, weight.shape[-1]).transpose(1, 2)
    return torch.bmm(masked, by_gate).transpose(0, 1).flatten(1)


def _times(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else (x * mask).to(x.dtype)


def _zoned(new: Tensor, old: Tensor, zone: Tensor | None) -> Tensor:
    return new if zone is None else torch.lerp(new, old.to(new.dtype), zone.to(new.dtype))
