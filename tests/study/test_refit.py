import json
import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from torchdropout.study import StudyError, compare, comparison, load_model, predict, refit

SMALL = {"folds": 2, "seeds": 2, "epochs": 3, "jobs": 1, "widths": [16]}


@pytest.fixture
def folder(few, tmp_path, monkeypatch):
    monkeypatch.setattr(comparison.datasets, "load", lambda name, **settings: few)
    return compare(methods=["none", "dropout"], out=tmp_path / "out", **SMALL).folder


def frame(**columns):
    """Runs of three conditions, the third of which lost one."""
    rows = [
        ("a", "ok", 0.7),
        ("a", "ok", 0.9),
        ("b", "ok", 0.85),
        ("b", "ok", 0.85),
        ("c", "ok", 1.0),
        ("c", "failed", None),
    ]
    return pd.DataFrame(rows, columns=["condition", "status", "score"]).assign(**columns)


@pytest.mark.parametrize(("metric", "expected"), [("accuracy", "b"), ("rmse", "a")])
def test_the_best_is_by_the_mean_of_complete_conditions(metric, expected):
    results = frame()
    results[f"val_{metric}"] = results["score"]
    stored = type("Stored", (), {"results": results, "study": {"judge": "val", "metric": metric}})
    assert refit.best(stored) == expected


def test_no_condition_is_complete():
    results = frame(status="failed", val_accuracy=0.5)
    stored = type("Stored", (), {"results": results, "study": {"judge": "val", "metric": "accuracy"}})
    assert refit.best(stored) is None


def test_the_model_learnt_from_all_examples_and_gives_what_was_measured(folder, few):
    network, about = load_model(folder)
    study = json.loads((folder / "study.json").read_text())
    assert about["placed"]["method"] == study["methods"][study["best"]]["noise"]
    y = network.outputs(network.preparation.inputs(few.inputs))
    hits = float((y.argmax(1).numpy() == few.targets).mean())
    assert hits == pytest.approx(study["refit"]["measured"]["train"]["accuracy"])
    mean = few.inputs.astype(np.float64).mean()
    torch.testing.assert_close(
        network.preparation.inputs(few.inputs[:1]).double() * few.inputs.std() + mean,
        torch.from_numpy(few.inputs[:1].astype(np.float64)),
        atol=1e-4,
        rtol=1e-4,
    )


def test_predictions_are_those_of_the_network(folder, few, tmp_path):
    np.savez(tmp_path / "new.npz", inputs=few.inputs[:7])
    found = predict(folder, tmp_path / "new.npz")
    network, _ = load_model(folder)
    probabilities = network.outputs(network.preparation.inputs(few.inputs[:7])).softmax(1).numpy()
    assert list(found.columns) == ["prediction", *(f"probability {n}" for n in range(10))]
    np.testing.assert_allclose(found.iloc[:, 1:].to_numpy(float), probabilities)
    assert found["prediction"].tolist() == [str(n) for n in probabilities.argmax(1)]


def test_weights_are_a_state_dict_that_plain_pytorch_reads(folder):
    state = load_file(folder / "model.safetensors")
    assert {name: tuple(value.shape) for name, value in state.items()} == {
        "linear1.weight": (16, 64),
        "linear1.bias": (16,),
        "output.weight": (10, 16),
        "output.bias": (10,),
    }


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


def test_nothing_is_unpickled(folder):
    (folder / "model.safetensors").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(StudyError, match=r"model\.safetensors must hold the weights of model\.json, found Safetensor"):
        load_model(folder)


def test_weights_of_another_network(folder):
    save_file({"linear1.weight": torch.zeros(3, 3)}, folder / "model.safetensors")
    with pytest.raises(StudyError, match=r"must hold the weights of model\.json, found RuntimeError"):
        load_model(folder)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("{", "must be JSON"), ("[]", "`format` must be 2, found list"), ('{"format": 9}', "`format` must be 2, found 9")],
)
def test_a_broken_description(folder, text, sentence):
    (folder / "model.json").write_text(text)
    with pytest.raises(StudyError, match=rf"model\.json: .*{sentence}"):
        load_model(folder)


def test_no_model(tmp_path):
    with pytest.raises(StudyError, match=r"model\.json: the model of a study must be here, found none"):
        predict(tmp_path, "new.csv")


def test_examples_of_another_kind(folder, tmp_path):
    (tmp_path / "new.csv").write_text("a,b\n1,2\n")
    with pytest.raises(StudyError, match=r"of shape \(examples, 1, 8, 8\) as in training, found a table"):
        predict(folder, tmp_path / "new.csv")
    np.savez(tmp_path / "new.npz", inputs=np.zeros((2, 1, 9, 9), np.uint8))
    with pytest.raises(StudyError, match="9"):
        predict(folder, tmp_path / "new.npz")


def test_the_given_test_split_is_measured_of_the_model(few, tmp_path, monkeypatch):
    given = replace(few, test_inputs=few.inputs[:30], test_targets=few.targets[:30])
    monkeypatch.setattr(comparison.datasets, "load", lambda name, **settings: given)
    study = compare(methods=["none"], out=tmp_path / "out", **SMALL).study
    assert set(study["refit"]["measured"]) == {"train", "test"}


@pytest.mark.parametrize(("method", "factor"), [("early-dropout", 0.0), ("curriculum", 1 - np.exp(-10))])
def test_a_model_has_the_rates_that_its_training_ended_with(few, tmp_path, monkeypatch, method, factor):
    monkeypatch.setattr(comparison.datasets, "load", lambda name, **settings: few)
    compare(methods=[method], out=tmp_path / "out", **SMALL | {"seeds": 1})
    network, _ = load_model(tmp_path / "out")
    assert [layer.p for layer in network.model.modules() if hasattr(layer, "p")] == pytest.approx(
        [0.2 * factor, 0.5 * factor]
    )
