"""Pooling windows: PyTorch's arguments, checked once, and the checks of the maps they slide over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from torchdropout.layers._checks import check_floating, check_rank

Size = int | Sequence[int]
_LAYOUTS = {1: "(N, C, L) or (C, L)", 2: "(N, C, H, W) or (C, H, W)"}


class Windows(NamedTuple):
    """The kernel, the stride and the padding, one number a spatial axis each."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]

    @property
    def numel(self) -> int:
        """How many elements a window has."""
        count = 1
        for size in self.kernel:
            count *= size
        return count


def windows(owner: str, axes: int, kernel_size: Size, stride: Size | None, padding: Size) -> Windows:
    """PyTorch's pooling arguments, each a number or one for each spatial axis."""
    kernel = sizes(owner, "kernel_size", kernel_size, axes, 1)
    step = kernel if stride is None else sizes(owner, "stride", stride, axes, 1)
    border = sizes(owner, "padding", padding, axes, 0)
    if any(2 * b > k for b, k in zip(border, kernel, strict=True)):
        raise ValueError(f"{owner}: `padding` must be at most half of `kernel_size`, got {padding} for {kernel_size}.")
    return Windows(kernel, step, border)


def sizes(owner: str, argument: str, value: Size, axes: int, least: int) -> tuple[int, ...]:
    """`value` as one integer a spatial axis, each at least `least`."""
    given = list(value) if isinstance(value, Sequence) else [value] * axes
    if len(given) != axes or not all(isinstance(v, int) and not isinstance(v, bool) for v in given):
        many = "an integer" if axes == 1 else f"an integer or {axes} of them"
        raise TypeError(f"{owner}: `{argument}` must be {many}, got {value!r}.")
    if min(given) < least:
        raise ValueError(f"{owner}: `{argument}` must be at least {least}, got {value}.")
    return tuple(given)


def check_maps(owner: str, x: Tensor, axes: int) -> None:
    """Refuse what is not floating point, or has no channels and `axes` spatial axes."""
    check_floating(owner, x)
    check_rank(owner, x, (axes + 1, axes + 2), _LAYOUTS[axes])


def check_fit(owner: str, x: Tensor, over: Windows) -> None:
    """Refuse maps that are smaller than the window, their padding counted."""
    axes = len(over.kernel)
    for size, kernel, border in zip(x.shape[-axes:], over.kernel, over.padding, strict=True):
        if kernel > size + 2 * border:
            shape = tuple(x.shape[-axes:])
            raise ValueError(
                f"{owner}: `kernel_size` must be at most the padded map's size, got {over.kernel} for {shape}."
            )
