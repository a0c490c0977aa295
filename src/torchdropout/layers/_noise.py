"""Noise as layers use it: keys for several draws, noise of a shape, and products with noise that axes share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from torchdropout import laws, ops, rng


def keys(key: Tensor | None, count: int) -> list[Tensor | None]:
    """One key for each of a method's independent draws: derived from `key`, or None for each."""
    return [None] * count if key is None else [rng.fold_in(key, number) for number in range(count)]


def noise(shape: Sequence[int], spec: laws.Spec, key: Tensor | None, like: Tensor) -> Tensor:
    """The noise itself, on the device of `like` and in its dtype, but at least float32."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    return ops.multiply(torch.ones(shape, dtype=dtype, device=like.device), spec, key=key)


def standard_normal(shape: Sequence[int], key: Tensor | None, like: Tensor) -> Tensor:
    """Independent standard normals."""
    return noise(shape, laws.Spec("normal", 1.0, 0.0), key, like)


def uniform(shape: Sequence[int], key: Tensor | None, like: Tensor) -> Tensor:
    """Independent uniforms, strictly between 0 and 1."""
    return noise(shape, laws.Spec("uniform", 0.0, 1.0), key, like)


def bernoulli(
    shape: Sequence[int], p: float | Tensor, key: Tensor | None, like: Tensor, *, batch_dim: int = 0
) -> Tensor:
    """Independent masks: 0 with probability `p`, else 1. The settled cases p = 0 and p = 1 draw nothing."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    ones = torch.ones(shape, dtype=dtype, device=like.device)
    return times_bernoulli(ones, p, key, scaled=False, batch_dim=batch_dim)


def times_bernoulli(
    x: Tensor, p: float | Tensor, key: Tensor | None, *, scaled: bool = True, inplace: bool = False, batch_dim: int = 0
) -> Tensor:
    """`x` times one Bernoulli draw an element; the settled cases 0 and 1 draw nothing."""
    if not isinstance(p, Tensor):
        if p == 0:
            return x
        if p == 1:
            zero = torch.zeros((), dtype=x.dtype, device=x.device)  # keeps integers integers, and NaN a NaN
            return x.mul_(zero) if inplace else x * zero
    spec = laws.Spec("scaled bernoulli" if scaled else "bernoulli", p)
    return ops.multiply(x, spec, key=key, inplace=inplace, batch_dim=batch_dim)


def times_shared_bernoulli(
    x: Tensor,
    p: float | Tensor,
    noise_shape: Sequence[int],
    key: Tensor | None,
    *,
    scaled: bool = True,
    inplace: bool = False,
    batch_dim: int = 0,
) -> Tensor:
    """`x` times Bernoulli noise of `noise_shape`, whose axes of size 1 share a draw; the noise is all that is kept."""
    if not isinstance(p, Tensor) and p in (0, 1):
        return times_bernoulli(x, p, key, inplace=inplace)
    ones = torch.ones(noise_shape, dtype=x.dtype, device=x.device)
    mask = times_bernoulli(ones, p, key, scaled=False, batch_dim=batch_dim)
    keep = laws.keep(p) if scaled else 1.0
    if x.dtype in (torch.float16, torch.bfloat16):  # the scale itself has no exact value in these formats
        y = x.mul_(mask) if inplace else x * mask
        return y.mul_(1.0 / keep) if scaled else y
    noise = mask * (1.0 / keep) if scaled else mask
    return x.mul_(noise) if inplace else x * noise
