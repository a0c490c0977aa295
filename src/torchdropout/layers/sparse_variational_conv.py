"""Sparse variational dropout for convolutions: one noise draw for each output location."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from torchdropout.layers._checks import check_rank
from torchdropout.layers._conv import Padding1d, Padding2d, PaddingMode, Size1d, Size2d, arguments_of
from torchdropout.layers._sparse import Sparse, apply


class SparseVariationalConv1d(Sparse, nn.Conv1d):
    """A 1-D convolution with normal weights of learned means and variances; those that are all noise are removed.

    As `torchdropout.SparseVariationalLinear`, with `y = conv(x, theta) + b + sqrt(d) * e`,
    `d = conv(x**2, alpha * theta**2) + 1e-8` and independent `e ~ N(0, 1)` for each example, channel and location:
    neighbouring outputs, which share weights, are sampled as if they did not.

    Noise | Shared | Target | At test time: Normal(0, sigma**2), added | nothing | weights | noisy weights are zero

    Args:
        in_channels: This and all up to `dtype` as in `torch.nn.Conv1d`.
        out_channels: As in `torch.nn.Conv1d`.
        kernel_size: As in `torch.nn.Conv1d`.
        stride: As in `torch.nn.Conv1d`.
        padding: As in `torch.nn.Conv1d`.
        dilation: As in `torch.nn.Conv1d`.
        groups: As in `torch.nn.Conv1d`.
        bias: As in `torch.nn.Conv1d`.
        padding_mode: As in `torch.nn.Conv1d`.
        device: As in `torch.nn.Conv1d`.
        dtype: As in `torch.nn.Conv1d`.
        threshold: The log alpha at which a weight is removed.
        train_clip: Whether the means of removed weights are zero in training as well.
        log_sigma2: The initial log variance of each weight.

    Shape:
        `(N, C, L)` to `(N, C', L')`, or both without the batch axis.

    Raises:
        ValueError: `threshold` is outside (-8, 8], `log_sigma2` is not finite, or the input has another rank.
        TypeError: The input is not floating point, or an argument no number.

    Example:
        >>> import torch, torchdropout as td
        >>> td.SparseVariationalConv1d(3, 8, 3)(torch.ones(2, 3, 5), key=td.key(0)).shape
        torch.Size([2, 8, 3])

    Reference:
        D. Molchanov, A. Ashukha, D. Vetrov. Variational Dropout Sparsifies Deep Neural Networks. ICML 2017,
        arXiv:1701.05369, equation 17 and section 4.4.

    Deviation: the means start as those of `torch.nn.Conv1d`, not at a standard deviation of 0.01. The variance of
    weights smaller than 1e-3 leaves out the 1e-8 of log alpha.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size1d,
        stride: Size1d = 1,
        padding: Padding1d = 0,
        dilation: Size1d = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        threshold: float = 3.0,
        train_clip: bool = False,
        log_sigma2: float = -10.0,
    ) -> None:
        sizes = kernel_size, stride, padding, dilation
        nn.Conv1d.__init__(
            self,
            in_channels,
            out_channels,
            *sizes,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )
        self._set_up(threshold, train_clip, log_sigma2)

    @classmethod
    def from_conv(cls, conv: nn.Conv1d, **arguments: Any) -> SparseVariationalConv1d:
        """The layer with a copy of a trained layer's weights as means.

        Args:
            conv: What to copy.
            arguments: The constructor's keyword arguments from `threshold` on.
        """
        new = cls(**arguments_of(conv), **arguments)
        new._copy(conv)
        return new

    def forward(self, input: Tensor, *, key: Tensor | None = None) -> Tensor:  # noqa: A002
        """Noisy in training; in eval the means, zero where they are mostly noise."""
        owner = "SparseVariationalConv1d"
        check_rank(owner, input, (2, 3), "(N, C, L) or (C, L)")
        weights = self.weight, self.log_sigma2, self.bias
        product = self._conv_forward
        return apply(owner, product, input, *weights, self.training, self.threshold, self.train_clip, key)


class SparseVariationalConv2d(Sparse, nn.Conv2d):
    """A 2-D convolution with normal weights of learned means and variances; those that are all noise are removed.

    As `torchdropout.SparseVariationalLinear`, with `y = conv(x, theta) + b + sqrt(d) * e`,
    `d = conv(x**2, alpha * theta**2) + 1e-8` and independent `e ~ N(0, 1)` for each example, channel and location:
    neighbouring outputs, which share weights, are sampled as if they did not.

    Noise | Shared | Target | At test time: Normal(0, sigma**2), added | nothing | weights | noisy weights are zero

    Args:
        in_channels: This and all up to `dtype` as in `torch.nn.Conv2d`.
        out_channels: As in `torch.nn.Conv2d`.
        kernel_size: As in `torch.nn.Conv2d`.
        stride: As in `torch.nn.Conv2d`.
        padding: As in `torch.nn.Conv2d`.
        dilation: As in `torch.nn.Conv2d`.
        groups: As in `torch.nn.Conv2d`.
        bias: As in `torch.nn.Conv2d`.
        padding_mode: As in `torch.nn.Conv2d`.
        device: As in `torch.nn.Conv2d`.
        dtype: As in `torch.nn.Conv2d`.
        threshold: The log alpha at which a weight is removed.
        train_clip: Whether the means of removed weights are zero in training as well.
        log_sigma2: The initial log variance of each weight.

    Shape:
        `(N, C, H, W)` to `(N, C', H', W')`, or both without the batch axis.

    Raises:
        ValueError: `threshold` is outside (-8, 8], `log_sigma2` is not finite, or the input has another rank.
        TypeError: The input is not floating point, or an argument no number.

    Example:
        >>> import torch, torchdropout as td
        >>> td.SparseVariationalConv2d(3, 8, 3)(torch.ones(2, 3, 5, 5), key=td.key(0)).shape
        torch.Size([2, 8, 3, 3])

    Reference:
        D. Molchanov, A. Ashukha, D. Vetrov. Variational Dropout Sparsifies Deep Neural Networks. ICML 2017,
        arXiv:1701.05369, equation 17 and section 4.4.

    Deviation: the means start as those of `torch.nn.Conv2d`, not at a standard deviation of 0.01. The variance of
    weights smaller than 1e-3 leaves out the 1e-8 of log alpha.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size2d,
        stride: Size2d = 1,
        padding: Padding2d = 0,
        dilation: Size2d = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        threshold: float = 3.0,
        train_clip: bool = False,
        log_sigma2: float = -10.0,
    ) -> None:
        sizes = kernel_size, stride, padding, dilation
        nn.Conv2d.__init__(
            self,
            in_channels,
            out_channels,
            *sizes,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )
        self._set_up(threshold, train_clip, log_sigma2)

    @classmethod
    def from_conv(cls, conv: nn.Conv2d, **arguments: Any) -> SparseVariationalConv2d:
        """The layer with a copy of a trained layer's weights as means.

        Args:
            conv: What to copy.
            arguments: The constructor's keyword arguments from `threshold` on.
        """
        new = cls(**arguments_of(conv), **arguments)
        new._copy(conv)
        return new

    def forward(self, input: Tensor, *, key: Tensor | None = None) -> Tensor:  # noqa: A002
        """Noisy in training; in eval the means, zero where they are mostly noise."""
        owner = "SparseVariationalConv2d"
        check_rank(owner, input, (3, 4), "(N, C, H, W) or (C, H, W)")
        weights = self.weight, self.log_sigma2, self.bias
        product = self._conv_forward
        return apply(owner, product, input, *weights, self.training, self.threshold, self.train_clip, key)
