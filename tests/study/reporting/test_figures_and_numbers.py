import math

import numpy as np
import pandas as pd
import pytest

from torchdropout.study.reporting import Figure, curves, numbers, summarise
from torchdropout.study.reporting.words import Words

COLUMNS = [f"{part}_{name}" for part in ("train", "val", "test") for name in ("accuracy", "rmse", "loss", "nll", "ece")]


def table(rows):
    """Results where every metric of a run is the same number."""
    names = ("condition", "fold", "seed", "status")
    others = ("gap", "seconds_per_epoch", "epochs")
    runs = [dict(zip(names, row[:4], strict=True)) | dict.fromkeys([*COLUMNS, *others], row[4]) for row in rows]
    return pd.DataFrame(runs).assign(repeat=0)


def test_seeds_are_averaged_within_a_fold_before_mean_and_spread():
    # Averaging all runs of the unbalanced table at once would give (0.2 + 0.4 + 0.9) / 3 = 0.5.
    rows = [("b", 0, 0, "ok", 0.2), ("b", 0, 1, "ok", 0.4), ("b", 1, 0, "ok", 0.9), ("b", 1, 1, "failed", math.nan)]
    (row,) = summarise(table(rows), metric="accuracy", judge="val")
    assert row.metrics["judged"].mean == pytest.approx((0.3 + 0.9) / 2)
    assert row.metrics["judged"].spread == pytest.approx(np.std([0.3, 0.9], ddof=1))
    assert (row.finished, row.runs) == (3, 4)


def test_where_a_test_split_judges_the_spread_is_over_seeds():
    rows = [("b", 0, seed, "ok", value) for seed, value in enumerate((0.2, 0.4, 0.9))]
    (row,) = summarise(table(rows), metric="rmse", judge="test")
    assert row.metrics["judged"].spread == pytest.approx(np.std([0.2, 0.4, 0.9], ddof=1))


def test_each_figure_is_of_its_column():
    results = table([("a", 0, 0, "ok", 0.0)])
    results[COLUMNS] = np.arange(len(COLUMNS), dtype=float)
    (row,) = summarise(results, metric="rmse", judge="test")
    expected = {"train": "train_rmse", "judged": "test_rmse", "judged_loss": "test_loss", "nll": "test_nll"}
    for name, column in expected.items():
        assert row.metrics[name].mean == COLUMNS.index(column)


def test_conditions_keep_the_order_of_the_runs_and_none_is_lost():
    rows = [("z", 0, 0, "diverged", math.nan), ("a", 0, 0, "ok", 0.5), ("m", 0, 0, "ok", 0.25)]
    found = summarise(table(rows), metric="accuracy", judge="val")
    assert [(row.condition, row.finished) for row in found] == [("z", 0), ("a", 1), ("m", 1)]
    assert math.isnan(found[0].metrics["gap"].mean)
    assert found[1].metrics["gap"].percent() == "50.00"


@pytest.mark.parametrize(
    ("figure", "percent", "plain"),
    [
        (Figure(0.98765, 0.00432), "98.77 ± 0.43", "0.988 ± 0.004"),
        (Figure(0.5, math.nan), "50.00", "0.500"),
        (Figure(math.nan, math.nan), "–", "–"),
    ],
)
def test_text_of_a_figure(figure, percent, plain):
    assert figure.percent() == percent
    assert figure.plain() == plain
    assert figure.percent(spread=False) == percent.split(" ", maxsplit=1)[0]


@pytest.mark.parametrize(
    ("value", "decimals", "sign", "expected"),
    [
        (1234.5, 1, False, "1,234.5"),
        (-0.5, 1, True, "−0.5"),
        (0.5, 1, True, "+0.5"),
        (-0.001, 2, True, "0.00"),
        (math.inf, 2, False, "–"),
    ],
)
def test_fixed(value, decimals, sign, expected):
    assert numbers.fixed(value, decimals, sign=sign) == expected


@pytest.mark.parametrize(("width", "expected"), [(0.012, 3), (1.2, 1), (12, 0), (1234, 0), (math.nan, 3), (1e-12, 6)])
def test_as_many_decimals_as_an_interval_is_worth(width, expected):
    assert numbers.decimals(width) == expected


@pytest.mark.parametrize(("value", "expected"), [(0.0, "< 0.001"), (0.05, "0.050"), (1.0, "1.000"), (math.nan, "–")])
def test_p_values(value, expected):
    assert numbers.p_value(value) == expected


def test_an_interval_in_the_units_of_the_target():
    words = Words("rmse", "val", "price")
    assert words.interval((45213.2, 44100.0, 46300.0)) == "45,213 [44,100, 46,300]"
    assert words.interval((-0.0312, -0.05, -0.0124), sign=True) == "−0.031 [−0.050, −0.012]"
    assert words.interval((0.5, math.nan, math.nan)) == "0.500"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0005, 1.2, [0.001, 0.01, 0.1, 1.0]),
        (0.05, 1.5, [0.05, 0.1, 0.2, 0.5, 1.0]),
        (0.24, 0.66, [0.3, 0.4, 0.5, 0.6]),
        (0.91, 0.99, [0.91, 0.99]),
    ],
)
def test_a_logarithmic_axis_always_has_labels(low, high, expected):
    assert curves.log_ticks(low, high) == expected
