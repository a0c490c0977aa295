"""A model run on inputs that someone gave: in eval, as a list of tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from torchdropout.surgery._calls import run


def tensors(output: Any) -> list[Tensor]:
    """All tensors of an output, in its order."""
    return [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]


@torch.no_grad()
def outputs(model: nn.Module, inputs: Any) -> list[Tensor]:
    """All tensors of a model's output in eval; its modes stay."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        return tensors(run(model.eval(), inputs))
    finally:
        for module, mode in modes:
            module.training = mode


def first_outputs(owner: str, model: nn.Module, inputs: Any) -> list[Tensor]:
    """The same, of inputs that may not fit.

    Raises:
        ValueError: The model raised, or returned no tensor.
    """
    try:
        found = outputs(model, inputs)
    except Exception as error:  # whatever a model says of inputs that it does not take
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ValueError(f"{owner}: `example_inputs` must be what the model takes; found: {reason}") from error
    if not found:
        raise ValueError(f"{owner}: the model must return a tensor on `example_inputs`, got none.")
    return found
