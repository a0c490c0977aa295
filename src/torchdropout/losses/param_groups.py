"""Groups of parameters for an optimizer: which of them weight decay is for."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from torchdropout.layers._checks import check_number
from torchdropout.losses._weights import owned

_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)


def param_groups(model: nn.Module, weight_decay: float, *, exempt_embeddings: bool = False) -> list[dict[str, Any]]:
    """A model's parameters in two groups for an optimizer, with weight decay and without.

    Exempt are biases, the parameters of normalisations, everything with fewer than two axes, what says how noisy a
    layer is and, on request, embeddings. Every parameter is in one group, once: tied and frozen ones too. The weight of
    an output layer that is tied to an embedding is that embedding's.

    Args:
        model: Whose parameters; wrapped ones (DDP, compiled) too.
        weight_decay: Of the first group.
        exempt_embeddings: Whether embeddings are exempt.

    Returns:
        The groups that are not empty, decayed ones first, as `torch.optim` takes them.

    Raises:
        ValueError: `weight_decay` is negative or not finite, or the model has no parameter.
        TypeError: `weight_decay` is no number.

    Example:
        >>> import torch, torchdropout as td
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LayerNorm(4))
        >>> [(len(group["params"]), group["weight_decay"]) for group in td.param_groups(model, 0.01)]
        [(1, 0.01), (3, 0.0)]
        >>> optimizer = torch.optim.AdamW(td.param_groups(model, 0.01), lr=1e-3)
    """
    check_number("param_groups", "weight_decay", weight_decay, "finite and not negative", lambda v: 0 <= v < math.inf)
    tables = {id(m.weight) for m in model.modules() if exempt_embeddings and isinstance(m, _EMBEDDINGS)}
    found = list(owned(model))
    if not found:
        raise ValueError("param_groups: `model` must have parameters, found none.")
    decayed = [each.is_weight() and id(each.parameter) not in tables for each in found]
    groups = [
        {"params": [each.parameter for each, is_in in zip(found, decayed, strict=True) if is_in is which], **rule}
        for which, rule in ((True, {"weight_decay": weight_decay}), (False, {"weight_decay": 0.0}))
    ]
    return [group for group in groups if group["params"]]
