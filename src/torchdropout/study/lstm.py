"""An LSTM that reads texts, with places for words, vectors, sequences, the recurrence and what is read off it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from torchdropout.study.datasets.words import PADDING, UNKNOWN
from torchdropout.study.placement import Placement

WIDTH, HIDDEN = 128, 128


class TextLSTM(nn.Module):
    """Words' vectors, an LSTM, the largest value of each of its outputs over the words, a linear layer.

    Padding reaches none of these: sequences are packed, and the maximum is over a text's own words. A text without a
    word is read as one step of zeros.
    """

    def __init__(self, vocabulary: int, outputs: int, place: Placement) -> None:
        super().__init__()
        self.words = place.words(UNKNOWN, PADDING)
        self.embedding = place.embedding(vocabulary, WIDTH, PADDING)
        self.input = place("input", features=WIDTH)
        self.sequence = place.of("sequences", "input", batch_first=True) or nn.Identity()
        hidden = place.width(HIDDEN)
        self.lstm = place.lstm(WIDTH, hidden)
        self.read = place.of("sequences", batch_first=True) or nn.Identity()
        self.dense = place("dense", features=hidden)
        self.output = place.linear(hidden, outputs, last=True)

    def forward(self, numbers: Tensor) -> Tensor:
        """Logits, or the prediction, of texts `(N, T)` of words' numbers."""
        lengths = (numbers != PADDING).sum(1).clamp(min=1)
        numbers = numbers[:, : int(lengths.max())]
        vectors = self.sequence(self.input(self.embedding(self.words(numbers))))
        packed = pack_padded_sequence(vectors, lengths.cpu(), batch_first=True, enforce_sorted=False)
        states = self.read(pad_packed_sequence(self.lstm(packed)[0], batch_first=True)[0])
        beyond = torch.arange(states.shape[1], device=states.device) >= lengths[:, None]
        highest = states.masked_fill(beyond[..., None], -torch.inf).amax(1)
        return self.output(self.dense(highest))  # type: ignore[no-any-return]
