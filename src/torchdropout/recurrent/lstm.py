"""The LSTM with noise inside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from torchdropout.recurrent import sequence
from torchdropout.recurrent._layer import Recurrent
from torchdropout.recurrent.kinds import Kind
from torchdropout.recurrent.sequence import State, StepMasks, Weights


class LSTM(Recurrent, nn.LSTM):
    """A drop-in for `torch.nn.LSTM` that any of the recurrent kinds of dropout may act on.

    `i, f, o = s(W x[t] + U h[t-1] + b)`, `g = tanh(W x[t] + U h[t-1] + b)`, `c[t] = f * c[t-1] + i * g`,
    `h[t] = o * tanh(c[t])`; what is masked there is said by the kinds: `torchdropout.Variational`, `CellDropout`,
    `UpdateDropout`, `Zoneout` and `WeightDrop`. Several are given as a list. Parameters have PyTorch's names, and
    checkpoints load both ways. Where no noise is live, the forward pass is PyTorch's own.

    The same key gives the same masks whether the input is batch first, packed or padded. State that is carried over to
    the next piece of a sequence keeps the masks of sequences if the key is the same; those of single steps are then
    repeated as well.

    Noise | Shared | Target | At test time: the kind's | the kind's | the kind's | the kind's

    Args:
        input_size: The size of an input.
        hidden_size: The size of the state.
        num_layers: How many layers lie on each other.
        bias: Whether there are biases.
        batch_first: Whether the batch axis comes before time.
        dropout: The probability of dropping what goes from a layer to the next.
        bidirectional: Whether a second direction reads the sequence from its end.
        proj_size: The size that the output is projected to; 0: it is not.
        device: Where the parameters are.
        dtype: The parameters' dtype.
        locked: Whether `dropout` has one mask for all steps of a sequence instead of one a step.
        recurrent: The kind of recurrent dropout, or a list of them.

    Shape:
        As in `torch.nn.LSTM`: `(T, N, input_size)`, `(N, T, input_size)` with `batch_first`, `(T, input_size)`, or a
        `PackedSequence`; and a state `(h, c)`.

    Raises:
        ValueError: Two kinds do not combine, or what PyTorch refuses.
        TypeError: `recurrent` holds something else.

    Example:
        >>> import torch, torchdropout as td
        >>> awd = td.LSTM(3, 4, 2, dropout=0.25, locked=True, recurrent=td.WeightDrop(0.5))
        >>> outputs, (h, c) = awd(torch.ones(5, 2, 3), key=td.key(0))
        >>> outputs.shape, h.shape
        (torch.Size([5, 2, 4]), torch.Size([2, 2, 4]))

    Reference:
        S. Hochreiter, J. Schmidhuber. Long Short-Term Memory. Neural Computation 9(8):1735-1780, 1997. With a forget
        gate: F. Gers, J. Schmidhuber, F. Cummins. Learning to Forget. Neural Computation 12(10):2451-2471, 2000.

    Deviation: none from `torch.nn.LSTM`; `torch.compile` breaks the graph at it, as at PyTorch's.
    """

    gates = 4

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
        dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0, device: Any = None, dtype: Any = None, *,
        locked: bool = False, recurrent: Kind | Sequence[Kind] = (),
    ) -> None:  # fmt: skip
        nn.LSTM.__init__(
            self,
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            device,
            dtype,
        )
        self._set(locked, recurrent)

    def _steps(
        self, x: Tensor, state: State, weights: Weights, of_input: Tensor | None, steps: StepMasks
    ) -> tuple[Tensor, State]:
        return sequence.lstm(x, state, weights, of_input, steps)
