import itertools
import math

import numpy as np
import pandas as pd
import pytest
import simulated
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from torchdropout.study.statistics import Comparison, Estimate, Scale, compare_conditions, estimate, holm

INDEPENDENT = Scale(overlap=0.0, resolution=0.0, rounding=0.0)
P_VALUE = st.floats(0, 1)


def table(scores, *, metric="accuracy", judge="val", n_judge=20, n_train=80, failed=()):
    """Results with `scores[condition][fold][seed]`; where a test split judges, `scores[condition][0][seed]`."""
    rows = []
    for label, folds in scores.items():
        for fold, seeds in enumerate(folds):
            for seed, score in enumerate(seeds):
                status = "failed" if (label, fold, seed) in failed else "ok"
                rows.append((label, label.split()[0], 0, fold, seed, status, score, n_judge, n_train))
    names = ["condition", "method", "repeat", "fold", "seed", "status", f"{judge}_{metric}", "n_judge", "n_train"]
    return pd.DataFrame(rows, columns=names)


def by_label(results, **settings):
    settings = {"metric": "accuracy", "judge": "val"} | settings
    return {each.condition: each for each in compare_conditions(results, **settings)}


def one_seed(*values):
    return [[value] for value in values]


PLAIN = (0.80, 0.84, 0.78, 0.86, 0.82)
DROPOUT = (0.86, 0.88, 0.86, 0.90, 0.86)


def test_a_worked_example_by_hand():
    # Differences 6, 4, 8, 4, 4 points: mean 5.2, variance (0.64 + 1.44 + 7.84 + 1.44 + 1.44) / 4 = 3.2. With folds of
    # 20 judged by 80 trained on, the variance of the mean is (1/5 + 20/80) 3.2 = 1.44, its root 1.2, t = 13/3. The t
    # distribution with 4 degrees of freedom has the closed form below, and 2.776445 as its 97.5 % point (any table).
    found = by_label(table({"none": one_seed(*PLAIN), "dropout p=0.5": one_seed(*DROPOUT)}))["dropout p=0.5"]
    assert found.difference == pytest.approx(0.052)
    assert (found.difference_high - found.difference) / 0.012 == pytest.approx(2.776445, abs=1e-6)
    assert (found.difference - found.difference_low) / 0.012 == pytest.approx(2.776445, abs=1e-6)
    t = 13 / 3
    inside = t / math.sqrt(4 + t**2)
    assert found.p_value == pytest.approx(1 - inside * (3 - inside**2) / 2)
    assert (found.verdict, found.wording, found.folds, found.reason) == ("helps", "helps", 5, "")
    assert not found.conditional


def test_mean_and_interval_of_a_condition():
    found = by_label(table({"none": one_seed(*PLAIN)}))["none"]
    assert found.mean == pytest.approx(0.82)
    reach = stats.t.ppf(0.975, 4) * np.std(PLAIN, ddof=1) * math.sqrt(1 / 5 + 1 / 4)
    assert (found.low, found.high) == pytest.approx((0.82 - reach, 0.82 + reach))


def test_without_overlap_it_is_the_paired_t_test():
    generator = np.random.default_rng(1)
    for count in (2, 3, 10):
        first, second = generator.normal(size=(2, count))
        found, expected = estimate(first - second, INDEPENDENT), stats.ttest_rel(first, second)
        interval = expected.confidence_interval(0.95)
        assert found.p_value == pytest.approx(expected.pvalue)
        assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_the_correction_widens_by_its_factor_and_never_finds_more():
    differences = np.array([0.01, 0.03, 0.02, 0.05])
    plain = estimate(differences, INDEPENDENT)
    before = plain.p_value
    for overlap in (0.1, 0.25, 1.0):
        found = estimate(differences, Scale(overlap, 0.0, 0.0))
        widening = (found.high - found.low) / (plain.high - plain.low)
        assert widening == pytest.approx(math.sqrt(1 + 4 * overlap))
        assert found.p_value > before
        before = found.p_value


def test_seeds_are_averaged_within_a_fold():
    spread = {"none": [[v - 0.02, v + 0.02] for v in PLAIN], "dropout": [[v + 0.01, v - 0.01] for v in DROPOUT]}
    single = {"none": one_seed(*PLAIN), "dropout": one_seed(*DROPOUT)}
    for many, one in zip(by_label(table(spread)).values(), by_label(table(single)).values(), strict=True):
        assert many.mean == pytest.approx(one.mean)
        assert many.p_value == pytest.approx(one.p_value, nan_ok=True)


def test_repeats_are_further_folds():
    first = table({"none": one_seed(*PLAIN[:2]), "dropout": one_seed(*DROPOUT[:2])})
    second = table({"none": one_seed(*PLAIN[2:4]), "dropout": one_seed(*DROPOUT[2:4])}).assign(repeat=1)
    together = table({"none": one_seed(*PLAIN[:4]), "dropout": one_seed(*DROPOUT[:4])})
    assert by_label(pd.concat([first, second])) == by_label(together)


def test_a_lower_error_helps():
    scores = {"none": one_seed(9.0, 9.5, 9.2), "dropout": one_seed(3.0, 3.6, 3.1), "gaussian": one_seed(15, 15.4, 15.3)}
    found = by_label(table(scores, metric="rmse"), metric="rmse")
    assert [found[name].verdict for name in scores] == ["", "helps", "hurts"]
    assert found["dropout"].difference < 0 < found["gaussian"].difference
    assert found["none"].low > 1  # an error is not cut at 1


def test_intervals_of_an_accuracy_end_where_accuracies_do():
    found = by_label(table({"none": one_seed(0.0, 0.1, 0.02), "dropout": one_seed(1.0, 0.9, 0.98)}))
    assert found["none"].low == 0
    assert found["dropout"].high == 1


def test_order_is_that_of_appearance_and_results_do_not_depend_on_it():
    scores = {"z": one_seed(*DROPOUT), "none": one_seed(*PLAIN), "a": one_seed(0.7, 0.9, 0.8, 0.8, 0.9)}
    results = table(scores)
    assert [each.condition for each in compare_conditions(results, metric="accuracy", judge="val")] == list(scores)
    shuffled = by_label(results.sample(frac=1, random_state=0))
    for label, expected in by_label(results).items():
        assert shuffled[label].p_adjusted == pytest.approx(expected.p_adjusted, nan_ok=True)


def test_without_the_plain_network_nothing_is_compared():
    (found,) = compare_conditions(table({"dropout": one_seed(*DROPOUT)}), metric="accuracy", judge="val")
    assert found.mean == pytest.approx(np.mean(DROPOUT))
    assert (found.verdict, found.wording, found.reason, found.folds) == ("", "", "", 5)
    numbers = (found.difference, found.difference_low, found.difference_high, found.p_value, found.p_adjusted)
    assert all(math.isnan(number) for number in numbers)


# Runs that did not come to their end.


def test_a_fold_without_a_run_drops_out_of_the_pairs():
    scores = {"none": one_seed(*PLAIN), "dropout": one_seed(*DROPOUT)}
    kept = {"none": one_seed(*PLAIN[2:]), "dropout": one_seed(*DROPOUT[2:])}
    found = by_label(table(scores, failed={("none", 0, 0), ("dropout", 1, 0)}))["dropout"]
    expected = by_label(table(kept))["dropout"]
    assert found.p_value == pytest.approx(expected.p_value)
    assert found.folds == 3
    assert found.reason.startswith("Rests on 3 folds of 5")
    assert found.mean == pytest.approx(np.mean([DROPOUT[0], *DROPOUT[2:]]))  # its own mean needs no pair


def test_a_failed_seed_leaves_the_others_of_its_fold():
    scores = {"none": [[0.8, 0.7], [0.9, 0.8]], "dropout": [[0.9, 0.1], [0.95, 0.85]]}
    found = by_label(table(scores, failed={("dropout", 0, 1)}))["dropout"]
    assert found.difference == pytest.approx(np.mean([0.9 - 0.75, 0.9 - 0.85]))
    assert found.folds == 2


@pytest.mark.parametrize("lost", ["none", "dropout"])
def test_fewer_than_two_pairs_are_no_evidence(lost):
    scores = {"none": one_seed(*PLAIN[:2]), "dropout": one_seed(*DROPOUT[:2])}
    found = by_label(table(scores, failed={(lost, 0, 0)}))["dropout"]
    assert found.verdict == "no evidence"
    assert math.isnan(found.difference_low)
    assert math.isnan(found.p_value)
    assert "there was 1 fold of 2" in found.reason
    assert found.difference == pytest.approx(DROPOUT[1] - PLAIN[1])


def test_no_run_at_all_finished():
    scores = {"none": one_seed(*PLAIN), "dropout": one_seed(*DROPOUT)}
    every = {(name, fold, 0) for name in scores for fold in range(5)}
    found = by_label(table(scores, failed=every))
    assert math.isnan(found["none"].mean)
    assert (found["dropout"].verdict, found["dropout"].folds) == ("no evidence", 0)


def test_a_number_that_is_not_finite_is_no_result():
    scores = {"none": one_seed(*PLAIN), "dropout": one_seed(math.inf, math.nan, *DROPOUT[2:])}
    found = by_label(table(scores, metric="rmse"), metric="rmse")["dropout"]
    assert found.folds == 3
    assert math.isfinite(found.p_value)


def test_failures_make_no_other_verdict_easier():
    scores = {"none": one_seed(*PLAIN), "a": one_seed(*DROPOUT), "b": one_seed(*PLAIN)}
    whole = by_label(table(scores))["a"]
    without = by_label(table(scores, failed={("b", fold, 0) for fold in range(5)}))["a"]
    assert whole.p_adjusted == without.p_adjusted == pytest.approx(2 * whole.p_value)


# No variance.


def test_the_same_numbers_are_no_evidence():
    found = by_label(table({"none": one_seed(*PLAIN), "dropout": one_seed(*PLAIN)}))["dropout"]
    assert (found.difference, found.p_value, found.verdict) == (0, 1, "no evidence")
    assert found.difference_low < 0 < found.difference_high


def test_the_same_errors_are_no_evidence():
    found = estimate(np.zeros(5), INDEPENDENT)
    assert found == Estimate(0, 0, 0, 1)


def test_equal_steps_of_one_example_are_no_evidence():
    # One more of 20 in every fold: t = 0.05 / (0.05 sqrt(1/5 + 1/4)) = 1.49 with 4 degrees of freedom.
    found = by_label(table({"none": one_seed(*PLAIN), "dropout": one_seed(*(v + 0.05 for v in PLAIN))}))["dropout"]
    assert found.p_value == pytest.approx(2 * stats.t.sf(1 / math.sqrt(0.45), 4))
    assert found.verdict == "no evidence"
    assert "the same for every fold" in found.reason


def test_a_network_that_never_fails_beside_one_that_always_does():
    found = by_label(table({"none": one_seed(*[0.5] * 5), "dropout": one_seed(*[1.0] * 5)}))["dropout"]
    assert found.verdict == "helps"
    assert 0 < found.p_value < 0.001


def test_equal_differences_of_errors_are_no_coincidence():
    found = by_label(
        table({"none": one_seed(1, 2, 4), "dropout": one_seed(0.5, 1.5, 3.5)}, metric="rmse"), metric="rmse"
    )
    assert (found["dropout"].p_value, found["dropout"].verdict) == (0, "helps")


def test_rounding_is_not_variance():
    # 0.9 - 0.8, 0.8 - 0.7 and 0.7 - 0.6 differ in the last bits.
    noisy = by_label(table({"none": one_seed(0.8, 0.7, 0.6), "dropout": one_seed(0.9, 0.8, 0.7)}))["dropout"]
    assert noisy.p_value == pytest.approx(2 * stats.t.sf(0.1 / (0.05 * math.sqrt(1 / 3 + 1 / 4)), 2))


# A fixed test split.


def test_a_test_split_is_paired_by_seed_without_correction():
    scores = {"none": [list(PLAIN)], "dropout": [list(DROPOUT)]}
    found = by_label(table(scores, judge="test"), judge="test")["dropout"]
    expected = stats.ttest_rel(DROPOUT, PLAIN)
    assert found.p_value == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval(0.95)
    assert (found.difference_low, found.difference_high) == pytest.approx((interval.low, interval.high))
    assert found.conditional
    assert (found.verdict, found.wording) == ("helps", "helps on this test split")


def test_a_test_split_and_one_seed():
    found = by_label(table({"none": [[0.8]], "dropout": [[0.9]]}, judge="test"), judge="test")["dropout"]
    assert found.wording == "no evidence on this test split"
    assert "A test needs 2 seeds" in found.reason


# Holm's adjustment.


@pytest.mark.parametrize(
    ("p_values", "expected"),
    [
        ([], []),
        ([0.04], [0.04]),
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),  # 3 × 0.01; 2 × 0.03; 1 × 0.04, raised to 0.06
        ([0.5, 0.6, 0.001], [1.0, 1.0, 0.003]),
        ([0.02, 0.02], [0.04, 0.04]),
        ([0.01, math.nan, 0.02], [0.03, math.nan, 0.04]),
    ],
)
def test_holm_by_hand(p_values, expected):
    assert holm(p_values) == pytest.approx(expected, nan_ok=True)


@given(st.lists(P_VALUE, min_size=1, max_size=6), st.floats(0.001, 0.5))
def test_holm_rejects_what_the_closed_test_does(p_values, level):
    # Holm's is the closed test by Bonferroni: a hypothesis falls if every set that holds it does.
    indices = range(len(p_values))
    for index in indices:
        sets = [s for size in range(1, len(p_values) + 1) for s in itertools.combinations(indices, size) if index in s]
        needed = max(min(1.0, len(s) * min(p_values[i] for i in s)) for s in sets)
        assert holm(p_values)[index] == pytest.approx(needed)


@given(st.lists(P_VALUE, min_size=1, max_size=8), st.data())
def test_holm_is_monotone(p_values, data):
    index = data.draw(st.integers(0, len(p_values) - 1))
    raised = [*p_values]
    raised[index] = data.draw(st.floats(p_values[index], 1))
    assert all(a <= b for a, b in zip(holm(p_values), holm(raised), strict=True))
    assert all(a >= p for a, p in zip(holm(p_values), p_values, strict=True))


@pytest.mark.parametrize(("name", "value"), [("metric", "loss"), ("judge", "train")])
def test_unknown_names(name, value):
    settings = {"metric": "accuracy", "judge": "val"} | {name: value}
    with pytest.raises(ValueError, match=f"`{name}` must be .* got '{value}'"):
        compare_conditions(table({"none": one_seed(*PLAIN)}), **settings)


# Simulation: see `simulated` for what is equal and why.

STUDIES = 200


@pytest.fixture(params=[1, 3], ids=["5 folds", "5 folds, 3 repeats"])
def of_equals(request):
    generator = np.random.default_rng(20031105)
    return [simulated.study(generator, simulated.EQUALS, repeats=request.param, seeds=1) for _ in range(STUDIES)]


def found_any(comparisons: list[Comparison]) -> bool:
    return any(each.verdict in ("helps", "hurts") for each in comparisons)


def test_methods_that_are_equal_are_seldom_told_apart(of_equals, request):
    # A family-wise error of 0.05 exceeds the bound with a probability of 0.001.
    errors = sum(found_any(compare_conditions(each, metric="accuracy", judge="val")) for each in of_equals)
    print(f"family-wise error {errors} of {STUDIES}")
    assert errors <= simulated.bound(STUDIES)
    if "repeats" in request.node.callspec.id:  # else this test could not tell a wrong one
        assert sum(simulated.uncorrected(each) for each in of_equals) > 2 * simulated.bound(STUDIES)


def test_a_method_that_is_eight_points_better_is_found():
    generator = np.random.default_rng(20140615)
    methods = (*simulated.EQUALS[:3], simulated.BETTER["blind to none"])
    settings = {"examples": 1000, "repeats": 3, "seeds": 1}
    found = [
        compare_conditions(simulated.study(generator, methods, **settings), metric="accuracy", judge="val")[-1]
        for _ in range(60)
    ]
    power = sum(each.verdict == "helps" for each in found)
    print(f"power {power} of 60 at {100 * np.mean([each.difference for each in found]):.1f} points")
    assert power >= 48
    assert not any(each.verdict == "hurts" for each in found)
