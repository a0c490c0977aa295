"""DropConnect for convolutions: a mask on every weight and bias of the kernel, its own for every example."""

from __future__ import annotations

from typing import Any, Self

from torch import Tensor, nn
from torch.nn import functional as F

from torchdropout import laws, rng
from torchdropout.layers._checks import check_choice, check_floating, check_number, check_rank
from torchdropout.layers._conversion import take_weights
from torchdropout.layers._moments import Moments, relu_moments, wide
from torchdropout.layers._noise import bernoulli, keys
from torchdropout.layers._rate import Rate
from torchdropout.layers.dropconnect import Activation, Inference, Shared, average

_CONVOLVE = {1: F.conv1d, 2: F.conv2d}


class _DropConnectConv(Rate, nn.modules.conv._ConvNd):
    """What one and two dimensions have in common."""

    activation: Activation
    shared: Shared
    inference: Inference
    samples: int

    def _setup(self, p: float, activation: Activation, shared: Shared, inference: Inference, samples: int) -> None:
        owner = type(self).__name__
        check_choice(owner, "shared", shared, ("example", "batch"))
        check_choice(owner, "inference", inference, ("moments", "scale", "sample"))
        if not callable(activation):
            check_choice(owner, "activation", activation, ("identity", "relu"))
        check_number(owner, "samples", samples, "at least 1", lambda value: value >= 1)
        self.p = p
        self.activation, self.shared, self.inference, self.samples = activation, shared, inference, samples

    @classmethod
    def from_conv(cls, conv: Any, **options: Any) -> Self:
        """A layer with a convolution's weights, copied; `options` are the constructor's keywords."""
        has_bias, weight = conv.bias is not None, conv.weight
        make: Any = cls
        layer: Self = make(
            conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation,
            conv.groups, has_bias, conv.padding_mode, weight.device, weight.dtype, **options,
        )  # fmt: skip
        take_weights(layer, conv)
        return layer

    def forward(self, input: Tensor, *, key: Tensor | None = None) -> Tensor:  # noqa: A002
        """Noisy in training, the test rule in eval."""
        check_floating(type(self).__name__, input)
        spatial = len(self.kernel_size)
        layout = "(N, C, H, W) or (C, H, W)" if spatial == 2 else "(N, C, L) or (C, L)"
        check_rank(type(self).__name__, input, (spatial + 1, spatial + 2), layout)
        batched = input if input.dim() == spatial + 2 else input.unsqueeze(0)
        y = self._batched(batched, key)
        return y if input.dim() == spatial + 2 else y.squeeze(0)

    def _batched(self, x: Tensor, key: Tensor | None) -> Tensor:
        p = self._rate()
        if self.training or self.inference == "sample":
            noisy = len(x) > 0 and (isinstance(p, Tensor) or p not in (0, 1))
            return self._activate(self._noisy(x, p, key) if noisy else self._mean(x, laws.keep(p)))
        mean = self._mean(x, laws.keep(p))
        if self.inference == "scale" or self.activation == "identity":
            return self._activate(mean)
        squares = None if self.bias is None else wide(self.bias).square()
        variance = self._convolve(wide(x).square(), wide(self.weight).square(), squares, self.groups)
        of = Moments(mean, variance * (laws.keep(p) * (1.0 - laws.keep(p))))
        return relu_moments(*of).mean if self.activation == "relu" else average(self._activate, of, self.samples)

    def _mean(self, x: Tensor, keep: float | Tensor) -> Tensor:
        return self._convolve(x, self.weight, self.bias, self.groups) * keep

    def _noisy(self, x: Tensor, p: float | Tensor, key: Tensor | None) -> Tensor:
        """The examples become groups of one convolution, so that each has its own kernel."""
        of_weight, of_bias = keys(key, 2)
        copies = 1 if self.shared == "batch" else len(x)
        if self.shared == "batch":
            of_weight, of_bias = rng.shared(of_weight), rng.shared(of_bias)
        masks = bernoulli((copies, *self.weight.shape), p, of_weight, x).to(self.weight.dtype)
        weight = (masks * self.weight).flatten(0, 1)
        y = self._convolve(x.reshape(-1, copies * x.shape[1], *x.shape[2:]), weight, None, copies * self.groups)
        y = y.reshape(len(x), len(self.weight), *y.shape[2:])
        if self.bias is None:
            return y
        bias = self.bias * bernoulli((copies, len(self.bias)), p, of_bias, x)
        return y + bias.view(*bias.shape, *[1] * (y.dim() - 2)).to(y.dtype)

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
        padding: Any = self.padding
        if self.padding_mode != "zeros":
            x, padding = F.pad(x, self._reversed_padding_repeated_twice, self.padding_mode), 0
        return _CONVOLVE[x.dim() - 2](x, weight, bias, self.stride, padding, self.dilation, groups)

    def _activate(self, y: Tensor) -> Tensor:
        if callable(self.activation):
            return self.activation(y)
        return F.relu(y) if self.activation == "relu" else y

    def extra_repr(self) -> str:
        """The arguments, as PyTorch prints them."""
        plain = super().extra_repr()  # type: ignore[no-untyped-call]
        return f"{plain}, p={self.p}, shared={self.shared!r}, inference={self.inference!r}"


class DropConnectConv1d(_DropConnectConv, nn.Conv1d):
    """DropConnect for convolutions over sequences.

    As `DropConnectConv2d`, over one axis.

    Noise | Shared | Target | At test time: Bernoulli | positions | weights and biases | the mean of a normal's
    activation

    Args:
        *conv: `torch.nn.Conv1d`'s arguments.
        p: The probability of dropping a weight, or a bias.
        activation: As for `DropConnectLinear`, and so the arguments below.
        shared: `"example"` or `"batch"`.
        inference: `"moments"`, `"scale"` or `"sample"`.
        samples: How many values the average takes where there is no closed form.

    Shape:
        `(N, C, L)` or `(C, L)`, to what `torch.nn.Conv1d` returns.

    Raises:
        ValueError: An argument is outside its range, or the input has another rank.
        TypeError: The input is not floating point.

    Example:
        >>> import torch, torchdropout as td
        >>> td.DropConnectConv1d(2, 4, 3)(torch.ones(5, 2, 8), key=td.key(0)).shape
        torch.Size([5, 4, 6])

    Reference:
        L. Wan, M. Zeiler, S. Zhang, Y. LeCun, R. Fergus. Regularization of Neural Networks using DropConnect. ICML
        2013, PMLR 28(3):1058-1066; the paper has fully connected layers only.

    Deviation: the extension to convolutions is ours.
    """

    def __init__(
        self, *conv: Any, p: float = 0.5, activation: Activation = "identity", shared: Shared = "example",
        inference: Inference = "moments", samples: int = 100, **options: Any,
    ) -> None:  # fmt: skip
        nn.Conv1d.__init__(self, *conv, **options)
        self._setup(p, activation, shared, inference, samples)


class DropConnectConv2d(_DropConnectConv, nn.Conv2d):
    """DropConnect for convolutions over images.

    A convolution is a linear map whose weights recur at every position, so a mask on its kernel and bias, drawn once
    for every example, is DropConnect: `y[n] = a(conv(x[n], M[n] * W) + m[n] * b)` with independent
    `M, m ~ Bernoulli(k)`, `k = 1 - p`. At test time each pre-activation is taken for normal, with mean
    `k (conv(x, W) + b)` and variance `k (1 - k) (conv(x * x, W * W) + b * b)`, and `y = E[a(u)]`.

    Noise | Shared | Target | At test time: Bernoulli | positions | weights and biases | the mean of a normal's
    activation

    Args:
        *conv: `torch.nn.Conv2d`'s arguments.
        p: The probability of dropping a weight, or a bias.
        activation: As for `DropConnectLinear`, and so the arguments below.
        shared: `"example"` or `"batch"`.
        inference: `"moments"`, `"scale"` or `"sample"`.
        samples: How many values the average takes where there is no closed form.

    Shape:
        `(N, C, H, W)` or `(C, H, W)`, to what `torch.nn.Conv2d` returns.

    Raises:
        ValueError: An argument is outside its range, or the input has another rank.
        TypeError: The input is not floating point.

    Example:
        >>> import torch, torchdropout as td
        >>> td.DropConnectConv2d(2, 4, 3, padding=1)(torch.ones(5, 2, 8, 8), key=td.key(0)).shape
        torch.Size([5, 4, 8, 8])

    Reference:
        L. Wan, M. Zeiler, S. Zhang, Y. LeCun, R. Fergus. Regularization of Neural Networks using DropConnect. ICML
        2013, PMLR 28(3):1058-1066; the paper has fully connected layers only.

    Deviation: the extension to convolutions is ours; the variance of one position is exact, but positions that share
    weights are correlated in training, which the test rule, as any that looks at one unit, does not use.
    """

    def __init__(
        self, *conv: Any, p: float = 0.5, activation: Activation = "identity", shared: Shared = "example",
        inference: Inference = "moments", samples: int = 100, **options: Any,
    ) -> None:  # fmt: skip
        nn.Conv2d.__init__(self, *conv, **options)
        self._setup(p, activation, shared, inference, samples)
