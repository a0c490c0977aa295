"""How a network is trained: what the user sets, and what a condition adds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

if TYPE_CHECKING:
    from torchdropout.study.config import CompareConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How to train; the fields are those of `CompareConfig`."""

    epochs: int
    batch_size: int = 64
    lr: float = 0.001
    optimizer: str = "adam"
    weight_decay: float = 0.0
    schedule: str = "constant"
    autocast: str = "none"
    patience: int | None = None


Term = Callable[[nn.Module], Tensor]
Objective = Callable[[nn.Module, Tensor, Tensor], Tensor]
Attach = Callable[[nn.Module, Optimizer, int], None]
MakeOptimizer = Callable[[nn.Module, int], tuple[Optimizer, LRScheduler]]


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a condition adds to the training of a network.

    Attributes:
        terms: What joins the loss of the data, each from the network.
        objective: The loss of the data, from the network, inputs and targets; None for the loss of one pass.
        attached: Called once before the first step, with the network, the optimizer and the number of steps: what
            acts after each step waits for the optimizer's.
        optimizer: Makes the optimizer and the schedule of its learning rate, from the network and the number of steps;
            None for those of the recipe.
    """

    terms: tuple[Term, ...] = ()
    objective: Objective | None = None
    attached: tuple[Attach, ...] = ()
    optimizer: MakeOptimizer | None = None


PLAIN = Hooks()


def of(config: CompareConfig) -> Recipe:
    """The recipe of a comparison."""
    return Recipe(**{field.name: getattr(config, field.name) for field in fields(Recipe)})
