"""The training loop: one device, tensors in memory, batches by index."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from torchdropout.study.metrics import Loss, Split
from torchdropout.study.recipe import PLAIN, Hooks, Recipe

Measure = Callable[[nn.Module], dict[str, float]]


@dataclass(frozen=True, slots=True)
class Epoch:
    """What was measured after an epoch, and how long the epoch's steps took."""

    epoch: int
    measured: dict[str, float]
    seconds: float

    @property
    def finite(self) -> bool:
        """Whether everything measured is a number."""
        return all(math.isfinite(value) for value in self.measured.values())


def train(
    model: nn.Module,
    training: Split,
    loss: Loss,
    recipe: Recipe,
    *,
    measure: Measure,
    order_seed: int,
    hooks: Hooks = PLAIN,
    watched: str | None = None,
) -> Iterator[Epoch]:
    """Train and yield what was measured after each epoch.

    With `recipe.patience`, training stops once the figure `watched` has not fallen for so many epochs; the network
    then has its weights after the epoch where that figure was lowest.

    Args:
        model: The network, changed in place.
        training: What to learn from, on the network's device.
        loss: Of outputs and targets.
        recipe: How.
        measure: Called after each epoch.
        order_seed: The seed of the order of examples, which no other random number disturbs.
        hooks: What the method adds.
        watched: The name of the figure that stops training.
    """
    step = _Step(model, loss, recipe, hooks, math.ceil(len(training) / recipe.batch_size))
    generator = torch.Generator().manual_seed(order_seed)
    lowest, best, weights = math.inf, 0, None
    for epoch in range(1, recipe.epochs + 1):
        start = time.perf_counter()
        for batch in batches(len(training), recipe.batch_size, generator):
            step(training.inputs[batch], training.targets[batch])
        seconds = time.perf_counter() - start
        done = Epoch(epoch, measure(model), seconds)
        yield done
        if recipe.patience is not None and watched is not None:
            if done.measured[watched] < lowest:
                lowest, best, weights = done.measured[watched], epoch, copy.deepcopy(model.state_dict())
            elif epoch - best >= recipe.patience:
                break
    if weights is not None:
        model.load_state_dict(weights)


def batches(examples: int, batch_size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """The indices of one pass in random order, cut into batches."""
    return torch.split(torch.randperm(examples, generator=generator), batch_size)


class _Step:
    """One optimizer step, with everything that does not change from step to step."""

    def __init__(self, model: nn.Module, loss: Loss, recipe: Recipe, hooks: Hooks, steps: int) -> None:
        self.model, self.loss, self.hooks = model, loss, hooks
        self.optimizer = _optimizer(model, recipe)
        total = recipe.epochs * steps
        self.scheduler = (
            torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, total) if recipe.schedule == "cosine" else None
        )
        self.device = next(model.parameters()).device.type
        self.dtype = {"none": None, "bfloat16": torch.bfloat16, "float16": torch.float16}[recipe.autocast]
        self.scaler = torch.amp.GradScaler(self.device, enabled=self.dtype is torch.float16)

    def __call__(self, inputs: Tensor, targets: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        with self._precision():
            loss = self._loss(inputs, targets)
        if self.scaler.is_enabled():
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            self.scaler.step(self.optimizer)
            self.scaler.update()
        else:
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        if self.hooks.after_step is not None:
            self.hooks.after_step(self.model)
        if self.scheduler is not None:
            self.scheduler.step()

    def _loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        outputs = [self.model(inputs) for _ in range(self.hooks.passes)]
        if self.hooks.objective is not None:
            loss = self.hooks.objective(outputs, targets)
        else:
            loss = self.loss(outputs[0], targets)
            for output in outputs[1:]:
                loss = loss + self.loss(output, targets)
            loss = loss / len(outputs) if len(outputs) > 1 else loss
        return loss if self.hooks.penalty is None else loss + self.hooks.penalty(self.model)

    def _precision(self) -> AbstractContextManager[object]:
        return nullcontext() if self.dtype is None else torch.autocast(self.device, self.dtype)


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    settings: dict[str, Any] = {"lr": recipe.lr, "weight_decay": recipe.weight_decay}
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), momentum=0.9, **settings)
    return (torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam)(model.parameters(), **settings)
