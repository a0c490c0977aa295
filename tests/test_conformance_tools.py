"""What the conformance suite measures with: bounds that reject what is wrong, and integrals that are exact."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from torchdropout.testing import GaussianNoiseClaim, QuantileClaim, TwoPointClaim
from torchdropout.testing.bounds import check_count, check_means, check_normal_moments
from torchdropout.testing.integration import integral, log_uniform_divergence, masks, normal_line, normals
from torchdropout.testing.integration import truncated_normal as truncated

FAIR = torch.tensor([[0.0], [1.0]], dtype=torch.float64), torch.tensor([0.5, 0.5], dtype=torch.float64)


def coins(rate, n):
    return (torch.rand(n, 1, dtype=torch.float64) < rate).double()


def test_means_of_bounded_draws():
    check_means("coin", coins(0.5, 10_000), *FAIR, bounded=True)
    with pytest.raises(AssertionError, match=r"coin number 0: expected 0\.5, got 0\.5\d+ in 10000 draws"):
        check_means("coin", coins(0.54, 10_000), *FAIR, bounded=True)


def test_means_by_the_normal_approximation():
    z, weights = normals(1)
    check_means("square", torch.randn(10_000, 1, dtype=torch.float64) ** 2, z**2, weights, bounded=False)
    with pytest.raises(AssertionError, match="square"):
        check_means("square", 1.1 * torch.randn(10_000, 1, dtype=torch.float64) ** 2, z**2, weights, bounded=False)


@pytest.mark.parametrize("bounded", [True, False])
def test_nan_is_no_mean(bounded):
    draws = coins(0.5, 100)
    draws[3] = math.nan
    with pytest.raises(AssertionError):
        check_means("coin", draws, *FAIR, bounded=bounded)


def test_a_constant_that_is_off_is_rejected():
    outcomes, weights = torch.full((2, 1), 3.0, dtype=torch.float64), FAIR[1]
    check_means("constant", torch.full((5, 1), 3.0, dtype=torch.float64), outcomes, weights, bounded=True)
    with pytest.raises(AssertionError):
        check_means("constant", torch.full((5, 1), 3.1, dtype=torch.float64), outcomes, weights, bounded=True)


def test_the_bound_of_bounded_means_holds_more_often_than_it_claims():
    """Bernstein's bound against the binomial distribution itself: never less than the chance."""
    n, p = 200, 0.1
    hits = np.arange(n + 1)
    t = np.abs(hits / n - p)
    bound = 2 * np.exp(-n * t**2 / (2 * p * (1 - p) + 2 / 3 * 0.9 * t))
    distance = t[:, None] - 1e-12
    chance = (stats.binom.pmf(hits, n, p) * (t[None, :] >= distance)).sum(1)
    assert (bound >= chance * (1 - 1e-9)).all()


def test_counts():
    check_count("hits", 5_000, 10_000, 0.5)
    with pytest.raises(AssertionError, match="expected a rate of 0.5, got 0.54"):
        check_count("hits", 5_400, 10_000, 0.5)
    with pytest.raises(AssertionError):
        check_count("hits", 1, 10, 0.0)


def test_normal_moments():
    z = torch.randn(10_000, dtype=torch.float64)
    check_normal_moments("z", float(z.sum()), float(z.square().sum()), len(z))
    for wrong in (z + 0.1, 1.1 * z, z * math.nan):
        with pytest.raises(AssertionError):
            check_normal_moments("z", float(wrong.sum()), float(wrong.square().sum()), len(z))


def test_claims_reject_other_distributions():
    uniform = torch.rand(20_000, dtype=torch.float64)
    QuantileClaim({0.25: 0.25, 0.5: 0.5, 0.75: 0.75}).check(uniform)
    with pytest.raises(AssertionError, match="noise below 0.25"):
        QuantileClaim({0.25: 0.25, 0.5: 0.5, 0.75: 0.75}).check(uniform.square())
    with pytest.raises(AssertionError):
        GaussianNoiseClaim(math.sqrt(1 / 12), 0.5).check(uniform)
    with pytest.raises(AssertionError):
        TwoPointClaim(0.5, 0.0, 1.0).check(uniform)


@pytest.mark.parametrize(("alpha", "negative"), [(0.01, 2.932689), (0.5, 0.739442), (1, 0.426686), (100, 0.004992)])
def test_the_divergence_from_the_log_uniform_prior(alpha, negative):
    assert log_uniform_divergence(math.log(alpha)) == pytest.approx(negative, abs=1e-6)


@pytest.mark.parametrize(("mu", "sigma"), [(-1.0, 0.5), (5.0, 0.3), (-30.0, 2.0), (-10.0, 100.0)])
def test_a_truncated_normal(mu, sigma):
    x, weights, log_density = truncated(mu, sigma, -20.0, 0.0)
    expected = stats.truncnorm((-20 - mu) / sigma, -mu / sigma, mu, sigma)
    assert weights.sum() == pytest.approx(1.0, abs=1e-12)
    assert (weights * x).sum() == pytest.approx(expected.mean(), rel=1e-8)
    assert (weights * log_density).sum() == pytest.approx(-expected.entropy(), abs=1e-7)


def test_integrals_of_one_normal_and_of_several():
    z, weights = normal_line(0.3)
    assert float((weights * (z - 0.3).relu()).sum()) == pytest.approx(
        integrate.quad(lambda t: max(t - 0.3, 0) * stats.norm.pdf(t), 0.3, 12)[0], abs=1e-10
    )
    z, weights = normals(2)
    assert float((weights * z[:, 0] ** 4 * z[:, 1] ** 2).sum()) == pytest.approx(3.0, abs=1e-12)
    assert integral(np.exp, [0.0, 1.0]) == pytest.approx(math.e - 1, abs=1e-14)


def test_all_masks_with_a_keep_probability_for_each_element():
    every, weights = masks((2, 2), torch.tensor([0.1, 0.2, 0.3, 0.4]))
    assert len(every) == len({tuple(mask.flatten().tolist()) for mask in every}) == 16
    expected = torch.tensor([[0.1, 0.2], [0.3, 0.4]], dtype=torch.float64)
    torch.testing.assert_close((weights.view(-1, 1, 1) * every).sum(0), expected)
