"""Variational dropout, type A: Gaussian dropout whose variance is learned."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from torchdropout.layers._checks import check_choice, check_floating, check_number
from torchdropout.layers._kl import Form
from torchdropout.layers._noise import standard_normal
from torchdropout.layers._variational import Alpha, settle


def variational_dropout(
    input: Tensor,  # noqa: A002
    log_alpha: Tensor,
    training: bool = True,
    *,
    dim: int = -1,
    key: Tensor | None = None,
) -> Tensor:
    """Multiply each element by normal noise of mean 1 and learned variance; see `torchdropout.VariationalDropout`.

    Args:
        input: Any shape, floating point.
        log_alpha: The log of the noise's variance: 0-d, or one value for each index of the axis `dim`.
        training: Whether to apply noise.
        dim: The axis of the units.
        key: Whose noise to use; None draws one.

    Raises:
        ValueError: `log_alpha` has two axes, or does not fit the axis `dim`.
        TypeError: `input` is not floating point.

    Example:
        >>> import torch, torchdropout as td
        >>> td.functional.variational_dropout(torch.ones(3), torch.tensor(0.25).log(), key=td.key(0))
        tensor([1.4956, 0.9232, 0.4068])
    """
    return _apply("variational_dropout", input, log_alpha, training, dim, key)


def _apply(owner: str, x: Tensor, log_alpha: Tensor, noisy: bool, dim: int, key: Tensor | None) -> Tensor:
    check_floating(owner, x)
    if log_alpha.dim() > 1:
        raise ValueError(f"{owner}: `log_alpha` must have shape () or one axis, got {tuple(log_alpha.shape)}.")
    if log_alpha.dim() > 0:
        _check_axis(owner, x, dim, log_alpha.shape[0])
    if not noisy:
        return x
    std = torch.exp(0.5 * settle(log_alpha))
    if std.dim() > 0:
        std = std.view([-1 if axis == dim % x.dim() else 1 for axis in range(x.dim())])
    return x * (1.0 + std * standard_normal(x.shape, key, x)).to(x.dtype)


def _check_axis(owner: str, x: Tensor, dim: int, features: int) -> None:
    if not -x.dim() <= dim < x.dim() or x.shape[dim] != features:
        raise ValueError(f"{owner}: the input's axis {dim} must have size {features}, got {tuple(x.shape)}.")


class VariationalDropout(Alpha):
    """Multiplies each element by normal noise of mean 1 and learned variance, so the expectation is the input.

    `y = x * (1 + sqrt(alpha) * e)` with independent `e ~ N(0, 1)` for each example and unit (type A: the weights that
    a unit feeds share its noise). `alpha = p / (1 - p)` is learned through its logarithm, and at most 1.

    Add `kl()`, divided by the number of training examples, to a mean loss in nats. The divergence is a sum over the
    units. Popular copies draw noise of mean 0, take alpha for the deviation, average the divergence, or test with
    `self.train()`, which turns training on; another stores `log sqrt(alpha)` and calls it log alpha.

    Noise | Shared | Target | At test time: Normal(1, alpha) | nothing | activations | identity

    Args:
        num_features: The number of units.
        p: The initial drop probability, in (0, 0.5].
        per: What has its own alpha: the `"layer"` or each `"unit"`.
        dim: The units' axis.
        kl: The divergence's form: the paper's `"polynomial"`, within 0.04 nats for each unit; `"fitted"`, within
            0.01; or `"exact"`.
        device: Where the parameter lives.
        dtype: The parameter's dtype.

    Shape:
        Any with `num_features` at axis `dim`; the output has the input's.

    Raises:
        ValueError: An argument is out of range or unknown, or the input's axis `dim` has another size.
        TypeError: The input is not floating point, or an argument no number.

    Example:
        >>> import torch, torchdropout as td
        >>> layer = td.VariationalDropout(3, 0.2)
        >>> layer(torch.ones(3), key=td.key(0))
        tensor([1.4956, 0.9232, 0.4068], grad_fn=<MulBackward0>)
        >>> loss = layer.kl() / 60_000

    Reference:
        D. Kingma, T. Salimans, M. Welling. Variational Dropout and the Local Reparameterization Trick. NIPS 2015,
        arXiv:1506.02557, section 3.1, equation 12 and appendix C.

    Deviation: the divergence has its constant, so that it is comparable between forms. Where log alpha is 0 or more,
    its gradient still passes if it points below.
    """

    def __init__(
        self,
        num_features: int,
        p: float = 0.5,
        *,
        per: Literal["layer", "unit"] = "layer",
        dim: int = -1,
        kl: Form = "polynomial",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_number("VariationalDropout", "num_features", num_features, "at least 1", lambda value: value >= 1)
        check_choice("VariationalDropout", "per", per, ("layer", "unit"))
        self.num_features, self.dim = num_features, dim
        self._set_up(p, per, kl, () if per == "layer" else (num_features,), device=device, dtype=dtype)

    def forward(self, input: Tensor, *, key: Tensor | None = None) -> Tensor:  # noqa: A002
        """Noisy in training, the identity in eval."""
        _check_axis("VariationalDropout", input, self.dim, self.num_features)
        return _apply("VariationalDropout", input, self.log_alpha, self.training, self.dim, key)

    def kl(self) -> Tensor:
        """The divergence of the units' noise from the log-uniform prior: a sum in nats, 0-d."""
        return self._kl(self.num_features)

    def extra_repr(self) -> str:
        """The arguments, as PyTorch prints them."""
        return f"{self.num_features}, per={self.per!r}, dim={self.dim}, kl={self.kl_form!r}"
