"""Gaussian dropout: multiplicative normal noise with the variance of the inverted Bernoulli mask."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from torchdropout import laws, ops
from torchdropout.layers._checks import check_floating, check_probability
from torchdropout.layers._rate import RateModule


def gaussian_dropout(input: Tensor, p: float = 0.5, training: bool = True, *, key: Tensor | None = None) -> Tensor:  # noqa: A002
    """Multiply each element by normal noise of mean 1; see `torchdropout.GaussianDropout`.

    Args:
        input: Any shape, floating point.
        p: The drop probability whose variance the noise has: `p / (1 - p)`.
        training: Whether to apply noise.
        key: Whose noise to use; None draws one.

    Raises:
        ValueError: `p` is outside [0, 1).
        TypeError: `input` is not floating point.

    Example:
        >>> import torch, torchdropout as td
        >>> td.functional.gaussian_dropout(torch.ones(3), 0.2, key=td.key(0))
        tensor([1.4956, 0.9232, 0.4068])
    """
    check_probability("gaussian_dropout", p, below_one=True)
    return apply("gaussian_dropout", input, p, training, key)


def apply(owner: str, x: Tensor, p: float | Tensor, noisy: bool, key: Tensor | None) -> Tensor:
    """The method, its arguments checked."""
    if not noisy or (not isinstance(p, Tensor) and p == 0):
        return x
    check_floating(owner, x)
    odds = p / (1.0 - p)
    std = torch.sqrt(odds) if isinstance(odds, Tensor) else math.sqrt(odds)
    return ops.multiply(x, laws.Spec("normal", std, 1.0), key=key)


class GaussianDropout(RateModule):
    """Multiplies each element by independent normal noise of mean 1, so the expectation is the input.

    `y = x * (1 + s * e)` with `e ~ N(0, 1)` and `s**2 = p / (1 - p)`, the variance of dropout's own noise `m / k`.

    Noise | Shared | Target | At test time: Normal(1, p/(1-p)) | nothing | activations | identity

    Args:
        p: The drop probability whose variance the noise has.

    Shape:
        Any; the output has the input's shape, dtype and memory format.

    Raises:
        ValueError: `p` is outside [0, 1); at 1 the variance is infinite.

    Example:
        >>> import torch, torchdropout as td
        >>> td.GaussianDropout(0.2)(torch.ones(3), key=td.key(0))
        tensor([1.4956, 0.9232, 0.4068])

    Reference:
        N. Srivastava, G. Hinton, A. Krizhevsky, I. Sutskever, R. Salakhutdinov. Dropout: A Simple Way to Prevent
        Neural Networks from Overfitting. JMLR 15:1929-1958, 2014, section 10.

    Deviation: none. The normals are computed in float32 whatever the input's dtype.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__(p)

    def _check_p(self, value: float) -> None:
        check_probability("GaussianDropout", value, below_one=True)

    def forward(self, input: Tensor, *, key: Tensor | None = None) -> Tensor:  # noqa: A002
        """Noisy in training, the identity in eval."""
        return apply("GaussianDropout", input, self._rate(), self.training, key)
