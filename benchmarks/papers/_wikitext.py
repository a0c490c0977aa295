"""WikiText-2 as numbers of words, in columns that truncated backpropagation walks down."""

from __future__ import annotations

import gzip
import itertools
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

END, UNKNOWN = "<eos>", "<unk>"


@dataclass(frozen=True)
class Corpus:
    """The three parts as numbers of words, int64; words that the training part lacks are unknown.

    Attributes:
        words: The vocabulary, the most frequent word first.
        unknown: The share of unknown words by part.
    """

    train: Tensor
    valid: Tensor
    test: Tensor
    words: tuple[str, ...]
    unknown: dict[str, float]


def load(train_tokens: int | None) -> Corpus:
    """The corpus, with so many of the first training tokens; None for all of them."""
    folder = Path(os.environ["TORCHDROPOUT_DATA"]) / "wikitext-2"
    parts = {name: _tokens(folder / f"{name}.txt.gz") for name in ("train", "valid", "test")}
    parts["train"] = parts["train"][:train_tokens]
    counts = Counter(parts["train"])
    counts[UNKNOWN] += 0
    number = {word: index for index, (word, _) in enumerate(counts.most_common())}
    unknown = number[UNKNOWN]
    numbers = {name: [number.get(word, unknown) for word in tokens] for name, tokens in parts.items()}
    shares = {name: values.count(unknown) / len(values) for name, values in numbers.items()}
    tensors = {name: torch.tensor(values) for name, values in numbers.items()}
    return Corpus(**tensors, words=tuple(number), unknown=shares)


def _tokens(path: Path) -> list[str]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return list(itertools.chain.from_iterable([*line.split(), END] for line in lines))


def columns(tokens: Tensor, count: int) -> Tensor:
    """`(T, count)`: the text cut into so many pieces, side by side."""
    return tokens[: len(tokens) // count * count].view(count, -1).T.contiguous()


def windows(text: Tensor, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The words of `steps` steps, and those that follow each of them."""
    for start in range(0, len(text) - 1, steps):
        stop = min(start + steps, len(text) - 1)
        yield text[start:stop], text[start + 1 : stop + 1]
