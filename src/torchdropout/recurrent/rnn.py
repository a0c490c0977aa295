"""The plain RNN with noise inside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from torchdropout.recurrent import sequence
from torchdropout.recurrent._layer import Recurrent
from torchdropout.recurrent.kinds import Kind
from torchdropout.recurrent.sequence import State, StepMasks, Weights


class RNN(Recurrent, nn.RNN):
    """A drop-in for `torch.nn.RNN` that the recurrent kinds of dropout may act on.

    `h[t] = a(W x[t] + U h[t-1] + b)` with `a` tanh or ReLU; what is masked there is said by the kinds:
    `torchdropout.Variational`, `Zoneout` and `WeightDrop`. For the rest see `torchdropout.LSTM`.

    Noise | Shared | Target | At test time: the kind's | the kind's | the kind's | the kind's

    Args:
        input_size: The size of an input.
        hidden_size: The size of the state.
        num_layers: How many layers lie on each other.
        nonlinearity: `"tanh"` or `"relu"`.
        bias: Whether there are biases.
        batch_first: Whether the batch axis comes before time.
        dropout: The probability of dropping what goes from a layer to the next.
        bidirectional: Whether a second direction reads the sequence from its end.
        device: Where the parameters are.
        dtype: The parameters' dtype.
        locked: Whether `dropout` has one mask for all steps of a sequence instead of one a step.
        recurrent: The kind of recurrent dropout, or a list of them.

    Shape:
        As in `torch.nn.RNN`: `(T, N, input_size)`, `(N, T, input_size)` with `batch_first`, `(T, input_size)`, or a
        `PackedSequence`; and a state `h`.

    Raises:
        ValueError: A kind has nothing to act on, two do not combine, or what PyTorch refuses.
        TypeError: `recurrent` holds something else.

    Example:
        >>> import torch, torchdropout as td
        >>> layer = td.RNN(3, 4, nonlinearity="relu", recurrent=td.Zoneout(hidden=0.1))
        >>> outputs, h = layer(torch.ones(5, 2, 3), key=td.key(0))
        >>> outputs.shape, h.shape
        (torch.Size([5, 2, 4]), torch.Size([1, 2, 4]))

    Reference:
        J. Elman. Finding Structure in Time. Cognitive Science 14(2):179-211, 1990.

    Deviation: none from `torch.nn.RNN`; `torch.compile` breaks the graph at it, as at PyTorch's.
    """

    gates = 1

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh", bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, device: Any = None,
        dtype: Any = None, *, locked: bool = False, recurrent: Kind | Sequence[Kind] = (),
    ) -> None:  # fmt: skip
        nn.RNN.__init__(
            self, input_size, hidden_size, num_layers, nonlinearity, bias, batch_first, dropout, bidirectional,
            device=device, dtype=dtype,
        )  # fmt: skip
        self._set(locked, recurrent)

    def _steps(
        self, x: Tensor, state: State, weights: Weights, of_input: Tensor | None, steps: StepMasks
    ) -> tuple[Tensor, State]:
        return sequence.rnn(x, state, weights, of_input, steps, self.nonlinearity)
