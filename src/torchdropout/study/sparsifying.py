"""A trained network that learns what of it can go: more training, its noise learned, and what thresholds then leave."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

import torchdropout as td
from torchdropout.compression.compact import packed
from torchdropout.study import metrics
from torchdropout.study.errors import StudyError
from torchdropout.study.metrics import Split
from torchdropout.study.training import batches

Method = Literal["sparse-vd", "lognormal"]
METHODS: tuple[Method, ...] = ("sparse-vd", "lognormal")
REACH = 20.0  # how far the noise of a weight can go in one training, in logs of its variance
THRESHOLDS = {
    "sparse-vd": (8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0, -1.0, -2.0, -3.0, -4.0, -5.0),
    "lognormal": (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0),
}  # from the one that removes least

SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)  # of a training, after which thresholds are tried
WARMUP = 0.8  # the share over which the divergence's weight grows to 1

Tick = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Training:
    """How a sparsified network is trained: its method, the passes, the rate of weights, examples per step, the seed."""

    method: Method
    epochs: int
    lr: float
    batch_size: int
    seed: int


@dataclass(frozen=True, slots=True)
class Point:
    """What a threshold leaves after a share of the training: weights, those not zero, bytes of a file, accuracy."""

    share: float
    threshold: float
    parameters: int
    nonzero: int
    bytes: int
    accuracy: float


def sparsify(
    model: nn.Module, data: Split, how: Training, tick: Tick, shares: tuple[float, ...] = SHARES
) -> dict[float, nn.Module]:
    """Sparsified copies after shares of the training; the divergence's weight grows from 0 to 1 over the first 0.8.

    Raises:
        StudyError: No layer fits, or a loss was not finite.
    """
    noisy = copy.deepcopy(model).train()
    kind = "sparse-variational" if how.method == "sparse-vd" else "log-normal"
    try:
        td.sparsify_(noisy, kind, example_inputs=data.inputs[:2])  # type: ignore[arg-type]
    except ValueError as error:
        raise StudyError(f"compress: {error}") from error
    steps = how.epochs * math.ceil(len(data) / how.batch_size)
    optimizer = torch.optim.Adam(td.noise_param_groups(noisy, how.lr, max(how.lr, REACH / steps)))
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, 2.0 * (1.0 - step / steps)))
    optimizer.register_step_post_hook(lambda *_: scheduler.step())

    def loss(x: Tensor, y: Tensor, epoch: float) -> Tensor:
        warmup = td.kl_warmup(epoch, 0.0, WARMUP * how.epochs)
        return nn.functional.cross_entropy(noisy(x), y) + td.kl_loss(noisy, len(data), warmup)

    found = {}
    ends = {max(1, round(share * how.epochs)): share for share in shares}
    for epoch in _epochs(optimizer, data, how, loss):
        tick("learning what can go")
        if epoch in ends:
            found[ends[epoch]] = copy.deepcopy(noisy).eval()
        if epoch == max(ends):
            break
    return found


def retrain(model: nn.Module, data: Split, how: Training, tick: Tick) -> None:
    """Train a pruned network on, its zeros kept."""
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), how.lr)
    td.constrain_(optimizer, model, td.FixedZeros())

    def loss(x: Tensor, y: Tensor, _: float) -> Tensor:
        return nn.functional.cross_entropy(model(x), y)

    for _ in _epochs(optimizer, data, how, loss):
        tick("training what is left")
    model.eval()


def _epochs(
    optimizer: torch.optim.Optimizer, data: Split, how: Training, loss: Callable[[Tensor, Tensor, float], Tensor]
) -> Iterator[int]:
    """Train, and say after each epoch which it was."""
    generator = torch.Generator().manual_seed(how.seed)
    for epoch in range(how.epochs):
        order = batches(len(data), how.batch_size, generator)
        for number, batch in enumerate(order):
            value = loss(data.inputs[batch], data.targets[batch], epoch + number / len(order))
            if not torch.isfinite(value):
                raise StudyError(f"compress: the loss was not finite in epoch {epoch + 1} of {how.epochs}: {value}.")
            optimizer.zero_grad(set_to_none=True)
            value.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        yield epoch + 1


def curve(noisy: dict[float, nn.Module], method: Method, choose: Split, tick: Tick) -> list[Point]:
    """What each threshold leaves after each share of the training, and how well that does."""
    points = []
    for share, model in noisy.items():
        for threshold in THRESHOLDS[method]:
            pruned, small = pruned_at(model, method, threshold, choose.inputs[:4])
            points.append(_point((share, threshold), pruned, small, choose))
        tick("measuring thresholds")
    return points


def pruned_at(noisy: nn.Module, method: Method, threshold: float, example: Tensor) -> tuple[nn.Module, nn.Module]:
    """A sparsified network without what a threshold removes: as large as before with zeros, and physically smaller."""
    pruned = copy.deepcopy(noisy)
    setting: dict[str, Any] = {"threshold": threshold} if method == "sparse-vd" else {"snr": threshold}
    try:
        td.prune_(pruned, **setting)
        return pruned.eval(), td.shrink(pruned, example)
    except ValueError as error:
        raise StudyError(f"compress: {error}") from error


def _point(at: tuple[float, float], pruned: nn.Module, small: nn.Module, choose: Split) -> Point:
    parameters = list(small.parameters())
    total, nonzero = sum(p.numel() for p in parameters), sum(int(p.count_nonzero()) for p in parameters)
    return Point(*at, total, nonzero, len(packed(small)), accuracy(pruned, choose))


def accuracy(model: nn.Module, split: Split) -> float:
    """The part of the examples whose class is predicted."""
    return float(hits(model, split).double().mean())


def hits(model: nn.Module, split: Split) -> Tensor:
    """By example, whether the class is predicted."""
    return metrics.outputs(model, split.inputs).argmax(1) == split.targets
