"""The methods as functions, and the noise itself for a key."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from torchdropout import laws, ops
from torchdropout.layers._checks import check_probability
from torchdropout.layers._moments import relu_moments, sigmoid_moments
from torchdropout.layers._noise import times_bernoulli
from torchdropout.layers.alpha import alpha_dropout, feature_alpha_dropout
from torchdropout.layers.avg_pool import avg_pool_dropout1d, avg_pool_dropout2d
from torchdropout.layers.concrete import concrete_dropout
from torchdropout.layers.cutout import cutout
from torchdropout.layers.drop_block import drop_block1d, drop_block2d
from torchdropout.layers.drop_key import drop_key, drop_key_rates
from torchdropout.layers.drop_path import drop_path
from torchdropout.layers.dropconnect import dropconnect
from torchdropout.layers.dropout import dropout
from torchdropout.layers.embedding import embedding_dropout
from torchdropout.layers.fast_dropout import fast_dropout_linear
from torchdropout.layers.fast_dropout_loss import fast_dropout_cross_entropy, fast_dropout_logistic_loss
from torchdropout.layers.gaussian import gaussian_dropout
from torchdropout.layers.gaussian_noise import check_std, gaussian_noise
from torchdropout.layers.layer_drop import layer_drop
from torchdropout.layers.locked import locked_dropout
from torchdropout.layers.log_normal import log_normal_dropout
from torchdropout.layers.max_drop import max_drop
from torchdropout.layers.max_pool import max_pool_dropout1d, max_pool_dropout2d
from torchdropout.layers.mixout import mixout
from torchdropout.layers.patch_dropout import patch_dropout
from torchdropout.layers.sparse_variational import sparse_variational_linear
from torchdropout.layers.spatial import dropout1d, dropout2d, dropout3d
from torchdropout.layers.standout import standout
from torchdropout.layers.stochastic_rate import stochastic_rate_dropout
from torchdropout.layers.variational import variational_dropout
from torchdropout.layers.variational_linear import variational_linear
from torchdropout.layers.word import word_dropout

__all__ = [
    "alpha_dropout",
    "avg_pool_dropout1d",
    "avg_pool_dropout2d",
    "concrete_dropout",
    "cutout",
    "drop_block1d",
    "drop_block2d",
    "drop_key",
    "drop_key_rates",
    "drop_path",
    "dropconnect",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "dropout_mask",
    "embedding_dropout",
    "fast_dropout_cross_entropy",
    "fast_dropout_linear",
    "fast_dropout_logistic_loss",
    "feature_alpha_dropout",
    "gaussian_dropout",
    "gaussian_noise",
    "layer_drop",
    "locked_dropout",
    "log_normal_dropout",
    "max_drop",
    "max_pool_dropout1d",
    "max_pool_dropout2d",
    "mixout",
    "normal",
    "patch_dropout",
    "relu_moments",
    "sigmoid_moments",
    "sparse_variational_linear",
    "standout",
    "stochastic_rate_dropout",
    "variational_dropout",
    "variational_linear",
    "word_dropout",
]


def dropout_mask(
    shape: Sequence[int], p: float = 0.5, *, key: Tensor | None = None, shared_dims: Sequence[int] = ()
) -> Tensor:
    """The mask that the Bernoulli methods use for a key.

    Args:
        shape: The shape of the tensor to be masked.
        p: The probability of dropping.
        key: Whose mask; None draws a key.
        shared_dims: The axes that share a draw; they have size 1 in the result.

    Returns:
        A boolean tensor on the CPU, True where kept, of `shape` with 1 at the shared axes.

    Raises:
        ValueError: `p` is outside [0, 1].

    Example:
        >>> import torch, torchdropout as td
        >>> td.functional.dropout_mask((2, 3), 0.5, key=td.key(1))
        tensor([[ True,  True,  True],
                [False, False,  True]])
    """
    check_probability("dropout_mask", p)
    ones = torch.ones(_noise_shape(shape, shared_dims), dtype=torch.float32, device="cpu")
    return times_bernoulli(ones, p, key, scaled=False).bool()


def normal(
    shape: Sequence[int], std: float = 1.0, *, key: Tensor | None = None, shared_dims: Sequence[int] = ()
) -> Tensor:
    """The normal noise of a key.

    Args:
        shape: The shape of the tensor the noise is for.
        std: The standard deviation.
        key: Whose noise; None draws a key.
        shared_dims: The axes that share a draw; they have size 1 in the result.

    Returns:
        A float32 tensor on the CPU, of `shape` with 1 at the shared axes.

    Raises:
        ValueError: `std` is negative or not finite.

    Example:
        >>> import torch, torchdropout as td
        >>> td.functional.normal((3,), key=td.key(0))
        tensor([ 0.9911, -0.1536, -1.1864])
    """
    check_std("normal", std)
    ones = torch.ones(_noise_shape(shape, shared_dims), dtype=torch.float32, device="cpu")
    return ops.multiply(ones, laws.Spec("normal", std, 0.0), key=key)


def _noise_shape(shape: Sequence[int], shared_dims: Sequence[int]) -> list[int]:
    sizes = list(shape)
    for dim in shared_dims:
        sizes[dim] = 1
    return sizes
