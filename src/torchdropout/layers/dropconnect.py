"""DropConnect: Bernoulli noise on weights and biases, its own for every example."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchdropout import laws, ops, rng
from torchdropout.layers._checks import check_choice, check_features, check_floating, check_number, check_probability
from torchdropout.layers._conversion import take_weights
from torchdropout.layers._moments import Moments, relu_moments, sqrt, wide
from torchdropout.layers._noise import bernoulli, keys
from torchdropout.layers._rate import Rate

Shared = Literal["example", "batch"]
Inference = Literal["moments", "scale", "sample"]
Activation = Literal["identity", "relu"] | Callable[[Tensor], Tensor]


def dropconnect(
    input: Tensor,  # noqa: A002
    weight: Tensor,
    bias: Tensor | None = None,
    p: float = 0.5,
    training: bool = True,
    *,
    shared: Shared = "example",
    key: Tensor | None = None,
) -> Tensor:
    """A linear map that drops weights and biases; see `torchdropout.DropConnectLinear`.

    Args:
        input: `(..., in)`, floating point.
        weight: `(out, in)`.
        bias: `(out,)`, or None.
        p: The probability of dropping a weight, or a bias.
        training: Whether to apply noise; without it the result is the expectation `k * (W x + b)`.
        shared: `"example"`: every vector of the input has its own mask. `"batch"`: one mask for all of them.
        key: Whose noise to use; None draws one.

    Returns:
        `(..., out)`, not rescaled.

    Raises:
        ValueError: `p` is outside [0, 1], `shared` is unknown, or the input does not fit the weights.
        TypeError: `input` is not floating point.

    Example:
        >>> import torch, torchdropout as td
        >>> td.functional.dropconnect(torch.ones(2, 3), torch.ones(2, 3), p=0.5, key=td.key(1))
        tensor([[2., 0.],
                [2., 3.]])
    """
    check_probability("dropconnect", p)
    check_choice("dropconnect", "shared", shared, ("example", "batch"))
    return apply("dropconnect", input, weight, bias, p, training, shared, key)


def apply(
    owner: str, x: Tensor, weight: Tensor, bias: Tensor | None, p: float | Tensor, noisy: bool, shared: Shared,
    key: Tensor | None,
) -> Tensor:  # fmt: skip
    """The method, its arguments checked."""
    check_floating(owner, x)
    check_features(owner, x, weight.shape[1])
    if not noisy or (not isinstance(p, Tensor) and p in (0, 1)):
        return F.linear(x, weight, bias) * laws.keep(p)
    of_weight, of_bias = keys(key, 2)
    rows = x.reshape(-1, x.shape[-1])
    if shared == "batch":
        kept = bernoulli(weight.shape, p, rng.shared(of_weight), x)
        y = F.linear(rows, weight * kept.to(weight.dtype))
    else:
        y = _per_example(rows, weight, p, of_weight)
    if bias is not None:
        shape = (1 if shared == "batch" else len(rows), len(bias))
        of_bias = rng.shared(of_bias) if shared == "batch" else of_bias
        y = y + (bias * bernoulli(shape, p, of_bias, x)).to(y.dtype)
    return y.reshape(*x.shape[:-1], len(weight))


def _per_example(rows: Tensor, weight: Tensor, p: float | Tensor, key: Tensor | None) -> Tensor:
    """In at least float32, and returned in what `F.linear` would return."""
    kind = rows.device.type
    autocast = torch.is_autocast_enabled(kind)
    cast = torch.get_autocast_dtype(kind) if autocast else rows.dtype
    if not autocast and weight.dtype != rows.dtype:
        raise TypeError(f"dropconnect: the input and the weights must have one dtype, got {cast} and {weight.dtype}.")
    with torch.autocast(kind, enabled=False):
        wider = torch.promote_types(weight.dtype, torch.float32)
        return ops.masked_linear(rows.to(wider), weight.to(wider), p, key=key).to(cast)


def moments(x: Tensor, weight: Tensor, bias: Tensor | None, p: float | Tensor) -> Moments:
    """The mean and the variance of the pre-activations, in at least float32."""
    keep = laws.keep(p)
    mean = F.linear(x, weight, bias) * keep
    squares = None if bias is None else wide(bias).square()
    variance = F.linear(wide(x).square(), wide(weight).square(), squares) * (keep * (1.0 - keep))
    return Moments(mean, variance)


def average(activation: Callable[[Tensor], Tensor], of: Moments, samples: int) -> Tensor:
    """The mean of an activation over `samples` equally likely values of every pre-activation."""
    levels = (torch.arange(samples, device=of.mean.device, dtype=of.variance.dtype) + 0.5) / samples
    values = torch.special.ndtri(levels).view(-1, *[1] * of.mean.dim()) * sqrt(of.variance) + of.mean
    return activation(values).mean(0).to(of.mean.dtype)


class DropConnectLinear(Rate, nn.Linear):
    """A linear layer that drops weights and biases, with a mask of its own for every example.

    In training `y[n] = a((M[n] * W) x[n] + m[n] * b)` with independent `M, m ~ Bernoulli(k)`, `k = 1 - p`, unscaled.
    At test time a pre-activation is taken for normal, `u ~ N(k (W x + b), k (1 - k) ((W * W)(x * x) + b * b))`, and
    `y = E[a(u)]`: in closed form for ReLU and the identity, else over equally likely values of `u`.

    Noise | Shared | Target | At test time: Bernoulli | nothing | weights and biases | the mean of a normal's activation

    Args:
        in_features: The size of an input vector.
        out_features: The size of an output vector.
        bias: Whether there is a bias.
        device: Where the parameters are.
        dtype: The parameters' dtype.
        p: The probability of dropping a weight, or a bias.
        activation: `a`: `"identity"`, `"relu"` or any elementwise function. It belongs to the layer because at test
            time the average is taken after it.
        shared: `"example"`: every vector of the input has its own mask, as in the paper. `"batch"`: one mask for all
            of them, a cheaper estimate with more variance.
        inference: What eval mode does. `"moments"`: the paper's average. `"scale"`: `a(k (W x + b))`, which is
            dropout's rule. `"sample"`: as in training.
        samples: How many values of `u` the average takes where there is no closed form.

    Shape:
        `(..., in_features)` to `(..., out_features)`.

    Raises:
        ValueError: `p` is outside [0, 1], `shared`, `inference` or `activation` is unknown, `samples` is less than 1,
            or the input's last axis is not `in_features`.
        TypeError: The input is not floating point.

    Example:
        >>> import torch, torchdropout as td
        >>> layer = td.DropConnectLinear(3, 2, p=0.5)
        >>> layer(torch.ones(4, 3), key=td.key(0)).shape
        torch.Size([4, 2])

    Reference:
        L. Wan, M. Zeiler, S. Zhang, Y. LeCun, R. Fergus. Regularization of Neural Networks using DropConnect. ICML
        2013, PMLR 28(3):1058-1066, algorithms 1 and 2.

    Deviation: the average is taken in closed form where there is one, and elsewhere over the quantiles of the normal
    rather than random values, so that eval mode is deterministic. Layers that other libraries call "drop connect" are
    mostly `DropPath`, or share one mask among the batch.
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None, *,
        p: float = 0.5, activation: Activation = "identity", shared: Shared = "example",
        inference: Inference = "moments", samples: int = 100,
    ) -> None:  # fmt: skip
        check_choice("DropConnectLinear", "shared", shared, ("example", "batch"))
        check_choice("DropConnectLinear", "inference", inference, ("moments", "scale", "sample"))
        if not callable(activation):
            check_choice("DropConnectLinear", "activation", activation, ("identity", "relu"))
        check_number("DropConnectLinear", "samples", samples, "at least 1", lambda value: value >= 1)
        super().__init__(in_features, out_features, bias, device, dtype)
        self.p = p
        self.activation, self.shared, self.inference, self.samples = activation, shared, inference, samples

    @classmethod
    def from_linear(cls, linear: nn.Linear, **options: Any) -> Self:
        """A layer with a linear layer's weights, copied; `options` are the constructor's keywords."""
        has_bias, weight = linear.bias is not None, linear.weight
        layer = cls(linear.in_features, linear.out_features, has_bias, weight.device, weight.dtype, **options)
        take_weights(layer, linear)
        return layer

    def forward(self, input: Tensor, *, key: Tensor | None = None) -> Tensor:  # noqa: A002
        """Noisy in training, the test rule in eval."""
        if not self.training and self.inference == "moments":
            return self._averaged(input)
        noisy = self.training or self.inference == "sample"
        y = apply("DropConnectLinear", input, self.weight, self.bias, self._rate(), noisy, self.shared, key)
        return self._activation(y)

    def _averaged(self, x: Tensor) -> Tensor:
        check_floating("DropConnectLinear", x)
        check_features("DropConnectLinear", x, self.in_features)
        if self.activation == "identity":
            return F.linear(x, self.weight, self.bias) * laws.keep(self._rate())
        of = moments(x, self.weight, self.bias, self._rate())
        return relu_moments(*of).mean if self.activation == "relu" else average(self._activation, of, self.samples)

    def _activation(self, y: Tensor) -> Tensor:
        if callable(self.activation):
            return self.activation(y)
        return F.relu(y) if self.activation == "relu" else y

    def extra_repr(self) -> str:
        """The arguments, as PyTorch prints them."""
        return f"{super().extra_repr()}, p={self.p}, shared={self.shared!r}, inference={self.inference!r}"
