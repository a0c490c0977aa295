"""Max-Drop: the maximum of a feature map, or of the channels at a position, is dropped."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from torchdropout import laws
from torchdropout.layers._checks import check_choice, check_floating, check_probability, check_rank
from torchdropout.layers._noise import bernoulli
from torchdropout.layers._patches import outside
from torchdropout.layers._rate import RateModule

Mode = Literal["feature", "channel"]


def max_drop(
    input: Tensor,  # noqa: A002
    p: float = 0.2,
    training: bool = True,
    *,
    mode: Mode = "feature",
    window: int = 1,
    key: Tensor | None = None,
) -> Tensor:
    """Drop the maximum of each feature map with probability `p`; see `torchdropout.MaxDrop`.

    Args:
        input: `(N, C, H, W)` or `(C, H, W)`, floating point.
        p: The probability of dropping a maximum.
        training: Whether to apply noise.
        mode: `"feature"`: the maximum of every map. `"channel"`: the maximum over the channels at every position.
        window: The odd side of the square around a map's maximum that goes with it.
        key: Whose noise to use; None draws one.

    Raises:
        ValueError: `p` is outside [0, 1], `mode` is unknown, `window` is even or larger than the map, or `input` has
            another rank.
        TypeError: `input` is not floating point, or `window` is no integer.

    Example:
        >>> import torch, torchdropout as td
        >>> x = torch.tensor([[[1.0, 4.0], [3.0, 2.0]]])
        >>> td.functional.max_drop(x, 1.0, key=td.key(0))
        tensor([[[1.3333, 0.0000],
                 [4.0000, 2.6667]]])
    """
    check_probability("max_drop", p)
    _check("max_drop", mode, window)
    return apply("max_drop", input, p, training, mode, window, key)


def _check(owner: str, mode: str, window: int) -> None:
    check_choice(owner, "mode", mode, ("feature", "channel"))
    if not isinstance(window, int) or isinstance(window, bool):
        raise TypeError(f"{owner}: `window` must be an integer, got {window!r}.")
    if window < 1 or window % 2 == 0:
        raise ValueError(f"{owner}: `window` must be odd and positive, got {window}.")
    if mode == "channel" and window != 1:
        raise ValueError(f"{owner}: `window` must be 1 where `mode` is 'channel', got {window}.")


def apply(owner: str, x: Tensor, p: float | Tensor, noisy: bool, mode: Mode, window: int, key: Tensor | None) -> Tensor:
    """The method, its arguments checked."""
    check_floating(owner, x)
    check_rank(owner, x, (3, 4), "(N, C, H, W) or (C, H, W)")
    channels, height, width = x.shape[-3:]
    if window > min(height, width) > 0:
        raise ValueError(f"{owner}: `window` must fit into the map, got {window} for {height} x {width}.")
    if not noisy or x.numel() == 0 or (not isinstance(p, Tensor) and p == 0):
        return x
    if mode == "feature":
        drawn = bernoulli((*x.shape[:-2], 1), p, key, x)
        noise, share = _beside_map_maximum(x.detach(), window, drawn), window**2 / (height * width)
    else:
        drawn = bernoulli((*x.shape[:-3], 1, height, width), p, key, x)
        noise, share = _beside_channel_maximum(x.detach(), drawn), 1.0 / channels
    return (x * noise.mul_(_scale(p, share))).to(x.dtype)


def _beside_map_maximum(x: Tensor, window: int, drawn: Tensor) -> Tensor:
    """0 at the maximum of each map and in the window around it, where `drawn` is 0; 1 elsewhere."""
    place = x.flatten(-2).argmax(-1, keepdim=True)
    row, column = ((c + 0.5).to(drawn.dtype) for c in (place // x.shape[-1], place % x.shape[-1]))
    rows = torch.maximum(outside(row, window / 2, x.shape[-2]), drawn)
    return torch.maximum(rows.unsqueeze(-1), outside(column, window / 2, x.shape[-1]).unsqueeze(-2))


def _beside_channel_maximum(x: Tensor, drawn: Tensor) -> Tensor:
    """0 at the channel that is the largest of its position, where `drawn` is 0; 1 elsewhere."""
    place = x.max(-3, keepdim=True).indices
    return torch.ones_like(x, dtype=drawn.dtype).scatter(-3, place, drawn)


def _scale(p: float | Tensor, share: float) -> float | Tensor:
    """`1 / (1 - p * share)`; 1 where everything is dropped."""
    left = 1.0 - (1.0 - laws.keep(p)) * share
    return 1.0 / left if isinstance(left, Tensor) or left > 0 else 1.0


class MaxDrop(RateModule):
    """Drops the maximum of each feature map with probability `p`, and scales for the share that goes.

    `y[n, c] = x[n, c] * m / (1 - p * w**2 / (H * W))`, where `m` is 0 in a `w` by `w` window around the maximum of
    the map with probability `p`, each map drawing its own, and 1 elsewhere. With `mode="channel"` the maximum over the
    channels goes at each position, each drawing its own, and the scale is `1 / (1 - p / C)`.

    Noise | Shared | Target | At test time: Bernoulli | the window | maxima of feature maps | identity

    Args:
        p: The probability of dropping a maximum. The authors' nets have 0.2, on the output of every convolution but
            the last, before the activation function.
        mode: `"feature"` or `"channel"`.
        window: The odd side of the square around a map's maximum that goes with it, clipped at the border.

    Shape:
        `(N, C, H, W)` or `(C, H, W)`; the output has the input's. Of equal maxima the first is dropped.

    Raises:
        ValueError: `p` is outside [0, 1], `mode` is unknown, `window` is even or larger than the map, or the input has
            another rank.
        TypeError: `window` is no integer, or the input is not floating point.

    Example:
        >>> import torch, torchdropout as td
        >>> x = torch.tensor([[[1.0, 4.0], [3.0, 2.0]]])
        >>> td.MaxDrop(1.0)(x, key=td.key(0))
        tensor([[[1.3333, 0.0000],
                 [4.0000, 2.6667]]])

    Reference:
        S. Park, N. Kwak. Analysis on the Dropout Effect in Convolutional Neural Networks. ACCV 2016, LNCS
        10112:189-204, section 3.

    Deviation: the authors' code scales `"channel"` by 1, by an integer division; here it is what the code means. Their
    search for the maximum starts at 0, so that of a group without a positive element the first goes; here it is the
    maximum of any sign. A survey describes the method as a Bayesian one on the pooling layer, with a normal of mean
    0.02 and variance 0.05 and no neuron switched off: it is a mask of zeros and ones on convolutional outputs.
    """

    def __init__(self, p: float = 0.2, *, mode: Mode = "feature", window: int = 1) -> None:
        super().__init__(p)
        _check("MaxDrop", mode, window)
        self.mode = mode
        self.window = window

    def forward(self, input: Tensor, *, key: Tensor | None = None) -> Tensor:  # noqa: A002
        """Noisy in training, the identity in eval."""
        return apply("MaxDrop", input, self._rate(), self.training, self.mode, self.window, key)

    def extra_repr(self) -> str:
        """The arguments, as PyTorch prints them."""
        return f"p={self.p}, mode={self.mode!r}, window={self.window}"
