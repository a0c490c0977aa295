import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from torchdropout.study import compare, comparison
from torchdropout.study.conditions import Condition, Placed
from torchdropout.study.display import RunsDisplay, caption, result_table
from torchdropout.study.execution import Outcome
from torchdropout.study.metrics import Metrics
from torchdropout.study.protocol import Run
from torchdropout.study.status import DIVERGED, OK

NONE, DROPOUT = Run(Condition("none"), 0, 0, 0), Run(Condition("dropout", (0.5,)), 0, 0, 0)


def done(run, accuracy=None, rmse=None):
    metrics = Metrics(0.1, accuracy=accuracy, rmse=rmse)
    return Outcome(run, OK, placed=Placed(run.condition.method), parts={"train": metrics, "val": metrics})


def shown(monkeypatch, outcomes, *, terminal):
    """What the error stream holds after some runs."""
    stream = io.StringIO()
    kinds = {"file": stream, "force_terminal": terminal, "width": 120, "color_system": None}
    monkeypatch.setattr("torchdropout.study.display.Console", lambda **_: Console(**kinds))
    with RunsDisplay() as display:
        display.watcher.on_start(Path("there"), [NONE, DROPOUT, NONE], 0)
        for outcome in outcomes:
            display.watcher.on_begin(outcome.run)
            display.watcher.on_outcome(outcome)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())


def test_a_terminal_shows_what_is_done_and_the_best_so_far(monkeypatch):
    text = shown(monkeypatch, [done(NONE, 0.9), done(DROPOUT, 0.95)], terminal=True)
    assert "2/3" in text
    assert "0 running, best so far dropout p=0.5: 95.00 %" in text
    assert "left" in text


def test_the_best_of_a_regression_is_the_lowest(monkeypatch):
    text = shown(monkeypatch, [done(NONE, rmse=2.5), done(DROPOUT, rmse=3.5)], terminal=True)
    assert "best so far none: 2.5" in text


def test_a_failure_is_shown_on_a_terminal_too(monkeypatch):
    text = shown(monkeypatch, [Outcome(NONE, DIVERGED, "Too fast.")], terminal=True)
    assert "1/3 none, repeat 0, fold 0, seed 0: diverged. Too fast." in text


def test_elsewhere_a_plain_line_for_each_run(monkeypatch):
    text = shown(monkeypatch, [done(NONE, 0.9), done(DROPOUT, rmse=2.0)], terminal=False)
    assert text.splitlines() == [
        "1/3 none, repeat 0, fold 0, seed 0: training 90.00 %, judged 90.00 %",
        "2/3 dropout p=0.5, repeat 0, fold 0, seed 0: training rmse 2, judged 2",
    ]


@pytest.mark.parametrize("folds", [1, 2])
def test_the_table_fits_80_columns_and_holds_the_verdicts(few, tmp_path, monkeypatch, folds):
    given = replace(few, test_inputs=few.inputs[:40], test_targets=few.targets[:40])
    monkeypatch.setattr(comparison.datasets, "load", lambda name, **settings: given)
    methods = ["none", "dropout", "gaussian-noise"]
    settings = {"p": [0.1, 0.2], "widths": [8], "seeds": 2, "epochs": 2, "jobs": 1}
    stored = compare(methods=methods, folds=folds, **settings, out=tmp_path / "out")
    console = Console(file=io.StringIO(), width=80)
    console.print(result_table(stored))
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    words = " ".join(text.split())
    assert "no evidence" in words or "helps" in words or "hurts" in words
    plain = stored.results[stored.results["method"] == "none"]
    mean = plain["val_accuracy" if folds > 1 else "test_accuracy"].mean()
    assert f"none {100 * mean:.2f}" in words
    assert ("this test split only" in caption(stored)) == (folds == 1)
