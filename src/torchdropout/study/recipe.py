"""How a network is trained: what the user sets, and what a method adds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from torch import Tensor, nn

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


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a method adds to the training of a network.

    Attributes:
        penalty: A term of the loss, from the network, or None.
        after_step: Called with the network when the optimizer has changed it, or None.
        passes: How often the network is run on each batch.
        objective: The loss of all passes' outputs; None for their mean loss.
    """

    penalty: Callable[[nn.Module], Tensor] | None = None
    after_step: Callable[[nn.Module], None] | None = None
    passes: int = 1
    objective: Callable[[list[Tensor], Tensor], Tensor] | None = None


PLAIN = Hooks()


def of(config: CompareConfig) -> Recipe:
    """The recipe of a comparison."""
    return Recipe(**{field.name: getattr(config, field.name) for field in fields(Recipe)})
