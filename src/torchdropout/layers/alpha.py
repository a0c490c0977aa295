"""Alpha dropout: dropping to SELU's lower limit, with mean and variance kept."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from torchdropout import laws
from torchdropout.layers._checks import check_torch_floating, check_torch_probability
from torchdropout.layers._noise import times_bernoulli, times_shared_bernoulli
from torchdropout.layers._rate import RateModule

# The limit of SELU at minus infinity, -lambda * alpha, from the paper's constants.
_SELU_SCALE, _SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717
LIMIT = -_SELU_SCALE * _SELU_ALPHA


def alpha_dropout(
    input: Tensor,  # noqa: A002 - PyTorch's name
    p: float = 0.5,
    training: bool = False,
    inplace: bool = False,
    *,
    key: Tensor | None = None,
) -> Tensor:
    """Set elements to SELU's lower limit, then restore mean and variance; see `torchdropout.AlphaDropout`.

    Args:
        input: Any shape, floating point.
        p: The probability of dropping an element.
        training: Whether to apply noise; off by default, as in PyTorch.
        inplace: Whether to write to `input`.
        key: Whose noise to use; None draws one.

    Raises:
        ValueError: `p` is outside [0, 1].
        RuntimeError: `input` is not floating point.

    Example:
        >>> import torch, torchdropout as td
        >>> td.functional.alpha_dropout(torch.zeros(4), 0.5, True, key=td.key(1))
        tensor([ 0.7792,  0.7792,  0.7792, -0.7792])
    """
    check_torch_probability(p)
    return apply(input, p, training, inplace, key, shared=False)


def feature_alpha_dropout(
    input: Tensor,  # noqa: A002
    p: float = 0.5,
    training: bool = False,
    inplace: bool = False,
    *,
    key: Tensor | None = None,
) -> Tensor:
    """Alpha dropout of whole channels; see `torchdropout.FeatureAlphaDropout`.

    Args:
        input: `(N, C, ...)`, floating point.
        p: The probability of dropping a channel.
        training: Whether to apply noise; off by default, as in PyTorch.
        inplace: Whether to write to `input`.
        key: Whose noise to use; None draws one.

    Raises:
        ValueError: `p` is outside [0, 1].
        RuntimeError: `input` is not floating point or has fewer than two axes.

    Example:
        >>> import torch, torchdropout as td
        >>> td.functional.feature_alpha_dropout(torch.zeros(1, 2, 2), 0.5, True, key=td.key(3))
        tensor([[[ 0.7792,  0.7792],
                 [-0.7792, -0.7792]]])
    """
    check_torch_probability(p)
    return apply(input, p, training, inplace, key, shared=True)


def apply(x: Tensor, p: float | Tensor, noisy: bool, inplace: bool, key: Tensor | None, *, shared: bool) -> Tensor:
    """`a * (m * (x - limit) + limit) + b`, where `a` and `b` restore mean 0 and variance 1."""
    if not noisy or x.numel() == 0:
        return x
    if shared and x.dim() < 2:
        raise RuntimeError("Feature dropout requires at least 2 dimensions in the input")
    if not isinstance(p, Tensor) and p in (0, 1):
        return times_bernoulli(x, p, key, inplace=inplace)
    check_torch_floating(x, p)
    shifted = x.sub_(LIMIT) if inplace else x - LIMIT
    if shared:
        shape = [*x.shape[:2], *[1] * (x.dim() - 2)]
        y = times_shared_bernoulli(shifted, p, shape, key, scaled=False, inplace=inplace)
    else:
        y = times_bernoulli(shifted, p, key, scaled=False, inplace=inplace)
    a, b = affine(p)
    return y.mul_(a).add_(b + a * LIMIT) if inplace else y * a + (b + a * LIMIT)


def affine(p: float | Tensor) -> tuple[float | Tensor, float | Tensor]:
    """The scale and the shift that undo what dropping to the limit does to mean 0 and variance 1."""
    keep = laws.keep(p)
    drop = 1.0 - keep
    variance = keep * (1.0 + drop * LIMIT**2)
    a = torch.rsqrt(variance) if isinstance(variance, Tensor) else 1.0 / math.sqrt(variance)
    return a, -a * drop * LIMIT


class AlphaDropout(RateModule):
    """Sets elements to SELU's lower limit, keeping mean 0 and variance 1; a drop-in for `torch.nn.AlphaDropout`.

    `y = a * (x * m + l * (1 - m)) + b` with `m ~ Bernoulli(k)`, `k = 1 - p`, `l = -1.7580993408473766`,
    `a = (k * (1 + p * l**2))**-0.5` and `b = -a * p * l`.

    Noise | Shared | Target | At test time: Bernoulli, then an affine map | nothing | SELU activations | identity

    Args:
        p: The probability of dropping an element.
        inplace: Accepted and ignored, as in PyTorch; the function has an in-place form.

    Shape:
        Any; the output has the input's.

    Raises:
        ValueError: `p` is outside [0, 1].

    Example:
        >>> import torch, torchdropout as td
        >>> td.AlphaDropout(0.5)(torch.zeros(4), key=td.key(1))
        tensor([ 0.7792,  0.7792,  0.7792, -0.7792])

    Reference:
        G. Klambauer, T. Unterthiner, A. Mayr, S. Hochreiter. Self-Normalizing Neural Networks. NIPS 2017,
        arXiv:1706.02515, section "New Dropout Technique".

    Deviation: none.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__(p)
        self.inplace = inplace

    def _check_p(self, value: float) -> None:
        check_torch_probability(value)

    def forward(self, input: Tensor, *, key: Tensor | None = None) -> Tensor:  # noqa: A002
        """Noisy in training, the identity in eval."""
        return apply(input, self._rate(), self.training, False, key, shared=False)

    def extra_repr(self) -> str:
        """The arguments, as PyTorch prints them."""
        return f"p={self.p}, inplace={self.inplace}"


class FeatureAlphaDropout(AlphaDropout):
    """Alpha dropout of whole channels; a drop-in for `torch.nn.FeatureAlphaDropout`.

    The equation is `AlphaDropout`'s with `m` of shape `(N, C, 1, ...)`.

    Noise | Shared | Target | At test time: Bernoulli, then an affine map | all but batch and channel | SELU feature
    maps | identity

    Args:
        p: The probability of dropping a channel.
        inplace: Accepted and ignored, as in PyTorch; the function has an in-place form.

    Shape:
        `(N, C, ...)`; the output has the input's.

    Raises:
        ValueError: `p` is outside [0, 1].
        RuntimeError: The input has fewer than two axes.

    Example:
        >>> import torch, torchdropout as td
        >>> td.FeatureAlphaDropout(0.5)(torch.zeros(1, 2, 2), key=td.key(3))
        tensor([[[ 0.7792,  0.7792],
                 [-0.7792, -0.7792]]])

    Reference:
        G. Klambauer, T. Unterthiner, A. Mayr, S. Hochreiter. Self-Normalizing Neural Networks. NIPS 2017,
        arXiv:1706.02515; the mask by channel is PyTorch's.

    Deviation: none.
    """

    def forward(self, input: Tensor, *, key: Tensor | None = None) -> Tensor:  # noqa: A002
        """Noisy in training, the identity in eval."""
        return apply(input, self._rate(), self.training, False, key, shared=True)
