"""A network of any depth, LINEAR -> ReLU -> ... -> LINEAR -> sigmoid or softmax: forward, cost, backward, predict.

Examples stand in columns. Layer `l` has weights `W{l}` of shape (units, units before), a bias `b{l}` of shape
(units, 1), `Z{l} = W{l} @ A{l-1} + b{l}` and `A{l}`, both of shape (units, examples); `A0` is the input X.
With one output row the last activation is the sigmoid (two classes); with several it is the softmax (one class each).
"""
# ruff: noqa: N803, N806 - the course's names: capital letters for arrays that hold one example per column

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from torchdropout.scratch import checks
from torchdropout.scratch.activations import relu, relu_derivative, sigmoid, softmax
from torchdropout.scratch.checks import Array, Arrays, Rng, depth

METHODS = ("he", "xavier", "plain")
COURSE_SEED = 3


def initialize_parameters(
    layers_dims: Sequence[int],
    method: str = "he",
    rng: Rng | int | None = None,
    *,
    course_compatible: bool = False,
) -> Arrays:
    """Draw the weights from a normal distribution with mean 0; the biases are 0.

    The standard deviation, with `n_in` units before a layer and `n_out` in it:

    - `"he"`: sqrt(2 / n_in), which keeps the spread through ReLU layers (He et al. 2015, arXiv:1502.01852).
    - `"xavier"`: sqrt(2 / (n_in + n_out)), for layers such as tanh (Glorot and Bengio 2010).
    - `"plain"`: 0.01 everywhere. In a deep network the signal dies out (examples/initialisation.py).

    Args:
        layers_dims: The number of units per layer, inputs first, e.g. [2, 20, 3, 1].
        method: One of the three above.
        rng: A NumPy generator, or a seed.
        course_compatible: Draw as the classic course's regularization exercise does: `RandomState(3)` and standard
            deviation 1 / sqrt(n_in); `method` is not used.

    Returns:
        W1 of shape (layers_dims[1], layers_dims[0]), b1 of shape (layers_dims[1], 1), W2, ...

    Raises:
        ValueError: `layers_dims` or `method` is not as said, or `rng` is given though the course's seed is asked for.
    """
    checks.check_layers_dims(layers_dims)
    checks.check_choice("method", method, METHODS)
    rng = _course_rng(rng) if course_compatible else checks.as_rng(rng)
    parameters = {}
    for layer, (n_in, n_out) in enumerate(pairwise(layers_dims), start=1):
        N = rng.standard_normal((n_out, n_in))
        parameters[f"W{layer}"] = N / np.sqrt(n_in) if course_compatible else N * _spread(method, n_in, n_out)
        parameters[f"b{layer}"] = np.zeros((n_out, 1))
    return parameters


def _spread(method: str, n_in: int, n_out: int) -> float:
    return float({"he": np.sqrt(2 / n_in), "xavier": np.sqrt(2 / (n_in + n_out)), "plain": 0.01}[method])


def _course_rng(rng: Rng | int | None) -> Rng:
    if rng is not None:
        raise ValueError(f"rng must be None with course_compatible=True: the course's seed is {COURSE_SEED}.")
    return np.random.RandomState(COURSE_SEED)


def forward_propagation(X: Any, parameters: Arrays) -> tuple[Array, Arrays]:
    """Compute the network's output.

    Args:
        X: Inputs, shape (features, examples).
        parameters: W1, b1, W2, b2, ...

    Returns:
        The output, shape (outputs, examples), and the cache that going backward needs: the parameters, and
        Z1, A1, Z2, A2, ... of all layers.

    Raises:
        ValueError: X does not fit W1, is empty, or holds NaN or infinite values.
    """
    L = depth(parameters)
    A = checks.check_inputs(X, parameters)
    cache = dict(parameters)
    for layer in range(1, L + 1):
        Z = parameters[f"W{layer}"] @ A + parameters[f"b{layer}"]
        A = relu(Z) if layer < L else output_activation(Z)
        cache |= {f"Z{layer}": Z, f"A{layer}": A}
    return A, cache


def output_activation(Z: Array) -> Array:
    """The sigmoid of a single row, the softmax down the columns of several."""
    return sigmoid(Z) if Z.shape[0] == 1 else softmax(Z)


def compute_cost(A: Any, Y: Any, Z: Array | None = None) -> float:
    """The cross-entropy, the mean over the examples of `-log(probability given to the true class)`.

    One output: `-(y log a + (1 - y) log(1 - a))`. Several: `-sum_i y_i log a_i`.

    A probability within 1e-16 of 1 is rounded to 1, and `log(1 - a)` is lost. With `Z`, the numbers before the last
    activation, the cost is computed from them and exact: `log(1 + exp(-z))` for y = 1, `log(1 + exp(z))` for y = 0, and
    `log(sum_j exp(z_j)) - z_true` for several. Without, 0 is taken as the smallest positive number and 1 as the largest
    number below it, so the cost stays finite.

    Args:
        A: The output, shape (outputs, examples), from 0 to 1.
        Y: The labels, same shape, 0 or 1; one-hot columns for several outputs.
        Z: The cache's last Z, same shape, or None.

    Raises:
        ValueError: The shapes differ, or the values are not as said.
    """
    A = checks.check_probabilities(A)
    Y = checks.check_labels(Y, A.shape)
    if Z is None:
        costs = _cost_of_probabilities(A, Y)
    elif A.shape[0] == 1:
        costs = np.logaddexp(0.0, (1 - 2 * Y) * Z)
    else:
        shifted = Z - Z.max(axis=0, keepdims=True)
        costs = np.log(np.exp(shifted).sum(axis=0)) - (Y * shifted).sum(axis=0)
    return float(costs.sum() / Y.shape[1])


def _cost_of_probabilities(A: Array, Y: Array) -> Array:
    tiny, eps = np.finfo(np.float64).tiny, np.finfo(np.float64).epsneg  # just above 0, and 1 - eps is just below 1
    costs = -Y * np.log(np.maximum(A, tiny))
    if A.shape[0] == 1:
        costs -= (1 - Y) * np.log1p(-np.minimum(A, 1 - eps))
    return np.asarray(costs)


def backward_propagation(X: Any, Y: Any, cache: Arrays) -> Arrays:
    """The gradients of the cost, from the last layer to the first by the chain rule.

    At the output `dZ = A - Y` for sigmoid and softmax alike. Then, layer by layer,
    `dW = dZ @ A_before.T / m`, `db = (sum of dZ over the examples) / m`, `dA_before = W.T @ dZ`, and
    `dZ_before = dA_before * relu'(Z_before)`. (As in the course, dZ and dA leave out the factor 1 / m.)

    Args:
        X: The inputs, shape (features, examples m).
        Y: The labels, shape (outputs, examples).
        cache: What `forward_propagation` returned.

    Returns:
        dW1, db1, ... with the shapes of W1, b1, ..., and dZ1, dA1, ...

    Raises:
        ValueError: X or Y does not fit the cache.
    """
    return _backward(X, Y, cache, None)


def _backward(X: Any, Y: Any, cache: Arrays, keep: Sequence[float] | None) -> Arrays:
    """The loop; with `keep`, the probabilities of dropout, dA passes through the cached masks."""
    L = depth(cache)
    X = checks.check_inputs(X, cache)
    Y = checks.check_labels(Y, (cache[f"Z{L}"].shape[0], X.shape[1]))
    _check_same_examples(X, cache[f"Z{L}"])
    dZ = cache[f"A{L}"] - Y
    gradients = {f"dZ{L}": dZ}
    for layer in range(L, 0, -1):
        A_before = cache[f"A{layer - 1}"] if layer > 1 else X
        gradients[f"dW{layer}"] = dZ @ A_before.T / X.shape[1]
        gradients[f"db{layer}"] = dZ.sum(axis=1, keepdims=True) / X.shape[1]
        if layer > 1:
            dA = cache[f"W{layer}"].T @ dZ
            if keep is not None:
                dA = dA * cache[f"D{layer - 1}"] / keep[layer - 2]
            dZ = dA * relu_derivative(cache[f"Z{layer - 1}"])
            gradients |= {f"dA{layer - 1}": dA, f"dZ{layer - 1}": dZ}
    return gradients


def _check_same_examples(X: Array, Z: Array) -> None:
    if X.shape[1] != Z.shape[1]:
        raise ValueError(f"X has {X.shape[1]} examples and the cache {Z.shape[1]}: pass the X of the forward pass.")


def predict(X: Any, parameters: Arrays) -> Array:
    """The predicted class of each example, shape (1, examples): 1 where the probability is above 1/2, else 0.

    With several outputs, the number of the row with the largest one.

    Raises:
        ValueError: As `forward_propagation`.
    """
    A, _ = forward_propagation(X, parameters)
    classes = A > 0.5 if A.shape[0] == 1 else A.argmax(axis=0)[np.newaxis]
    return classes.astype(np.float64)


def one_hot(labels: Any, classes: int) -> Array:
    """One column per label, shape (classes, examples): a 1 in the row of its class, 0 elsewhere.

    Raises:
        ValueError: A label is not a whole number from 0 to `classes` - 1.
    """
    labels = np.ravel(labels)
    if labels.size == 0 or not np.isin(labels, np.arange(classes)).all():
        raise ValueError(f"labels must be whole numbers from 0 to {classes - 1}, and at least one.")
    return np.eye(classes)[:, labels.astype(int)]
