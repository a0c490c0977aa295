"""Studies of combinations from settings to the store, the tables, the report and a model that predicts."""

import json
import sqlite3

import numpy as np
import pytest

from torchdropout.study import StudyError, Watcher, compare, comparison, load_model, predict, read
from torchdropout.study.store import FILE

SMALL = {"folds": 2, "seeds": 1, "epochs": 3, "jobs": 1, "widths": [16]}
METHODS = ["none", "l2", "maxnorm+dropout", "rdrop", "dropout+rdrop+l1", "recipe", "curriculum"]
SETTINGS = SMALL | {"methods": METHODS, "p": [0.1, 0.4], "strength": {"l2": [1e-4, 1e-1], "dropout": [0.2]}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return compare(data="digits", max_examples=300, out=tmp_path_factory.mktemp("added") / "out", **SETTINGS).folder


def test_what_the_tables_hold(folder):
    results = read(folder).results
    assert (results["status"] == "ok").all(), results["reason"].tolist()
    assert list(dict.fromkeys(results["method"])) == METHODS
    assert list(dict.fromkeys(results["condition"])) == [
        "none",
        "l2 lambda from 0.0001, 0.1",
        "maxnorm c=3 + dropout p=0.2",
        "rdrop alpha=1",
        "dropout p=0.2 + rdrop alpha=1 + l1 lambda=1e-05",
        "recipe factor=10",
        "curriculum gamma=10",
    ]
    chosen = results.groupby("method")[["p", "l1", "l2", "maxnorm", "rdrop", "recipe", "curriculum"]].first()
    assert chosen.loc["none"].isna().all()
    assert chosen.loc["l2", "l2"] in (1e-4, 1e-1)
    assert chosen.loc["dropout+rdrop+l1"].dropna().to_dict() == {"p": 0.2, "l1": 1e-5, "rdrop": 1.0}
    assert chosen.loc["maxnorm+dropout"].dropna().to_dict() == {"p": 0.2, "maxnorm": 3.0}


def test_what_the_store_and_the_description_hold(folder):
    with sqlite3.connect(folder / FILE) as connection:
        rows = dict(connection.execute("SELECT condition, placed FROM runs WHERE fold = 0"))
    assert json.loads(rows["rdrop alpha=1"]) == {"method": "dropout", "strength": 0.2, "added": {"rdrop": 1.0}}
    study = json.loads((folder / "study.json").read_text())
    assert study["config"]["strength"] == {"l2": [1e-4, 1e-1], "dropout": [0.2]}
    assert "--strength l2=0.0001,0.1 --strength dropout=0.2" in study["command"]
    described = study["methods"]["maxnorm c=3 + dropout p=0.2"]
    assert (described["method"], described["noise"], described["candidates"]) == ("maxnorm+dropout", "dropout", [0.2])
    assert described["added"] == {"maxnorm": {"argument": "c", "candidates": [3.0]}}
    counts = {method["method"]: method["parameters"] for method in study["methods"].values()}
    assert counts["none"] == 64 * 16 + 16 + 16 * 10 + 10 == counts["rdrop"]
    assert counts["recipe"] == 64 * 20 + 20 + 20 * 10 + 10


def test_what_the_report_says(folder):
    page = (folder / "report.html").read_text()
    for said in (
        "rdrop alpha=1, with dropout: inputs 0.2, after hidden layers 0.2",
        "l2 lambda from 0.0001, 0.1: no noise",
        "l2 (L2 penalty): lambda / 2 times the sum of squared weights joins the loss",
        "every curve and figure is of the loss of the data",
        "The recipe changes more than the noise",
        "<td>l2 lambda</td>",
        "took the one with the lowest loss on the inner fifth",
    ):
        assert said in page, said


@pytest.mark.parametrize("method", ["recipe", "multisample", "l2", "rdrop+maxnorm"])
def test_a_model_is_refitted_and_predicts(few, tmp_path, monkeypatch, method):
    monkeypatch.setattr(comparison.datasets, "load", lambda name, **settings: few)
    folder = compare(methods=[method], out=tmp_path / "out", strength={}, **SMALL).folder
    network, about = load_model(folder)
    assert set(about["placed"]["added"]) <= {"recipe", "multisample", "l2", "rdrop", "maxnorm"}
    assert network.model.linear1.out_features == (32 if method == "recipe" else 16)
    np.savez(tmp_path / "new.npz", inputs=few.inputs)
    hits = (predict(folder, tmp_path / "new.npz")["prediction"].to_numpy() == few.targets.astype(str)).mean()
    told = read(folder).study["refit"]
    assert hits == pytest.approx(told["measured"]["train"]["accuracy"])
    assert told["placed"] == about["placed"]


def test_it_goes_on_with_the_settings_of_the_study_and_no_others(tmp_path):
    class StopError(Exception):
        pass

    def stop(outcome):
        raise StopError

    settings = SMALL | {"data": "digits", "max_examples": 200, "methods": ["none", "dropout+l2"]}
    strength = {"l2": [1e-4, 1e-2]}
    with pytest.raises(StopError):
        compare(out=tmp_path / "out", strength=strength, watcher=Watcher(on_outcome=stop), **settings)
    with pytest.raises(StudyError, match="`strength` must be that of the study"):
        compare(out=tmp_path / "out", resume=True, strength={"l2": [1e-4]})
    resumed = compare(out=tmp_path / "out", resume=True)
    whole = compare(out=tmp_path / "whole", strength=strength, **settings)
    drop = ["seconds", "seconds_per_epoch"]
    assert resumed.results.drop(columns=drop).equals(whole.results.drop(columns=drop))


def test_a_recipe_that_diverges_is_recorded(tmp_path):
    """A rate that no network takes."""
    settings = SMALL | {"data": "digits", "max_examples": 200, "methods": ["none", "recipe"]}
    stored = compare(out=tmp_path / "out", strength={"recipe": [1e38]}, **settings)
    recipe = stored.results[stored.results["method"] == "recipe"]
    assert (recipe["status"] == "diverged").all()
    assert recipe["reason"].str.startswith("The loss was not finite after epoch").all()


def test_workers_give_the_numbers_of_one_process(tmp_path):
    settings = SMALL | {"data": "digits", "max_examples": 200, "methods": ["none", "rdrop", "early-dropout+maxnorm"]}
    one, two = (compare(out=tmp_path / str(jobs), **settings | {"jobs": jobs}) for jobs in (1, 2))
    drop = ["seconds", "seconds_per_epoch"]
    assert one.results.drop(columns=drop).equals(two.results.drop(columns=drop))


@pytest.mark.parametrize("method", ["rdrop", "elastic", "recipe", "multisample", "curriculum"])
def test_a_regression(line, tmp_path, monkeypatch, method):
    monkeypatch.setattr(comparison.datasets, "load", lambda name, **settings: line)
    stored = compare(methods=["none", method], out=tmp_path / "out", **SMALL | {"epochs": 40, "lr": 0.01})
    assert (stored.results["status"] == "ok").all(), stored.results["reason"].tolist()
    assert (stored.results["val_rmse"] < line.targets.std()).all()
