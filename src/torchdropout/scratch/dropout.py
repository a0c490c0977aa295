"""Dropout of hidden units: a mask drawn in the forward pass, and the same mask in the backward pass.

A mask `D{l}` has the shape of `A{l}` and holds independent 0 (dropped) and 1 (kept, with probability `keep_prob`).
The layer passes on `A * D / keep_prob`, whose expectation is `A`: so predicting needs no dropout and no scaling.
"""
# ruff: noqa: N803, N806 - the course's names: capital letters for arrays that hold one example per column

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from torchdropout.scratch import checks
from torchdropout.scratch.activations import relu
from torchdropout.scratch.checks import Array, Arrays, Rng, depth
from torchdropout.scratch.network import _backward, output_activation

COURSE_SEED = 1


def forward_propagation_with_dropout(
    X: Any,
    parameters: Arrays,
    keep_prob: float | Sequence[float] = 0.5,
    rng: Rng | int | None = None,
    masks: Arrays | None = None,
    *,
    course_compatible: bool = False,
) -> tuple[Array, Arrays]:
    """Compute the output with dropout after every hidden layer: `A = relu(Z) * D / keep_prob`.

    Masks must be drawn afresh at every iteration: pass a generator (or None), never the same seed again and again.

    Args:
        X: Inputs, shape (features, examples).
        parameters: W1, b1, W2, b2, ...
        keep_prob: The probability of keeping a unit, above 0; one number, or one per hidden layer.
        rng: The generator to draw the masks from, layer by layer.
        masks: D1, D2, ... to use instead of drawing, each of shape (units, examples).
        course_compatible: Draw exactly as the classic course does: `RandomState(1)`, made anew in every forward
            pass, `rand(*A.shape) < keep_prob`. **This is a mistake of the course.** Every pass then draws the same
            numbers, so one frozen mask serves for the whole training: each example always loses the same units, and
            the network fits that one corrupted set instead of an average over masks. It is here so that the course's
            printed numbers come out; examples/planar.py measures what it changes.

    Returns:
        The output, shape (outputs, examples), and the cache: the parameters, Z1, D1, A1 (after dropout), Z2, ...

    Raises:
        ValueError: X does not fit W1; `keep_prob` is not in (0, 1] or not one per hidden layer; a mask is missing or
            has another shape; more than one of `rng`, `masks` and `course_compatible` is given.
    """
    L = depth(parameters)
    A = checks.check_inputs(X, parameters)
    keep = checks.check_keep_prob(keep_prob, L - 1)
    generator = _generator(rng, masks, course_compatible)
    cache = dict(parameters)
    for layer in range(1, L):
        Z = parameters[f"W{layer}"] @ A + parameters[f"b{layer}"]
        A = relu(Z)
        if masks is None:
            D = (generator.random(A.shape) < keep[layer - 1]).astype(np.float64)
        else:
            D = checks.check_mask(f"D{layer}", masks, A.shape)
        A = A * D / keep[layer - 1]
        cache |= {f"Z{layer}": Z, f"D{layer}": D, f"A{layer}": A}
    Z = parameters[f"W{L}"] @ A + parameters[f"b{L}"]
    cache |= {f"Z{L}": Z, f"A{L}": output_activation(Z)}
    return cache[f"A{L}"], cache


def _generator(rng: Rng | int | None, masks: Arrays | None, course_compatible: bool) -> Rng:
    if (rng is not None) + (masks is not None) + course_compatible > 1:
        raise ValueError("give only one of rng, masks and course_compatible: each says where the masks come from.")
    return np.random.RandomState(COURSE_SEED) if course_compatible else checks.as_rng(rng)


def backward_propagation_with_dropout(
    X: Any, Y: Any, cache: Arrays, keep_prob: float | Sequence[float] = 0.5
) -> Arrays:
    """The gradients of the cost with the masks of the forward pass: `dA = (W_next.T @ dZ_next) * D / keep_prob`.

    A unit that was dropped did not act on the output, so nothing flows back through it.

    Args:
        X: The inputs, shape (features, examples).
        Y: The labels, shape (outputs, examples).
        cache: What `forward_propagation_with_dropout` returned.
        keep_prob: That of the forward pass.

    Returns:
        dW1, db1, dZ1, dA1, ... as `backward_propagation`.

    Raises:
        ValueError: X or Y does not fit the cache, the cache has no masks, or `keep_prob` is not in (0, 1].
    """
    keep = checks.check_keep_prob(keep_prob, depth(cache) - 1)
    for layer in range(1, depth(cache)):
        if f"D{layer}" not in cache:
            raise ValueError(f"cache has no D{layer}: it must come from forward_propagation_with_dropout.")
    return _backward(X, Y, cache, keep)
