"""The UCI sets of the Monte-Carlo dropout papers, their published splits, and parts scaled as the papers scale them.

J. M. Hernandez-Lobato, R. Adams, Probabilistic Backpropagation, ICML 2015, arXiv:1502.05336, made the splits.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

FILES = {
    "yacht": "yacht.txt",
    "energy": "energy.txt",
    "concrete": "concrete.txt",
    "wine": "wine-quality-red.txt",
    "power-plant": "power-plant.txt",
}
SPLITS = 20


@dataclass(frozen=True)
class Parts:
    """A training and a held-out part for each of `n` nets; inputs and training targets have mean 0 and deviation 1.

    Attributes:
        x: `(n, N, F)`.
        y: `(n, N)`.
        held_x: `(n, V, F)`, scaled as `x` is.
        held_y: `(n, V)`, in the data's own units.
        mean: Of the training targets, `(n,)`.
        std: Of the training targets, `(n,)`.
    """

    x: Tensor
    y: Tensor
    held_x: Tensor
    held_y: Tensor
    mean: Tensor
    std: Tensor

    def take(self, numbers: list[int]) -> Parts:
        """Those of some nets, in that order, repeated where a number is."""
        return Parts(*(getattr(self, name)[numbers] for name in self.__dataclass_fields__))


def read(name: str) -> np.ndarray:
    """The rows, the target last."""
    folder = os.environ.get("TORCHDROPOUT_DATA")
    file = Path(folder or ".") / "uci" / FILES[name]
    if not file.exists():
        raise SystemExit(f"TORCHDROPOUT_DATA must name a folder with a file uci/{file.name}, got {folder!r}.")
    return np.loadtxt(file)


def split(rows: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """The training and the test rows of a published split."""
    random = np.random.RandomState(1)  # the generator that the splits were published with
    for _ in range(number + 1):
        order = random.choice(range(len(rows)), len(rows), replace=False)
    train = round(0.9 * len(rows))
    return rows[order[:train]], rows[order[train:]]


def for_choosing(rows: np.ndarray, splits: int) -> Parts:
    """Of each split, the first 80 % of its training rows, and the rest of them as validation rows."""
    pairs = []
    for number in range(splits):
        train, _ = split(rows, number)
        count = int(0.8 * len(train))
        pairs.append((train[:count], train[count:]))
    return _scaled(pairs)


def for_test(rows: np.ndarray, splits: int) -> Parts:
    """Of each split, all its training rows, and its test rows."""
    return _scaled([split(rows, number) for number in range(splits)])


def _scaled(pairs: list[tuple[np.ndarray, np.ndarray]]) -> Parts:
    found = [_scaled_pair(train, held) for train, held in pairs]
    return Parts(*(torch.tensor(np.stack(values), dtype=torch.float32) for values in zip(*found, strict=True)))


def _scaled_pair(train: np.ndarray, held: np.ndarray) -> tuple[np.ndarray, ...]:
    mean, std = train.mean(0), train.std(0)
    std[std == 0] = 1.0
    scaled, held_scaled = (train - mean) / std, (held - mean) / std
    return scaled[:, :-1], scaled[:, -1], held_scaled[:, :-1], held[:, -1], mean[-1], std[-1]
