import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from torchdropout.study import CompareConfig, StudyError, Watcher, compare, comparison, datasets, read, write_report
from torchdropout.study.tables import EXPORTS

SMALL = {"folds": 2, "seeds": 1, "epochs": 2, "jobs": 1}
TIMES = ["seconds", "seconds_per_epoch"]


@pytest.fixture
def on_few(few, monkeypatch):
    monkeypatch.setattr(comparison.datasets, "load", lambda name, **settings: few)


@pytest.mark.usefixtures("on_few")
@pytest.mark.parametrize("model", ["linear", "mlp", "cnn"])
def test_every_run_is_stored_with_the_report_and_the_model(tmp_path, model):
    stored = compare(model=model, methods=["none", "dropout", "gaussian"], p=[0.2, 0.5], out=tmp_path / "out", **SMALL)
    names = {*EXPORTS, "study.sqlite", "report.html", "model.safetensors", "model.json"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    labels = ["none", "dropout p from 0.2, 0.5", "gaussian p from 0.2, 0.5"]
    assert list(stored.results["condition"].unique()) == labels
    assert len(stored.results) == 3 * 2
    assert len(stored.curves) == 3 * 2 * 2
    assert (stored.results["status"] == "ok").all()
    assert stored.results.loc[stored.results["method"] != "none", "p"].isin([0.2, 0.5]).all()
    assert stored.results.loc[stored.results["method"] == "none", "p"].isna().all()


@pytest.mark.usefixtures("on_few")
def test_the_last_epoch_is_the_result(tmp_path):
    stored = compare(CompareConfig(out=tmp_path, **SMALL))
    last = stored.curves[stored.curves["epoch"] == 2].reset_index(drop=True)
    for part in ("train", "val"):
        np.testing.assert_allclose(stored.results[f"{part}_loss"], last[f"{part}_loss"], rtol=1e-6)
        np.testing.assert_allclose(stored.results[f"{part}_accuracy"], last[f"{part}_score"], rtol=1e-12)
    gap = stored.results["train_accuracy"] - stored.results["val_accuracy"]
    np.testing.assert_array_equal(stored.results["gap"], gap)
    assert (stored.results["n_train"] + stored.results["n_judge"] == 200).all()


@pytest.mark.usefixtures("on_few")
def test_calling_twice_gives_the_same_numbers(tmp_path):
    first, second = (compare(out=tmp_path / name, **SMALL) for name in ("first", "second"))
    assert first.results.drop(columns=TIMES).equals(second.results.drop(columns=TIMES))
    assert first.curves.drop(columns="seconds").equals(second.curves.drop(columns="seconds"))
    assert first.calibration.equals(second.calibration)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("first", "second")]
    assert weights[0] == weights[1]


@pytest.mark.usefixtures("on_few")
def test_one_method_does_not_change_with_its_company(tmp_path):
    alone = compare(methods=["dropout"], out=tmp_path / "alone", **SMALL).results
    among = compare(methods=["gaussian", "none", "dropout"], out=tmp_path / "among", **SMALL).results
    among = among[among["method"] == "dropout"].reset_index(drop=True)
    assert among["val_loss"].equals(alone["val_loss"])


@pytest.mark.usefixtures("on_few")
def test_the_tables_of_other_programs_hold_the_same(tmp_path):
    stored = compare(methods=["none", "gaussian-noise"], out=tmp_path, **SMALL)
    assert pd.read_parquet(tmp_path / "results.parquet").equals(stored.results)
    assert pd.read_parquet(tmp_path / "curves.parquet").equals(stored.curves)
    csv = pd.read_csv(tmp_path / "results.csv")
    np.testing.assert_allclose(csv["val_nll"], stored.results["val_nll"])
    assert json.loads((tmp_path / "study.json").read_text()) == stored.study


@pytest.mark.usefixtures("on_few")
def test_calibration_is_that_of_the_part_that_judges(tmp_path):
    stored = compare(methods=["none"], out=tmp_path, **SMALL)
    for _, run in stored.results.iterrows():
        bins = stored.calibration[stored.calibration["fold"] == run["fold"]]
        assert bins["count"].sum() == run["n_judge"]
        assert (bins["count"] * bins["accuracy"]).sum() / run["n_judge"] == pytest.approx(run["val_accuracy"])
        distance = (bins["count"] * (bins["accuracy"] - bins["confidence"]).abs()).sum() / run["n_judge"]
        assert distance == pytest.approx(run["val_ece"])


def test_the_description_says_what_was_run(tmp_path, few, on_few):
    study = compare(methods=["none", "gaussian-noise"], out=tmp_path / "out", **SMALL).study
    assert study["config"]["methods"] == ["none", "gaussian-noise"]
    assert study["data"] == {
        "name": "few",
        "task": "classification",
        "examples": 200,
        "test_examples": 0,
        "description": "images of 1 × 8 × 8",
        "dims": 2,
        "text": False,
        "classes": [str(n) for n in range(10)],
        "note": "The first 200.",
        "fingerprint": few.fingerprint,
    }
    assert study["methods"]["gaussian-noise std=0.2"]["sites"] == {"input": 0.2, "conv": 0.2, "dense": 0.2}
    assert (study["workers"], study["judge"], study["metric"]) == (1, "val", "accuracy")
    assert study["command"].startswith("torchdropout compare digits --methods none,gaussian-noise --folds 2")
    assert study["best"] in study["methods"]
    assert study["refit"]["epochs"] == 2


@pytest.mark.usefixtures("on_few")
def test_what_is_returned_is_what_lies_there(tmp_path):
    told, runs, begun = [], [], []
    watcher = Watcher(lambda folder, every, done: runs.extend(every), begun.append, told.append)
    stored = compare(methods=["none"], out=tmp_path, watcher=watcher, **SMALL)
    assert stored.results.equals(read(tmp_path).results)
    assert [outcome.run for outcome in told] == runs == begun


@pytest.mark.usefixtures("on_few")
def test_a_report_can_be_made_while_runs_are_missing(tmp_path):
    def stop(outcome):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(out=tmp_path, watcher=Watcher(on_outcome=stop), **SMALL)
    assert write_report(tmp_path).is_file()
    assert len(read(tmp_path).results) == 1


def test_a_given_test_split_is_measured_once_and_judges_where_asked(few, tmp_path, monkeypatch):
    given = replace(few, test_inputs=few.inputs[:40], test_targets=few.targets[:40])
    monkeypatch.setattr(comparison.datasets, "load", lambda name, **settings: given)
    by_folds = compare(methods=["none", "dropout"], out=tmp_path / "a", **SMALL)
    assert by_folds.results["test_accuracy"].notna().all()
    by_test = compare(methods=["none", "dropout"], out=tmp_path / "b", **SMALL | {"folds": 1, "seeds": 3})
    assert by_test.study["judge"] == "test"
    assert by_test.results["val_loss"].isna().all()
    assert by_test.curves["val_loss"].isna().all()
    assert (by_test.results["n_train"] == 200).all()
    assert (by_test.results["n_judge"] == 40).all()
    assert "on this test split" in (tmp_path / "b" / "report.html").read_text().lower()


def test_regression_from_a_table(tmp_path, line):
    frame = pd.DataFrame(line.inputs, columns=list("abc")).assign(y=line.targets)
    frame.to_csv(tmp_path / "line.csv", index=False)
    settings = {"widths": [20], "folds": 3, "seeds": 1, "epochs": 100, "lr": 0.01, "jobs": 1}
    stored = compare(data=str(tmp_path / "line.csv"), target="y", methods=["all"], out=tmp_path / "out", **settings)
    assert stored.study["metric"] == "rmse"
    plain = stored.results[stored.results["method"] == "none"]
    assert (plain["val_rmse"] < 0.4 * line.targets.std()).all()
    assert stored.results["val_accuracy"].isna().all()
    np.testing.assert_allclose(stored.results["gap"], stored.results["val_rmse"] - stored.results["train_rmse"])
    assert stored.calibration.empty


def test_bad_input_is_found_before_anything_is_trained_or_written(tmp_path):
    never = Watcher(on_start=lambda *args: pytest.fail("began"))
    with pytest.raises(StudyError, match="no method is called 'dropuot'"):
        compare(methods=["dropuot"], out=tmp_path / "out", watcher=never)
    with pytest.raises(StudyError, match="an example for each of the 300 folds"):
        compare(folds=300, out=tmp_path / "out", watcher=never)
    assert not (tmp_path / "out").exists()


def test_config_and_settings_together():
    with pytest.raises(TypeError, match="`config` must stand alone, got folds, seeds besides"):
        compare(CompareConfig(), folds=3, seeds=1)


def test_no_study_to_read(tmp_path):
    with pytest.raises(StudyError, match=r"must hold study\.sqlite, found none"):
        read(tmp_path)


def test_digits_overfit_less_with_dropout(tmp_path):
    """The demo in small: real digits, one fold of two, both networks learn, and dropout's gap in loss is smaller."""
    stored = compare(methods=["none", "dropout"], folds=2, seeds=1, epochs=15, jobs=1, out=tmp_path)
    assert stored.study["data"]["fingerprint"] == datasets.load("digits").fingerprint
    means = stored.results.groupby("method", sort=False).mean(numeric_only=True)
    assert means.loc["none", "train_accuracy"] > 0.999
    assert means["val_accuracy"].min() > 0.95
    ratios = means["val_loss"] / means["train_loss"]
    assert ratios["none"] > 2 * ratios["dropout"]
