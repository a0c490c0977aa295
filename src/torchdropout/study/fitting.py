"""One network fitted: its data prepared, its strength chosen, trained, and measured on a part of the data."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn

from torchdropout.study import hooks, metrics, recipe, sampled
from torchdropout.study.conditions import Condition, Placed
from torchdropout.study.config import CompareConfig
from torchdropout.study.datasets import Dataset, Inputs, prepare
from torchdropout.study.datasets.prepare import Preparation
from torchdropout.study.metrics import Metrics, Split
from torchdropout.study.models import build
from torchdropout.study.protocol import Fold, Indices, RandomState
from torchdropout.study.training import Epoch, train

FLAT = (
    0.02  # a curve has flattened if its last tenth of epochs, or its last one, lowered the loss by less than this part
)


class DivergedError(ArithmeticError):
    """A loss was not finite; the message says where."""


@dataclass(frozen=True, slots=True)
class Network:
    """A network with what makes its inputs of raw ones and its predictions of its outputs."""

    model: nn.Module
    preparation: Preparation
    task: str
    device: str = "cpu"

    def outputs(self, inputs: Tensor) -> Tensor:
        """Logits, or standardised predictions, of prepared inputs, on the CPU."""
        return metrics.outputs(self.model, inputs.to(self.device)).cpu()

    def measure(self, split: Split, variance: float | None = None) -> Metrics:
        """The metrics on a part of the data; `variance` is that of a regression's normal, None for the part's own."""
        y, targets = self.outputs(split.inputs), split.targets.cpu()
        if self.task == "classification":
            return metrics.classified(y, targets)
        units = self.preparation.in_units(y), self.preparation.in_units(targets)
        return metrics.regressed((y, targets), units, variance, self.preparation.target_scale)


@dataclass(frozen=True, slots=True)
class Job:
    """What a training is about."""

    config: CompareConfig
    data: Dataset
    fold: Fold
    state: RandomState

    def train(self, placed: Placed, part: Indices, curve: list[Epoch]) -> Network:
        """A network with a condition placed in it, trained on a part of the data; finished epochs join `curve`.

        Raises:
            DivergedError: A loss was not finite.
        """
        network = self._network(placed, part)
        training = self._split(network, part)
        watched = {name: self._split(network, rows) for name, rows in self._watched() if len(rows)}
        torch.manual_seed(self.state.noise)
        epochs = train(
            network.model,
            training,
            metrics.loss_of(self.data.task),
            recipe.of(self.config),
            measure=lambda model: _losses(network, {"train": training} | watched),
            order_seed=self.state.order,
            hooks=hooks.of(network.model, placed, len(part), self.config, self.data.task),
            watched="inner_loss",
        )
        for epoch in epochs:
            curve.append(epoch)
            if not epoch.finite:
                raise DivergedError(_divergence(epoch, self.config.epochs))
        return network

    def choose(self, condition: Condition) -> Placed:
        """The method at the candidate with the lowest loss on the inner validation part, when trained on the rest."""
        placed = condition.placed
        return placed[0] if len(placed) == 1 else min(placed, key=self._inner_loss)

    def measure(self, network: Network) -> dict[str, Metrics]:
        """The metrics on the part trained on, the fold that was left out and the given test split, where there are."""
        parts = {"train": network.measure(self._split(network, self.part))}
        variance = parts["train"].loss
        if len(self.fold.val):
            parts["val"] = self._judged(network, self._split(network, self.fold.val), variance)
        if self.data.test_targets is not None:
            test = prepared(network, self.data.test_inputs, self.data.test_targets)
            parts["test"] = self._judged(network, test, variance)
        return parts

    def _judged(self, network: Network, split: Split, variance: float) -> Metrics:
        """The metrics on a part that was not trained on, and those of the mean over passes where they are wanted."""
        off, count = network.measure(split, variance), self.config.mc
        if count is None:
            return off
        passes = sampled.Passes(count, self.state.noise)
        on = sampled.measure(network.model, network.preparation, split, passes, variance)
        return replace(off, sampled=on or off.without_noise(count))

    @property
    def part(self) -> Indices:
        """What the final training learns from: all of the fold's training part, but for what may stop it early."""
        return self.fold.train if self.config.patience is None else self.fold.inner_train

    def _inner_loss(self, placed: Placed) -> float:
        try:
            network = self.train(placed, self.fold.inner_train, [])
        except DivergedError:
            return math.inf
        return network.measure(self._split(network, self.fold.inner_val)).loss

    def _network(self, placed: Placed, part: Indices) -> Network:
        data = self.data
        preparation = prepare.fit(data, part, log_target=self.config.log_target)
        torch.manual_seed(self.state.parameters)
        outputs, vocabulary = len(data.classes) or 1, preparation.vocabulary
        model = build(self.config, preparation.shape, outputs, placed, vocabulary=vocabulary)
        return Network(model.to(self.config.device), preparation, data.task, self.config.device)

    def _watched(self) -> list[tuple[str, Indices]]:
        inner = [] if self.config.patience is None else [("inner", self.fold.inner_val)]
        return [("val", self.fold.val), *inner]

    def _split(self, network: Network, rows: Indices) -> Split:
        return prepared(network, prepare.rows(self.data.inputs, rows), self.data.targets[rows])


def flattened(curve: list[Epoch]) -> bool | None:
    """Whether the loss had stopped falling at the end; None for a single epoch.

    The loss of the fold that judges, where there is one: that of training may go on to fall for ever.
    """
    losses = [epoch.measured.get("val_loss", epoch.measured["train_loss"]) for epoch in curve]
    if len(losses) < 2:
        return None
    tenth = max(1, len(losses) // 10)
    before, last = (sum(part) / tenth for part in (losses[-2 * tenth : -tenth], losses[-tenth:]))
    return before - last < FLAT * abs(before)


def prepared(network: Network, inputs: Inputs, targets: npt.NDArray[Any]) -> Split:
    """Raw examples as a network takes them, on its device."""
    preparation, device = network.preparation, network.device
    return Split(preparation.inputs(inputs).to(device), preparation.targets(targets).to(device))


def _losses(network: Network, parts: dict[str, Split]) -> dict[str, float]:
    """The loss and the score of every part, without what only the end of a run needs."""
    measured = {}
    for name, split in parts.items():
        measured[f"{name}_loss"], measured[f"{name}_score"] = _loss_and_score(network, split)
    return measured


def _loss_and_score(network: Network, split: Split) -> tuple[float, float]:
    y, targets = metrics.outputs(network.model, split.inputs), split.targets
    loss = float(metrics.loss_of(network.task)(y, targets))
    if network.task == "classification":
        return loss, float((y.argmax(1) == targets).double().mean())
    units = network.preparation.in_units(y.cpu()), network.preparation.in_units(targets.cpu())
    return loss, float((units[0].double() - units[1].double()).square().mean().sqrt())


def _divergence(epoch: Epoch, epochs: int) -> str:
    losses = ", ".join(f"{name} {value}" for name, value in epoch.measured.items() if name.endswith("loss"))
    return f"The loss was not finite after epoch {epoch.epoch} of {epochs}: {losses}."
