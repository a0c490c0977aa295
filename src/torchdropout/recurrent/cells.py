"""Single steps, for loops written by hand: the layers' kinds and masks, with the layers' own code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from torchdropout import rng
from torchdropout.recurrent import masks as draw
from torchdropout.recurrent import sequence
from torchdropout.recurrent._layer import check_key
from torchdropout.recurrent._layout import states_of
from torchdropout.recurrent.kinds import Kind, UpdateDropout, WeightDrop, Zoneout, combined
from torchdropout.recurrent.masks import Sizes
from torchdropout.recurrent.sequence import State, StepMasks, Weights


class CellMasks:
    """The masks of a batch of sequences for a cell; those of single steps are drawn as far as they are asked for."""

    def __init__(self, kinds: tuple[Kind, ...], size: Sizes, key: Tensor, like: Tensor, training: bool) -> None:
        self.batch_size = size.batch
        self.of_layer = draw.of_layer(kinds, size, key, like, training)
        self._shared = draw.of_sequence(kinds, size, key, like, training)
        self._single, self._steps = StepMasks(), 0
        self._arguments = kinds, size, key, like.detach()[:0], training
        #: Whether a step has masks of its own, so that its number matters.
        self.single = training and any(
            isinstance(kind, Zoneout) or (isinstance(kind, UpdateDropout) and kind.per == "step") for kind in kinds
        )

    def at(self, step: int) -> StepMasks:
        """The masks of a step."""
        kinds, size, key, like, training = self._arguments
        if not training:
            return draw.joined(self._shared, draw.of_steps(kinds, size, 1, key, like, training)).at(0)
        if step >= self._steps and self.single:  # the first ones do not depend on how many there are
            self._steps = max(2 * self._steps, step + 1)
            self._single = draw.of_steps(kinds, size, self._steps, key, like, training)
        return draw.joined(self._shared, self._single).at(step)


class _Cell(nn.modules.rnn.RNNCellBase):
    """What both cells share."""

    gates: int

    def _set(self, recurrent: Kind | Sequence[Kind]) -> None:
        self.recurrent = recurrent

    @property
    def recurrent(self) -> tuple[Kind, ...]:
        """What is masked inside the cell."""
        return self._recurrent

    @recurrent.setter
    def recurrent(self, value: Kind | Sequence[Kind]) -> None:
        self._recurrent = combined("LSTMCell" if self.gates == 4 else "GRUCell", value)

    @property
    def draws_per(self) -> str:
        """What one draw covers: an `"example"`, or the whole `"batch"`."""
        return "batch" if any(isinstance(kind, WeightDrop) for kind in self.recurrent) else "example"

    def draw_masks(self, batch_size: int, *, key: Tensor | None = None, index: int = 0) -> CellMasks:
        """The masks of a batch of sequences, to be given to every step.

        Args:
            batch_size: How many sequences there are.
            key: Whose masks; None draws one. With a layer's key they are that layer's masks.
            index: Which part of a layer the cell stands for: the layer's number times directions, plus the direction.
        """
        check_key(type(self).__name__, key)
        key = rng.fold_in(rng.draw() if key is None else key, index)
        size = Sizes(batch_size, self.gates, self.input_size, self.hidden_size, self.hidden_size)
        return CellMasks(self.recurrent, size, key, self.weight_hh, self.training)

    def forward(self, input: Tensor, hx: Any = None, *, masks: CellMasks | None = None, step: int | None = None) -> Any:  # noqa: A002
        """One step, with the masks of its sequence; PyTorch's own where nothing is live."""
        if not any(kind.live(self.training) for kind in self.recurrent) or self._refused(input, hx):
            return super().forward(input, hx)
        batched = input.dim() == 2
        x = input if batched else input.unsqueeze(0)
        masks, step = self._checked(len(x), masks, step)
        state = tuple(s if batched else s.unsqueeze(0) for s in states_of(hx)) or self._zeros(x)
        weights = Weights(self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh, None)
        of_layer = masks.of_layer
        if of_layer.weight is not None:
            weights = weights._replace(hh=(weights.hh * of_layer.weight).to(weights.hh.dtype))
        new = self._step(x, state, weights, masks.at(step), of_layer.input)
        new = new if batched else tuple(s.squeeze(0) for s in new)
        return new if len(new) > 1 else new[0]

    def _refused(self, x: Tensor, hx: Any) -> bool:
        """Whether PyTorch refuses the shapes, and so should be asked to say it."""
        ranks = {x.dim(), *(s.dim() for s in states_of(hx))}
        sizes = {s.shape[-1] for s in states_of(hx)} | {self.hidden_size}
        batches = {s.shape[0] for s in (x, *states_of(hx))} if x.dim() == 2 else {1}
        return ranks not in ({1}, {2}) or x.shape[-1] != self.input_size or len(sizes) > 1 or len(batches) > 1

    def _checked(self, batch: int, masks: CellMasks | None, step: int | None) -> tuple[CellMasks, int]:
        owner = type(self).__name__
        if masks is None:
            if self.training:
                raise ValueError(f"{owner}: `masks` must be given in training: call `draw_masks` once a sequence.")
            masks = self.draw_masks(batch, key=rng.key(0))  # the test rules draw nothing
        if masks.batch_size != batch:
            raise ValueError(f"{owner}: `masks` must be for {batch} sequences, got masks for {masks.batch_size}.")
        if step is None and masks.single:
            raise ValueError(f"{owner}: `step` must be given, since a step has masks of its own.")
        return masks, step or 0

    def _zeros(self, x: Tensor) -> State:
        zeros = x.new_zeros(len(x), self.hidden_size)
        return (zeros, zeros) if self.gates == 4 else (zeros,)

    def _step(self, x: Tensor, state: State, weights: Weights, steps: StepMasks, of_input: Tensor | None) -> State:
        raise NotImplementedError

    def extra_repr(self) -> str:
        """The arguments, as PyTorch prints them."""
        return super().extra_repr() + (f", recurrent={self.recurrent}" if self.recurrent else "")


class LSTMCell(_Cell, nn.LSTMCell):
    """A drop-in for `torch.nn.LSTMCell` that any of the recurrent kinds of dropout may act on.

    One step of `torchdropout.LSTM`. The masks are drawn once for a batch of sequences, with `draw_masks`, and given to
    every step together with its number, so a loop over the cell is the layer.

    Noise | Shared | Target | At test time: the kind's | the kind's | the kind's | the kind's

    Args:
        input_size: The size of an input.
        hidden_size: The size of the state.
        bias: Whether there are biases.
        device: Where the parameters are.
        dtype: The parameters' dtype.
        recurrent: The kind of recurrent dropout, or a list of them.

    Shape:
        `(N, input_size)` or `(input_size,)`, and a state `(h, c)`; the new state.

    Raises:
        ValueError: Two kinds do not combine; `masks` or `step` is missing, or for another batch.
        TypeError: `recurrent` holds something else.

    Example:
        >>> import torch, torchdropout as td
        >>> cell, state = td.LSTMCell(3, 4, recurrent=td.Variational(0.5, 0.3)), None
        >>> masks = cell.draw_masks(2, key=td.key(0))
        >>> for t, x in enumerate(torch.ones(5, 2, 3)):
        ...     state = cell(x, state, masks=masks, step=t)
        >>> state[0].shape
        torch.Size([2, 4])

    Reference:
        S. Hochreiter, J. Schmidhuber. Long Short-Term Memory. Neural Computation 9(8):1735-1780, 1997.

    Deviation: none from `torch.nn.LSTMCell`.
    """

    gates = 4

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None, *,
        recurrent: Kind | Sequence[Kind] = (),
    ) -> None:  # fmt: skip
        nn.LSTMCell.__init__(self, input_size, hidden_size, bias, device, dtype)
        self._set(recurrent)

    def _step(self, x: Tensor, state: State, weights: Weights, steps: StepMasks, of_input: Tensor | None) -> State:
        bias = None if weights.bias_ih is None or weights.bias_hh is None else weights.bias_ih + weights.bias_hh
        projected = sequence.project(x, weights.ih, bias, of_input)
        return sequence.lstm_step(projected, state, steps, weights.hh, weights.hr)


class GRUCell(_Cell, nn.GRUCell):
    """A drop-in for `torch.nn.GRUCell` that the recurrent kinds of dropout may act on.

    One step of `torchdropout.GRU`. The masks are drawn once for a batch of sequences, with `draw_masks`, and given to
    every step together with its number, so a loop over the cell is the layer.

    Noise | Shared | Target | At test time: the kind's | the kind's | the kind's | the kind's

    Args:
        input_size: The size of an input.
        hidden_size: The size of the state.
        bias: Whether there are biases.
        device: Where the parameters are.
        dtype: The parameters' dtype.
        recurrent: The kind of recurrent dropout, or a list of them.

    Shape:
        `(N, input_size)` or `(input_size,)`, and a state `h`; the new state.

    Raises:
        ValueError: A kind has nothing to act on, or two do not combine; `masks` or `step` is missing, or for another
            batch.
        TypeError: `recurrent` holds something else.

    Example:
        >>> import torch, torchdropout as td
        >>> cell, state = td.GRUCell(3, 4, recurrent=td.UpdateDropout(0.25)), None
        >>> masks = cell.draw_masks(2, key=td.key(0))
        >>> for t, x in enumerate(torch.ones(5, 2, 3)):
        ...     state = cell(x, state, masks=masks, step=t)
        >>> state.shape
        torch.Size([2, 4])

    Reference:
        K. Cho, B. van Merrienboer, C. Gulcehre, D. Bahdanau, F. Bougares, H. Schwenk, Y. Bengio. Learning Phrase
        Representations using RNN Encoder-Decoder for Statistical Machine Translation. EMNLP 2014, arXiv:1406.1078.

    Deviation: none from `torch.nn.GRUCell`.
    """

    gates = 3

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None, *,
        recurrent: Kind | Sequence[Kind] = (),
    ) -> None:  # fmt: skip
        nn.GRUCell.__init__(self, input_size, hidden_size, bias, device, dtype)
        self._set(recurrent)

    def _step(self, x: Tensor, state: State, weights: Weights, steps: StepMasks, of_input: Tensor | None) -> State:
        early, late = sequence.biases_of_gru(weights)
        projected = sequence.project(x, weights.ih, early, of_input)
        return sequence.gru_step(projected, state, steps, weights.hh, late)
