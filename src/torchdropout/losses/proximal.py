"""The proximal step of L1: weights that become exactly zero."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from torchdropout.losses._names import Filter
from torchdropout.losses.penalty import check_strength, trained_weights


def proximal_l1_(
    optimizer: torch.optim.Optimizer, model: nn.Module, strength: float, filter_fn: Filter = None
) -> RemovableHandle:
    """Soft thresholding after every step that an optimizer really takes: L1 whose zeros are exact.

    `w = sign(w) * max(|w| - lr * strength, 0)`, with the learning rate of the weight's group at that step. With
    `torch.optim.SGD` without momentum this is the proximal gradient method for `loss + strength * sum |w|`; beside
    another optimizer it is a decoupled L1 decay, as `torch.optim.AdamW` decouples L2. A step that a gradient scaler
    skips changes nothing.

    Args:
        optimizer: The optimizer of the model.
        model: Whose weights: matrices and filters that are trained and that the optimizer updates, each once.
        strength: That of the L1 norm in the objective.
        filter_fn: Which weights: a function of a weight and its qualified name, or a pattern of names as `fnmatch`
            has it; None for all.

    Returns:
        A handle; its `remove()` ends it.

    Raises:
        ValueError: `strength` is negative or not finite, or no weight is chosen that the optimizer updates.
        TypeError: `strength` is no number.

    Example:
        >>> import torch, torchdropout as td
        >>> layer = torch.nn.Linear(3, 1, bias=False)
        >>> _ = layer.weight.data.copy_(torch.tensor([[0.04, -0.5, 0.3]]))
        >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        >>> handle = td.proximal_l1_(optimizer, layer, strength=1.0)
        >>> (0.0 * layer.weight.sum()).backward()
        >>> optimizer.step()
        >>> layer.weight.data
        tensor([[ 0.0000, -0.4000,  0.2000]])

    Reference:
        I. Daubechies, M. Defrise, C. De Mol. An Iterative Thresholding Algorithm for Linear Inverse Problems with a
        Sparsity Constraint. CPAM 57:1413-1457, 2004.
    """
    check_strength("proximal_l1_", "strength", strength)
    weights = {id(each.parameter) for each in trained_weights("proximal_l1_", model, filter_fn)}
    if not any(id(p) in weights for group in optimizer.param_groups for p in group["params"]):
        raise ValueError("proximal_l1_: `optimizer` must update a weight that is chosen, it updates none.")

    @torch.no_grad()
    def apply(stepped: torch.optim.Optimizer, *_: object) -> None:
        for group in stepped.param_groups:
            for p in group["params"]:
                if id(p) in weights and p.grad is not None:
                    _shrink(p, group["lr"] * strength)

    return optimizer.register_step_post_hook(apply)


def _shrink(weight: Tensor, by: float | Tensor) -> None:
    """Towards zero and not beyond: what is at most `by` away becomes zero; a NaN stays one."""
    weight.copy_(torch.where(weight.abs() <= by, 0.0, weight - by * weight.sign()))
