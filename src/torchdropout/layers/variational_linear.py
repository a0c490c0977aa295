"""Variational dropout, type B, for linear layers: independent noise for each weight, sampled at the outputs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchdropout.layers._checks import check_features
from torchdropout.layers._kl import Form
from torchdropout.layers._variational import Per, TypeB, apply_type_b


def variational_linear(
    input: Tensor,  # noqa: A002
    weight: Tensor,
    log_alpha: Tensor,
    bias: Tensor | None = None,
    training: bool = True,
    *,
    key: Tensor | None = None,
) -> Tensor:
    """A linear map with independent multiplicative normal noise on its weights; see `torchdropout.VariationalLinear`.

    Args:
        input: `(*, in_features)`, floating point.
        weight: The means of the weights, `(out_features, in_features)`.
        log_alpha: The log of the noise's variance: of shape `()`, `(in_features)` or that of `weight`.
        bias: `(out_features)`, or None; it has no noise.
        training: Whether to apply noise.
        key: Whose noise to use; None draws one.

    Raises:
        ValueError: `log_alpha` has another shape, or `input` another number of features.
        TypeError: `input` is not floating point.

    Example:
        >>> import torch, torchdropout as td
        >>> td.functional.variational_linear(torch.ones(1, 2), torch.eye(2), torch.tensor(-2.0), key=td.key(0)).shape
        torch.Size([1, 2])
    """
    owner = "variational_linear"
    check_features(owner, input, weight.shape[-1])
    if log_alpha.shape not in ((), weight.shape[-1:], weight.shape):
        shapes = f"(), {tuple(weight.shape[-1:])} or {tuple(weight.shape)}"
        raise ValueError(f"{owner}: `log_alpha` must have shape {shapes}, got {tuple(log_alpha.shape)}.")
    return apply_type_b(owner, F.linear, input, weight, log_alpha, bias, training, key)


class VariationalLinear(TypeB, nn.Linear):
    """A linear layer with independent normal noise on its weights, of learned variance; the expectation is noiseless.

    `w = theta * (1 + sqrt(alpha) * e')`. A training pass samples outputs in place of weights:
    `y = x theta + b + sqrt(d) * e`, `d = alpha * (x**2) (theta**2)`, with independent `e ~ N(0, 1)` for each example
    and output (type B). `alpha = p / (1 - p)` is learned through its logarithm, and at most 1: beyond it the paper's
    divergence is off by 0.95 nats a weight at alpha = 2 and by 42 at 5, and a bound at the largest alpha of a copy is
    no bound.

    Add `kl()`, divided by the number of training examples, to a mean loss in nats; it is a sum over the weights.

    Noise | Shared | Target | At test time: Normal(1, alpha) | nothing | weights | mean weights

    Args:
        in_features: As in `torch.nn.Linear`.
        out_features: As in `torch.nn.Linear`.
        bias: As in `torch.nn.Linear`; it has no noise.
        device: As in `torch.nn.Linear`.
        dtype: As in `torch.nn.Linear`.
        p: The initial drop probability, in (0, 0.5].
        per: What has its own alpha: the `"layer"`, each input `"unit"` or each `"weight"`.
        kl: The divergence's form: the paper's `"polynomial"`, within 0.04 nats a weight; `"fitted"`, within 0.01; or
            `"exact"`.

    Shape:
        `(*, in_features)` to `(*, out_features)`.

    Raises:
        ValueError: An argument is out of range or unknown, or the input has another number of features.
        TypeError: The input is not floating point, or `p` no number.

    Example:
        >>> import torch, torchdropout as td
        >>> layer = td.VariationalLinear(3, 2, p=0.2)
        >>> layer(torch.ones(4, 3), key=td.key(0)).shape
        torch.Size([4, 2])
        >>> loss = layer.kl() / 60_000

    Reference:
        D. Kingma, T. Salimans, M. Welling. Variational Dropout and the Local Reparameterization Trick. NIPS 2015,
        arXiv:1506.02557, section 3.2, equations 6 and 12, and appendix C.

    Deviation: the divergence has its constant, so that it is comparable between forms. Where log alpha is 0 or more,
    its gradient still passes if it points below.
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
        per: Per = "layer",
        kl: Form = "polynomial",
    ) -> None:
        nn.Linear.__init__(self, in_features, out_features, bias, device, dtype)
        self._set_up_weights(p, per, kl, in_features)

    @classmethod
    def from_linear(cls, linear: nn.Linear, **arguments: Any) -> VariationalLinear:
        """The layer with a copy of a trained layer's weights as means.

        Args:
            linear: What to copy.
            arguments: The constructor's keyword arguments from `p` on.
        """
        weight, has_bias = linear.weight, linear.bias is not None
        new = cls(linear.in_features, linear.out_features, has_bias, weight.device, weight.dtype, **arguments)
        new._copy(linear)
        return new

    def forward(self, input: Tensor, *, key: Tensor | None = None) -> Tensor:  # noqa: A002
        """Noisy in training, the mean weights in eval."""
        check_features("VariationalLinear", input, self.in_features)
        weights = self.weight, self.log_alpha, self.bias
        return apply_type_b("VariationalLinear", F.linear, input, *weights, self.training, key)
