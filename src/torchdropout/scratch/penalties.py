"""Regularization by a penalty on the weights: L2, L1, and both (elastic net). Biases are free."""
# ruff: noqa: N803, N806 - the course's names: capital letters for arrays that hold one example per column

from __future__ import annotations

from typing import Any

import numpy as np

from torchdropout.scratch import checks
from torchdropout.scratch.checks import Array, Arrays, depth
from torchdropout.scratch.network import backward_propagation, compute_cost


def compute_cost_with_regularization(
    A: Any,
    Y: Any,
    parameters: Arrays,
    lambd: float | tuple[float, float],
    norm: str = "l2",
    Z: Array | None = None,
) -> float:
    """The cross-entropy plus a penalty, with m examples and the sums over all weights of all layers.

    - `"l2"`: lambd / (2 m) * sum w**2
    - `"l1"`: lambd / m * sum |w|
    - `"elastic"`: both, with `lambd = (for |w|, for w**2)`; one number stands for two equal ones.

    The cost is a mean over m examples, so the penalty shrinks as the data grow. PyTorch's `weight_decay` is not divided
    by m: it is `lambd / m` here.

    Args:
        A: The output, shape (outputs, examples).
        Y: The labels, same shape.
        parameters: W1, b1, W2, b2, ...
        lambd: The strength, 0 or more.
        norm: One of the three above.
        Z: The last Z, for the exact cost of `compute_cost`.

    Raises:
        ValueError: As `compute_cost`; or `lambd` is negative, or `norm` is unknown.
    """
    return compute_cost(A, Y, Z) + penalty(parameters, lambd, np.shape(Y)[1], norm)


def penalty(parameters: Arrays, lambd: float | tuple[float, float], m: int, norm: str = "l2") -> float:
    """The penalty alone; see `compute_cost_with_regularization`."""
    l1, l2 = _strengths(lambd, norm)
    weights = [parameters[f"W{layer}"] for layer in range(1, depth(parameters) + 1)]
    return float(sum(l1 / m * np.abs(W).sum() + l2 / (2 * m) * (W**2).sum() for W in weights))


def backward_propagation_with_regularization(
    X: Any, Y: Any, cache: Arrays, lambd: float | tuple[float, float], norm: str = "l2"
) -> Arrays:
    """The gradients of the cost with its penalty: to each dW comes `lambd / m * W` (L2) or `lambd / m * sign(W)` (L1).

    |w| has no derivative at 0; the sign of 0 is taken as 0, so a weight that is 0 is not pushed away from it.

    Args:
        X: The inputs, shape (features, examples m).
        Y: The labels, shape (outputs, examples).
        cache: What `forward_propagation` returned.
        lambd: The strength.
        norm: `"l2"`, `"l1"` or `"elastic"`.

    Returns:
        dW1, db1, dZ1, dA1, ... as `backward_propagation`.

    Raises:
        ValueError: As `backward_propagation`; or `lambd` is negative, or `norm` is unknown.
    """
    return add_penalty(backward_propagation(X, Y, cache), cache, lambd, np.shape(Y)[1], norm)


def add_penalty(
    gradients: Arrays, parameters: Arrays, lambd: float | tuple[float, float], m: int, norm: str = "l2"
) -> Arrays:
    """The gradients with those of the penalty added to dW1, dW2, ..."""
    l1, l2 = _strengths(lambd, norm)
    total = dict(gradients)
    for layer in range(1, depth(parameters) + 1):
        W = parameters[f"W{layer}"]
        total[f"dW{layer}"] = gradients[f"dW{layer}"] + l1 / m * np.sign(W) + l2 / m * W
    return total


def _strengths(lambd: float | tuple[float, float], norm: str) -> tuple[float, float]:
    """The strengths of |w| and of w**2."""
    checks.check_choice("norm", norm, checks.NORMS)
    given = np.atleast_1d(lambd).astype(float)
    if given.shape not in ((1,), (2,)) or (norm != "elastic" and given.shape != (1,)):
        raise ValueError(f"lambd must be one number, or two for norm='elastic', got {lambd!r} for norm={norm!r}.")
    for value in given:
        checks.check_not_negative("lambd", float(value))
    first, last = float(given[0]), float(given[-1])
    return {"l1": (first, 0.0), "l2": (0.0, last), "elastic": (first, last)}[norm]
