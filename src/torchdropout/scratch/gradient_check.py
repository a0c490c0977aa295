"""Is the backward pass right? Compare it with the slope of the cost, measured by moving each parameter a little."""
# ruff: noqa: N803, N806 - the course's names: capital letters for arrays that hold one example per column

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from torchdropout.scratch import checks
from torchdropout.scratch.checks import Array, Arrays, depth
from torchdropout.scratch.dropout import forward_propagation_with_dropout
from torchdropout.scratch.network import forward_propagation
from torchdropout.scratch.penalties import compute_cost_with_regularization


def gradient_check(
    parameters: Arrays,
    gradients: Arrays,
    X: Any,
    Y: Any,
    epsilon: float = 1e-5,
    *,
    lambd: float | tuple[float, float] = 0.0,
    norm: str = "l2",
    keep_prob: float | Sequence[float] = 1.0,
    masks: Arrays | None = None,
) -> float:
    """The relative difference between the gradients and the measured slopes: below 1e-7 they are right.

    For each single parameter t the slope is `(J(t + epsilon) - J(t - epsilon)) / (2 epsilon)`; the difference is
    `|slopes - gradients| / (|slopes| + |gradients|)`, with the lengths of the vectors of all parameters.
    A Z that lies within about epsilon of ReLU's kink at 0 spoils the measured slope, not the gradient.

    Args:
        parameters: W1, b1, W2, b2, ...
        gradients: dW1, db1, ... to be checked.
        X: Inputs, shape (features, examples).
        Y: Labels, shape (outputs, examples).
        epsilon: The step; much smaller ones lose the difference of the two costs in rounding.
        lambd: The strength of the penalty in the cost.
        norm: Its kind.
        keep_prob: With `masks`, the probability of keeping.
        masks: D1, D2, ...: the cost has dropout with these masks, the same for every step.

    Raises:
        ValueError: A gradient is missing or has another shape than its parameter; or as the cost's functions.
    """
    checks.check_not_negative("epsilon", epsilon, positive=True)
    names = [f"{kind}{layer}" for layer in range(1, depth(parameters) + 1) for kind in "Wb"]
    for name in names:
        _check_gradient(name, parameters, gradients)

    def cost_of(moved: Arrays) -> float:
        if masks is None:
            A, cache = forward_propagation(X, moved)
        else:
            A, cache = forward_propagation_with_dropout(X, moved, keep_prob, masks=masks)
        return compute_cost_with_regularization(A, Y, moved, lambd, norm, cache[f"Z{depth(moved)}"])

    slopes = np.concatenate([_slopes(cost_of, parameters, name, epsilon) for name in names])
    given = np.concatenate([gradients[f"d{name}"].ravel() for name in names])
    lengths = np.linalg.norm(slopes) + np.linalg.norm(given)
    return float(np.linalg.norm(slopes - given) / lengths) if lengths > 0 else 0.0


def _slopes(cost_of: Callable[[Arrays], float], parameters: Arrays, name: str, epsilon: float) -> Array:
    slopes = np.empty(parameters[name].size)
    for i in range(slopes.size):
        step = np.zeros(parameters[name].shape)
        step.flat[i] = epsilon
        above = cost_of(parameters | {name: parameters[name] + step})
        below = cost_of(parameters | {name: parameters[name] - step})
        slopes[i] = (above - below) / (2 * epsilon)
    return slopes


def _check_gradient(name: str, parameters: Arrays, gradients: Arrays) -> None:
    if f"d{name}" not in gradients:
        raise ValueError(f"gradients has no d{name}.")
    found, expected = gradients[f"d{name}"].shape, parameters[name].shape
    if found != expected:
        raise ValueError(f"d{name} has shape {found}, expected {expected}: that of {name}.")
