"""Keys, and what is drawn from them: the only source of randomness of the package.

A key is an int64 tensor of shape `(*batch, 2)`: a seed and an offset, 64 bits each. Noise is Philox-4x32-10 of the
seed, the offset and the element's index, so it is a pure function of the key. Names and shapes are those of PyTorch's
experimental `torch.func._random`.

Distributed training: a key that a module draws for itself folds in the data-parallel rank once `torch.distributed` is
initialised, so that ranks with equal seeds still drop different elements. Ranks that must share masks (the replicas of
tensor parallelism) say so with `set_data_parallel_rank`. Explicit keys are never touched.

Reference: John K. Salmon, Mark A. Moraes, Ron O. Dror, David E. Shaw. Parallel Random Numbers: As Easy as 1, 2, 3.
SC 2011.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

__all__ = ["draw", "fold_in", "key", "keyed", "philox", "set_data_parallel_rank", "shared", "split", "streaming"]

_CPU = torch.device("cpu")
_MASK = 0xFFFFFFFF
_DERIVED = 0x80000000  # set in the counter of derived keys, which keeps them apart from the words of noise
_distributed = getattr(torch.distributed, "is_initialized", bool)  # absent from a torch built without it
_rank: int | Literal["global"] | None = "global"


class Source(Protocol):
    """Where draws of a block get their keys instead of from the generator."""

    def draw(self, shape: Sequence[int] | None, batch_dim: int = 0) -> tuple[Tensor, int, int]:
        """A key, or one for each of the rows that the axis has times the number; see `torchdropout.streams`."""

    def shared(self) -> Tensor:
        """One key for a whole batch."""


class _Local(threading.local):
    source: Source | None = None


_local = _Local()


def philox(counter: tuple[Any, Any, Any, Any], k0: Any, k1: Any) -> tuple[Any, Any, Any, Any]:
    """The four 32-bit words of Philox-4x32-10, for Python integers as well as for int64 tensors.

    Args:
        counter: The four 32-bit words of the counter.
        k0: The low word of the key.
        k1: The high word of the key.
    """
    c0, c1, c2, c3 = counter
    for _ in range(10):
        high0, low0 = _multiply(0xD2511F53, c0)
        high1, low1 = _multiply(0xCD9E8D57, c2)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B9) & _MASK, (k1 + 0xBB67AE85) & _MASK
    return c0, c1, c2, c3


def _multiply(m: int, c: Any) -> tuple[Any, Any]:
    """The high and the low word of a 32 by 32 bit product, by halves: no intermediate leaves the range of int64."""
    low, high = m * (c & 0xFFFF), m * (c >> 16)
    return (high + (low >> 16)) >> 16, (((high & 0xFFFF) << 16) + low) & _MASK


def key(seed: int, *, device: torch.device | str | None = None) -> Tensor:
    """The key of a seed.

    Args:
        seed: Any integer of 64 bits, signed or not.
        device: Where the key lives; default: the CPU, where it costs no synchronisation.

    Returns:
        An int64 tensor of shape `(2,)`: the seed's bits and the offset 0.

    Raises:
        ValueError: The seed does not fit in 64 bits.

    Example:
        >>> key(7)
        tensor([7, 0])
    """
    if not isinstance(seed, int) or not -(2**63) <= seed < 2**64:
        raise ValueError(f"key: `seed` must be an integer of 64 bits, got {seed!r}.")
    return torch.tensor([_signed(seed), 0], dtype=torch.int64, device=device or "cpu")


def split(key: Tensor, num: int = 2) -> Tensor:
    """Derive `num` independent keys: `split(key, n)[i]` equals `fold_in(key, i)`.

    Args:
        key: `(*batch, 2)`.
        num: How many.

    Returns:
        `(num, *batch, 2)`.

    Example:
        >>> split(key(7), 3).shape
        torch.Size([3, 2])
    """
    if num < 1:
        raise ValueError(f"split: `num` must be at least 1, got {num}.")
    bits = as_key(key, "split")
    data = torch.arange(num, device=bits.device).view(num, *[1] * (bits.ndim - 1))
    return _derive(bits, data)


def fold_in(key: Tensor, data: int) -> Tensor:
    """Derive the key of one integer: a step, a sample's number, a rank.

    Args:
        key: `(*batch, 2)`.
        data: An integer in `[0, 2**63)`.

    Returns:
        A key of the same shape.

    Raises:
        ValueError: `data` is out of range.

    Example:
        >>> torch.equal(fold_in(key(7), 1), split(key(7))[1])
        True
    """
    if not 0 <= data < 2**63:
        raise ValueError(f"fold_in: `data` must be in [0, 2**63), got {data}.")
    bits = as_key(key, "fold_in")
    if bits.ndim == 1 and bits.device.type == "cpu" and is_plain(bits):
        seed, offset = bits.tolist()
        counter = (data & _MASK, (data >> 32) | _DERIVED, offset & _MASK, (offset >> 32) & _MASK)
        w0, w1, w2, w3 = philox(counter, seed & _MASK, (seed >> 32) & _MASK)
        return torch.tensor([_signed(w0 | w1 << 32), _signed(w2 | w3 << 32)])
    return _derive(bits, torch.full((), data, dtype=torch.int64, device=bits.device))


def _derive(key: Tensor, data: Tensor) -> Tensor:
    seed, offset = key[..., 0], key[..., 1]
    counter = (data & _MASK, (data >> 32) | _DERIVED, offset & _MASK, (offset >> 32) & _MASK)
    w0, w1, w2, w3 = philox(counter, seed & _MASK, (seed >> 32) & _MASK)
    return torch.stack([w0 | w1 << 32, w2 | w3 << 32], dim=-1)


def _signed(bits: int) -> int:
    bits &= 2**64 - 1
    return bits - 2**64 if bits >= 2**63 else bits


def as_key(key: Tensor, caller: str) -> Tensor:
    """`key` as int64, checked."""
    if not isinstance(key, Tensor) or key.dtype not in (torch.int64, torch.uint64) or key.shape[-1:] != (2,):
        got = f"{key.dtype} of shape {tuple(key.shape)}" if isinstance(key, Tensor) else repr(key)
        raise TypeError(f"{caller}: `key` must be an int64 or uint64 tensor of shape (*batch, 2), got {got}.")
    return key if key.dtype == torch.int64 else key.view(torch.int64)


def is_plain(x: Tensor) -> bool:
    """Whether `x` holds values one may look at: no compiler, no functorch transform, no tensor subclass."""
    return (
        not torch.compiler.is_compiling()
        and not torch._C._are_functorch_transforms_active()
        and type(x) in (Tensor, torch.nn.Parameter)
    )


def draw(shape: Sequence[int] | None = None) -> Tensor:
    """A fresh key from PyTorch's default CPU generator, with the data-parallel rank folded in.

    `torch.manual_seed` therefore governs it, activation checkpointing replays it, and `torch.func.vmap` treats it as
    its argument `randomness` says.

    Args:
        shape: That of the noise; within `streaming` its first axis may get a key for each of its rows.
    """
    if (source := _local.source) is not None:
        key, _, groups = source.draw(shape if shape is None else shape[:1])
        if key.ndim > 1 and groups > 1:
            key = _derive(key.unsqueeze(1), torch.arange(groups)).flatten(0, 1)
        return key
    drawn = torch.randint(-(2**63), 2**63 - 1, (2,), dtype=torch.int64, device=_CPU)
    rank = _data_parallel_rank()
    return drawn if rank == 0 else drawn + torch.tensor([0, rank])


def shared(key: Tensor | None) -> Tensor | None:
    """The key of a draw that covers a whole batch: `key`, or, within `streaming`, the sample's where there is none."""
    if key is not None or _local.source is None or torch.compiler.is_compiling():
        return key
    return _local.source.shared()


def source() -> Source | None:
    """Where draws of this thread get their keys now; None: from the generator."""
    return _local.source


@contextmanager
def streaming(source: Source | None) -> Iterator[None]:
    """Take the keys of all draws within the block, in this thread, from a source."""
    before, _local.source = _local.source, source
    try:
        yield
    finally:
        _local.source = before


def set_data_parallel_rank(rank: int | Literal["global"] | None) -> None:
    """Say which number drawn keys fold in when `torch.distributed` is initialised.

    Args:
        rank: `"global"` (the default): the global rank, so every process draws its own masks. A number: the rank
            within the data-parallel group, for processes that must share masks with their tensor-parallel replicas.
            None: nothing, every process with the same seed draws the same masks.

    Raises:
        ValueError: `rank` is none of these.
    """
    global _rank  # noqa: PLW0603 - a setting of the process, as the rank itself
    if rank is not None and rank != "global" and not (isinstance(rank, int) and rank >= 0):
        raise ValueError(f"set_data_parallel_rank: `rank` must be 'global', None or a number from 0, got {rank!r}.")
    _rank = rank


def _data_parallel_rank() -> int:
    if _rank != "global":
        return _rank or 0
    return torch.distributed.get_rank() if _distributed() else 0


@contextmanager
def keyed(key: int | Tensor) -> Iterator[None]:
    """Draw everything within the block from one key, whatever happened before, and restore the generator after.

    PyTorch's default CPU generator is seeded from the key, so every module of the block is reproducible without one
    of them knowing. Anything else that draws from that generator is, too.

    Args:
        key: A seed, or a key of shape `(2,)`.

    Example:
        >>> with keyed(7):
        ...     a = draw()
        >>> with keyed(7):
        ...     b = draw()
        >>> torch.equal(a, b)
        True
    """
    bits = key_of(key)
    generator = torch.default_generator
    state = generator.get_state()
    generator.manual_seed(int(fold_in(bits, 0)[0]) & _MASK)  # the generator itself uses 32 bits of a seed
    try:
        yield
    finally:
        generator.set_state(state)


def key_of(seed_or_key: int | Tensor) -> Tensor:
    """A seed's key, or the key itself; `(2,)`."""
    if isinstance(seed_or_key, Tensor):
        bits = as_key(seed_or_key, "keyed")
        if bits.ndim != 1:
            raise ValueError(f"keyed: `key` must have shape (2,), got {tuple(bits.shape)}.")
        return bits.cpu()
    return key(seed_or_key)
