"""Texts as numbers of words: what a word is, which words are known, and where a long text is cut."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from torchdropout.study.datasets.checks import check_texts
from torchdropout.study.errors import StudyError

if TYPE_CHECKING:
    from torchdropout.study.datasets.dataset import Inputs

PADDING, UNKNOWN = 0, 1
LEAST = 2  # how often a word must occur in the training part to have a number of its own
LONGEST = 256
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


def split(text: str) -> list[str]:
    """The words of a text in lower case: runs of letters and digits, with apostrophes inside; all else separates them.

    Writing without spaces between words is not taken apart.
    """
    return _WORD.findall(text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))


def mean_length(texts: npt.NDArray[Any]) -> float:
    """The mean number of words of texts."""
    return sum(len(split(text)) for text in texts) / len(texts)


@dataclass(frozen=True, slots=True)
class Words:
    """What was fitted to texts.

    The number 0 is padding, behind the last word of a text; 1 is every unknown word.

    Attributes:
        shape: Of one prepared example: how many of its words are read.
        words: The known words; the first has the number 2.
    """

    shape: tuple[int, ...]
    words: tuple[str, ...]

    @property
    def vocabulary(self) -> int:
        """How many numbers there are, with those of padding and of unknown words."""
        return UNKNOWN + 1 + len(self.words)

    def apply(self, raw: Inputs) -> Tensor:
        """The numbers of the words, int64 of shape (examples, longest); a longer text loses its end."""
        _check(raw)
        numbers = {word: number for number, word in enumerate(self.words, UNKNOWN + 1)}
        prepared = np.full((len(raw), *self.shape), PADDING, dtype=np.int64)
        for row, text in zip(prepared, raw, strict=True):
            known = [numbers.get(word, UNKNOWN) for word in split(text)[: len(row)]]
            row[: len(known)] = known
        return torch.from_numpy(prepared)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Words:
        """The words in a preparation's JSON."""
        rest = {name: value for name, value in stored.items() if name not in ("shape", "words")}
        return cls(tuple(map(int, stored["shape"])), tuple(map(str, stored["words"])), **rest)


def fit(texts: npt.NDArray[Any], where: str) -> Words:
    """The words fitted on these texts, all of which train.

    Known are the words that occur at least twice, the most frequent first. As many words of a text are read as the
    longest of these texts has, at most 256.

    Raises:
        StudyError: No word occurs twice.
    """
    read = [split(text) for text in texts]
    counts = Counter(word for text in read for word in text)
    known = sorted((word for word in counts if counts[word] >= LEAST), key=lambda word: (-counts[word], word))
    if not known:
        rule = f"a word must occur at least {LEAST} times in the texts that train, to have a number"
        raise StudyError(f"{where}: {rule}, found {len(counts):,} different words and none of them so often.")
    return Words((min(LONGEST, max(map(len, read))),), tuple(known))


def _check(raw: Inputs) -> None:
    if not isinstance(raw, np.ndarray):
        raise StudyError("inputs: they must be texts as in training, found a table.")
    if raw.ndim != 1 or raw.dtype != object:
        raise StudyError(f"inputs: they must be texts as in training, found {raw.dtype} of shape {raw.shape}.")
    check_texts("inputs", raw)
