"""Sparse variational dropout: each weight learns its own noise, and what is mostly noise is removed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchdropout.layers._checks import check_features
from torchdropout.layers._sparse import Sparse, apply, check_threshold


def sparse_variational_linear(
    input: Tensor,  # noqa: A002
    weight: Tensor,
    log_sigma2: Tensor,
    bias: Tensor | None = None,
    training: bool = True,
    *,
    threshold: float = 3.0,
    key: Tensor | None = None,
) -> Tensor:
    """A linear map with independent normal weights; see `torchdropout.SparseVariationalLinear`.

    Args:
        input: `(*, in_features)`, floating point.
        weight: The means of the weights, `(out_features, in_features)`.
        log_sigma2: The logs of their variances, of the same shape.
        bias: `(out_features)`, or None; it has no noise.
        training: Whether to apply noise; otherwise weights whose log alpha reaches `threshold` are zero.
        threshold: The log alpha at which a weight is removed.
        key: Whose noise to use; None draws one.

    Raises:
        ValueError: `log_sigma2` has another shape than `weight`, `threshold` is out of range, or `input` has another
            number of features.
        TypeError: `input` is not floating point.

    Example:
        >>> import torch, torchdropout as td
        >>> w, log_sigma2 = torch.eye(2), torch.tensor([[-6.0, 9.0], [9.0, -6.0]])
        >>> td.functional.sparse_variational_linear(torch.ones(1, 2), w, log_sigma2, key=td.key(0)).shape
        torch.Size([1, 2])
    """
    check_threshold("sparse_variational_linear", threshold)
    if log_sigma2.shape != weight.shape:
        raise ValueError(
            f"sparse_variational_linear: `log_sigma2` must have the weight's shape {tuple(weight.shape)}, "
            f"got {tuple(log_sigma2.shape)}."
        )
    check_features("sparse_variational_linear", input, weight.shape[-1])
    return apply(
        "sparse_variational_linear", F.linear, input, weight, log_sigma2, bias, training, threshold, False, key
    )


class SparseVariationalLinear(Sparse, nn.Linear):
    """A linear layer whose weights are normal with learned means and variances; those that are all noise are removed.

    `w ~ N(theta, sigma**2)`. A training pass samples outputs in place of weights: `y = x theta + b + sqrt(d) * e`,
    `d = (x**2) (alpha * theta**2) + 1e-8`, with independent `e ~ N(0, 1)` for each example and output and
    `log alpha = log sigma**2 - log(theta**2 + 1e-8)`, clipped to [-8, 8]. The expectation is the noiseless output.

    Add `kl()`, divided by the number of training examples, to a mean loss in nats; without it nothing becomes sparse.
    Raise its weight from 0 to 1 over the first epochs when training from scratch, or too much is removed at once. The
    bias has no noise; a port adds it to the variance, which gives NaN where it is negative.

    Noise | Shared | Target | At test time: Normal(0, sigma**2), added | nothing | weights | noisy weights are zero

    Args:
        in_features: As in `torch.nn.Linear`.
        out_features: As in `torch.nn.Linear`.
        bias: As in `torch.nn.Linear`.
        device: As in `torch.nn.Linear`.
        dtype: As in `torch.nn.Linear`.
        threshold: The log alpha at which a weight is removed.
        train_clip: Whether the means of removed weights are zero in training as well.
        log_sigma2: The initial log variance of each weight.

    Shape:
        `(*, in_features)` to `(*, out_features)`.

    Raises:
        ValueError: `threshold` is outside (-8, 8], `log_sigma2` is not finite, or the input has another number of
            features.
        TypeError: The input is not floating point, or an argument no number.

    Example:
        >>> import torch, torchdropout as td
        >>> layer = td.SparseVariationalLinear(3, 2)
        >>> layer(torch.ones(4, 3), key=td.key(0)).shape
        torch.Size([4, 2])
        >>> loss = layer.kl() / 60_000
        >>> layer.sparsity()
        0.0

    Reference:
        D. Molchanov, A. Ashukha, D. Vetrov. Variational Dropout Sparsifies Deep Neural Networks. ICML 2017,
        arXiv:1701.05369, equations 14, 17 and section 4.

    Deviation: the means start as those of `torch.nn.Linear`, not at a standard deviation of 0.01. The variance of
    weights smaller than 1e-3 leaves out the 1e-8 of log alpha.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        threshold: float = 3.0,
        train_clip: bool = False,
        log_sigma2: float = -10.0,
    ) -> None:
        nn.Linear.__init__(self, in_features, out_features, bias, device, dtype)
        self._set_up(threshold, train_clip, log_sigma2)

    @classmethod
    def from_linear(cls, linear: nn.Linear, **arguments: Any) -> SparseVariationalLinear:
        """The layer with a copy of a trained layer's weights as means.

        Args:
            linear: What to copy.
            arguments: The constructor's keyword arguments from `threshold` on.
        """
        weight, has_bias = linear.weight, linear.bias is not None
        new = cls(linear.in_features, linear.out_features, has_bias, weight.device, weight.dtype, **arguments)
        new._copy(linear)
        return new

    def forward(self, input: Tensor, *, key: Tensor | None = None) -> Tensor:  # noqa: A002
        """Noisy in training; in eval the means, zero where they are mostly noise."""
        owner = "SparseVariationalLinear"
        check_features(owner, input, self.in_features)
        weights = self.weight, self.log_sigma2, self.bias
        return apply(owner, F.linear, input, *weights, self.training, self.threshold, self.train_clip, key)
