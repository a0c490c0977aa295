"""Reliability tables and the expected calibration error, against loops, torchmetrics and what is known of them."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

import torchdropout as td

expected_calibration_error, reliability = td.calibration.expected_calibration_error, td.calibration.reliability


def two_classes(confidence):
    """Predictions of class 0 with such confidences."""
    p = np.asarray(confidence, dtype=np.float64)
    return np.stack([p, 1 - p], 1)


def drawn(count=1000, classes=4, seed=0, sharpness=2.0):
    rng = np.random.default_rng(seed)
    logits = sharpness * rng.standard_normal((count, classes))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return p, rng.integers(classes, size=count)


@pytest.mark.parametrize("bins", [1, 7, 15, 100])
def test_ece_eq3_against_a_loop_over_bins(bins):
    p, y = drawn()
    confidence, right = p.max(1), p.argmax(1) == y
    expected = 0.0
    for b in range(bins):
        inside = [n for n in range(len(y)) if b / bins < confidence[n] <= (b + 1) / bins]
        if inside:
            gap = sum(right[n] for n in inside) / len(inside) - sum(confidence[n] for n in inside) / len(inside)
            expected += len(inside) / len(y) * abs(gap)
    assert expected_calibration_error(p, y, bins=bins) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("bins", [10, 15])
def test_ece_is_that_of_torchmetrics_where_no_confidence_is_on_an_edge(bins):
    from torchmetrics.functional.classification import multiclass_calibration_error  # noqa: PLC0415 - slow to import

    p, y = (torch.from_numpy(each) for each in drawn(seed=3))
    theirs = multiclass_calibration_error(p, y, num_classes=4, n_bins=bins, norm="l1")
    assert expected_calibration_error(p, y, bins=bins) == pytest.approx(float(theirs), abs=1e-6)


def test_a_confidence_of_exactly_1_is_in_the_last_bin_and_counts():
    bins = reliability(two_classes([1.0, 1.0, 0.95]), [0, 1, 0], bins=10)
    assert [(each.low, each.high, each.count) for each in bins] == [(0.9, 1.0, 3)]
    assert bins[0].confidence == pytest.approx(2.95 / 3)
    assert expected_calibration_error(two_classes([1.0] * 4), [0, 0, 0, 1], bins=10) == 0.25


def test_confidences_on_edges_are_in_the_bin_below_and_zero_classes_in_the_first():
    edges = [k / 15 for k in range(8, 16)]
    assert [each.high for each in reliability(two_classes(edges), [0] * 8)] == edges
    many = np.full((3, 1000), 1e-3)
    assert [(each.low, each.count) for each in reliability(many, [0, 0, 0])] == [(0.0, 3)]


def test_empty_bins_are_left_out():
    bins = reliability(two_classes([0.55, 0.97]), [0, 0], bins=10)
    assert [each.low for each in bins] == [0.5, 0.9]


def test_equal_mass_bins_have_equal_counts_and_keep_equal_confidences_together():
    p, y = drawn(count=103)
    counts = [each.count for each in reliability(p, y, bins=10, scheme="mass")]
    assert sum(counts) == 103
    assert set(counts) == {10, 11}
    tied = two_classes([0.9] * 50 + [0.6] * 2 + [0.7] * 2)
    order = np.random.default_rng(1).permutation(54)
    for each in (tied, tied[order]):
        found = reliability(each, [0] * 54, bins=9, scheme="mass")
        assert [(b.low, b.high, b.count) for b in found] == [
            (pytest.approx(0.6), pytest.approx(0.7), 4),
            (0.9, 0.9, 50),
        ]


def test_equal_mass_error_against_groups_of_a_sorted_list():
    p, y = drawn(count=120, seed=5)
    ordered = sorted(zip(p.max(1), p.argmax(1) == y, strict=True))
    groups = [ordered[start : start + 12] for start in range(0, 120, 12)]
    expected = sum(abs(sum(c for c, _ in g) - sum(r for _, r in g)) for g in groups) / 120
    assert expected_calibration_error(p, y, bins=10, scheme="mass") == pytest.approx(expected, rel=1e-12)


def test_a_perfectly_calibrated_model_has_the_error_of_chance_alone():
    """In a bin of n the accuracy is off by sqrt(2/pi) deviations on average; 400 sets give the mean to 2 %, 4 sigma."""
    rng = np.random.default_rng(8)
    found, expected = [], []
    for _ in range(400):
        confidence = rng.uniform(0.5, 1, size=2000)
        wrong = (rng.random(2000) > confidence).astype(int)
        found.append(expected_calibration_error(two_classes(confidence), wrong, bins=10, scheme="mass"))
        groups = np.sort(confidence).reshape(10, 200)
        spread = np.sqrt((groups * (1 - groups)).sum(1)) / 200
        expected.append(math.sqrt(2 / math.pi) * spread.mean())
    assert np.mean(found) == pytest.approx(np.mean(expected), rel=0.06)
    error = np.std(found) / math.sqrt(400)
    assert 4 * error < 0.06 * np.mean(expected)


def test_an_error_that_is_put_in_is_found():
    """Confidence 0.9 and 70 % right: 0.2, whatever the bins."""
    y = np.repeat([0, 1], [700, 300])
    for bins, scheme in ((1, "width"), (15, "width"), (15, "mass")):
        assert expected_calibration_error(two_classes([0.9] * 1000), y, bins=bins, scheme=scheme) == pytest.approx(0.2)


def test_the_intervals_are_wilsons_by_scipy():
    p, y = drawn(count=300)
    for each in reliability(p, y):
        right = round(each.accuracy * each.count)
        interval = stats.binomtest(right, each.count).proportion_ci(0.95, method="wilson")
        assert (each.accuracy_low, each.accuracy_high) == pytest.approx((interval.low, interval.high), abs=1e-12)


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16])
def test_tensors_of_low_precision_and_with_gradients(kind):
    p, y = drawn(count=50)
    given = torch.from_numpy(p).to(kind).requires_grad_()
    expected = expected_calibration_error(given.detach().double() / given.detach().double().sum(1, keepdim=True), y)
    assert expected_calibration_error(given, torch.from_numpy(y)) == pytest.approx(expected, abs=5e-3)


P = [[0.5, 0.5], [0.25, 0.75]]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            ([0.5, 0.5], [0, 1]),
            r"`probabilities` must have shape \(N, C\), got \(2,\); of the probability p of the sec",
        ),
        (([[2.0, -1.0]], [0]), "must be from 0 and add up to 1 in each row, got -1 in row 0; are they logits"),
        (([[0.5, 0.5], [0.5, 0.3]], [0, 1]), "got a sum of 0.8 in row 1"),
        (([[0.5, 0.5], [math.nan, 1]], [0, 1]), "`probabilities` must be finite, got nan in row 1"),
        ((np.zeros((0, 2)), []), r"`probabilities` must have shape \(N, C\) with N from 1, got \(0, 2\)"),
        ((P, [0, 2]), "`targets` must be classes from 0 to 1, got 2"),
        ((P, [0, -1]), "`targets` must be classes from 0 to 1, got -1"),
        ((P, [0, 0.5]), "`targets` must be whole numbers of classes, got 0.5"),
        ((P, [0]), r"`targets` must have shape \(2,\), got \(1,\)"),
    ],
)
def test_bad_predictions(given, sentence):
    with pytest.raises(ValueError, match=rf"^reliability: .*{sentence}"):
        expected_calibration_error(*given)


def test_bad_settings():
    with pytest.raises(ValueError, match=r"^reliability: `bins` must be an integer from 1, got 0\.$"):
        reliability(P, [0, 1], bins=0)
    with pytest.raises(ValueError, match=r"^reliability: `scheme` must be one of 'width', 'mass', got 'count'\.$"):
        reliability(P, [0, 1], scheme="count")
    with pytest.raises(TypeError, match=r"^reliability: `probabilities` must hold numbers, got <U1\.$"):
        reliability([["a", "b"]], [0])
