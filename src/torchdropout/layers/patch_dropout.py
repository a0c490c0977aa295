"""PatchDropout: a vision transformer sees a random part of the patches, and a shorter sequence."""

from __future__ import annotations

import math
from typing import Literal, overload

import torch
from torch import Tensor

from torchdropout import rng
from torchdropout.layers._checks import check_choice, check_floating, check_number, check_probability, check_rank
from torchdropout.layers._noise import keys, uniform
from torchdropout.layers._rate import RateModule

Per = Literal["example", "batch"]


@overload
def patch_dropout(
    input: Tensor,
    p: float = 0.5,
    training: bool = True,
    *,
    prefix_tokens: int = 1,
    ordered: bool = True,
    per: Per = "example",
    return_indices: Literal[False] = False,
    key: Tensor | None = None,
) -> Tensor: ...


@overload
def patch_dropout(
    input: Tensor,
    p: float = 0.5,
    training: bool = True,
    *,
    prefix_tokens: int = 1,
    ordered: bool = True,
    per: Per = "example",
    return_indices: Literal[True],
    key: Tensor | None = None,
) -> tuple[Tensor, Tensor]: ...


def patch_dropout(
    input: Tensor,  # noqa: A002
    p: float = 0.5,
    training: bool = True,
    *,
    prefix_tokens: int = 1,
    ordered: bool = True,
    per: Per = "example",
    return_indices: bool = False,
    key: Tensor | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Keep a random part of the patches; see `torchdropout.PatchDropout`.

    Args:
        input: `(N, T, D)`, floating point.
        p: The part of the patches to drop.
        training: Whether to drop.
        prefix_tokens: How many tokens at the beginning are no patches and always kept.
        ordered: Whether kept patches stay in their order; otherwise they come in random order.
        per: What one draw covers: an `"example"`, or the `"batch"`.
        return_indices: Whether to return which patches were kept as well, `(N, kept)`, counted from the first patch.
        key: Whose noise to use; None draws one.

    Raises:
        ValueError: `p` is outside [0, 1), `per` is unknown, `prefix_tokens` is negative or above `T`, or `input` has
            another rank.
        TypeError: `input` is not floating point.

    Example:
        >>> import torch, torchdropout as td
        >>> x = torch.arange(5.0).view(1, 5, 1)
        >>> td.functional.patch_dropout(x, 0.5, key=td.key(0)).flatten()
        tensor([0., 3., 4.])
    """
    check_probability("patch_dropout", p, below_one=True)
    _check_arguments("patch_dropout", prefix_tokens, per)
    y, kept = apply("patch_dropout", input, p, training, prefix_tokens, ordered, per, key)
    return (y, kept) if return_indices else y


def _check_arguments(owner: str, prefix_tokens: int, per: str) -> None:
    check_number(owner, "prefix_tokens", prefix_tokens, "at least 0", lambda n: n >= 0)
    check_choice(owner, "per", per, ("example", "batch"))


def apply(
    owner: str, x: Tensor, p: float, noisy: bool, prefix: int, ordered: bool, per: Per, key: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The method, its arguments checked: the shorter sequence, and which patches it has."""
    check_floating(owner, x)
    check_rank(owner, x, (3,), "(N, T, D)")
    patches = x.shape[1] - prefix
    if patches < 0:
        raise ValueError(f"{owner}: the input must have at least `prefix_tokens` = {prefix} tokens, got {x.shape[1]}.")
    count = kept_patches(patches, p)
    if not noisy or count == patches:
        return x, torch.arange(patches, device=x.device).expand(x.shape[0], patches)
    rows, ways = (x.shape[0], keys(key, 2)) if per == "example" else (1, [rng.shared(k) for k in keys(key, 2)])
    kept = _shuffled((rows, patches), ways, x)[:, :count]
    kept = (kept.sort(1).values if ordered else kept).expand(x.shape[0], count)
    y = x[:, prefix:].gather(1, kept.unsqueeze(-1).expand(*kept.shape, x.shape[2]))
    return torch.cat([x[:, :prefix], y], 1), kept


def kept_patches(patches: int, p: float) -> int:
    """The whole part of `patches * (1 - p)`, free of rounding errors, but at least one patch if there is any."""
    return min(patches, max(1, math.floor(patches * (1.0 - p) + 1e-9)))


def _shuffled(shape: tuple[int, int], ways: list[Tensor | None], like: Tensor) -> Tensor:
    """A uniformly random permutation in each row, by sorting 46 random bits, for which ties are rare."""
    high, low = ((uniform(shape, k, like).to(torch.float32) * 2.0**23).to(torch.int64) for k in ways)
    return torch.argsort(high * 2**23 + low, dim=1)


class PatchDropout(RateModule):
    """Keeps a uniformly random subset of an image's patches, and returns the shorter sequence.

    Of `n` patches `max(1, floor(n * (1 - p)))` are kept, all subsets of that size being equally likely; tokens in
    front of them, like the class token, are always kept. Nothing is rescaled. Positions must have been added to the
    tokens before.

    Noise | Shared | Target | At test time: a random subset | features | patch tokens | identity

    Args:
        p: The part of the patches to drop.
        prefix_tokens: How many tokens at the beginning are no patches and always kept.
        ordered: Whether kept patches stay in their order; otherwise they come in random order.
        per: What one draw covers: an `"example"`, or the `"batch"`.

    Shape:
        `(N, T, D)` to `(N, prefix_tokens + kept, D)`; in eval the output has the input's.

    Raises:
        ValueError: `p` is outside [0, 1), `per` is unknown, or `prefix_tokens` is negative or above `T`.
        TypeError: The input is not floating point.

    Example:
        >>> import torch, torchdropout as td
        >>> x = torch.arange(5.0).view(1, 5, 1)
        >>> td.PatchDropout(0.5)(x, key=td.key(0)).flatten()
        tensor([0., 3., 4.])

    Reference:
        Y. Liu, C. Matsoukas, F. Strand, H. Azizpour, K. Smith. PatchDropout: Economizing Vision Transformers Using
        Patch Dropout. WACV 2023, arXiv:2208.07220, section 3.

    Deviation: the number of kept patches is free of rounding errors, by which 20 patches at `p = 0.9` leave one.
    """

    def __init__(self, p: float = 0.5, *, prefix_tokens: int = 1, ordered: bool = True, per: Per = "example") -> None:
        super().__init__(p)
        _check_arguments("PatchDropout", prefix_tokens, per)
        self.prefix_tokens = prefix_tokens
        self.ordered = ordered
        self.per: Per = per

    def _check_p(self, value: float) -> None:
        check_probability("PatchDropout", value, below_one=True)

    def forward(self, input: Tensor, *, key: Tensor | None = None) -> Tensor:  # noqa: A002
        """Fewer patches in training, the identity in eval."""
        # The probability decides the output's shape, so a compiler has to know its value.
        arguments = self.p, self.training, self.prefix_tokens, self.ordered, self.per
        return apply("PatchDropout", input, *arguments, key)[0]

    @property
    def draws_per(self) -> str:
        """What one draw covers: an `"example"`, or the whole `"batch"`."""
        return self.per

    def extra_repr(self) -> str:
        """The arguments, as PyTorch prints them."""
        return f"p={self.p}, prefix_tokens={self.prefix_tokens}, ordered={self.ordered}, per={self.per!r}"
