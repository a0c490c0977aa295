"""Gaussian noise: additive, of a given standard deviation."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from torchdropout import laws, ops
from torchdropout.layers._checks import check_floating


def gaussian_noise(input: Tensor, std: float, training: bool = True, *, key: Tensor | None = None) -> Tensor:  # noqa: A002
    """Add independent normal noise; see `torchdropout.GaussianNoise`.

    Args:
        input: Any shape, floating point.
        std: The standard deviation, in the input's units.
        training: Whether to apply noise.
        key: Whose noise to use; None draws one.

    Raises:
        ValueError: `std` is negative or not finite.
        TypeError: `input` is not floating point, or `std` no number.

    Example:
        >>> import torch, torchdropout as td
        >>> td.functional.gaussian_noise(torch.zeros(3), 0.1, key=td.key(0))
        tensor([ 0.0991, -0.0154, -0.1186])
    """
    check_std("gaussian_noise", std)
    return apply("gaussian_noise", input, std, training, key)


def check_std(owner: str, std: float) -> None:
    """A standard deviation is finite and not negative."""
    if not isinstance(std, int | float):
        raise TypeError(f"{owner}: `std` must be a number, got {std!r}.")
    if not (std >= 0 and math.isfinite(std)):
        raise ValueError(f"{owner}: `std` must be finite and not negative, got {std}.")


def apply(owner: str, x: Tensor, std: float, noisy: bool, key: Tensor | None) -> Tensor:
    """The method, its arguments checked."""
    if not noisy or std == 0:
        return x
    check_floating(owner, x)
    ones = torch.ones_like(x, requires_grad=False)
    return x + ops.multiply(ones, laws.Spec("normal", std, 0.0), key=key)


class GaussianNoise(nn.Module):
    """Adds independent normal noise of mean 0, so the expectation is the input.

    `y = x + s * e` with `e ~ N(0, 1)`.

    Noise | Shared | Target | At test time: Normal(0, std**2), added | nothing | activations | identity

    Args:
        std: The standard deviation `s`, in the input's units.

    Shape:
        Any; the output has the input's shape, dtype and memory format.

    Raises:
        ValueError: `std` is negative or not finite.

    Example:
        >>> import torch, torchdropout as td
        >>> td.GaussianNoise(0.1)(torch.zeros(3), key=td.key(0))
        tensor([ 0.0991, -0.0154, -0.1186])

    Reference:
        C. M. Bishop. Training with Noise is Equivalent to Tikhonov Regularization. Neural Computation 7(1):108-116,
        1995, section 2.

    Deviation: none. The normals are computed in float32 whatever the input's dtype.
    """

    def __init__(self, std: float) -> None:
        super().__init__()
        check_std("GaussianNoise", std)
        self.std = std

    def forward(self, input: Tensor, *, key: Tensor | None = None) -> Tensor:  # noqa: A002
        """Noisy in training, the identity in eval."""
        return apply("GaussianNoise", input, self.std, self.training, key)

    def extra_repr(self) -> str:
        """The arguments, as PyTorch prints them."""
        return f"std={self.std}"
