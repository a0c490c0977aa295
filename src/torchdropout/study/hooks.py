"""What a method adds to training, read off the network that it was placed in."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor, nn

from torchdropout.losses.kl import divergence, kl_loss
from torchdropout.study.config import CompareConfig
from torchdropout.study.recipe import PLAIN, Hooks


def of(model: nn.Module, examples: int, config: CompareConfig, task: str) -> Hooks:
    """Layers with a prior add their divergence from it, divided by the number of examples, to the mean loss.

    Its weight grows from 0 to 1 over all of the training: with its full weight early, sparse layers lose the weights
    that they have not yet learned to need.
    A squared error of standardised targets is twice the negative log-likelihood of a unit normal, so the divergence
    counts twice beside it.
    """
    if divergence(model) is None:
        return PLAIN
    steps = config.epochs * math.ceil(examples / config.batch_size)
    return Hooks(penalty=_warmed(examples, 2.0 if task == "regression" else 1.0, steps))


def _warmed(examples: int, factor: float, steps: int) -> Callable[[nn.Module], Tensor]:
    """A factor of the divergence for each example, with a weight that grows from 0, step by step."""
    taken = 0

    def penalty(model: nn.Module) -> Tensor:
        nonlocal taken
        taken += 1
        return factor * kl_loss(model, examples, warmup=min(1.0, taken / steps))

    return penalty
