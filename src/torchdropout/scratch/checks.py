"""Checks of what is passed in: each message says what was found, what was expected, and what it means."""
# ruff: noqa: N806 - the course's names: capital letters for arrays that hold one example per column

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Arrays = dict[str, Array]
Rng = np.random.Generator | np.random.RandomState

NORMS = ("l2", "l1", "elastic")


def depth(arrays: Arrays) -> int:
    """The number of layers: how many weight matrices W1, W2, ... there are.

    Raises:
        ValueError: W1 is missing, or a layer has weights and no bias.
    """
    layers = 0
    while f"W{layers + 1}" in arrays:
        layers += 1
        if f"b{layers}" not in arrays:
            raise ValueError(f"parameters has W{layers} and no b{layers}: every layer needs its bias.")
    if layers == 0:
        raise ValueError("parameters has no W1: expected the dict that initialize_parameters returns.")
    return layers


def as_numbers(name: str, values: Any) -> Array:
    """`values` as an array of float64 with two axes, at least one example, and no NaN or infinity."""
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers, got {array.dtype}.")
    if array.ndim != 2:
        raise ValueError(f"{name} has shape {array.shape}, expected two axes: rows, and one column per example.")
    if array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}: it is empty, there is nothing to compute with.")
    finite = np.isfinite(array)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        many = int((~finite).sum())
        where = f"the first is in row {row}, column {column} (counted from 0)"
        raise ValueError(f"{name} holds NaN or infinite values: {many} of {array.size}, {where}.")
    return array.astype(np.float64, copy=False)


def check_inputs(values: Any, parameters: Arrays) -> Array:
    """The inputs as numbers, one row per feature that the first layer takes."""
    X = as_numbers("X", values)
    features = parameters["W1"].shape[1]
    if X.shape[0] != features:
        hint = " Are the examples in its rows? Then pass X.T." if X.shape[1] == features else ""
        raise ValueError(f"X has {X.shape[0]} rows, expected {features}: W1 takes {features} features.{hint}")
    return X


def check_labels(values: Any, shape: tuple[int, int]) -> Array:
    """The labels: 0 or 1 in an array of `shape`; one-hot columns if there are several rows."""
    found = np.shape(values)
    if found != shape:
        raise ValueError(f"Y has shape {found}, expected {shape}: one row per output, one column per example.")
    Y = as_numbers("Y", values)
    wrong = (Y != 0) & (Y != 1)
    if wrong.any():
        hint = "; several classes are one-hot columns, see one_hot" if shape[0] == 1 else ""
        raise ValueError(f"Y must hold only 0 and 1, found {Y[wrong][0]:g}{hint}.")
    if shape[0] > 1 and (Y.sum(axis=0) != 1).any():
        column = int(np.argmax(Y.sum(axis=0) != 1))
        total = Y[:, column].sum()
        raise ValueError(f"Y must have exactly one 1 per column (one-hot), column {column} has {total:g}.")
    return Y


def check_probabilities(values: Any) -> Array:
    """The network's output: numbers from 0 to 1."""
    A = as_numbers("A", values)
    if (A < 0).any() or (A > 1).any():
        raise ValueError(f"A must hold probabilities, from 0 to 1, found {A[(A < 0) | (A > 1)][0]:g}.")
    return A


def check_layers_dims(layers_dims: Sequence[int]) -> None:
    """At least an input and an output layer, each with a whole number of units above 0."""
    if len(layers_dims) < 2:
        raise ValueError(f"layers_dims has {len(layers_dims)} numbers, expected at least 2: inputs and outputs.")
    for units in layers_dims:
        if isinstance(units, bool) or not isinstance(units, int | np.integer) or units < 1:
            raise ValueError(f"layers_dims must hold whole numbers above 0, got {units!r}.")


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """`value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}.")


def check_not_negative(name: str, value: float, positive: bool = False) -> None:
    """`value` is finite and at least 0, or above 0."""
    if not np.isfinite(value) or value < 0 or (positive and value == 0):
        rule = "above 0" if positive else "0 or more"
        raise ValueError(f"{name} must be a finite number {rule}, got {value!r}.")


def check_keep_prob(keep_prob: float | Sequence[float], hidden: int) -> list[float]:
    """One probability of keeping per hidden layer."""
    given = np.asarray(keep_prob, dtype=np.float64)
    values = [float(given)] * hidden if given.ndim == 0 else [float(keep) for keep in given.ravel()]
    if len(values) != hidden:
        raise ValueError(f"keep_prob has {len(values)} numbers, expected {hidden}: one per hidden layer.")
    for keep in values:
        if not 0 < keep <= 1:
            why = "it is the probability of keeping a unit, and with 0 nothing would be left"
            raise ValueError(f"keep_prob must be above 0 and at most 1, got {keep:g}: {why}.")
    return values


def check_mask(name: str, masks: Arrays, shape: tuple[int, ...]) -> Array:
    """The mask `name` of `masks`: 0 or 1 in an array of `shape`."""
    if name not in masks:
        raise ValueError(f"masks has no {name}: expected one mask D1, D2, ... per hidden layer.")
    D = np.asarray(masks[name])
    if D.shape != shape:
        raise ValueError(f"{name} has shape {D.shape}, expected {shape}: one row per unit, one column per example.")
    if ((D != 0) & (D != 1)).any():
        raise ValueError(f"{name} must hold only 0 (dropped) and 1 (kept).")
    return D.astype(np.float64, copy=False)


def as_rng(rng: Rng | int | None) -> Rng:
    """A random number generator: the one given, or a new one from a seed (from the system if None)."""
    return rng if isinstance(rng, np.random.Generator | np.random.RandomState) else np.random.default_rng(rng)
