"""The GRU with noise inside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from torchdropout.recurrent import sequence
from torchdropout.recurrent._layer import Recurrent
from torchdropout.recurrent.kinds import Kind
from torchdropout.recurrent.sequence import State, StepMasks, Weights


class GRU(Recurrent, nn.GRU):
    """A drop-in for `torch.nn.GRU` that the recurrent kinds of dropout may act on.

    `r, z = s(W x[t] + U h[t-1] + b)`, `n = tanh(W x[t] + b + r * (U h[t-1] + b'))`, `h[t] = (1 - z) * n + z * h[t-1]`;
    what is masked there is said by the kinds: `torchdropout.Variational`, `UpdateDropout`, `Zoneout` and
    `WeightDrop`. For the rest see `torchdropout.LSTM`.

    Noise | Shared | Target | At test time: the kind's | the kind's | the kind's | the kind's

    Args:
        input_size: The size of an input.
        hidden_size: The size of the state.
        num_layers: How many layers lie on each other.
        bias: Whether there are biases.
        batch_first: Whether the batch axis comes before time.
        dropout: The probability of dropping what goes from a layer to the next.
        bidirectional: Whether a second direction reads the sequence from its end.
        device: Where the parameters are.
        dtype: The parameters' dtype.
        locked: Whether `dropout` has one mask for all steps of a sequence instead of one a step.
        recurrent: The kind of recurrent dropout, or a list of them.

    Shape:
        As in `torch.nn.GRU`: `(T, N, input_size)`, `(N, T, input_size)` with `batch_first`, `(T, input_size)`, or a
        `PackedSequence`; and a state `h`.

    Raises:
        ValueError: A kind has nothing to act on, two do not combine, or what PyTorch refuses.
        TypeError: `recurrent` holds something else.

    Example:
        >>> import torch, torchdropout as td
        >>> layer = td.GRU(3, 4, recurrent=[td.Variational(0.25, 0.25), td.Zoneout(hidden=0.1)])
        >>> outputs, h = layer(torch.ones(5, 2, 3), key=td.key(0))
        >>> outputs.shape, h.shape
        (torch.Size([5, 2, 4]), torch.Size([1, 2, 4]))

    Reference:
        K. Cho, B. van Merrienboer, C. Gulcehre, D. Bahdanau, F. Bougares, H. Schwenk, Y. Bengio. Learning Phrase
        Representations using RNN Encoder-Decoder for Statistical Machine Translation. EMNLP 2014, arXiv:1406.1078.

    Deviation: none from `torch.nn.GRU`; `torch.compile` breaks the graph at it, as at PyTorch's.
    """

    gates = 3

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
        dropout: float = 0.0, bidirectional: bool = False, device: Any = None, dtype: Any = None, *,
        locked: bool = False, recurrent: Kind | Sequence[Kind] = (),
    ) -> None:  # fmt: skip
        nn.GRU.__init__(
            self, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            device=device, dtype=dtype,
        )  # fmt: skip
        self._set(locked, recurrent)

    def _steps(
        self, x: Tensor, state: State, weights: Weights, of_input: Tensor | None, steps: StepMasks
    ) -> tuple[Tensor, State]:
        return sequence.gru(x, state, weights, of_input, steps)
