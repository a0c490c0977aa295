import json

import numpy as np
import pytest

from torchdropout.study import CompareConfig, StudyError, compare, comparison, read, summarise

SMALL = {"folds": 2, "seeds": 1, "epochs": 2, "jobs": 1}


@pytest.fixture
def on_few(few, monkeypatch):
    monkeypatch.setattr(comparison.data, "load", lambda name, folder: few)


@pytest.mark.usefixtures("on_few")
@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_every_run_is_stored_with_the_report(tmp_path, model):
    stored = compare(model=model, methods=["none", "dropout", "gaussian"], p=[0.2, 0.5], out=tmp_path / "out", **SMALL)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "config.json",
        "curves.parquet",
        "report.html",
        "results.parquet",
    ]
    labels = ["none", "dropout p=0.2", "dropout p=0.5", "gaussian p=0.2", "gaussian p=0.5"]
    assert [row.condition for row in summarise(stored.results)] == labels
    assert len(stored.results) == 5 * 2
    assert len(stored.curves) == 5 * 2 * 2
    assert (stored.results["status"] == "ok").all()


@pytest.mark.usefixtures("on_few")
def test_the_last_epoch_is_the_result(tmp_path):
    stored = compare(CompareConfig(out=tmp_path, **SMALL))
    last = stored.curves[stored.curves["epoch"] == 2].reset_index(drop=True)
    for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy"):
        np.testing.assert_array_equal(stored.results[name], last[name])
    np.testing.assert_array_equal(stored.results["gap"], last["train_accuracy"] - last["val_accuracy"])


@pytest.mark.usefixtures("on_few")
def test_calling_twice_gives_the_same_numbers(tmp_path):
    first, second = (compare(out=tmp_path / name, **SMALL) for name in ("first", "second"))
    assert first.results.drop(columns="seconds_per_epoch").equals(second.results.drop(columns="seconds_per_epoch"))
    assert first.curves.drop(columns="seconds").equals(second.curves.drop(columns="seconds"))


@pytest.mark.usefixtures("on_few")
def test_one_method_does_not_change_with_its_company(tmp_path):
    alone = compare(methods=["dropout"], out=tmp_path / "alone", **SMALL).results
    among = compare(methods=["gaussian", "none", "dropout"], out=tmp_path / "among", **SMALL).results
    among = among[among["method"] == "dropout"].reset_index(drop=True)
    assert among["val_loss"].equals(alone["val_loss"])


@pytest.mark.usefixtures("on_few")
def test_the_description_says_what_was_run(tmp_path):
    compare(methods=["none", "gaussian-noise"], out=tmp_path / "out", **SMALL)
    study = json.loads((tmp_path / "out" / "config.json").read_text())
    assert study["config"]["methods"] == ["none", "gaussian-noise"]
    assert study["data"] == {
        "name": "few",
        "examples": 200,
        "shape": [1, 8, 8],
        "classes": 10,
        "note": "The first 200 digits.",
    }
    assert study["strengths"]["gaussian-noise std=0.2"] == {"input": 0.2, "conv": 0.2, "dense": 0.2}
    assert study["workers"] == 1
    assert study["command"].startswith(
        "torchdropout compare digits --model mlp --methods none,gaussian-noise --folds 2"
    )


@pytest.mark.usefixtures("on_few")
def test_what_is_returned_is_what_lies_there(tmp_path):
    told, runs = [], []
    stored = compare(methods=["none"], out=tmp_path, on_start=runs.extend, on_outcome=told.append, **SMALL)
    assert stored.results.equals(read(tmp_path).results)
    assert [outcome.run for outcome in told] == runs


def test_bad_input_is_found_before_anything_is_trained_or_written(tmp_path):
    with pytest.raises(StudyError, match="no method is called 'dropuot'"):
        compare(methods=["dropuot"], out=tmp_path / "out", on_start=pytest.fail)
    with pytest.raises(StudyError, match="an example for each of the 300 folds"):
        compare(folds=300, out=tmp_path / "out", on_start=pytest.fail)
    assert not (tmp_path / "out").exists()


def test_config_and_settings_together():
    with pytest.raises(TypeError, match="`config` must stand alone, got folds, seeds besides"):
        compare(CompareConfig(), folds=3, seeds=1)


def test_digits_overfit_less_with_dropout(tmp_path):
    """The demo in small: real digits, one fold of two, both networks learn, and dropout's gap in loss is smaller."""
    stored = compare(methods=["none", "dropout"], folds=2, seeds=1, epochs=15, jobs=1, out=tmp_path)
    plain, dropout = summarise(stored.results)
    assert plain.metrics["train_accuracy"].mean > 0.999
    assert min(row.metrics["val_accuracy"].mean for row in (plain, dropout)) > 0.95
    ratios = [row.metrics["val_loss"].mean / row.metrics["train_loss"].mean for row in (plain, dropout)]
    assert ratios[0] > 2 * ratios[1]
