"""DropKey: attention keys are dropped before the softmax, so that the weights still sum to one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from torchdropout.layers._checks import check_floating, check_number, check_probability
from torchdropout.layers._noise import bernoulli
from torchdropout.layers._rate import RateModule


def drop_key(
    shape: Sequence[int],
    p: float = 0.1,
    training: bool = True,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
    key: Tensor | None = None,
) -> Tensor:
    """A mask to add to attention scores, which drops keys; see `torchdropout.DropKey`.

    It is meant for `attn_mask` of `torch.nn.functional.scaled_dot_product_attention`. A query that loses every key
    weighs all alike, since the mask's -1e30 absorbs any score. No finite float16 can do so: the mask is float32
    then, which PyTorch's attention on the CPU takes beside float16 queries. Autocast to float16 would turn it into
    an infinite one; `torchdropout.DropKeyMultiheadAttention` is right there too.

    Args:
        shape: `(B, H, Q, K)`, or any that broadcasts to the scores'; along an axis of size 1 a draw is shared.
        p: The probability of dropping a key.
        training: Whether to drop; otherwise the mask is zero.
        dtype: The queries' dtype.
        device: Where the mask lives.
        key: Whose noise to use; None draws one.

    Returns:
        A tensor of `shape`, 0 where a key is kept; of `dtype`, but float32 for float16.

    Raises:
        ValueError: `p` is outside [0, 1].
        TypeError: `dtype` is not floating point.

    Example:
        >>> import torch, torchdropout as td
        >>> td.functional.drop_key((1, 1, 2, 3), 0.5, key=td.key(3)).squeeze()
        tensor([[ 0.0000e+00, -1.0000e+30, -1.0000e+30],
                [-1.0000e+30, -1.0000e+30,  0.0000e+00]])
    """
    check_probability("drop_key", p)
    if not dtype.is_floating_point:
        raise TypeError(f"drop_key: `dtype` must be floating point, got {dtype}.")
    dtype = torch.float32 if dtype == torch.float16 else dtype
    if not training:
        return torch.zeros(tuple(shape), dtype=dtype, device=device)
    kept = bernoulli(tuple(shape), p, key, torch.empty(0, dtype=dtype, device=device))
    return ((kept - 1.0) * -floor(dtype)).to(dtype)


def floor(dtype: torch.dtype) -> float:
    """What a dropped key's score becomes: its weight is zero, and still above the -inf or least finite of padding."""
    return -6e4 if dtype == torch.float16 else -1e30


def lowered(scores: Tensor, kept: Tensor) -> Tensor:
    """The scores with those of dropped keys at `floor`, or where they are below it already: alike, in every dtype."""
    return torch.where(kept == 0, scores.detach().clamp(max=floor(scores.dtype)), scores)


def drop_key_rates(p: float, depth: int) -> list[float]:
    """The drop probabilities of a network's layers: `p` in the first, falling in equal steps to 0 in the last.

    The paper lets the rate fall along the layers; the equal steps and the 0 are a choice of this function.

    Args:
        p: The first layer's probability.
        depth: The number of layers.

    Raises:
        ValueError: `p` is outside [0, 1], or `depth` is below 1.

    Example:
        >>> import torchdropout as td
        >>> td.functional.drop_key_rates(0.5, 3)
        [0.5, 0.25, 0.0]
    """
    check_probability("drop_key_rates", p)
    check_number("drop_key_rates", "depth", depth, "at least 1", lambda n: n >= 1)
    return [p * (1.0 - layer / max(depth - 1, 1)) for layer in range(depth)]


class DropKey(RateModule):
    """Drops attention keys before the softmax, for each query and head by itself; the weights still sum to one.

    `y = s` where `m = 1` and `y = -1e30` where `m = 0`, with independent `m ~ Bernoulli(k)`, `k = 1 - p`, for scores
    `s`; no scaling. A query that loses every key weighs all alike. Scores below -1e30, as those of padding (-inf, or
    the least finite number), stay as they are. In float16 the number is -6e4.

    Several copies add the number after the softmax, which turns weights into numbers of its size, or drop in eval too.

    Post-softmax attention dropout is another method; PyTorch's `dropout_p` does it, with masks from its own generator,
    since ours would have to be held in memory for every pair of query and key.

    Noise | Shared | Target | At test time: Bernoulli | nothing | attention scores | identity

    Args:
        p: The probability of dropping a key. The paper lets it fall with depth; see
            `torchdropout.functional.drop_key_rates`.

    Shape:
        The scores `(B, H, Q, K)`, or any other; the output has the input's.

    Raises:
        ValueError: `p` is outside [0, 1].
        TypeError: The input is not floating point.

    Example:
        >>> import torch, torchdropout as td
        >>> td.DropKey(0.5)(torch.zeros(2, 3), key=td.key(3)).softmax(-1)
        tensor([[1., 0., 0.],
                [0., 0., 1.]])

    Reference:
        B. Li, Y. Hu, X. Nie, C. Han, X. Jiang, T. Guo, L. Liu. DropKey for Vision Transformer. CVPR 2023,
        arXiv:2208.02646, section 3 and algorithm 1.

    Deviation: a dropped score is replaced, where the paper adds -1e12; in float64 that leaves a trace of the scores
    where a query loses every key, and float16 cannot hold it.
    """

    def __init__(self, p: float = 0.1) -> None:
        super().__init__(p)

    def forward(self, input: Tensor, *, key: Tensor | None = None) -> Tensor:  # noqa: A002
        """The scores with dropped keys in training, the scores in eval."""
        check_floating("DropKey", input)
        p = self._rate()
        if not self.training or (not isinstance(p, Tensor) and p == 0):
            return input
        return lowered(input, bernoulli(input.shape, p, key, input))
