"""Losses of normal logits without sampling, for nets of fast-dropout layers."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from torchdropout.layers._checks import check_choice, check_number
from torchdropout.layers._moments import Moments, check_moments, shrink, sqrt, wide
from torchdropout.layers._noise import standard_normal

Reduction = Literal["mean", "sum", "none"]
Approximation = Literal["bound", "delta", "sample"]


def fast_dropout_logistic_loss(moments: Moments, targets: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """The expected logistic loss of normal logits: `-log(sigmoid(c * y * mu)) / c`, `c = 1 / sqrt(1 + pi * s**2 / 8)`.

    `y` is 1 for a target of 1 and -1 for a target of 0. Where the variance is 0 this is the logistic loss itself.

    Args:
        moments: The logits' means and variances, as `torchdropout.FastDropoutLinear` returns them with
            `mode="moments"`; a pair of tensors of any shape.
        targets: 0 or 1, or a probability, of the logits' shape.
        reduction: `"mean"`, `"sum"` or `"none"`.

    Returns:
        A 0-d tensor; with `"none"` one of the logits' shape. In at least float32.

    Raises:
        ValueError: The shapes differ, or `reduction` is unknown.
        TypeError: The means are not floating point.

    Example:
        >>> import torch, torchdropout as td
        >>> logits = td.FastDropoutLinear(3, 1, mode="moments")(torch.ones(4, 3))
        >>> td.functional.fast_dropout_logistic_loss(logits, torch.ones(4, 1)).shape
        torch.Size([])

    Reference:
        S. Wang, C. Manning. Fast dropout training. ICML 2013, PMLR 28(2):118-126, equation 8.
    """
    mean, variance = _checked("fast_dropout_logistic_loss", moments, reduction)
    if targets.shape != mean.shape:
        raise ValueError(
            f"fast_dropout_logistic_loss: `targets` must have the shape {tuple(mean.shape)}, "
            f"got {tuple(targets.shape)}."
        )
    c, y = shrink(variance), targets.to(mean.dtype)
    return _reduce((y * F.softplus(-c * mean) + (1.0 - y) * F.softplus(c * mean)) / c, reduction)


def fast_dropout_cross_entropy(
    moments: Moments,
    targets: Tensor,
    *,
    approximation: Approximation = "bound",
    num_samples: int = 16,
    reduction: Reduction = "mean",
    key: Tensor | None = None,
) -> Tensor:
    """The cross-entropy of independent normal logits, which has no closed form.

    `"bound"`: `log(sum_j exp(mu_j + s_j**2 / 2)) - mu_y`, which the expected loss never exceeds (Jensen's inequality).
    `"delta"`: the loss at the means plus `sum_j s_j**2 * q_j * (1 - q_j) / 2`, `q` being their softmax, to second order
    in the logits' deviations. `"sample"`: the negative logarithm of the softmax averaged over samples, as the
    paper trains nets with a softmax.

    Args:
        moments: The logits' means and variances, `(N, C)` each, as `torchdropout.FastDropoutLinear` returns them
            with `mode="moments"`.
        targets: The classes' numbers, `(N,)`, integers.
        approximation: `"bound"`, `"delta"` or `"sample"`.
        num_samples: How many samples of the logits `"sample"` draws.
        reduction: `"mean"`, `"sum"` or `"none"`.
        key: Whose noise `"sample"` uses; None draws one.

    Returns:
        A 0-d tensor; with `"none"` one of shape `(N,)`. In at least float32.

    Raises:
        ValueError: A shape is wrong, `num_samples` is below 1, or a choice is unknown.
        TypeError: The means are not floating point.

    Example:
        >>> import torch, torchdropout as td
        >>> logits = td.Moments(torch.zeros(1, 4), torch.full((1, 4), 2.0))
        >>> td.functional.fast_dropout_cross_entropy(logits, torch.tensor([0]))
        tensor(2.3863)
        >>> sampled = td.functional.fast_dropout_cross_entropy(
        ...     logits, torch.tensor([0]), approximation="sample", key=td.key(0)
        ... )

    Reference:
        "delta": S. Wager, S. Wang, P. Liang. Dropout Training as Adaptive Regularization. NIPS 2013, arXiv:1307.1493,
        section 2. "sample": S. Wang, C. Manning. Fast dropout training. ICML 2013, PMLR 28(2):118-126.
    """
    mean, variance = _checked("fast_dropout_cross_entropy", moments, reduction)
    check_choice("fast_dropout_cross_entropy", "approximation", approximation, ("bound", "delta", "sample"))
    check_number("fast_dropout_cross_entropy", "num_samples", num_samples, "at least 1", lambda n: n >= 1)
    if mean.dim() != 2 or targets.shape != mean.shape[:1]:
        raise ValueError(
            "fast_dropout_cross_entropy: `moments` and `targets` must have shapes (N, C) and (N,), "
            f"got {tuple(mean.shape)} and {tuple(targets.shape)}."
        )
    if approximation == "sample":
        z = mean + sqrt(variance) * standard_normal((num_samples, *mean.shape), key, mean)
        log_softmax = torch.logsumexp(torch.log_softmax(z, -1), 0) - math.log(num_samples)
        return _reduce(-_at(log_softmax, targets), reduction)
    if approximation == "bound":
        return _reduce(torch.logsumexp(mean + 0.5 * variance, -1) - _at(mean, targets), reduction)
    q = torch.softmax(mean, -1)
    loss = torch.logsumexp(mean, -1) - _at(mean, targets)
    return _reduce(loss + 0.5 * (variance * q * (1.0 - q)).sum(-1), reduction)


def _checked(owner: str, moments: Moments, reduction: str) -> Moments:
    mean, variance = moments
    check_moments(owner, mean, variance)
    check_choice(owner, "reduction", reduction, ("mean", "sum", "none"))
    return Moments(wide(mean), wide(variance))


def _at(values: Tensor, classes: Tensor) -> Tensor:
    return values.gather(-1, classes.unsqueeze(-1)).squeeze(-1)


def _reduce(loss: Tensor, reduction: Reduction) -> Tensor:
    return loss if reduction == "none" else loss.mean() if reduction == "mean" else loss.sum()
