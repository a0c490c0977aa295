"""From a trained layer to one with noise."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def take_weights(new: nn.Module, old: nn.Module) -> None:
    """Copy a layer's weight and bias, as it computes them where they are parametrized, and its mode."""
    for name in ("weight", "bias"):
        value = getattr(old, name)
        if value is not None:
            getattr(new, name).copy_(value)
    new.train(old.training)
