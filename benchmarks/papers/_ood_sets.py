"""What a classifier is trained on, and what is none of its classes: questions out of scope, digits among clothes."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import torchdropout as td
from torchdropout.study import datasets
from torchdropout.study.datasets import words

Split = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Problem:
    """A training part, a test part, inputs of no class, and how a model is made and trained.

    Attributes:
        rate: Adam's learning rate, which falls to 0 along a cosine.
    """

    train: Split
    test: Split
    other: Tensor
    classes: int
    vocabulary: int
    epochs: int
    batch: int
    rate: float

    def model(self) -> nn.Module:
        """A model that was not trained."""
        return Reader(self.vocabulary, self.classes) if self.vocabulary else images(self.classes)


class Reader(nn.Module):
    """Vectors of words, an LSTM with variational dropout, each output's largest value over a text, a linear layer."""

    def __init__(self, vocabulary: int, classes: int, width: int = 128) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width, padding_idx=words.PADDING)
        self.lstm = td.LSTM(width, width, batch_first=True, recurrent=td.Variational(input=0.3, hidden=0.3))
        self.drop, self.output = td.Dropout(0.5), nn.Linear(width, classes)

    def forward(self, numbers: Tensor) -> Tensor:
        numbers = numbers[:, : max(1, int((numbers != words.PADDING).sum(1).max()))]
        states, _ = self.lstm(self.embedding(numbers))
        padding = (numbers == words.PADDING).unsqueeze(-1)
        return self.output(self.drop(states.masked_fill(padding, -torch.inf).amax(1)))


def images(classes: int) -> nn.Sequential:
    """Two convolutions and a hidden layer, dropout on the maps and on the units."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), td.Dropout(0.25), nn.Linear(64 * 7 * 7, 128), nn.ReLU(), td.Dropout(0.5), nn.Linear(128, classes),
    )  # fmt: skip


def questions() -> Problem:
    """CLINC150: 150 intents, and the 1,000 test queries that have none of them."""
    data = datasets.load("clinc150")
    known = words.fit(data.inputs, data.name)
    file = Path(os.environ["TORCHDROPOUT_DATA"]) / "clinc150" / "data_full.json"
    other = np.array([text for text, _ in json.loads(file.read_text())["oos_test"]], dtype=object)
    train, test = (
        (known.apply(texts), torch.tensor(of))
        for texts, of in ((data.inputs, data.targets), (data.test_inputs, data.test_targets))
    )
    return Problem(
        train, test, known.apply(other), len(data.classes), known.vocabulary, epochs=12, batch=128, rate=4e-3
    )


def clothes() -> Problem:
    """Fashion-MNIST, and the test digits of MNIST, scaled as the clothes are."""
    data, digits = datasets.load("fashion-mnist"), datasets.load("mnist")
    train, test = (
        (_pixels(pictures), torch.tensor(of))
        for pictures, of in ((data.inputs, data.targets), (data.test_inputs, data.test_targets))
    )
    return Problem(
        train, test, _pixels(digits.test_inputs), len(data.classes), vocabulary=0, epochs=3, batch=128, rate=2e-3
    )


def _pixels(pictures: np.ndarray) -> Tensor:
    return (torch.tensor(pictures).float() / 255.0 - 0.286) / 0.353


SETS = {"clinc150": questions, "fashion-mnist": clothes}
