"""Bounds on statistics that hold for every sample size, at one stated error rate.

A conforming layer fails a check with probability at most `ERROR_RATE`, whatever the input. Only means of unbounded
noise that is no normal are compared by the normal approximation, at six standard errors of many draws.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

ERROR_RATE = 1e-9
STANDARD_ERRORS = 6.0  # of the normal approximation: 2e-9
_ROUNDING = 1e-6


def relative_entropy(q: float, p: float) -> float:
    """The Kullback-Leibler divergence of Bernoulli(q) from Bernoulli(p), in nats."""
    terms = [(q, p), (1.0 - q, 1.0 - p)]
    if any(a > 0 and b == 0 for a, b in terms):
        return math.inf
    return sum(a * math.log(a / b) for a, b in terms if a > 0)


def check_count(what: str, hits: int, trials: int, rate: float) -> None:
    """Compare a binomial count with its rate, by Chernoff's bound `P <= 2 exp(-n KL(hits / n, rate))`.

    Raises:
        AssertionError: The count is less likely than `ERROR_RATE`.
    """
    chance = 2.0 * math.exp(-trials * relative_entropy(hits / trials, rate))
    if chance < ERROR_RATE:
        raise AssertionError(
            f"{what}: expected a rate of {rate:.6g}, got {hits / trials:.6g} in {trials} draws; "
            f"chance allows that with probability {chance:.1e} at most."
        )


def check_normal_moments(what: str, total: float, squares: float, n: int) -> None:
    """Compare the sum and the sum of squares of `n` supposedly standard normals with what chance allows.

    The sum is normal with variance `n`; the sum of squares obeys Laurent and Massart's bounds (Annals of Statistics
    28, 2000, lemma 1): above `n + 2 sqrt(n t) + 2 t` or below `n - 2 sqrt(n t)` with probability `exp(-t)` at most.

    Raises:
        AssertionError: One of them is less likely than `ERROR_RATE`.
    """
    if not math.erfc(abs(total) / math.sqrt(2.0 * n)) >= ERROR_RATE:
        raise AssertionError(f"{what}: the mean of the standardised noise is {total / n:.4g} in {n} draws, not 0.")
    t = math.log(2.0 / ERROR_RATE)
    if not n - 2.0 * math.sqrt(n * t) <= squares <= n + 2.0 * math.sqrt(n * t) + 2.0 * t:
        raise AssertionError(
            f"{what}: the variance of the standardised noise is {squares / n:.4g} in {n} draws, not 1."
        )


def check_means(what: str, draws: Tensor, outcomes: Tensor, weights: Tensor, *, bounded: bool) -> None:
    """Compare means over draws, one of each column, with those of a distribution.

    If the noise is bounded, by Bernstein's inequality with the known variance `v` and range `r`:
    `P <= 2 exp(-n t**2 / (2 v + 2 r t / 3))`. Otherwise by the normal approximation.

    Args:
        what: What a column is.
        draws: `(n, columns)`, independent rows.
        outcomes: `(outcomes, columns)`, the values of the distribution.
        weights: `(outcomes,)`, their probabilities; or the nodes and weights of a quadrature.
        bounded: Whether the outcomes are all that can happen.

    Raises:
        AssertionError: A mean is less likely than `ERROR_RATE`.
    """
    n, mean = len(draws), weights @ outcomes
    deviations = outcomes - mean
    variance, reach = weights @ deviations.square(), deviations.abs().amax(0)
    distance = draws.mean(0) - mean
    t = (distance.abs() - _ROUNDING * (mean.abs() + reach)).clamp(min=0.0)
    if bounded:
        chance = 2.0 * torch.exp(-n * t.square() / (2.0 * variance + 2.0 / 3.0 * reach * t + 1e-300))
        fails = ~(chance >= ERROR_RATE)
    else:
        fails = ~(t <= STANDARD_ERRORS * (variance / n).sqrt())
    if bool(fails.any()):
        worst = int(fails.nonzero()[0])
        found, expected = float(draws.mean(0)[worst]), float(mean[worst])
        raise AssertionError(f"{what} number {worst}: expected {expected:.6g}, got {found:.6g} in {n} draws.")
