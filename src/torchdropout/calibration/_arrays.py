"""What the functions are given, checked and as float64 arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array: TypeAlias = "npt.NDArray[np.float64]"
Classes: TypeAlias = "npt.NDArray[np.int64]"
Given: TypeAlias = "npt.ArrayLike | Tensor"

_OFF = 1e-2  # by how much probabilities may miss a sum of 1: those of half precision do


def as_numpy(owner: str, argument: str, value: Given) -> npt.NDArray[Any]:
    """Whatever was given as an array; low precision becomes float64."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        return value.double().numpy() if value.is_floating_point() else value.numpy()
    found = np.asarray(value)
    if found.dtype.kind not in "buif":
        raise TypeError(f"{owner}: `{argument}` must hold numbers, got {found.dtype}.")
    return found


def numbers(owner: str, argument: str, value: Given, dims: int = 1) -> Array:
    """A finite float64 array of so many axes, with at least one value."""
    found = as_numpy(owner, argument, value)
    if found.ndim != dims or not found.size:
        shape = {1: "(N,)", 2: "(N, C)", 3: "(S, N, C)"}[dims]
        raise ValueError(f"{owner}: `{argument}` must have shape {shape} with N from 1, got {found.shape}.")
    finite = np.isfinite(found)
    if not finite.all():
        at = int(np.argmin(finite.reshape(len(found), -1).all(1)))
        raise ValueError(f"{owner}: `{argument}` must be finite, got {found[~finite].flat[0]} in row {at}.")
    return found.astype(np.float64)


def beside(owner: str, argument: str, value: Given, count: int) -> Array:
    """As `numbers`, of so many values."""
    found = numbers(owner, argument, value)
    if len(found) != count:
        raise ValueError(f"{owner}: `{argument}` must have a value for each of {count} examples, got {len(found)}.")
    return found


def probabilities(owner: str, value: Given) -> Array:
    """Probabilities of classes `(N, C)`."""
    found = as_numpy(owner, "probabilities", value)
    if found.ndim == 1:
        raise ValueError(
            f"{owner}: `probabilities` must have shape (N, C), got {found.shape}; of the probability p of the second "
            "of two classes, stack([1 - p, p], 1) makes it."
        )
    found = numbers(owner, "probabilities", found, 2)
    total = found.sum(1)
    off = (found < 0).any(1) | (np.abs(total - 1) > _OFF)
    if off.any():
        row = int(off.argmax())
        got = f"{found[row].min():g}" if (found[row] < 0).any() else f"a sum of {total[row]:g}"
        raise ValueError(
            f"{owner}: `probabilities` must be from 0 and add up to 1 in each row, got {got} in row {row}; are they "
            "logits?"
        )
    return found


def classes(owner: str, value: Given, count: int, among: int) -> Classes:
    """The numbers of the true classes `(N,)`."""
    found = as_numpy(owner, "targets", value)
    if found.shape != (count,):
        raise ValueError(f"{owner}: `targets` must have shape ({count},), got {found.shape}.")
    if found.dtype.kind == "f" and not (found == np.floor(found)).all():
        raise ValueError(f"{owner}: `targets` must be whole numbers of classes, got {found[found % 1 != 0][0]:g}.")
    if found.min() < 0 or found.max() >= among:
        bad = found.min() if found.min() < 0 else found.max()
        raise ValueError(f"{owner}: `targets` must be classes from 0 to {among - 1}, got {int(bad)}.")
    return found.astype(np.int64)


def levels(owner: str, value: float | Sequence[float]) -> tuple[float, ...]:
    """Nominal coverages, each between 0 and 1."""
    found = tuple(float(each) for each in ([value] if isinstance(value, (int, float)) else value))
    if not found:
        raise ValueError(f"{owner}: `levels` must have a level, got none.")
    for each in found:
        if not 0 < each < 1:
            raise ValueError(f"{owner}: `levels` must be between 0 and 1, got {each:g}.")
    return found


def wilson(share: float, count: int, level: float = 0.95) -> tuple[float, float]:
    """The interval of a probability of which so large a share of so many trials was seen.

    Reference: E. Wilson. Probable Inference, the Law of Succession, and Statistical Inference. Journal of the American
    Statistical Association 22, 1927.
    """
    z = NormalDist().inv_cdf(0.5 + level / 2)
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    reach = z * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2) / (1 + z * z / count)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def as_tensor(owner: str, argument: str, value: Given) -> Tensor:
    """Logits `(N, C)` or `(S, N, C)` in float64; minus infinity is the logarithm of a probability of 0."""
    found = torch.from_numpy(as_numpy(owner, argument, value).astype(np.float64))
    if found.dim() not in (2, 3) or not found.numel():
        raise ValueError(
            f"{owner}: `{argument}` must have shape (N, C), or (S, N, C) of samples, got {tuple(found.shape)}."
        )
    if bool((found.isnan() | (found == math.inf)).any()) or bool((found == -math.inf).all(-1).any()):
        raise ValueError(f"{owner}: `{argument}` must not be NaN, infinite, or minus infinity for every class.")
    return found
