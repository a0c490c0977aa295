"""Probabilistic weighted pooling: the expectation of the largest element that is kept in a window."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from torchdropout.layers._windows import Windows

_LARGEST_NETWORK = 16  # windows of more elements are sorted


def probabilistic_weighted_pool(x: Tensor, over: Windows, keep: float | Tensor) -> Tensor:
    """`sum_i k (1 - k)**(i - 1) a_(i)` over each window of a tensor that is not negative, `a_(1)` the largest.

    Padding counts as zeros, which add nothing. The sum is computed in float32 at least.

    Args:
        x: `(..., L)` or `(..., H, W)`, as many spatial axes as the windows have.
        over: The windows.
        keep: The keep probability `k`, which may be a 0-d tensor.
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    if any(over.padding):
        wide = F.pad(wide, [border for size in reversed(over.padding) for border in (size, size)])
    ranked = (_by_network if over.numel <= _LARGEST_NETWORK else _by_sorting)(wide, over)
    y = ranked[0] * keep
    for rank, a in enumerate(ranked[1:], start=1):
        weight = keep * (1.0 - keep) ** rank
        y = y + a * weight if isinstance(weight, Tensor) else y.add_(a, alpha=weight)
    return y.to(x.dtype)


def _by_sorting(x: Tensor, over: Windows) -> list[Tensor]:
    """The elements of every window, the largest first, for windows of any size."""
    axes = len(over.kernel)
    for kernel, step in zip(over.kernel, over.stride, strict=True):
        x = x.unfold(-axes, kernel, step)
    return list(x.flatten(-axes).sort(dim=-1, descending=True).values.unbind(-1))


def _by_network(x: Tensor, over: Windows) -> list[Tensor]:
    """The same for small windows: a few element-wise passes, where a sort takes tens of times as long."""
    elements = [x]
    for axis in range(-len(over.kernel), 0):
        elements = [seen for whole in elements for seen in _positions(whole, axis, over)]
    for high, low in _NETWORKS[len(elements)]:
        a, b = elements[high], elements[low]
        elements[high], elements[low] = torch.maximum(a, b), torch.minimum(a, b)
    return elements


def _positions(x: Tensor, axis: int, over: Windows) -> list[Tensor]:
    """What each position of the windows holds along one axis: a strided view each."""
    kernel, step = over.kernel[axis], over.stride[axis]
    span = x.shape[axis] - kernel + 1
    seen = [slice(first, first + span, step) for first in range(kernel)]
    return [x[..., part] if axis == -1 else x[..., part, :] for part in seen]


def _comparators(count: int) -> list[tuple[int, int]]:
    """Batcher's merge exchange (Knuth, The Art of Computer Programming, volume 3, 5.2.2, algorithm M)."""
    pairs = []
    top = 1 << max(count - 1, 0).bit_length() >> 1
    p = top
    while p > 0:
        q, r, d = top, 0, p
        while True:
            pairs += [(i, i + d) for i in range(count - d) if i & p == r]
            if q == p:
                break
            q, r, d = q // 2, p, q - p
        p //= 2
    return pairs


_NETWORKS = [_comparators(count) for count in range(_LARGEST_NETWORK + 1)]
