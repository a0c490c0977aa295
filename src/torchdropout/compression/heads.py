"""Attention with fewer heads than `torch.nn.MultiheadAttention` can have."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class FewerHeads(nn.Module):
    """What `torch.nn.MultiheadAttention` computes in eval, with the heads that are left; called as it is.

    Attention weights are not returned: the second output is None.

    Args:
        attention: The module.
        kept: The heads that are left, by number.
    """

    in_proj_bias = None  # `nn.TransformerEncoderLayer` looks, and then calls the module rather than its own kernel
    _qkv_same_embed_dim = False

    def __init__(self, attention: nn.MultiheadAttention, kept: list[int]) -> None:
        super().__init__()
        self.num_heads, self.batch_first, self.total, self.kept = (
            len(kept),
            attention.batch_first,
            attention.num_heads,
            kept,
        )
        rows = _rows(attention, kept)
        weights, biases = projections(attention)
        self.q, self.k, self.v = (
            _linear(weight[rows], None if bias is None else bias[rows])
            for weight, bias in zip(weights, biases, strict=True)
        )
        out = attention.out_proj
        self.out = _linear(out.weight[:, rows], out.bias)
        self.train(attention.training)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = False,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, None]:
        """Of `(L, N, E)`, or `(N, L, E)` with `batch_first`, or without a batch."""
        alone = query.dim() == 2
        given = (
            [x.unsqueeze(0 if self.batch_first else 1) for x in (query, key, value)] if alone else [query, key, value]
        )
        if not self.batch_first:
            given = [x.transpose(0, 1) for x in given]
        q, k, v = (
            part(x).view(*x.shape[:2], self.num_heads, -1).transpose(1, 2)
            for part, x in zip((self.q, self.k, self.v), given, strict=True)
        )
        mask = self._mask(attn_mask, key_padding_mask, q)
        y = self.out(F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).flatten(2))
        y = y if self.batch_first else y.transpose(0, 1)
        return (y.squeeze(0 if self.batch_first else 1) if alone else y), None

    def _mask(self, attn_mask: Tensor | None, padding: Tensor | None, like: Tensor) -> Tensor | None:
        """One mask that is added to the scores, of `(N or 1, heads or 1, L or 1, S)`."""
        parts = []
        if attn_mask is not None:
            added = _added(attn_mask, like)
            by_head = added.dim() == 3
            parts.append(added.view(-1, self.total, *added.shape[1:])[:, self.kept] if by_head else added[None, None])
        if padding is not None:
            added = _added(padding, like)
            parts.append((added if added.dim() == 2 else added[None])[:, None, None])
        return sum(parts[1:], parts[0]) if parts else None


def projections(attention: nn.MultiheadAttention) -> tuple[list[Tensor], list[Tensor | None]]:
    """The weights of queries, keys and values, and their biases."""
    if attention.in_proj_weight is not None:
        weights = list(attention.in_proj_weight.chunk(3))
    else:
        weights = [attention.q_proj_weight, attention.k_proj_weight, attention.v_proj_weight]
    bias = attention.in_proj_bias
    return weights, [None] * 3 if bias is None else list(bias.chunk(3))


@torch.no_grad()
def left(attention: nn.MultiheadAttention) -> list[int] | None:
    """The heads that do something, one at least; None where all do, or the module has what plain attention has not."""
    if attention.bias_k is not None or attention.add_zero_attn:
        return None
    weights, biases = projections(attention)
    heads, size = attention.num_heads, attention.head_dim
    silent = (weights[2] == 0).view(heads, -1).all(1)
    if biases[2] is not None:
        silent &= (biases[2] == 0).view(heads, -1).all(1)
    unread = (attention.out_proj.weight == 0).view(-1, heads, size).all(2).all(0)
    kept: list[int] = (~(silent | unread)).nonzero().flatten().tolist()
    return None if len(kept) == heads else kept or [0]


def _rows(attention: nn.MultiheadAttention, kept: list[int]) -> Tensor:
    size = attention.head_dim
    return torch.cat([torch.arange(head * size, (head + 1) * size) for head in kept])


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    new = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, weight.device, weight.dtype)
    with torch.no_grad():
        new.weight.copy_(weight)
        if bias is not None:
            new.bias.copy_(bias)
    return new


def _added(mask: Tensor, like: Tensor) -> Tensor:
    """A mask as what is added to scores; True means that a place is not looked at."""
    if mask.dtype != torch.bool:
        return mask.to(like.dtype)
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill(mask, float("-inf"))
