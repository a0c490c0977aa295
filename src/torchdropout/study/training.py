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
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler

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
        hooks: What the condition adds.
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


def start(model: nn.Module, recipe: Recipe, hooks: Hooks, steps: int) -> tuple[Optimizer, LRScheduler | None]:
    """The optimizer of so many steps, with all that a condition attaches to it, and the schedule of its rate."""
    scheduler: LRScheduler | None
    if hooks.optimizer is not None:
        optimizer, scheduler = hooks.optimizer(model, steps)
    else:
        optimizer = _optimizer(model, recipe)
        scheduler = CosineAnnealingLR(optimizer, steps) if recipe.schedule == "cosine" else None
    for attach in hooks.attached:
        attach(model, optimizer, steps)
    return optimizer, scheduler


class _Step:
    """One optimizer step, with everything that does not change from step to step."""

    def __init__(self, model: nn.Module, loss: Loss, recipe: Recipe, hooks: Hooks, steps: int) -> None:
        self.model, self.loss, self.hooks = model, loss, hooks
        self.optimizer, self.scheduler = start(model, recipe, hooks, recipe.epochs * steps)
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
        if self.scheduler is not None:
            self.scheduler.step()

    def _loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        objective = self.hooks.objective
        loss = self.loss(self.model(inputs), targets) if objective is None else objective(self.model, inputs, targets)
        for term in self.hooks.terms:
            loss = loss + term(self.model)
        return loss

    def _precision(self) -> AbstractContextManager[object]:
        return nullcontext() if self.dtype is None else torch.autocast(self.device, self.dtype)


def _optimizer(model: nn.Module, recipe: Recipe) -> Optimizer:
    settings: dict[str, Any] = {"lr": recipe.lr, "weight_decay": recipe.weight_decay}
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), momentum=0.9, **settings)
    return (torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam)(model.parameters(), **settings)
