"""Activation functions and their derivatives, element by element, without overflow for any finite input."""
# ruff: noqa: N803, N806 - the course's names: capital letters for arrays that hold one example per column

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from torchdropout.scratch.checks import Array

SELU_SCALE = 1.0507009873554804934193349852946  # Klambauer et al. 2017, arXiv:1706.02515, equation 14
SELU_ALPHA = 1.6732632423543772848170429916717


def relu(Z: Array) -> Array:
    """`max(z, 0)`."""
    return np.maximum(Z, 0.0)


def relu_derivative(Z: Array) -> Array:
    """1 where z > 0, else 0. At 0 any number from 0 to 1 would do; like everybody, we take 0."""
    return np.where(Z > 0, 1.0, 0.0)


def leaky_relu(Z: Array, slope: float = 0.01) -> Array:
    """`z` where z > 0, else `slope * z`."""
    return np.where(Z > 0, Z, slope * Z)


def leaky_relu_derivative(Z: Array, slope: float = 0.01) -> Array:
    """1 where z > 0, else `slope`."""
    return np.where(Z > 0, 1.0, slope)


def prelu(Z: Array, slope: float | Array = 0.25) -> Array:
    """The parametric ReLU: a leaky ReLU whose slope is learned (He et al. 2015, arXiv:1502.01852).

    Args:
        Z: Numbers, one row per unit, one column per example.
        slope: One number, or one per unit with shape (units, 1).
    """
    return np.where(Z > 0, Z, slope * Z)


def prelu_derivative(Z: Array, slope: float | Array = 0.25) -> Array:
    """1 where z > 0, else `slope`: the derivative by z."""
    return np.where(Z > 0, 1.0, slope)


def prelu_slope_derivative(Z: Array) -> Array:
    """`min(z, 0)`: the derivative by the slope. Sum `dA` times it over all that share a slope, and descend."""
    return np.minimum(Z, 0.0)


def relu6(Z: Array) -> Array:
    """`min(max(z, 0), 6)`."""
    return np.clip(Z, 0.0, 6.0)


def relu6_derivative(Z: Array) -> Array:
    """1 where 0 < z < 6, else 0."""
    return np.where((Z > 0) & (Z < 6), 1.0, 0.0)


def elu(Z: Array, alpha: float = 1.0) -> Array:
    """`z` where z > 0, else `alpha * (exp(z) - 1)`."""
    return np.where(Z > 0, Z, alpha * np.expm1(np.minimum(Z, 0.0)))  # the minimum: exp(1000) would overflow


def elu_derivative(Z: Array, alpha: float = 1.0) -> Array:
    """1 where z > 0, else `alpha * exp(z)`."""
    return np.where(Z > 0, 1.0, alpha * np.exp(np.minimum(Z, 0.0)))


def selu(Z: Array) -> Array:
    """An ELU times a scale, the two numbers such that mean 0 and variance 1 are kept from layer to layer."""
    return SELU_SCALE * elu(Z, SELU_ALPHA)


def selu_derivative(Z: Array) -> Array:
    """The derivative of `selu`."""
    return SELU_SCALE * elu_derivative(Z, SELU_ALPHA)


def sigmoid(Z: Array) -> Array:
    """`1 / (1 + exp(-z))`, written with `exp(-|z|)`, which is at most 1 and cannot overflow."""
    small = np.exp(-np.abs(Z))
    return np.where(Z >= 0, 1.0, small) / (1.0 + small)


def sigmoid_derivative(Z: Array) -> Array:
    """`s * (1 - s)` with s = sigmoid(z); `1 - s` is written `sigmoid(-z)`, which keeps its digits."""
    return sigmoid(Z) * sigmoid(-Z)


def tanh(Z: Array) -> Array:
    """`(exp(z) - exp(-z)) / (exp(z) + exp(-z))`."""
    return np.tanh(Z)


def tanh_derivative(Z: Array) -> Array:
    """`1 - tanh(z)**2`."""
    return 1.0 - np.tanh(Z) ** 2


def gelu(Z: Array) -> Array:
    """`z * P(z)`, P the distribution function of the standard normal (Hendrycks and Gimpel, arXiv:1606.08415)."""
    return Z * _normal_cdf(Z)


def gelu_derivative(Z: Array) -> Array:
    """`P(z) + z * p(z)`, p the density of the standard normal."""
    return _normal_cdf(Z) + Z * np.exp(-0.5 * Z**2) / math.sqrt(2 * math.pi)


def _normal_cdf(Z: Array) -> Array:
    erfc = np.vectorize(math.erfc, otypes=[np.float64])  # NumPy has no error function of its own
    return np.asarray(0.5 * erfc(-np.asarray(Z) / math.sqrt(2)))


def silu(Z: Array) -> Array:
    """`z * sigmoid(z)`, also called Swish."""
    return Z * sigmoid(Z)


def silu_derivative(Z: Array) -> Array:
    """`s + z * s * (1 - s)` with s = sigmoid(z)."""
    return sigmoid(Z) + Z * sigmoid_derivative(Z)


def softplus(Z: Array) -> Array:
    """`log(1 + exp(z))`, which `logaddexp` computes without overflow."""
    return np.logaddexp(0.0, Z)


def mish(Z: Array) -> Array:
    """`z * tanh(softplus(z))` (Misra, arXiv:1908.08681)."""
    return Z * np.tanh(softplus(Z))


def mish_derivative(Z: Array) -> Array:
    """The product rule, and softplus' = sigmoid."""
    t = np.tanh(softplus(Z))
    return t + Z * (1.0 - t**2) * sigmoid(Z)


def softmax(Z: Array) -> Array:
    """`exp(z_i) / sum_j exp(z_j)` down each column; subtracting the largest z first changes nothing but overflow."""
    E = np.exp(Z - Z.max(axis=0, keepdims=True))
    return np.asarray(E / E.sum(axis=0, keepdims=True))


def softmax_backward(dA: Array, Z: Array) -> Array:
    """From dA, the gradient by A = softmax(Z), the gradient by Z: `dz_i = a_i * (da_i - sum_j a_j da_j)`.

    Each output depends on all of a column's inputs, so there is a matrix of derivatives,
    `da_j / dz_i = a_j * ((i == j) - a_i)`; this is its product with `dA`.
    """
    A = softmax(Z)
    return np.asarray(A * (dA - (A * dA).sum(axis=0, keepdims=True)))


class Activation(NamedTuple):
    """A function of each element, and its derivative."""

    function: Callable[[Array], Array]
    derivative: Callable[[Array], Array]


ACTIVATIONS = {
    "ReLU": Activation(relu, relu_derivative),
    "leaky ReLU": Activation(leaky_relu, leaky_relu_derivative),
    "parametric ReLU": Activation(prelu, prelu_derivative),
    "ReLU6": Activation(relu6, relu6_derivative),
    "ELU": Activation(elu, elu_derivative),
    "SELU": Activation(selu, selu_derivative),
    "GELU": Activation(gelu, gelu_derivative),
    "SiLU (Swish)": Activation(silu, silu_derivative),
    "Mish": Activation(mish, mish_derivative),
    "sigmoid": Activation(sigmoid, sigmoid_derivative),
    "tanh": Activation(tanh, tanh_derivative),
}
