"""Checks of the noise: its distribution, what shares a draw, and expectations that are known exactly."""

from __future__ import annotations

import torch
from torch import Tensor

from torchdropout.testing.bounds import check_count, check_means
from torchdropout.testing.case import Case, Expectation, noisy, require
from torchdropout.testing.claims import Claim
from torchdropout.testing.form import enlarged

_NO_CLAIM = "no claim"


def check_statistics(case: Case) -> str | None:
    """The rate, or mean, variance and quantiles, of independent draws."""
    if case.claim is None:
        return _NO_CLAIM
    case.claim.check(_once(_draws(case), case.claim))
    return None


def check_sharing(case: Case) -> str | None:
    """Which axes share a draw, and that along all others draws are independent: what one draw is made for."""
    claim = case.claim
    if claim is None:
        return _NO_CLAIM
    draws = _draws(case)
    for dim in claim.shared_dims:
        first = draws.select(dim, 0).unsqueeze(dim)
        require(bool((draws == first).all()), f"the draws along axis {dim} differ, where one draw is claimed.")
    events, rate = claim.check(_once(draws, claim))
    for dim in range(events.dim()):
        if events.shape[dim] > 1:
            _check_independent(events, dim, rate)
    return None


def _draws(case: Case) -> Tensor:
    layer = case.factory()
    if case.probe is not None:
        return case.probe(layer.train(), 11).detach()
    x = enlarged(case.input) if case.elementwise else case.input
    return noisy(layer.double(), torch.ones_like(x, dtype=torch.float64), seed=11).detach()


def _once(draws: Tensor, claim: Claim) -> Tensor:
    for dim in claim.shared_dims:
        draws = draws.select(dim, 0).unsqueeze(dim)
    return draws


def _check_independent(events: Tensor, dim: int, rate: float) -> None:
    """Disjoint pairs along an axis agree as often as independent draws do: neighbours, and the axis's halves.

    For an event of probability `q` the rate of agreement is `q**2 + (1 - q)**2` plus twice the covariance.
    """
    half = events.shape[dim] // 2
    for what, step, far in (("neighbours", 2, 1), ("halves", 1, half)):
        start = torch.arange(0, step * half, step)
        agree = events.index_select(dim, start) == events.index_select(dim, start + far)
        expected = rate**2 + (1.0 - rate) ** 2
        check_count(f"agreement of {what} along axis {dim}", int(agree.sum()), agree.numel(), expected)


def check_moments(case: Case) -> str | None:
    """Means and products of training outputs, of every pair of elements, against enumeration or quadrature."""
    if not case.expected:
        return "no expectation declared"
    for of in case.expected:
        draws, outcomes = (t.flatten(1).double() for t in (_outputs(of), of.outcomes))
        weights = of.weights.double()
        require(draws.shape[1] == outcomes.shape[1], f"training returned {draws.shape[1:]}, not {outcomes.shape[1:]}.")
        check_means("the mean of element", draws, outcomes, weights, bounded=of.bounded)
        draws, outcomes = _products(draws), _products(outcomes)
        check_means("the product of the pair of elements", draws, outcomes, weights, bounded=of.bounded)
    return None


def _products(rows: Tensor) -> Tensor:
    """The product of every pair of columns, and the squares."""
    first, second = torch.triu_indices(rows.shape[1], rows.shape[1])
    return rows[:, first] * rows[:, second]


def _outputs(of: Expectation) -> Tensor:
    """`(draws, ...)`: the outputs of independent draws."""
    layer = of.factory().double()
    x = of.input.double() if of.input.is_floating_point() else of.input
    x = x if of.batch == 1 else x.repeat(of.batch, *[1] * (x.dim() - 1))
    with torch.no_grad():
        calls = [noisy(layer, x, seed) for seed in range(of.calls)]
    return torch.stack(calls) if of.batch == 1 else torch.cat(calls)


def check_test_rule(case: Case) -> str | None:
    """Eval returns the exact expectation of training, within the paper's own error where its rule approximates."""
    if not case.expected:
        return "no expectation declared"
    for of in case.expected:
        x = of.input.double() if of.input.is_floating_point() else of.input
        found = of.factory().double().eval()(x).detach().flatten().double()
        mean = of.weights.double() @ of.outcomes.flatten(1).double()
        expected = mean if of.test is None else of.test.flatten().double()
        what = "the expectation of training" if of.test is None else "what it must return"
        off = float((found - expected).abs().max())
        require(off <= of.within, f"eval is {off:.3g} from {what}, more than {of.within}.")
    return None
