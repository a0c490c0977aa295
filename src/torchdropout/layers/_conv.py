"""What layers in place of convolutions share: the types of their sizes, and the arguments of one that exists."""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

Size1d = int | tuple[int]
Size2d = int | tuple[int, int]
Padding1d = str | Size1d
Padding2d = str | Size2d
PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]


def arguments_of(conv: nn.Conv1d | nn.Conv2d) -> dict[str, Any]:
    """The constructor's arguments of a convolution, by name."""
    names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
    arguments = {name: getattr(conv, name) for name in names}
    return {**arguments, "bias": conv.bias is not None, "device": conv.weight.device, "dtype": conv.weight.dtype}
