"""Variational dropout, type B, for convolutions: independent noise for each weight, sampled at the outputs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from torchdropout.layers._checks import check_rank
from torchdropout.layers._conv import Padding1d, Padding2d, PaddingMode, Size1d, Size2d, arguments_of
from torchdropout.layers._kl import Form
from torchdropout.layers._variational import Per, TypeB, apply_type_b


class VariationalConv1d(TypeB, nn.Conv1d):
    """A 1-D convolution with independent normal noise on its weights, of learned variance.

    As `torchdropout.VariationalLinear`, with `y = conv(x, theta) + b + sqrt(d) * e`,
    `d = alpha * conv(x**2, theta**2)` and independent `e ~ N(0, 1)` for each example, channel and location:
    neighbouring outputs, which share weights, are sampled as if they did not.

    Noise | Shared | Target | At test time: Normal(1, alpha) | nothing | weights | mean weights

    Args:
        in_channels: This and all up to `dtype` as in `torch.nn.Conv1d`.
        out_channels: As in `torch.nn.Conv1d`.
        kernel_size: As in `torch.nn.Conv1d`.
        stride: As in `torch.nn.Conv1d`.
        padding: As in `torch.nn.Conv1d`.
        dilation: As in `torch.nn.Conv1d`.
        groups: As in `torch.nn.Conv1d`.
        bias: As in `torch.nn.Conv1d`; it has no noise.
        padding_mode: As in `torch.nn.Conv1d`.
        device: As in `torch.nn.Conv1d`.
        dtype: As in `torch.nn.Conv1d`.
        p: The initial drop probability, in (0, 0.5].
        per: What has its own alpha: the `"layer"`, each input channel (`"unit"`) or each `"weight"`.
        kl: The divergence's form: `"polynomial"`, `"fitted"` or `"exact"`.

    Shape:
        `(N, C, L)` to `(N, C', L')`, or both without the batch axis.

    Raises:
        ValueError: An argument is out of range or unknown, or the input has another rank.
        TypeError: The input is not floating point, or `p` no number.

    Example:
        >>> import torch, torchdropout as td
        >>> td.VariationalConv1d(3, 8, 3)(torch.ones(2, 3, 5), key=td.key(0)).shape
        torch.Size([2, 8, 3])

    Reference:
        D. Kingma, T. Salimans, M. Welling. Variational Dropout and the Local Reparameterization Trick. NIPS 2015,
        arXiv:1506.02557, section 3.2 and equations 6 and 12.

    Deviation: the paper has no convolutions; one draw a location is D. Molchanov et al.'s, ICML 2017,
    arXiv:1701.05369, section 4.4. The rest as in `torchdropout.VariationalLinear`.
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
        p: float = 0.5,
        per: Per = "layer",
        kl: Form = "polynomial",
    ) -> None:
        sizes = kernel_size, stride, padding, dilation
        nn.Conv1d.__init__(self, in_channels, out_channels, *sizes, groups, bias, padding_mode, device, dtype)
        self._set_up_weights(p, per, kl, in_channels)

    @classmethod
    def from_conv(cls, conv: nn.Conv1d, **arguments: Any) -> VariationalConv1d:
        """The layer with a copy of a trained layer's weights as means.

        Args:
            conv: What to copy.
            arguments: The constructor's keyword arguments from `p` on.
        """
        new = cls(**arguments_of(conv), **arguments)
        new._copy(conv)
        return new

    def forward(self, input: Tensor, *, key: Tensor | None = None) -> Tensor:  # noqa: A002
        """Noisy in training, the mean weights in eval."""
        owner = "VariationalConv1d"
        check_rank(owner, input, (2, 3), "(N, C, L) or (C, L)")
        log_alpha = self.log_alpha.view(-1, 1) if self.per == "unit" else self.log_alpha
        return apply_type_b(owner, self._conv_forward, input, self.weight, log_alpha, self.bias, self.training, key)


class VariationalConv2d(TypeB, nn.Conv2d):
    """A 2-D convolution with independent normal noise on its weights, of learned variance.

    As `torchdropout.VariationalLinear`, with `y = conv(x, theta) + b + sqrt(d) * e`,
    `d = alpha * conv(x**2, theta**2)` and independent `e ~ N(0, 1)` for each example, channel and location:
    neighbouring outputs, which share weights, are sampled as if they did not.

    Noise | Shared | Target | At test time: Normal(1, alpha) | nothing | weights | mean weights

    Args:
        in_channels: This and all up to `dtype` as in `torch.nn.Conv2d`.
        out_channels: As in `torch.nn.Conv2d`.
        kernel_size: As in `torch.nn.Conv2d`.
        stride: As in `torch.nn.Conv2d`.
        padding: As in `torch.nn.Conv2d`.
        dilation: As in `torch.nn.Conv2d`.
        groups: As in `torch.nn.Conv2d`.
        bias: As in `torch.nn.Conv2d`; it has no noise.
        padding_mode: As in `torch.nn.Conv2d`.
        device: As in `torch.nn.Conv2d`.
        dtype: As in `torch.nn.Conv2d`.
        p: The initial drop probability, in (0, 0.5].
        per: What has its own alpha: the `"layer"`, each input channel (`"unit"`) or each `"weight"`.
        kl: The divergence's form: `"polynomial"`, `"fitted"` or `"exact"`.

    Shape:
        `(N, C, H, W)` to `(N, C', H', W')`, or both without the batch axis.

    Raises:
        ValueError: An argument is out of range or unknown, or the input has another rank.
        TypeError: The input is not floating point, or `p` no number.

    Example:
        >>> import torch, torchdropout as td
        >>> td.VariationalConv2d(3, 8, 3)(torch.ones(2, 3, 5, 5), key=td.key(0)).shape
        torch.Size([2, 8, 3, 3])

    Reference:
        D. Kingma, T. Salimans, M. Welling. Variational Dropout and the Local Reparameterization Trick. NIPS 2015,
        arXiv:1506.02557, section 3.2 and equations 6 and 12.

    Deviation: the paper has no convolutions; one draw a location is D. Molchanov et al.'s, ICML 2017,
    arXiv:1701.05369, section 4.4. The rest as in `torchdropout.VariationalLinear`.
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
        p: float = 0.5,
        per: Per = "layer",
        kl: Form = "polynomial",
    ) -> None:
        sizes = kernel_size, stride, padding, dilation
        nn.Conv2d.__init__(self, in_channels, out_channels, *sizes, groups, bias, padding_mode, device, dtype)
        self._set_up_weights(p, per, kl, in_channels)

    @classmethod
    def from_conv(cls, conv: nn.Conv2d, **arguments: Any) -> VariationalConv2d:
        """The layer with a copy of a trained layer's weights as means.

        Args:
            conv: What to copy.
            arguments: The constructor's keyword arguments from `p` on.
        """
        new = cls(**arguments_of(conv), **arguments)
        new._copy(conv)
        return new

    def forward(self, input: Tensor, *, key: Tensor | None = None) -> Tensor:  # noqa: A002
        """Noisy in training, the mean weights in eval."""
        owner = "VariationalConv2d"
        check_rank(owner, input, (3, 4), "(N, C, H, W) or (C, H, W)")
        log_alpha = self.log_alpha.view(-1, 1, 1) if self.per == "unit" else self.log_alpha
        return apply_type_b(owner, self._conv_forward, input, self.weight, log_alpha, self.bias, self.training, key)
