"""Multi-head attention with DropKey."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchdropout.layers._noise import bernoulli
from torchdropout.layers._rate import Rate
from torchdropout.layers.drop_key import floor, lowered


class DropKeyMultiheadAttention(Rate, nn.MultiheadAttention):
    """`torch.nn.MultiheadAttention` that drops keys before the softmax, see `torchdropout.DropKey`.

    `softmax(q k^T / sqrt(d) + masks)` over the keys that are neither masked, padded nor dropped; each query of each
    head drops its own. A query that loses every key weighs those alike that are not masked. Keys that `add_bias_kv`
    and `add_zero_attn` append are not dropped. In eval, and at `drop_key = 0`, it is PyTorch's layer itself.

    `dropout` is PyTorch's own dropout of attention weights after the softmax, whose masks come from PyTorch's
    generator: ours would have to be held in memory for every pair of query and key.

    Noise | Shared | Target | At test time: Bernoulli | nothing | attention scores | identity

    Args:
        embed_dim: As in `torch.nn.MultiheadAttention`, like all up to `dtype`.
        num_heads: The number of heads.
        dropout: The drop probability of attention weights.
        bias: Whether the projections have biases.
        add_bias_kv: Whether to append learned keys and values.
        add_zero_attn: Whether to append a key and a value of zeros.
        kdim: The features of keys.
        vdim: The features of values.
        batch_first: Whether the batch axis comes first.
        device: Where the parameters live.
        dtype: The parameters' dtype.
        drop_key: The probability of dropping a key; the attribute `p`.

    Shape:
        As `torch.nn.MultiheadAttention`, unbatched inputs included.

    Raises:
        ValueError: `drop_key` is outside [0, 1], or a mask has the wrong shape.

    Example:
        >>> import torch, torchdropout as td
        >>> layer = td.DropKeyMultiheadAttention(8, 2, batch_first=True, drop_key=0.5)
        >>> x = torch.ones(1, 3, 8)
        >>> output, weights = layer(x, x, x, noise_key=td.key(0))
        >>> weights.sum(-1)
        tensor([[1., 1., 1.]], grad_fn=<SumBackward1>)

    Reference:
        B. Li, Y. Hu, X. Nie, C. Han, X. Jiang, T. Guo, L. Liu. DropKey for Vision Transformer. CVPR 2023,
        arXiv:2208.02646, section 3 and algorithm 1.

    Deviation: as `torchdropout.DropKey`. The key of the noise is `noise_key`, since `key` is attention's.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        drop_key: float = 0.1,
    ) -> None:
        nn.MultiheadAttention.__init__(
            self,
            embed_dim,
            num_heads,
            dropout,
            bias,
            add_bias_kv,
            add_zero_attn,
            kdim,
            vdim,
            batch_first,
            device,
            dtype,
        )
        self.p = drop_key

    def _check_p(self, value: float) -> None:
        check_drop_key(value)

    @classmethod
    def from_attention(cls, attention: nn.MultiheadAttention, *, drop_key: float = 0.1) -> DropKeyMultiheadAttention:
        """The layer with a copy of the weights of PyTorch's.

        Args:
            attention: What to copy.
            drop_key: The probability of dropping a key.
        """
        out = attention.out_proj.weight
        new = cls(
            attention.embed_dim,
            attention.num_heads,
            attention.dropout,
            attention.in_proj_bias is not None,
            attention.bias_k is not None,
            attention.add_zero_attn,
            attention.kdim,
            attention.vdim,
            attention.batch_first,
            out.device,
            out.dtype,
            drop_key=drop_key,
        )
        new.load_state_dict(attention.state_dict())
        return new.train(attention.training)

    @property
    def _qkv_same_embed_dim(self) -> bool:
        """False while noisy: `torch.nn.TransformerEncoderLayer` in eval would otherwise bypass this module."""
        return self._same_dims and not (self.training and self.__dict__.get("_p", 0) > 0)

    @_qkv_same_embed_dim.setter
    def _qkv_same_embed_dim(self, value: bool) -> None:
        self._same_dims = value

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
        *,
        noise_key: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """As `torch.nn.MultiheadAttention`; noisy in training."""
        p = self._rate()
        if not self.training or (not isinstance(p, Tensor) and p == 0):
            return super().forward(
                query, key, value, key_padding_mask, need_weights, attn_mask, average_attn_weights, is_causal
            )
        if is_causal and attn_mask is None:
            raise RuntimeError("Need attn_mask if specifying the is_causal hint.")
        batched = query.dim() == 3
        q, k, v = self._heads(query, key, value)
        sizes = (*q.shape[:3], k.shape[2])
        mask = torch.zeros((), dtype=q.dtype, device=q.device)
        if attn_mask is not None:
            mask = mask + _additive("attn_mask", attn_mask, q.dtype, sizes)
        if key_padding_mask is not None:
            mask = mask + _additive("key_padding_mask", key_padding_mask, q.dtype, sizes)
        mask = lowered(mask.expand(sizes), bernoulli(sizes, p, noise_key, q))
        attended, weights = self._attend(q, k, v, mask, need_weights)
        output = self.out_proj(attended.transpose(1, 2).flatten(2))
        if weights is not None and average_attn_weights:
            weights = weights.mean(1)
        if not batched:
            return output[0], None if weights is None else weights[0]
        return output if self.batch_first else output.transpose(0, 1), weights

    def _heads(self, query: Tensor, key: Tensor, value: Tensor) -> list[Tensor]:
        """The projections, `(N, heads, length, features)` each."""
        inputs = (query, key, value)
        if query.dim() == 2:
            inputs = tuple(x.unsqueeze(0) for x in inputs)  # type: ignore[assignment]
        elif not self.batch_first:
            inputs = tuple(x.transpose(0, 1) for x in inputs)  # type: ignore[assignment]
        weights = self.in_proj_weight.chunk(3) if self._same_dims else self._separate_weights()
        biases = (None, None, None) if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        projected = [F.linear(x, w, b) for x, w, b in zip(inputs, weights, biases, strict=True)]
        return [x.view(*x.shape[:2], self.num_heads, self.head_dim).transpose(1, 2) for x in projected]

    def _separate_weights(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.q_proj_weight, self.k_proj_weight, self.v_proj_weight

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, need_weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        """The attended values and, if needed, the weights, by head."""
        k, v, mask = self._appended(k, v, mask)
        if q.dtype == torch.float16:  # no finite float16 absorbs a score: a query that has lost all keys becomes zero
            q = q * (mask > floor(q.dtype)).any(-1, keepdim=True)
        if not need_weights:
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=self.dropout), None
        scores = (q / math.sqrt(self.head_dim)) @ k.transpose(-2, -1) + mask
        weights = F.dropout(torch.softmax(scores, -1), self.dropout)
        return weights.to(v.dtype) @ v, weights

    def _appended(self, k: Tensor, v: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Keys, values and mask with what `add_bias_kv` and `add_zero_attn` append."""
        shape = (k.shape[0], self.num_heads, 1, self.head_dim)
        if self.bias_k is not None and self.bias_v is not None:
            extra = (
                b.to(k.dtype).view(1, self.num_heads, 1, self.head_dim).expand(shape)
                for b in (self.bias_k, self.bias_v)
            )
            k, v = (torch.cat([x, row], 2) for x, row in zip((k, v), extra, strict=True))
        if self.add_zero_attn:
            k, v = F.pad(k, (0, 0, 0, 1)), F.pad(v, (0, 0, 0, 1))
        return k, v, F.pad(mask, (0, k.shape[2] - mask.shape[-1]))


def check_drop_key(value: float) -> None:
    """The rule of a probability, in the name of the constructor's argument."""
    if not isinstance(value, (int, float)):
        raise TypeError(f"DropKeyMultiheadAttention: `drop_key` must be a number, got {value!r}.")
    if not 0 <= value <= 1:
        raise ValueError(f"DropKeyMultiheadAttention: `drop_key` must be in [0, 1], got {value}.")


def _additive(name: str, mask: Tensor, dtype: torch.dtype, sizes: tuple[int, ...]) -> Tensor:
    """A mask of PyTorch's layer as one to add, which broadcasts to `sizes`."""
    batch, heads, queries, keys = sizes
    if name == "key_padding_mask":
        shapes: list[tuple[int, ...]] = [(batch, keys)]
        shapes += [(keys,)] * (batch == 1)
        target: tuple[int, ...] = (batch, 1, 1, keys)
    else:
        shapes = [(queries, keys), (batch * heads, queries, keys)]
        target = (1, 1, queries, keys) if mask.dim() == 2 else sizes
    if tuple(mask.shape) not in shapes:
        rule = " or ".join(map(str, shapes))
        raise ValueError(f"DropKeyMultiheadAttention: `{name}` must have shape {rule}, got {tuple(mask.shape)}.")
    if mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=dtype).masked_fill(mask, -math.inf)
    return mask.to(dtype).view(target)
