"""Fast dropout: the sum over dropped inputs is taken for normal, and sampled or integrated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchdropout.layers._checks import check_choice, check_features, check_floating, check_probability
from torchdropout.layers._conversion import take_weights
from torchdropout.layers._local import squared_linear
from torchdropout.layers._moments import Moments, check_moments, relu_moments, sigmoid_moments, sqrt, wide
from torchdropout.layers._noise import standard_normal
from torchdropout.layers._rate import Rate

Mode = Literal["sample", "moments"]
Activation = Literal["identity", "relu", "sigmoid"]

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda z: z,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
}
_INTEGRALS: dict[str, Callable[[Tensor, Tensor], Moments]] = {
    "identity": Moments,
    "relu": relu_moments,
    "sigmoid": sigmoid_moments,
}


def fast_dropout_linear(
    input: Tensor,  # noqa: A002
    weight: Tensor,
    bias: Tensor | None = None,
    p: float = 0.5,
    training: bool = True,
    *,
    key: Tensor | None = None,
) -> Tensor:
    """A linear map of dropped inputs, by one normal draw for each output; see `torchdropout.FastDropoutLinear`.

    Args:
        input: `(*, in_features)`, floating point.
        weight: `(out_features, in_features)`.
        bias: `(out_features,)` or None; never dropped.
        p: The probability of dropping an input.
        training: Whether to apply noise.
        key: Whose noise to use; None draws one.

    Raises:
        ValueError: `p` is outside [0, 1), or the numbers of features differ.
        TypeError: `input` is not floating point.

    Example:
        >>> import torch, torchdropout as td
        >>> x, w = torch.ones(2), torch.ones(3, 2)
        >>> td.functional.fast_dropout_linear(x, w, p=0.5, key=td.key(0))
        tensor([3.4017, 1.7827, 0.3222])
    """
    check_probability("fast_dropout_linear", p, below_one=True)
    check_floating("fast_dropout_linear", input)
    check_features("fast_dropout_linear", input, weight.shape[-1])
    return sample(input, None, weight, bias, p, training, key)


def sample(
    mean: Tensor,
    variance: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
    p: float | Tensor,
    noisy: bool,
    key: Tensor | None,
) -> Tensor:
    """One draw of the pre-activation for each output, with gradients through its mean and standard deviation."""
    mu = F.linear(mean, weight, bias)
    if not noisy or (variance is None and not isinstance(p, Tensor) and p == 0):
        return mu
    s = sqrt(spread(mean, variance, weight, p))
    return (mu + s * standard_normal(mu.shape, key, s)).to(mu.dtype)


def spread(mean: Tensor, variance: Tensor | None, weight: Tensor, p: float | Tensor) -> Tensor:
    """The variance of the weighted sum of `x * z / k`, in at least float32 under autocast too."""
    with torch.autocast(mean.device.type, enabled=False):
        each = p / (1.0 - p) * wide(mean).square()
        if variance is not None:
            each = each + wide(variance) / (1.0 - p)
        dtype = torch.promote_types(each.dtype, weight.dtype)
        return squared_linear(each.to(dtype), weight.to(dtype))


class FastDropoutLinear(Rate, nn.Linear):
    """A linear layer whose dropped inputs make its pre-activations normal, which are sampled or integrated.

    For inputs of mean `nu` and variance `tau**2` (0 for a tensor) the pre-activation has the moments of
    `sum_i W_i * x_i * z_i / k` with `z ~ Bernoulli(k)`, `k = 1 - p`:
    `mu = W nu + b`, `s**2 = sum_i W_i**2 * (tau_i**2 / k + nu_i**2 * (1 - k) / k)`.
    With `mode="sample"` the layer returns `g(mu + s * e)`, one `e ~ N(0, 1)` for each example and output. With
    `mode="moments"` it returns the mean and the variance of `g`, without any sampling, and so it does in eval.
    Without the division by `k`, as the paper writes it, the weights are `1 / k` times as large; nothing else changes.

    Noise | Shared | Target | At test time: Normal(mu, s**2) | nothing | pre-activations | identity, or the moments

    Args:
        in_features: As in `torch.nn.Linear`.
        out_features: As in `torch.nn.Linear`.
        bias: As in `torch.nn.Linear`; a bias is never dropped.
        device: As in `torch.nn.Linear`.
        dtype: As in `torch.nn.Linear`.
        p: The probability of dropping an input.
        mode: `"sample"` or `"moments"`. It may be changed between training and prediction.
        activation: `g`: `"identity"`, `"relu"` (exact moments) or `"sigmoid"` (the paper's approximations).
        propagate_variance: Whether to use the variance of the input; the authors' multilayer code does not.

    Shape:
        `(*, in_features)`, or `Moments` of such tensors, to `(*, out_features)`, or `Moments` with `mode="moments"`.

    Raises:
        ValueError: `p` is outside [0, 1), `mode` or `activation` is unknown, or the input has another number of
            features.
        TypeError: The input is not floating point.

    Example:
        >>> import torch, torchdropout as td
        >>> layer = td.FastDropoutLinear(2, 3)
        >>> layer(torch.ones(4, 2), key=td.key(0)).shape
        torch.Size([4, 3])
        >>> layer.mode = "moments"
        >>> layer(torch.ones(4, 2)).variance.shape
        torch.Size([4, 3])

    Reference:
        S. Wang, C. Manning. Fast dropout training. ICML 2013, PMLR 28(2):118-126, sections 2 to 4.

    Deviation: kept inputs are divided by `k`. In eval the mode decides: `"sample"` is the plain layer, weights being
    scaled already, `"moments"` what it is in training.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        p: float = 0.5,
        mode: Mode = "sample",
        activation: Activation = "identity",
        propagate_variance: bool = True,
    ) -> None:
        check_choice("FastDropoutLinear", "mode", mode, ("sample", "moments"))
        check_choice("FastDropoutLinear", "activation", activation, ("identity", "relu", "sigmoid"))
        nn.Linear.__init__(self, in_features, out_features, bias, device, dtype)
        self.p = p
        self.mode: Mode = mode
        self.activation: Activation = activation
        self.propagate_variance = propagate_variance

    def _check_p(self, value: float) -> None:
        check_probability("FastDropoutLinear", value, below_one=True)

    @classmethod
    def from_linear(cls, linear: nn.Linear, **arguments: Any) -> FastDropoutLinear:
        """The layer with a copy of a trained layer's weights.

        Args:
            linear: What to copy.
            arguments: The constructor's keyword arguments from `p` on.
        """
        weight, has_bias = linear.weight, linear.bias is not None
        new = cls(linear.in_features, linear.out_features, has_bias, weight.device, weight.dtype, **arguments)
        take_weights(new, linear)
        return new

    def forward(self, input: Tensor | Moments, *, key: Tensor | None = None) -> Tensor | Moments:  # type: ignore[override]  # noqa: A002
        """Noisy in training, the plain layer in eval; with `mode="moments"` the moments in both."""
        mean, variance = self._given(input)
        p = self._rate()
        if self.mode == "sample":
            z = sample(mean, variance, self.weight, self.bias, p, self.training, key)
            return _ACTIVATIONS[self.activation](z)
        mu = F.linear(mean, self.weight, self.bias)
        return _INTEGRALS[self.activation](mu, spread(mean, variance, self.weight, p))

    def _given(self, x: Tensor | Moments) -> tuple[Tensor, Tensor | None]:
        mean, variance = (x, None) if isinstance(x, Tensor) else x
        check_floating("FastDropoutLinear", mean)
        check_features("FastDropoutLinear", mean, self.in_features)
        if variance is not None:
            check_moments("FastDropoutLinear", mean, variance)
        return mean, variance if self.propagate_variance else None

    def extra_repr(self) -> str:
        """The arguments, as PyTorch prints them."""
        return f"{nn.Linear.extra_repr(self)}, p={self.p}, mode={self.mode!r}, activation={self.activation!r}"
