"""Temperature scaling: one number that makes logits less, or more, sure."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from torchdropout.calibration import _arrays
from torchdropout.calibration._arrays import Given
from torchdropout.layers._checks import check_number

_GRID = [2.0**power for power in range(-10, 11)]
_STEPS = 40  # of golden sections: each leaves 0.618 of the bracket, from a factor of 4 to 1e-8


def fit_temperature(logits: Given, targets: Given) -> float:
    """The temperature T with the lowest negative log-likelihood of `softmax(logits / T)`.

    The logits must be of examples that the model did not learn from. Accuracy does not change.

    Of Monte-Carlo samples each sample's logits are divided, and the probabilities averaged after that:
    `1/S sum over s of softmax(z_s / T)`, the order in which a prediction averages. `prediction.samples.log()` serves as
    logits, since a softmax does not notice what is added to all classes.

    Args:
        logits: `(N, C)`, or of samples `(S, N, C)`.
        targets: The true classes, `(N,)`.

    Returns:
        The temperature, to about six digits; above 1 where the model was too sure.

    Raises:
        ValueError: Shapes do not fit, or no temperature from 2^-10 to 2^10 is best: every example is right, so that the
            likelihood grows for ever as T falls; or the logits say less than nothing about the targets.

    Example:
        >>> import torch, torchdropout as td
        >>> logits = 3.0 * torch.tensor([[1.0, 0.0]]).repeat(4, 1)  # 95 % sure, 75 % right
        >>> round(td.calibration.fit_temperature(logits, torch.tensor([0, 0, 0, 1])), 4)
        2.7307

    Reference:
        C. Guo, G. Pleiss, Y. Sun, K. Weinberger. On Calibration of Modern Neural Networks. ICML 2017,
        arXiv:1706.04599, equation 9.
    """
    z = _arrays.as_tensor("fit_temperature", "logits", logits)
    z = z if z.dim() == 3 else z.unsqueeze(0)
    y = torch.from_numpy(_arrays.classes("fit_temperature", targets, *z.shape[1:]))
    found = [_nll(z, y, 1 / t) for t in _GRID]
    best = min(range(len(_GRID)), key=found.__getitem__)
    if not math.isfinite(found[best]):
        raise ValueError("fit_temperature: `logits` must give every true class a probability above 0, got 0.")
    if best in (0, len(_GRID) - 1):
        why = "every example is right by far" if best == 0 else "the logits say nothing about `targets`"
        raise ValueError(
            f"fit_temperature: the best temperature must lie from {_GRID[0]:g} to {_GRID[-1]:g}, got none there: {why}."
        )
    return math.exp(_golden(lambda t: _nll(z, y, math.exp(-t)), *(math.log(_GRID[best + n]) for n in (-1, 1))))


def apply_temperature(logits: Given, temperature: float) -> Tensor:
    """The probabilities at a temperature, `softmax(logits / T)`; of samples their mean after that.

    Args:
        logits: `(N, C)`, or of samples `(S, N, C)`.
        temperature: Positive; 1 changes nothing.

    Returns:
        Probabilities `(N, C)` in float64, on the CPU.

    Raises:
        ValueError: The temperature is not positive and finite, or the logits have another shape.

    Example:
        >>> import torch, torchdropout as td
        >>> td.calibration.apply_temperature(torch.tensor([[2.0, 0.0]]), 2.0)
        tensor([[0.7311, 0.2689]], dtype=torch.float64)
    """
    rule = "positive and finite"
    check_number("apply_temperature", "temperature", temperature, rule, lambda value: 0 < value < math.inf)
    z = _arrays.as_tensor("apply_temperature", "logits", logits)
    p = (z / temperature).softmax(-1)
    return p if p.dim() == 2 else p.mean(0)


def _nll(z: Tensor, targets: Tensor, factor: float) -> float:
    """That of the mean over samples, in logarithms: no probability rounds to 0."""
    scaled = z * factor
    true = scaled.gather(2, targets.expand(len(z), -1).unsqueeze(2)).squeeze(2) - scaled.logsumexp(2)
    return float(math.log(len(z)) - true.logsumexp(0).mean())


def _golden(f: Callable[[float], float], low: float, high: float) -> float:
    """Where a function is lowest between two points, by golden sections."""
    ratio = (math.sqrt(5.0) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = f(left), f(right)
    for _ in range(_STEPS):
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = f(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = f(right)
    return (low + high) / 2
