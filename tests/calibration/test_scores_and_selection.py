"""Proper scores, risk by coverage, detection: against loops, scikit-learn, enumeration and closed forms."""

import itertools
import math
import sys

import numpy as np
import pytest
import torch
from sklearn import metrics

import torchdropout as td

brier_score, negative_log_likelihood = td.calibration.brier_score, td.calibration.negative_log_likelihood
aurc, risk_coverage, detection = td.calibration.aurc, td.calibration.risk_coverage, td.calibration.detection


@pytest.fixture
def predictions():
    rng = np.random.default_rng(11)
    return rng.dirichlet([0.5, 1.0, 2.0], size=200), rng.integers(3, size=200)


def test_brier_eq2_by_scikit_learn_and_by_hand(predictions):
    p, y = predictions
    assert brier_score(p, y) == pytest.approx(metrics.brier_score_loss(y, p, scale_by_half=False))
    assert brier_score(torch.tensor([[1.0, 0, 0], [0, 1, 0]]), [1, 1]) == 1.0
    assert brier_score([[0.0, 1.0]], [0]) == 2.0


def test_the_likelihood_by_scikit_learn_and_by_cross_entropy(predictions):
    p, y = predictions
    assert negative_log_likelihood(p, y) == pytest.approx(metrics.log_loss(y, p))
    loss = torch.nn.functional.nll_loss(torch.from_numpy(p).log(), torch.from_numpy(y))
    assert negative_log_likelihood(p, y) == pytest.approx(float(loss))


def test_a_sure_and_wrong_prediction_costs_without_end():
    assert negative_log_likelihood([[1.0, 0.0]], [1]) == math.inf
    assert metrics.log_loss([1], [[1.0, 0.0]], labels=[0, 1]) < 37  # what clips


def test_both_scores_are_proper():
    """Their expectation under true probabilities is least for these among a grid of others."""
    truth = np.array([0.2, 0.5, 0.3])
    grid = [(a / 20, b / 20, (20 - a - b) / 20) for a in range(1, 19) for b in range(1, 20 - a)]
    for score in (brier_score, negative_log_likelihood):
        means = {q: sum(truth[c] * score([q], [c]) for c in range(3)) for q in grid}
        assert min(means, key=means.__getitem__) == pytest.approx(tuple(truth))


def test_the_risk_by_hand():
    found = risk_coverage([0.9, 0.5, 0.8, 0.6], [0, 1, 1, 0])
    np.testing.assert_allclose(found.coverage, [0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(found.risk, [0, 1 / 2, 1 / 3, 2 / 4])
    assert found.aurc == pytest.approx((1 / 2 + 1 / 3 + 1 / 2) / 4)
    least = (0 + 0 + 1 / 3 + 2 / 4) / 4
    assert found.excess == pytest.approx(found.aurc - least)


def test_ties_are_the_mean_over_all_their_orders():
    confidence, losses = np.array([0.9, 0.7, 0.7, 0.7, 0.7, 0.2]), np.array([0.0, 1, 0, 3, 0, 1])
    curves = []
    for middle in itertools.permutations(losses[1:5]):
        ordered = [losses[0], *middle, losses[5]]
        curves.append([sum(ordered[:k]) / k for k in range(1, 7)])
    np.testing.assert_allclose(risk_coverage(confidence, losses).risk, np.mean(curves, 0))
    shuffled = np.random.default_rng(0).permutation(6)
    assert aurc(confidence[shuffled], losses[shuffled]) == pytest.approx(aurc(confidence, losses))


def test_the_area_of_a_useless_ranking_is_the_error_rate_and_of_a_perfect_one_geifmans():
    losses = np.repeat([0, 1], [900, 100])
    assert aurc(np.ones(1000), losses) == pytest.approx(0.1)
    perfect = risk_coverage(1.0 - losses, losses)
    assert perfect.excess == pytest.approx(0.0)
    r = 0.1
    assert perfect.aurc == pytest.approx(r + (1 - r) * math.log(1 - r), abs=1e-3)  # their equation, for many examples


def test_squared_errors_have_a_risk_too():
    deviation, losses = [3.0, 1.0, 2.0], [9.0, 1.0, 4.0]
    assert risk_coverage(np.negative(deviation), losses).risk.tolist() == [1.0, 2.5, 14 / 3]


def test_auroc_is_the_probability_of_the_right_order():
    rng = np.random.default_rng(4)
    inside, outside = rng.integers(6, size=60), rng.integers(3, 9, size=40)  # with ties
    pairs = [(o > i) + 0.5 * (o == i) for i in inside for o in outside]
    assert detection(inside, outside).auroc == pytest.approx(np.mean(pairs))


def average_precision(positive, negative):
    """The sum of precisions over steps of recall, in a loop over thresholds."""
    total, before = 0.0, 0
    for threshold in sorted({*positive, *negative}, reverse=True):
        hits, false = sum(s >= threshold for s in positive), sum(s >= threshold for s in negative)
        total += (hits - before) / len(positive) * hits / (hits + false)
        before = hits
    return total


def test_average_precision_either_way():
    rng = np.random.default_rng(5)
    inside, outside = rng.normal(size=50).round(1), rng.normal(1, 1, size=30).round(1)
    found = detection(inside, torch.from_numpy(outside))
    assert found.aupr == pytest.approx(average_precision(outside, inside))
    assert found.aupr_inside == pytest.approx(average_precision(-inside, -outside))
    assert found.base_rate == 30 / 80
    useless = detection(np.zeros(30), np.zeros(10))
    assert (useless.auroc, useless.aupr, useless.base_rate) == (0.5, 0.25, 0.25)
    assert detection([0.0, 0.1], [0.2, 0.3]).aupr_inside == 1.0


def test_bad_input():
    with pytest.raises(
        ValueError, match=r"^risk_coverage: `losses` must have a value for each of 2 examples, got 1\.$"
    ):
        aurc([1.0, 2.0], [0])
    with pytest.raises(ValueError, match=r"^risk_coverage: `confidence` must be finite, got inf in row 1\.$"):
        risk_coverage([0.0, math.inf], [0, 1])
    with pytest.raises(ValueError, match=r"^detection: `outside` must have shape \(N,\) with N from 1, got \(0,\)\.$"):
        detection([1.0], [])
    with pytest.raises(ValueError, match=r"^brier_score: `probabilities` must be from 0 and add up to 1"):
        brier_score([[3.0, -1.0]], [0])


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.metrics", None)
    with pytest.raises(ImportError, match=r"^detection: needs scikit-learn: pip install 'torchdropout\[study\]'\.$"):
        detection([1.0], [2.0])
