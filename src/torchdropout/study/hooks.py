"""What a condition adds to training: terms of the loss, the loss itself, what follows each step, the optimizer."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import replace

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from torchdropout.constraints import MaxNorm, constrain_
from torchdropout.losses.kl import divergence, kl_loss
from torchdropout.losses.multi_sample import multi_sample_loss
from torchdropout.losses.penalty import penalty
from torchdropout.losses.r_drop import RDropLoss, Task, r_drop
from torchdropout.recipes import dropout_recipe, hidden
from torchdropout.scheduler import DropoutScheduler
from torchdropout.schedules import Curriculum, Early, Schedule
from torchdropout.study.conditions import Placed
from torchdropout.study.config import CompareConfig
from torchdropout.study.metrics import loss_of
from torchdropout.study.recipe import Attach, Hooks, MakeOptimizer, Objective, Term

PLAIN_RATE = 0.01  # what the recipe takes for the plain rate of SGD, where the study trains by another optimizer
RATIO = 0.5  # the part of L1 in the elastic net


def of(model: nn.Module, placed: Placed, examples: int, config: CompareConfig, task: str) -> Hooks:
    """What a condition adds to the training of a network that it was placed in."""
    steps = config.epochs * math.ceil(examples / config.batch_size)
    return Hooks(
        terms=(*_divergence(model, examples, steps, task), *_penalties(placed)),
        objective=_objective(placed, task),
        attached=tuple(_attached(placed)),
        optimizer=_optimizer(placed, config),
    )


def _divergence(model: nn.Module, examples: int, steps: int, task: str) -> Iterator[Term]:
    """Layers with a prior add their divergence from it, divided by the number of examples, to the mean loss.

    Its weight grows from 0 to 1 over all of the training: with its full weight early, sparse layers lose the weights
    that they have not yet learned to need.
    A squared error of standardised targets is twice the negative log-likelihood of a unit normal, so the divergence
    counts twice beside it.
    """
    if divergence(model) is None:
        return
    factor, taken = 2.0 if task == "regression" else 1.0, 0

    def term(model: nn.Module) -> Tensor:
        nonlocal taken
        taken += 1
        return factor * kl_loss(model, examples, warmup=min(1.0, taken / steps))

    yield term


def _penalties(placed: Placed) -> Iterator[Term]:
    if l1 := placed.of("l1"):
        yield lambda model: penalty(model, l1=l1)
    if l2 := placed.of("l2"):
        yield lambda model: penalty(model, l2=l2)
    if alpha := placed.of("elastic"):
        yield lambda model: penalty(model, elastic=(alpha, RATIO))


def _objective(placed: Placed, task: str) -> Objective | None:
    if (alpha := placed.of("rdrop")) is not None:
        kind: Task = "regression" if task == "regression" else "classification"
        return _agreement(RDropLoss(alpha, task=kind, validate=False))
    if placed.of("multisample") is not None:
        loss = loss_of(task)
        return lambda model, inputs, targets: multi_sample_loss(model, inputs, targets, loss=loss)
    return None


def _agreement(loss: RDropLoss) -> Objective:
    """Half of R-Drop's loss: a mean over passes, of the size of one's, so that learning rates mean the same."""

    def objective(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "r_drop: ")  # that a network cannot be traced costs time and no more
            return 0.5 * r_drop(model, inputs, targets, loss)

    return objective


def _attached(placed: Placed) -> Iterator[Attach]:
    if c := placed.of("maxnorm"):
        bound = MaxNorm(c)
        yield lambda model, optimizer, steps: _constrain(optimizer, model, bound)
    for schedule in _schedules(placed):
        yield _by_step(schedule)


def finish_(model: nn.Module, placed: Placed) -> None:
    """Give a network that was built anew the drop probabilities that its training ended with."""
    for schedule in _schedules(placed):
        DropoutScheduler(model, schedule, 1).step()


def _schedules(placed: Placed) -> Iterator[Schedule]:
    if (until := placed.of("early-dropout")) is not None:
        yield Early(until)
    if gamma := placed.of("curriculum"):
        yield Curriculum(gamma)


def _constrain(optimizer: Optimizer, model: nn.Module, bound: MaxNorm) -> None:
    constrain_(optimizer, model, bound, hidden(model))


def _by_step(schedule: Schedule) -> Attach:
    def attach(model: nn.Module, optimizer: Optimizer, steps: int) -> None:
        scheduler = DropoutScheduler(model, schedule, steps)
        optimizer.register_step_post_hook(lambda *_: scheduler.step())

    return attach


def _optimizer(placed: Placed, config: CompareConfig) -> MakeOptimizer | None:
    """The recipe's: SGD at a multiple of the plain rate, momentum, max-norm, and a decay to a hundredth."""
    factor = placed.of("recipe")
    if factor is None:
        return None
    plain = config.lr if config.optimizer == "sgd" else PLAIN_RATE
    advice = replace(dropout_recipe(plain), lr=factor * plain)

    def make(model: nn.Module, steps: int) -> tuple[Optimizer, LRScheduler]:
        optimizer = advice.optimizer(model)
        return optimizer, advice.schedule(optimizer, steps)

    return make
