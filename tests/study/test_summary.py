import math

import numpy as np
import pandas as pd
import pytest

from torchdropout.study import summarise
from torchdropout.study.summary import METRICS, Figure, by_fold


def table(rows):
    """Results where every metric of a run is the same number."""
    names = ("condition", "fold", "seed", "status")
    runs = [dict(zip(names, row[:4], strict=True)) | dict.fromkeys(METRICS, row[4]) for row in rows]
    return pd.DataFrame(runs).assign(repeat=0)


def test_seeds_are_averaged_within_a_fold_before_mean_and_spread():
    # Averaging all runs of the unbalanced table at once would give (0.2 + 0.4 + 0.9) / 3 = 0.5.
    rows = [("b", 0, 0, "ok", 0.2), ("b", 0, 1, "ok", 0.4), ("b", 1, 0, "ok", 0.9), ("b", 1, 1, "failed", math.nan)]
    (row,) = summarise(table(rows))
    assert row.metrics["val_accuracy"].mean == pytest.approx((0.3 + 0.9) / 2)
    assert row.metrics["val_accuracy"].spread == pytest.approx(np.std([0.3, 0.9], ddof=1))
    assert (row.finished, row.runs) == (3, 4)


def test_conditions_keep_the_order_of_the_runs_and_none_is_lost():
    rows = [("z", 0, 0, "diverged", math.nan), ("a", 0, 0, "ok", 0.5), ("m", 0, 0, "ok", 0.25)]
    found = summarise(table(rows))
    assert [(row.condition, row.finished) for row in found] == [("z", 0), ("a", 1), ("m", 1)]
    assert math.isnan(found[0].metrics["gap"].mean)
    assert found[1].metrics["gap"].percent() == "50.00"


def test_runs_that_did_not_finish_do_not_count_even_with_numbers():
    rows = [("a", 0, 0, "ok", 0.5), ("a", 0, 1, "diverged", 99.0)]
    assert by_fold(table(rows), "gap")["gap"].tolist() == [0.5]


@pytest.mark.parametrize(
    ("figure", "percent", "plain"),
    [
        (Figure(0.98765, 0.00432), "98.77 ± 0.43", "0.988 ± 0.004"),
        (Figure(0.5, math.nan), "50.00", "0.500"),
        (Figure(math.nan, math.nan), "–", "–"),
    ],
)
def test_text(figure, percent, plain):
    assert figure.percent() == percent
    assert figure.plain() == plain
    assert figure.percent(spread=False) == percent.split(" ", maxsplit=1)[0]
