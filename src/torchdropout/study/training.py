"""The training loop: one device, tensors in memory, batches by index."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from torchdropout.study.protocol import Split

_CHUNK = 4096


@dataclass(frozen=True, slots=True)
class Epoch:
    """The state of a network after an epoch, its noise off, and how long the epoch's steps took."""

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float

    @property
    def finite(self) -> bool:
        """Whether both losses are numbers."""
        return math.isfinite(self.train_loss) and math.isfinite(self.val_loss)


def train(
    model: nn.Module, training: Split, validation: Split, *, epochs: int, batch_size: int, lr: float, order_seed: int
) -> Iterator[Epoch]:
    """Train with Adam on the cross-entropy and yield the state after each epoch.

    Args:
        model: The network, changed in place.
        training: What to learn from.
        validation: What to measure on besides.
        epochs: The number of passes.
        batch_size: Examples per step; the last batch of a pass holds what is left.
        lr: Adam's learning rate.
        order_seed: The seed of the order of examples, which no other random number disturbs.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    generator = torch.Generator().manual_seed(order_seed)
    for epoch in range(1, epochs + 1):
        start = time.perf_counter()
        for batch in batches(len(training.labels), batch_size, generator):
            _step(model, optimizer, training.inputs[batch], training.labels[batch])
        seconds = time.perf_counter() - start
        yield Epoch(epoch, *measure(model, training), *measure(model, validation), seconds)


def batches(examples: int, batch_size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """The indices of one pass in random order, cut into batches."""
    return torch.split(torch.randperm(examples, generator=generator), batch_size)


@torch.no_grad()
def measure(model: nn.Module, split: Split) -> tuple[float, float]:
    """Mean cross-entropy and accuracy in eval mode; the model is left in train mode."""
    model.eval()
    outputs = torch.cat([model(chunk) for chunk in torch.split(split.inputs, _CHUNK)])
    model.train()
    loss = functional.cross_entropy(outputs, split.labels)
    accuracy = (outputs.argmax(1) == split.labels).double().mean()
    return float(loss), float(accuracy)


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, inputs: Tensor, labels: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    functional.cross_entropy(model(inputs), labels).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
