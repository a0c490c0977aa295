"""Intervals and temperature scaling, against SciPy, loops and closed forms."""

import math

import numpy as np
import pytest
import torch
from scipy import optimize, stats
from torch.nn import functional as F

import torchdropout as td

c = td.calibration


def test_coverage_and_width_by_hand():
    found = c.interval_coverage([0, 0, 1, 1], [1, 2, 2, 4], [1.0, 2.5, 1.0, 3.0], level=0.9)
    assert (found.level, found.coverage, found.width) == (0.9, 0.75, 7 / 4)
    interval = stats.binomtest(3, 4).proportion_ci(0.95, method="wilson")
    assert (found.coverage_low, found.coverage_high) == pytest.approx((interval.low, interval.high))
    assert math.isnan(c.interval_coverage([0], [1], [0]).level)


def test_normal_intervals_hold_their_share_of_normal_targets():
    """20,000 targets: four deviations of the share are 0.014."""
    rng = np.random.default_rng(2)
    mean, std = rng.normal(size=20_000), rng.uniform(0.1, 3, size=20_000)
    y = torch.from_numpy(mean + std * rng.normal(size=20_000))
    for each in c.normal_coverage(mean, std, y):
        assert each.coverage == pytest.approx(each.level, abs=0.0142)
        low, high = stats.norm.interval(each.level, mean, std)
        assert each.width == pytest.approx((high - low).mean())
    assert [each.level for each in c.normal_coverage(mean, std, y)] == [0.5, 0.9, 0.95]


def test_half_the_deviation_covers_what_the_normal_says():
    y = np.random.default_rng(3).normal(size=20_000)
    (found,) = c.normal_coverage(np.zeros(20_000), np.full(20_000, 0.5), y, levels=0.95)
    assert found.coverage == pytest.approx(2 * stats.norm.cdf(1.96 / 2) - 1, abs=0.014)


def test_intervals_of_samples_are_between_their_quantiles():
    rng = np.random.default_rng(4)
    samples, y = rng.gamma(2.0, size=(101, 300)), rng.gamma(2.0, size=300)
    (found,) = c.sample_coverage(samples, y, levels=[0.9])
    ordered = np.sort(samples, 0)
    low, high = ordered[5], ordered[95]  # of 101 sorted samples the 5 % and the 95 % quantile
    assert found.coverage == ((low <= y) & (y <= high)).mean()
    assert found.width == pytest.approx((high - low).mean())


def test_bad_intervals():
    with pytest.raises(ValueError, match=r"`lower` must not be above `upper`, got 2 above 1 in row 1\.$"):
        c.interval_coverage([0, 2], [1, 1], [0, 0])
    with pytest.raises(ValueError, match=r"`std` must not be negative, got -1 in row 0\.$"):
        c.normal_coverage([0.0], [-1.0], [0.0])
    with pytest.raises(ValueError, match=r"^normal_coverage: `levels` must be between 0 and 1, got 95\.$"):
        c.normal_coverage([0.0], [1.0], [0.0], levels=95)
    with pytest.raises(ValueError, match=r"^normal_coverage: `levels` must have a level, got none\.$"):
        c.normal_coverage([0.0], [1.0], [0.0], levels=[])
    with pytest.raises(ValueError, match=r"`samples` must be finite and of shape \(S, N\) with S from 2, got \(1, 3\)"):
        c.sample_coverage(np.zeros((1, 3)), [0, 0, 0])
    with pytest.raises(ValueError, match=r"`lower` must have a value for each of 2 examples, got 1\.$"):
        c.interval_coverage([0], [1, 2], [1, 2])


def logits_and_targets(scale, count=5000, seed=0):
    """Logits that are right, times a factor: the temperature is the factor."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(count, 5, generator=generator)
    targets = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    return scale * logits, targets


@pytest.mark.parametrize("scale", [0.2, 1.0, 6.0])
def test_the_factor_that_was_put_in_is_the_temperature(scale):
    """The estimate's relative deviation is about 1 / sqrt(5000 * 1.4): four of them are below 6 %."""
    logits, targets = logits_and_targets(scale)
    assert c.fit_temperature(logits, targets) == pytest.approx(scale, rel=0.06)


def test_the_minimum_is_scipys_and_the_gradient_there_is_zero():
    logits, targets = logits_and_targets(3.0, count=400, seed=1)
    found = c.fit_temperature(logits, targets)
    theirs = optimize.minimize_scalar(
        lambda t: float(F.cross_entropy(logits.double() / t, targets)), bounds=(0.1, 30), options={"xatol": 1e-9}
    )
    assert found == pytest.approx(theirs.x, rel=1e-5)
    t = torch.tensor(found, dtype=torch.float64, requires_grad=True)
    F.cross_entropy(logits.double() / t, targets).backward()
    assert float(t.grad) == pytest.approx(0.0, abs=1e-7)


def test_in_closed_form_for_two_classes():
    """A logit of 3 that is right in 3 of 4 cases: 3 / T = log 3."""
    logits = torch.tensor([[3.0, 0.0]]).repeat(4, 1)
    assert c.fit_temperature(logits, [0, 0, 0, 1]) == pytest.approx(3 / math.log(3), rel=1e-6)


def test_samples_are_scaled_before_they_are_averaged():
    generator = torch.Generator().manual_seed(5)
    samples = 4 * torch.randn(7, 60, 3, generator=generator, dtype=torch.float64)
    targets = samples.mean(0).argmax(1)
    targets[::4] = (targets[::4] + 1) % 3
    found = c.fit_temperature(samples, targets)

    def nll(t):
        p = torch.stack([(each / t).softmax(1) for each in samples]).mean(0)
        return -float(p[torch.arange(60), targets].log().mean())

    theirs = optimize.minimize_scalar(nll, bounds=(0.1, 30), options={"xatol": 1e-9})
    assert found == pytest.approx(theirs.x, rel=1e-4)
    after = c.fit_temperature(samples.mean(0), targets)
    assert abs(after - found) > 0.05 * found  # the other order is another temperature
    p = c.apply_temperature(samples, found)
    assert c.negative_log_likelihood(p, targets) == pytest.approx(nll(found))


def test_logarithms_of_probabilities_serve_as_logits():
    logits, targets = logits_and_targets(3.0, count=200)
    samples = torch.stack([logits, logits.roll(1, 0)]).double()
    expected = c.fit_temperature(samples, targets)
    assert c.fit_temperature(samples.softmax(2).log(), targets) == pytest.approx(expected, rel=1e-6)
    zero = torch.tensor([[[0.0, -math.inf], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]])
    torch.testing.assert_close(c.apply_temperature(zero, 1.0), zero.double().softmax(2).mean(0))


def test_it_mends_the_calibration_and_keeps_the_order():
    logits, targets = logits_and_targets(4.0)
    half = len(targets) // 2
    t = c.fit_temperature(logits[:half], targets[:half])
    before, after = logits[half:].softmax(1), c.apply_temperature(logits[half:], t)
    assert c.expected_calibration_error(after, targets[half:]) < 0.3 * c.expected_calibration_error(
        before, targets[half:]
    )
    assert torch.equal(before.argmax(1), after.argmax(1))


def test_bad_temperatures():
    logits, targets = torch.tensor([[9.0, 0.0], [0.0, 9.0]]), [0, 1]
    with pytest.raises(ValueError, match=r"must lie from 0.000976562 to 1024, got none there: every example is right"):
        c.fit_temperature(logits, targets)
    with pytest.raises(ValueError, match="got none there: the logits say nothing about `targets`"):
        c.fit_temperature(-logits, targets)
    with pytest.raises(ValueError, match="must give every true class a probability above 0, got 0"):
        c.fit_temperature([[0.0, -math.inf]], [1])
    with pytest.raises(ValueError, match=r"`logits` must have shape \(N, C\), or \(S, N, C\) of samples, got \(2,\)"):
        c.fit_temperature([1.0, 2.0], [0])
    with pytest.raises(ValueError, match="`logits` must not be NaN, infinite"):
        c.apply_temperature([[math.nan, 0.0]], 1.0)
    with pytest.raises(ValueError, match=r"^apply_temperature: `temperature` must be positive and finite, got 0\.$"):
        c.apply_temperature([[1.0, 0.0]], 0)
