"""Gradient descent: the update of the parameters, and the whole training."""
# ruff: noqa: N803, N806 - the course's names: capital letters for arrays that hold one example per column

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np

from torchdropout.scratch import checks
from torchdropout.scratch.checks import Array, Arrays, Rng, depth
from torchdropout.scratch.dropout import backward_propagation_with_dropout, forward_propagation_with_dropout
from torchdropout.scratch.network import backward_propagation, forward_propagation, initialize_parameters
from torchdropout.scratch.penalties import add_penalty, compute_cost_with_regularization


def update_parameters(
    parameters: Arrays,
    gradients: Arrays,
    learning_rate: float,
    *,
    momentum: float = 0.0,
    velocity: Arrays | None = None,
    max_norm: float | None = None,
) -> Arrays:
    """One step down the gradient.

    - Plain: `w <- w - learning_rate * dw`.
    - With momentum: `v <- momentum * v + dw`, `w <- w - learning_rate * v` (PyTorch's form; the course writes
      `v <- beta * v + (1 - beta) * dw`, which is the same with a learning rate larger by 1 / (1 - beta)).
    - With max-norm, after the step: the weights coming into a hidden unit, a row of W, are scaled down to the length
      `max_norm` where they are longer (Srivastava et al. 2014, section 5.1). The output layer is free.

    Args:
        parameters: W1, b1, W2, b2, ...; they are not changed.
        gradients: dW1, db1, ...
        learning_rate: The step's size, above 0.
        momentum: From 0 up to, not including, 1.
        velocity: For momentum: a dict, empty at first, in which v is kept from call to call.
        max_norm: The largest length, or None.

    Returns:
        The new W1, b1, W2, b2, ...

    Raises:
        ValueError: A number is out of its range, or there is momentum and no `velocity`.
    """
    checks.check_not_negative("learning_rate", learning_rate, positive=True)
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must be at least 0 and below 1, got {momentum!r}.")
    if momentum > 0 and velocity is None:
        raise ValueError("momentum needs velocity: pass a dict, {} at first and the same one at every step.")
    L = depth(parameters)
    updated = {}
    for name in [f"{kind}{layer}" for layer in range(1, L + 1) for kind in "Wb"]:
        step = gradients[f"d{name}"]
        if momentum > 0 and velocity is not None:
            velocity[f"d{name}"] = step = momentum * velocity.get(f"d{name}", 0.0) + step
        updated[name] = parameters[name] - learning_rate * step
    if max_norm is not None:
        checks.check_not_negative("max_norm", max_norm, positive=True)
        updated |= {f"W{layer}": _shorten(updated[f"W{layer}"], max_norm) for layer in range(1, L)}
    return updated


def _shorten(W: Array, max_norm: float) -> Array:
    lengths = np.linalg.norm(W, axis=1, keepdims=True)
    return np.asarray(W * (max_norm / np.maximum(lengths, max_norm)))


def model(
    X: Any,
    Y: Any,
    layers_dims: Sequence[int],
    learning_rate: float = 0.3,
    num_iterations: int = 30_000,
    lambd: float | tuple[float, float] = 0.0,
    keep_prob: float | Sequence[float] = 1.0,
    *,
    norm: str = "l2",
    method: str = "he",
    momentum: float = 0.0,
    max_norm: float | None = None,
    parameters: Arrays | None = None,
    masks: Arrays | None = None,
    rng: Rng | int | None = None,
    costs: list[float] | None = None,
    print_every: int = 0,
    progress: bool = False,
    course_compatible: bool = False,
) -> Arrays:
    """Train a network by gradient descent on all the examples at once, and return its parameters.

    Args:
        X: Inputs, shape (features, examples).
        Y: Labels 0 or 1, shape (outputs, examples); one-hot columns for several outputs.
        layers_dims: Units per layer, features first and outputs last, e.g. [2, 20, 3, 1].
        learning_rate: The step's size.
        num_iterations: How many steps.
        lambd: The strength of the penalty on the weights.
        keep_prob: The probability of keeping a hidden unit; one number, or one per hidden layer; 1 is no dropout.
        norm: The penalty's kind, `"l2"`, `"l1"` or `"elastic"`.
        method: How the weights are drawn, `"he"`, `"xavier"` or `"plain"`.
        momentum: See `update_parameters`.
        max_norm: See `update_parameters`.
        parameters: Where to start from, instead of drawing; they are not changed.
        masks: D1, D2, ... used at every iteration instead of fresh ones (the frozen-mask mistake, on purpose).
        rng: The generator, or a seed, for the weights and then for the masks, fresh ones at every iteration.
        costs: A list to which the cost of each iteration is appended.
        print_every: Print the cost each so many iterations; 0 prints nothing.
        progress: Show a progress bar (it needs the package rich).
        course_compatible: Reproduce the classic course exactly, its frozen dropout mask included; see
            `initialize_parameters` and `forward_propagation_with_dropout`.

    Returns:
        W1, b1, W2, b2, ...

    Raises:
        ValueError: What is passed in does not fit together; the message says how.
        FloatingPointError: Numbers are no longer finite: the learning rate is too large.
    """
    generator = rng if course_compatible else checks.as_rng(rng)
    if parameters is None:
        parameters = initialize_parameters(layers_dims, method, generator, course_compatible=course_compatible)
    _check_start(parameters, layers_dims, num_iterations)
    forward, backward = _passes(keep_prob, len(layers_dims) - 2, generator, masks, course_compatible)
    velocity: Arrays = {}
    for iteration in _iterations(num_iterations, progress):
        with np.errstate(over="ignore", invalid="ignore"):  # an overflow is told by _check_finite
            A, cache = forward(X, parameters)
            Z = _check_finite("Z", cache[f"Z{len(layers_dims) - 1}"], iteration)
            cost = compute_cost_with_regularization(A, Y, parameters, lambd, norm, Z)
            gradients = add_penalty(backward(X, Y, cache), parameters, lambd, Z.shape[1], norm)
            parameters = update_parameters(
                parameters, gradients, learning_rate, momentum=momentum, velocity=velocity, max_norm=max_norm
            )
        if costs is not None:
            costs.append(cost)
        if print_every and iteration % print_every == 0:
            print(f"Cost after iteration {iteration}: {cost}")
    return {name: _check_finite(name, value, num_iterations) for name, value in parameters.items()}


def _passes(
    keep_prob: float | Sequence[float], hidden: int, rng: Rng | int | None, masks: Arrays | None, course: bool
) -> tuple[Callable[..., tuple[Array, Arrays]], Callable[..., Arrays]]:
    """Forward and backward, with dropout if some unit can be dropped."""
    keep = checks.check_keep_prob(keep_prob, hidden)
    if masks is None and all(probability == 1 for probability in keep):
        return forward_propagation, backward_propagation
    drawn = None if masks is not None else rng
    forward = partial(
        forward_propagation_with_dropout, keep_prob=keep, rng=drawn, masks=masks, course_compatible=course
    )
    return forward, partial(backward_propagation_with_dropout, keep_prob=keep)


def _check_start(parameters: Arrays, layers_dims: Sequence[int], num_iterations: int) -> None:
    checks.check_layers_dims(layers_dims)
    if num_iterations < 0:
        raise ValueError(f"num_iterations must be 0 or more, got {num_iterations}.")
    found = [parameters["W1"].shape[1]] + [parameters[f"W{i}"].shape[0] for i in range(1, depth(parameters) + 1)]
    if found != list(layers_dims):
        raise ValueError(f"parameters are those of layers {found}, expected {list(layers_dims)}: layers_dims.")


def _check_finite(name: str, array: Array, iteration: int) -> Array:
    if not np.isfinite(array).all():
        raise FloatingPointError(f"{name} is no longer finite at iteration {iteration}: try a smaller learning_rate.")
    return array


def _iterations(number: int, progress: bool) -> Iterable[int]:
    if not progress:
        return range(number)
    from rich.progress import track  # noqa: PLC0415 - only where a bar is asked for

    return track(range(number), description="Training")
