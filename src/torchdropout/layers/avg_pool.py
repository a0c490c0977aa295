"""Average-pooling dropout: activations are dropped before their average is taken."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from torchdropout import laws
from torchdropout.layers._checks import check_choice, check_probability
from torchdropout.layers._noise import bernoulli, times_bernoulli
from torchdropout.layers._rate import RateModule
from torchdropout.layers._windows import Size, Windows, check_fit, check_maps, windows

Rule = Literal["paper", "inverted", "survivors"]
_RULES = ("paper", "inverted", "survivors")


def avg_pool_dropout1d(
    input: Tensor,  # noqa: A002
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    p: float = 0.5,
    training: bool = True,
    *,
    rule: Rule = "paper",
    key: Tensor | None = None,
) -> Tensor:
    """Drop activations of `(N, C, L)` or `(C, L)`, then average; see `torchdropout.AvgPoolDropout1d`.

    Args:
        input: `(N, C, L)` or `(C, L)`, floating point.
        kernel_size: The window.
        stride: The step between windows; None: the window.
        padding: Zeros at both ends.
        p: The probability of dropping an activation.
        training: Whether to apply noise.
        rule: `"paper"`, `"inverted"` or `"survivors"`.
        key: Whose noise to use; None draws one.

    Raises:
        ValueError: `p` is outside [0, 1], a window does not fit, `rule` is unknown, or `input` has another rank.
        TypeError: `input` is not floating point, or a size is no integer.

    Example:
        >>> import torch, torchdropout as td
        >>> td.functional.avg_pool_dropout1d(torch.tensor([[1.0, 2.0, 3.0, 4.0]]), 2, key=td.key(3))
        tensor([[0.5000, 0.0000]])
    """
    return _checked("avg_pool_dropout1d", 1, input, kernel_size, stride, padding, p, training, rule, key)


def avg_pool_dropout2d(
    input: Tensor,  # noqa: A002
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    p: float = 0.5,
    training: bool = True,
    *,
    rule: Rule = "paper",
    key: Tensor | None = None,
) -> Tensor:
    """Drop activations of `(N, C, H, W)` or `(C, H, W)`, then average; see `torchdropout.AvgPoolDropout2d`.

    Args:
        input: `(N, C, H, W)` or `(C, H, W)`, floating point.
        kernel_size: The window: a number or a pair.
        stride: The step between windows; None: the window.
        padding: Zeros at all sides.
        p: The probability of dropping an activation.
        training: Whether to apply noise.
        rule: `"paper"`, `"inverted"` or `"survivors"`.
        key: Whose noise to use; None draws one.

    Raises:
        ValueError: `p` is outside [0, 1], a window does not fit, `rule` is unknown, or `input` has another rank.
        TypeError: `input` is not floating point, or a size is no integer.

    Example:
        >>> import torch, torchdropout as td
        >>> x = torch.tensor([[[0.5, 2.0], [1.0, 3.0]]])
        >>> td.functional.avg_pool_dropout2d(x, 2, rule="survivors", key=td.key(1))
        tensor([[[1.1667]]])
    """
    return _checked("avg_pool_dropout2d", 2, input, kernel_size, stride, padding, p, training, rule, key)


def _checked(
    owner: str,
    axes: int,
    x: Tensor,
    kernel_size: Size,
    stride: Size | None,
    padding: Size,
    p: float,
    noisy: bool,
    rule: Rule,
    key: Tensor | None,
) -> Tensor:
    check_probability(owner, p)
    check_choice(owner, "rule", rule, _RULES)
    return apply(owner, x, windows(owner, axes, kernel_size, stride, padding), p, noisy, rule, key)


def apply(
    owner: str, x: Tensor, over: Windows, p: float | Tensor, noisy: bool, rule: Rule, key: Tensor | None
) -> Tensor:
    """The method, its arguments checked."""
    check_maps(owner, x, len(over.kernel))
    check_fit(owner, x, over)
    if rule == "survivors":
        return _survivors(x, over, p, noisy, key)
    if noisy:
        return _average(times_bernoulli(x, p, key, scaled=rule == "inverted"), over)
    return _average(x, over) * (laws.keep(p) if rule == "paper" else 1.0)


def _survivors(x: Tensor, over: Windows, p: float | Tensor, noisy: bool, key: Tensor | None) -> Tensor:
    """The mean of what is kept of a window; what the padding adds is no activation and is not counted."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    mask = bernoulli(x.shape, p, key, x) if noisy else torch.ones_like(wide)
    count = _sum(mask, over)
    y = _sum(wide * mask, over) / count.clamp(min=1.0)
    if not noisy:
        y = y * (1.0 - (1.0 - laws.keep(p)) ** count)
    return y.to(x.dtype)


def _average(x: Tensor, over: Windows) -> Tensor:
    return F.avg_pool1d(x, *over) if len(over.kernel) == 1 else F.avg_pool2d(x, *over)


def _sum(x: Tensor, over: Windows) -> Tensor:
    if len(over.kernel) == 1:  # one-dimensional pooling takes no divisor
        flat = Windows((1, *over.kernel), (1, *over.stride), (0, *over.padding))
        return _sum(x.unsqueeze(-2), flat).squeeze(-2)
    return F.avg_pool2d(x, *over, divisor_override=1)


class _AvgPoolDropout(RateModule):
    """What the two ranks have in common."""

    _axes: int

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        p: float = 0.5,
        *,
        rule: Rule = "paper",
    ) -> None:
        super().__init__(p)
        owner = type(self).__name__
        check_choice(owner, "rule", rule, _RULES)
        self._windows = windows(owner, self._axes, kernel_size, stride, padding)
        self.kernel_size, self.padding = kernel_size, padding
        self.stride = kernel_size if stride is None else stride
        self.rule = rule

    def forward(self, input: Tensor, *, key: Tensor | None = None) -> Tensor:  # noqa: A002
        """Noisy in training, the test rule in eval."""
        return apply(type(self).__name__, input, self._windows, self._rate(), self.training, self.rule, key)

    def extra_repr(self) -> str:
        """The arguments, as PyTorch prints them."""
        sizes = f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"
        return f"{sizes}, p={self.p}, rule={self.rule!r}"


class AvgPoolDropout1d(_AvgPoolDropout):
    """Drops activations of a sequence, then averages over the full window; the expectation at test time.

    `y = sum_i x_i * m_i / n` over a window of `n`, with independent `m ~ Bernoulli(k)`, `k = 1 - p`; at test time
    `y = k * sum_i x_i / n`. `"inverted"` divides by `k` in training instead. `"survivors"` divides by
    `sum_i m_i` (0 where that is 0), and its expectation is `(1 - (1 - k)**n)` times the average.

    Noise | Shared | Target | At test time: Bernoulli | nothing | average-pooling windows | keep times the average

    Args:
        kernel_size: The window.
        stride: The step between windows; None: the window.
        padding: Zeros at both ends, counted in `n` as PyTorch does; the survivors are counted without them.
        p: The probability of dropping an activation.
        rule: `"paper"`, `"inverted"` or `"survivors"`.

    Shape:
        `(N, C, L)` or `(C, L)`; the output is `torch.nn.AvgPool1d`'s.

    Raises:
        ValueError: `p` is outside [0, 1], a window does not fit, `rule` is unknown, or the input has another rank.
        TypeError: A size is no integer, or the input is not floating point.

    Example:
        >>> import torch, torchdropout as td
        >>> layer = td.AvgPoolDropout1d(2)
        >>> layer(torch.tensor([[1.0, 2.0, 3.0, 4.0]]), key=td.key(3))
        tensor([[0.5000, 0.0000]])

    Reference:
        The rule of N. Srivastava, G. Hinton, A. Krizhevsky, I. Sutskever, R. Salakhutdinov. Dropout: A Simple Way to
        Prevent Neural Networks from Overfitting. JMLR 15:1929-1958, 2014, section 4, before an average.

    Deviation: the method has no paper of its own. That nothing changes at test time, as is sometimes written, holds
    for `"inverted"` only.
    """

    _axes = 1


class AvgPoolDropout2d(_AvgPoolDropout):
    """Drops activations of an image, then averages over the full window; the expectation at test time.

    `y = sum_i x_i * m_i / n` over a window of `n`, with independent `m ~ Bernoulli(k)`, `k = 1 - p`; at test time
    `y = k * sum_i x_i / n`. `"inverted"` divides by `k` in training instead. `"survivors"` divides by
    `sum_i m_i` (0 where that is 0), and its expectation is `(1 - (1 - k)**n)` times the average.

    Noise | Shared | Target | At test time: Bernoulli | nothing | average-pooling windows | keep times the average

    Args:
        kernel_size: The window: a number or a pair.
        stride: The step between windows; None: the window.
        padding: Zeros at all sides, counted in `n` as PyTorch does; the survivors are counted without them.
        p: The probability of dropping an activation.
        rule: `"paper"`, `"inverted"` or `"survivors"`.

    Shape:
        `(N, C, H, W)` or `(C, H, W)`; the output is `torch.nn.AvgPool2d`'s.

    Raises:
        ValueError: `p` is outside [0, 1], a window does not fit, `rule` is unknown, or the input has another rank.
        TypeError: A size is no integer, or the input is not floating point.

    Example:
        >>> import torch, torchdropout as td
        >>> x = torch.tensor([[[0.5, 2.0], [1.0, 3.0]]])
        >>> td.AvgPoolDropout2d(2, rule="survivors")(x, key=td.key(1))
        tensor([[[1.1667]]])

    Reference:
        The rule of N. Srivastava, G. Hinton, A. Krizhevsky, I. Sutskever, R. Salakhutdinov. Dropout: A Simple Way to
        Prevent Neural Networks from Overfitting. JMLR 15:1929-1958, 2014, section 4, before an average.

    Deviation: the method has no paper of its own. That nothing changes at test time, as is sometimes written, holds
    for `"inverted"` only.
    """

    _axes = 2
