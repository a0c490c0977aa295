"""Between what users give PyTorch's recurrent layers and padded, time-major tensors in the batch's own order."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from torchdropout.recurrent.sequence import State

Hx = Tensor | tuple[Tensor, Tensor]


class Sequences(NamedTuple):
    """Inputs `(T, N, I)`, the states of all layers and directions `(L D, N, ...)`, and the lengths if they differ."""

    x: Tensor
    states: State
    lengths: Tensor | None


def refused(layer: nn.RNNBase, input: Tensor | PackedSequence, hx: Hx | None) -> bool:  # noqa: A002
    """Whether PyTorch refuses the number of axes, or that there are no steps, and so should be asked to say it."""
    if isinstance(input, PackedSequence):
        return False
    if input.dim() not in (2, 3) or any(s.dim() != input.dim() for s in states_of(hx)):
        return True
    return input.shape[1 if layer.batch_first and input.dim() == 3 else 0] == 0


def unpack(layer: nn.RNNBase, input: Tensor | PackedSequence, hx: Hx | None) -> Sequences:  # noqa: A002
    """The inputs and states as `Sequences`, checked by PyTorch's own checks."""
    if isinstance(input, PackedSequence):
        states = states_of(hx) or _zeros(layer, input.data, int(input.batch_sizes[0]))
        _check(layer, input.data, states, input.batch_sizes)
        x, lengths = pad_packed_sequence(input)
        return Sequences(x, states, lengths.to(x.device))
    batched = input.dim() == 3
    x = input if batched else input.unsqueeze(0 if layer.batch_first else 1)
    states = tuple(s if batched else s.unsqueeze(1) for s in states_of(hx))
    states = states or _zeros(layer, x, x.shape[0 if layer.batch_first else 1])
    _check(layer, x, states, None)
    return Sequences(x.transpose(0, 1) if layer.batch_first else x, states, None)


def pack(
    layer: nn.RNNBase, like: Tensor | PackedSequence, outputs: Tensor, states: State
) -> tuple[Tensor | PackedSequence, Hx]:
    """What PyTorch's layer returns for an input like this one."""
    if isinstance(like, PackedSequence):
        return _packed(like, outputs), _given(states)
    if like.dim() == 3:
        return outputs.transpose(0, 1) if layer.batch_first else outputs, _given(states)
    return outputs.squeeze(1), _given(tuple(s.squeeze(1) for s in states))


def _packed(like: PackedSequence, outputs: Tensor) -> PackedSequence:
    order, sizes = like.sorted_indices, like.batch_sizes
    if order is not None:
        outputs = outputs.index_select(1, order)
    lengths = (sizes.unsqueeze(1) > torch.arange(int(sizes[0]))).sum(0)
    return PackedSequence(pack_padded_sequence(outputs, lengths).data, sizes, order, like.unsorted_indices)


def states_of(hx: Hx | None) -> State:
    """The states as a tuple, empty for None."""
    if hx is None:
        return ()
    return (hx,) if isinstance(hx, Tensor) else tuple(hx)


def _given(states: State) -> Hx:
    return (states[0], states[1]) if len(states) == 2 else states[0]


def _zeros(layer: nn.RNNBase, x: Tensor, batch: int) -> State:
    count = layer.num_layers * (2 if layer.bidirectional else 1)
    sizes = [layer.proj_size or layer.hidden_size, layer.hidden_size]
    if layer.mode != "LSTM":
        sizes = sizes[:1]
    return tuple(x.new_zeros(count, batch, size) for size in sizes)


def _check(layer: nn.RNNBase, x: Tensor, states: State, batch_sizes: Tensor | None) -> None:
    layer.check_forward_args(x, _given(states), batch_sizes)  # type: ignore[arg-type]
    if any(s.dtype != x.dtype for s in states) and not torch.is_autocast_enabled(x.device.type):
        got = " and ".join(str(s.dtype) for s in states)
        raise ValueError(f"{type(layer).__name__}: `hx` must have the input's dtype, {x.dtype}, got {got}.")
