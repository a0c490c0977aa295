"""What LSTM, GRU and RNN share: when noise is live, and the way through layers and directions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from torchdropout.recurrent import _layout, _native, masks
from torchdropout.recurrent.kinds import Kind, WeightDrop, combined
from torchdropout.recurrent.masks import LayerMasks, Sizes
from torchdropout.recurrent.sequence import State, StepMasks, Weights


def check_key(owner: str, key: Tensor | None) -> None:
    """A layer's key is one key."""
    if key is not None and (not isinstance(key, Tensor) or key.shape != (2,)):
        got = tuple(key.shape) if isinstance(key, Tensor) else repr(key)
        raise ValueError(f"{owner}: `key` must be one key of shape (2,), got {got}.")


def tied_input(x: Tensor, of_layer: LayerMasks) -> tuple[Tensor, LayerMasks]:
    """Inputs with the mask that all gates share applied."""
    if of_layer.input is None or of_layer.input.shape[1] > 1:
        return x, of_layer
    return (x * of_layer.input[:, 0]).to(x.dtype), of_layer._replace(input=None)


class Recurrent(nn.RNNBase):
    """PyTorch's recurrent layers with noise inside; each subclass also derives from the layer it replaces."""

    gates: int
    locked: bool

    def _set(self, locked: bool, recurrent: Kind | Sequence[Kind]) -> None:
        if not isinstance(locked, bool):
            raise TypeError(f"{type(self).__name__}: `locked` must be a bool, got {locked!r}.")
        self.locked = locked
        self.recurrent = recurrent

    @classmethod
    def from_rnn(cls, rnn: nn.RNNBase, *, locked: bool = False, recurrent: Kind | Sequence[Kind] = ()) -> Self:
        """The layer with the weights and options of one of PyTorch's.

        Args:
            rnn: The layer of the same kind, whose weights are copied.
            locked: Whether `dropout` has one mask for all steps of a sequence instead of one a step.
            recurrent: The kind of recurrent dropout, or a list of them.

        Raises:
            TypeError: `rnn` is another layer.
        """
        if not isinstance(rnn, getattr(nn, cls.__name__)):
            raise TypeError(f"{cls.__name__}: `rnn` must be a torch.nn.{cls.__name__}, got {type(rnn).__name__}.")
        names = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional")
        options = {name: getattr(rnn, name) for name in names} | cls._more_options(rnn)
        weight = next(rnn.parameters())
        with torch.random.fork_rng(devices=[]):
            layer = cls(**options, device=weight.device, dtype=weight.dtype)
        layer._set(locked, recurrent)
        layer.load_state_dict(rnn.state_dict())
        return layer.train(rnn.training)

    @staticmethod
    def _more_options(rnn: nn.RNNBase) -> dict[str, Any]:
        """The options that only some have."""
        names = {"LSTM": ("proj_size",), "RNN_TANH": ("nonlinearity",), "RNN_RELU": ("nonlinearity",)}
        return {name: getattr(rnn, name) for name in names.get(rnn.mode, ())}

    @property
    def recurrent(self) -> tuple[Kind, ...]:
        """What is masked inside the layer."""
        return self._recurrent

    @recurrent.setter
    def recurrent(self, value: Kind | Sequence[Kind]) -> None:
        self._recurrent = combined(self._torch_name(), value)

    def _torch_name(self) -> str:
        return self.mode.split("_")[0]

    @property
    def draws_per(self) -> str:
        """What one draw covers: an `"example"`, or the whole `"batch"`."""
        return "batch" if any(isinstance(kind, WeightDrop) for kind in self.recurrent) else "example"

    def _live(self) -> bool:
        between = self.training and self.dropout > 0 and self.num_layers > 1
        return between or any(kind.live(self.training) for kind in self.recurrent)

    def forward(
        self,
        input: Tensor | PackedSequence,  # noqa: A002
        hx: _layout.Hx | None = None,
        *,
        key: Tensor | None = None,
    ) -> Any:
        """The forward pass; PyTorch's own where nothing is live, or where it has something to object."""
        if not self._live() or _layout.refused(self, input, hx):
            return super().forward(input, hx)
        check_key(type(self).__name__, key)
        x, states, lengths = _layout.unpack(self, input, hx)
        directions = 2 if self.bidirectional else 1
        ends: list[State] = []
        for number in range(self.num_layers):
            outputs = []
            for reverse in range(directions):
                index = number * directions + reverse
                state = tuple(s[index] for s in states)
                y, end = self._one(x, state, lengths, number, bool(reverse), masks.derived(key, index))
                outputs.append(y)
                ends.append(end)
            x = torch.cat(outputs, -1)
        last = tuple(torch.stack(parts) for parts in zip(*ends, strict=True))
        return _layout.pack(self, input, x, last)

    def _one(
        self, x: Tensor, state: State, lengths: Tensor | None, number: int, reverse: bool, key: Tensor | None
    ) -> tuple[Tensor, State]:
        """One layer and direction."""
        weights = self._weights(number, reverse)
        size = Sizes(x.shape[1], self.gates, x.shape[2], self.hidden_size, weights.hh.shape[1])
        drawn = (key, weights.hh, self.training)
        of_layer = masks.of_layer(self.recurrent, size, *drawn)
        shared, single = (
            masks.of_sequence(self.recurrent, size, *drawn), masks.of_steps(self.recurrent, size, len(x), *drawn)
        )  # fmt: skip
        steps = masks.joined(shared, single)._replace(lengths=lengths)
        if of_layer.weight is not None:
            weights = weights._replace(hh=(weights.hh * of_layer.weight).to(weights.hh.dtype))
        x, of_layer = tied_input(x, of_layer)
        if reverse:
            x, steps = masks.backwards(x, lengths), masks.steps_backwards(steps)
        if _native.serves(x, of_layer, steps):
            y, end = _native.run(self.mode, x, state, weights, lengths, self.training)
        else:
            y, end = self._steps(x, state, weights, of_layer.input, steps)
        y = masks.backwards(y, lengths) if reverse else y
        return self._between(y, number, key), end

    def _between(self, y: Tensor, number: int, key: Tensor | None) -> Tensor:
        """Dropout on what goes to the next layer."""
        if not self.training or self.dropout == 0 or number == self.num_layers - 1:
            return y
        shape = (1 if self.locked else len(y), *y.shape[1:])
        mask = masks.scaled(shape, self.dropout, masks.derived(key, masks.OUTPUT), y, batch_dim=1)
        return y if mask is None else (y * mask).to(y.dtype)

    def _weights(self, number: int, reverse: bool) -> Weights:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        suffix = f"_l{number}{'_reverse' if reverse else ''}"
        return Weights(*(getattr(self, name + suffix, None) for name in names))  # type: ignore[arg-type]

    def _steps(
        self, x: Tensor, state: State, weights: Weights, of_input: Tensor | None, steps: StepMasks
    ) -> tuple[Tensor, State]:
        raise NotImplementedError

    def extra_repr(self) -> str:
        """The arguments, as PyTorch prints them."""
        text: str = super().extra_repr()
        text += ", locked=True" if self.locked else ""
        return text + (f", recurrent={self.recurrent}" if self.recurrent else "")
