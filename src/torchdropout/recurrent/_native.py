"""PyTorch's own recurrence for one layer and direction: cuDNN, where all that is masked is weights or inputs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from torchdropout import ops
from torchdropout.recurrent.masks import LayerMasks
from torchdropout.recurrent.sequence import State, StepMasks, Weights


def serves(x: Tensor, around: LayerMasks, steps: StepMasks) -> bool:
    """Whether nothing is masked inside the recurrence, on a device where PyTorch's own is the fastest."""
    inside = steps._replace(lengths=None)
    return _is_fastest(x) and around.input is None and all(mask is None for mask in inside)


def _is_fastest(x: Tensor) -> bool:
    return x.is_cuda and not ops.plain_operations_wanted(x) and bool(torch.backends.cudnn.is_acceptable(x))  # type: ignore[no-untyped-call]


def run(
    mode: str, x: Tensor, state: State, weights: Weights, lengths: Tensor | None, training: bool
) -> tuple[Tensor, State]:
    """The outputs `(T, N, O)`, zero beyond a sequence's length, and the last state.

    Args:
        mode: As PyTorch's layers have it: `LSTM`, `GRU`, `RNN_TANH` or `RNN_RELU`.
        x: `(T, N, I)`.
        state: `(h, c)` or `(h,)`.
        weights: Those of the layer and direction.
        lengths: `(N,)`, at least 1, or None where all sequences have all steps.
        training: Whether a backward pass may follow.
    """
    function: Any = getattr(torch._VF, mode.lower())
    flat = [weight for weight in weights if weight is not None]
    hx: Any = tuple(s.unsqueeze(0).contiguous() for s in state)
    hx = hx if mode == "LSTM" else hx[0]
    options = weights.bias_ih is not None, 1, 0.0, training, False
    if lengths is None:
        y, *end = function(x, hx, flat, *options, False)
        return y, tuple(s.squeeze(0) for s in end)
    packed = pack_padded_sequence(x, lengths.cpu(), enforce_sorted=False)
    order, back = packed.sorted_indices, packed.unsorted_indices
    hx = tuple(s[:, order] for s in hx) if mode == "LSTM" else hx[:, order]
    data, *end = function(packed.data, packed.batch_sizes, hx, flat, *options)
    y, _ = pad_packed_sequence(packed._replace(data=data), total_length=len(x))
    return y, tuple(s[0, back] for s in end)
