"""A sequence through one layer and one direction, step by step: plain loops, given the masks.

Everything is time-major. Gates lie as in PyTorch: i, f, g, o of an LSTM and r, z, n of a GRU. A cell's step is a
function of its own, which `cells.py` shares.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
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


def lstm(
    projected: Tensor, state: State, weight_hh: Tensor, masks: StepMasks, weight_hr: Tensor | None = None
) -> tuple[Tensor, State]:
    """An LSTM's sequence.

    Args:
        projected: `(T, N, 4 H)`, the products of the inputs and all biases.
        state: `(h, c)`, of `(N, O)` and `(N, H)`.
        weight_hh: `(4 H, O)`.
        masks: What is dropped.
        weight_hr: `(O, H)`, which projects the output; None where O is H.

    Returns:
        The outputs `(T, N, O)` and the last state.
    """
    h, c = state
    if weight_hr is None and ops.sequence_serves(projected, h, c, weight_hh):
        *multipliers, _ = masks
        outputs, h, c = ops.lstm(projected, h, c, weight_hh, tuple(multipliers), _lengths(masks, projected))
        return outputs, (h, c)
    return _loop(lstm_step, projected, state, masks, weight_hh, weight_hr)


def gru(
    projected: Tensor, state: Tensor, weight_hh: Tensor, bias_hh: Tensor | None, masks: StepMasks
) -> tuple[Tensor, Tensor]:
    """A GRU's sequence.

    Args:
        projected: `(T, N, 3 H)`, the products of the inputs and all biases but one.
        state: `h`, `(N, H)`.
        weight_hh: `(3 H, H)`.
        bias_hh: `(H,)` or None: the state's bias in the candidate value, which `r` multiplies.
        masks: What is dropped.

    Returns:
        The outputs `(T, N, H)` and the last state.
    """
    if ops.sequence_serves(projected, state, weight_hh):
        *multipliers, _ = masks
        return ops.gru(projected, state, weight_hh, bias_hh, tuple(multipliers), _lengths(masks, projected))
    outputs, (last,) = _loop(gru_step, projected, (state,), masks, weight_hh, bias_hh)
    return outputs, last


def rnn(
    projected: Tensor, state: Tensor, weight_hh: Tensor, masks: StepMasks, nonlinearity: str
) -> tuple[Tensor, Tensor]:
    """A plain RNN's sequence.

    Args:
        projected: `(T, N, H)`, the products of the inputs and all biases.
        state: `h`, `(N, H)`.
        weight_hh: `(H, H)`.
        masks: What is dropped.
        nonlinearity: `"tanh"` or `"relu"`.

    Returns:
        The outputs `(T, N, H)` and the last state.
    """
    if ops.sequence_serves(projected, state, weight_hh):
        *multipliers, _ = masks
        return ops.rnn(projected, state, weight_hh, tuple(multipliers), _lengths(masks, projected), nonlinearity)
    outputs, (last,) = _loop(rnn_step, projected, (state,), masks, weight_hh, nonlinearity)
    return outputs, last


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
