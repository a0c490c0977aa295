"""Max-pooling dropout, and the probabilistic weighted pooling that is its expectation."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from torchdropout import laws, rng
from torchdropout.layers._checks import check_choice, check_probability
from torchdropout.layers._noise import times_bernoulli
from torchdropout.layers._rate import RateModule
from torchdropout.layers._weighted_pool import probabilistic_weighted_pool
from torchdropout.layers._windows import Size, Windows, check_fit, check_maps, windows

Inference = Literal["weighted", "max", "scaled"]
_INFERENCE = ("weighted", "max", "scaled")
_POOL = {1: F.max_pool1d, 2: F.max_pool2d}


def max_pool_dropout1d(
    input: Tensor,  # noqa: A002
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    p: float = 0.5,
    training: bool = True,
    *,
    inference: Inference = "weighted",
    key: Tensor | None = None,
) -> Tensor:
    """Drop activations of `(N, C, L)` or `(C, L)` and max-pool the rest; see `torchdropout.MaxPoolDropout1d`.

    Args:
        input: `(N, C, L)` or `(C, L)`, floating point, not negative.
        kernel_size: The window.
        stride: The step between windows; None: the window.
        padding: Zeros at both ends.
        p: The probability of dropping an activation.
        training: Whether to apply noise.
        inference: The rule without noise: `"weighted"`, `"max"` or `"scaled"`.
        key: Whose noise to use; None draws one.

    Raises:
        ValueError: `p` is outside [0, 1], a window does not fit, `inference` is unknown, or `input` has another rank
            or a negative element.
        TypeError: `input` is not floating point, or a size is no integer.

    Example:
        >>> import torch, torchdropout as td
        >>> td.functional.max_pool_dropout1d(torch.tensor([[1.0, 2.0, 3.0, 4.0]]), 2, key=td.key(3))
        tensor([[1., 0.]])
    """
    return _checked("max_pool_dropout1d", 1, input, kernel_size, stride, padding, p, training, inference, key)


def max_pool_dropout2d(
    input: Tensor,  # noqa: A002
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    p: float = 0.5,
    training: bool = True,
    *,
    inference: Inference = "weighted",
    key: Tensor | None = None,
) -> Tensor:
    """Drop activations of `(N, C, H, W)` or `(C, H, W)` and max-pool the rest; see `torchdropout.MaxPoolDropout2d`.

    Args:
        input: `(N, C, H, W)` or `(C, H, W)`, floating point, not negative.
        kernel_size: The window: a number or a pair.
        stride: The step between windows; None: the window.
        padding: Zeros at all sides.
        p: The probability of dropping an activation.
        training: Whether to apply noise.
        inference: The rule without noise: `"weighted"`, `"max"` or `"scaled"`.
        key: Whose noise to use; None draws one.

    Raises:
        ValueError: `p` is outside [0, 1], a window does not fit, `inference` is unknown, or `input` has another rank
            or a negative element.
        TypeError: `input` is not floating point, or a size is no integer.

    Example:
        >>> import torch, torchdropout as td
        >>> x = torch.tensor([[[0.5, 2.0], [1.0, 3.0]]])
        >>> td.functional.max_pool_dropout2d(x, 2, key=td.key(1))
        tensor([[[2.]]])
        >>> td.functional.max_pool_dropout2d(x, 2, training=False)
        tensor([[[2.1562]]])
    """
    return _checked("max_pool_dropout2d", 2, input, kernel_size, stride, padding, p, training, inference, key)


def _checked(
    owner: str,
    axes: int,
    x: Tensor,
    kernel_size: Size,
    stride: Size | None,
    padding: Size,
    p: float,
    noisy: bool,
    inference: Inference,
    key: Tensor | None,
) -> Tensor:
    check_probability(owner, p)
    check_choice(owner, "inference", inference, _INFERENCE)
    return apply(owner, x, windows(owner, axes, kernel_size, stride, padding), p, noisy, inference, key)


def apply(
    owner: str, x: Tensor, over: Windows, p: float | Tensor, noisy: bool, inference: Inference, key: Tensor | None
) -> Tensor:
    """The method, its arguments checked."""
    axes = len(over.kernel)
    check_maps(owner, x, axes)
    check_fit(owner, x, over)
    _check_not_negative(owner, x)
    settled = not isinstance(p, Tensor) and p == 0
    if not noisy and inference == "weighted" and not settled:
        return probabilistic_weighted_pool(x, over, laws.keep(p))
    pooled = _POOL[axes](times_bernoulli(x, p, key, scaled=False) if noisy else x, *over)
    return pooled * laws.keep(p) if not noisy and inference == "scaled" else pooled


def _check_not_negative(owner: str, x: Tensor) -> None:
    """One reduction, a few hundredths of what pooling costs; a graph cannot look at values, so there it is left out."""
    if rng.is_plain(x) and not x.is_meta and x.numel() and (least := x.detach().amin().item()) < 0:
        raise ValueError(f"{owner}: the input must not be negative (a dropped 0 would win the maximum), got {least}.")


class _MaxPoolDropout(RateModule):
    """What the two ranks have in common."""

    _axes: int

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        p: float = 0.5,
        *,
        inference: Inference = "weighted",
    ) -> None:
        super().__init__(p)
        owner = type(self).__name__
        check_choice(owner, "inference", inference, _INFERENCE)
        self._windows = windows(owner, self._axes, kernel_size, stride, padding)
        self.kernel_size, self.padding = kernel_size, padding
        self.stride = kernel_size if stride is None else stride
        self.inference = inference

    def forward(self, input: Tensor, *, key: Tensor | None = None) -> Tensor:  # noqa: A002
        """Noisy in training, the test rule in eval."""
        return apply(type(self).__name__, input, self._windows, self._rate(), self.training, self.inference, key)

    def extra_repr(self) -> str:
        """The arguments, as PyTorch prints them."""
        sizes = f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"
        return f"{sizes}, p={self.p}, inference={self.inference!r}"


class MaxPoolDropout1d(_MaxPoolDropout):
    """Drops activations of a sequence, then max-pools what is kept; its expectation at test time.

    `y = max_i x_i * m_i` over a window, with independent `m ~ Bernoulli(k)`, `k = 1 - p`, without scaling. At test
    time `y = sum_i k * (1 - k)**(i - 1) * a_(i)`, where `a_(1)` is the window's largest element.

    Noise | Shared | Target | At test time: Bernoulli | nothing | max-pooling windows | probabilistic weighted pooling

    Args:
        kernel_size: The window.
        stride: The step between windows; None: the window.
        padding: Zeros at both ends, at most half a window; they never win.
        p: The probability of dropping an activation.
        inference: `"weighted"`; or the baselines `"max"`, plain max-pooling, and `"scaled"`, `k` times it.

    Shape:
        `(N, C, L)` or `(C, L)`; the output is `torch.nn.MaxPool1d`'s.

    Raises:
        ValueError: `p` is outside [0, 1], a window does not fit, `inference` is unknown, or the input has another
            rank or a negative element (not looked for in a graph or in `torch.func`, where a dropped 0 wins).
        TypeError: A size is no integer, or the input is not floating point.

    Example:
        >>> import torch, torchdropout as td
        >>> layer = td.MaxPoolDropout1d(2)
        >>> layer(torch.tensor([[1.0, 2.0, 3.0, 4.0]]), key=td.key(3))
        tensor([[1., 0.]])

    Reference:
        H. Wu, X. Gu. Towards Dropout Training for Convolutional Neural Networks. Neural Networks 71:1-10, 2015,
        arXiv:1512.00242, section 3.

    Deviation: none. Negative input is an error, not a maximum that a dropped element wins. Scaling by `k` at test
    time, which texts often give as the rule, is the paper's baseline `"scaled"`.
    """

    _axes = 1


class MaxPoolDropout2d(_MaxPoolDropout):
    """Drops activations of an image, then max-pools what is kept; its expectation at test time.

    `y = max_i x_i * m_i` over a window, with independent `m ~ Bernoulli(k)`, `k = 1 - p`, without scaling: windows
    that overlap share the masks of the activations they share. At test time
    `y = sum_i k * (1 - k)**(i - 1) * a_(i)`, where `a_(1)` is the window's largest element.

    Noise | Shared | Target | At test time: Bernoulli | nothing | max-pooling windows | probabilistic weighted pooling

    Args:
        kernel_size: The window: a number or a pair.
        stride: The step between windows; None: the window.
        padding: Zeros at all sides, at most half a window; they never win.
        p: The probability of dropping an activation.
        inference: `"weighted"`; or the baselines `"max"`, plain max-pooling, and `"scaled"`, `k` times it.

    Shape:
        `(N, C, H, W)` or `(C, H, W)`; the output is `torch.nn.MaxPool2d`'s.

    Raises:
        ValueError: `p` is outside [0, 1], a window does not fit, `inference` is unknown, or the input has another
            rank or a negative element (not looked for in a graph or in `torch.func`, where a dropped 0 wins).
        TypeError: A size is no integer, or the input is not floating point.

    Example:
        >>> import torch, torchdropout as td
        >>> x = torch.tensor([[[0.5, 2.0], [1.0, 3.0]]])
        >>> td.MaxPoolDropout2d(2)(x, key=td.key(1))
        tensor([[[2.]]])
        >>> td.MaxPoolDropout2d(2).eval()(x)
        tensor([[[2.1562]]])

    Reference:
        H. Wu, X. Gu. Towards Dropout Training for Convolutional Neural Networks. Neural Networks 71:1-10, 2015,
        arXiv:1512.00242, section 3.

    Deviation: none. Negative input is an error, not a maximum that a dropped element wins. Scaling by `k` at test
    time, which texts often give as the rule, is the paper's baseline `"scaled"`.
    """

    _axes = 2
