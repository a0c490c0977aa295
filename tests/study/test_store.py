import json

import pyarrow.parquet as pq
import pytest

from torchdropout.study import CompareConfig, StudyError, read, store
from torchdropout.study.conditions import Condition
from torchdropout.study.execution import DIVERGED, FAILED, OK, Outcome
from torchdropout.study.protocol import Run
from torchdropout.study.training import Epoch

CURVE = (Epoch(1, 0.9, 0.6, 1.0, 0.5, 0.2), Epoch(2, 0.3, 0.9, 0.5, 0.75, 0.4))


def outcomes():
    return [
        Outcome(Run(Condition("dropout", 0.5), 0, 0, 0), OK, "", CURVE),
        Outcome(Run(Condition("gaussian-noise", 0.2), 0, 1, 0), DIVERGED, "The loss was not finite.", CURVE[:1]),
        Outcome(Run(Condition("none"), 0, 2, 1), FAILED, "ValueError: no", (), "Traceback: no"),
    ]


@pytest.fixture
def stored(tmp_path):
    store.write(tmp_path, {"seconds": 1.5}, outcomes())
    return tmp_path


def test_results_have_a_row_per_run(stored):
    table = pq.read_table(stored / "results.parquet")
    assert table.schema.equals(store.RESULTS_SCHEMA)
    assert table.to_pylist()[0] == {
        "condition": "dropout p=0.5",
        "method": "dropout",
        "p": 0.5,
        "std": None,
        "repeat": 0,
        "fold": 0,
        "seed": 0,
        "status": "ok",
        "reason": "",
        "train_loss": 0.3,
        "train_accuracy": 0.9,
        "val_loss": 0.5,
        "val_accuracy": 0.75,
        "gap": pytest.approx(0.15),
        "seconds_per_epoch": 0.2,
        "epochs": 2,
        "traceback": "",
    }


def test_runs_without_a_result_have_a_reason_and_no_metrics(stored):
    diverged, failed = pq.read_table(stored / "results.parquet").to_pylist()[1:]
    assert (diverged["status"], diverged["reason"], diverged["epochs"]) == ("diverged", "The loss was not finite.", 1)
    assert (failed["status"], failed["reason"], failed["traceback"]) == ("failed", "ValueError: no", "Traceback: no")
    for row in (diverged, failed):
        assert [row[name] for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "gap")] == [None] * 5
    assert (diverged["p"], diverged["std"], failed["p"], failed["std"]) == (None, 0.2, None, None)


def test_curves_have_a_row_per_epoch(stored):
    table = pq.read_table(stored / "curves.parquet")
    assert table.schema.equals(store.CURVES_SCHEMA)
    rows = [(row["condition"], row["epoch"], row["val_loss"], row["seconds"]) for row in table.to_pylist()]
    assert rows == [
        ("dropout p=0.5", 1, 1.0, 0.2),
        ("dropout p=0.5", 2, 0.5, 0.4),
        ("gaussian-noise std=0.2", 1, 1.0, 0.2),
    ]


def test_read_gives_what_was_written(stored):
    found = read(stored)
    assert found.study == {"format": 1, "seconds": 1.5}
    assert found.results["status"].tolist() == ["ok", "diverged", "failed"]
    assert len(found.curves) == 3


@pytest.mark.parametrize("name", ["config.json", "results.parquet", "curves.parquet"])
def test_a_missing_or_broken_file_is_named(stored, name):
    (stored / name).write_bytes((stored / name).read_bytes()[:9])
    with pytest.raises(StudyError, match=f"{name}: the file must be"):
        read(stored)
    (stored / name).unlink()
    with pytest.raises(StudyError, match=f"must hold {name}, found none"):
        read(stored)


@pytest.mark.parametrize(("content", "found"), [({"format": 2}, "found 2"), ({}, "found None"), ([], "found list")])
def test_another_format(stored, content, found):
    (stored / "config.json").write_text(json.dumps(content))
    with pytest.raises(StudyError, match=f"`format` must be 1, {found}"):
        read(stored)


def test_other_columns(stored):
    (stored / "results.parquet").write_bytes((stored / "curves.parquet").read_bytes())
    with pytest.raises(StudyError, match=r"results\.parquet: the columns must be those of"):
        read(stored)


@pytest.mark.parametrize("name", ["config.json", "results.parquet", "curves.parquet", "report.html"])
def test_a_folder_with_results_is_refused(tmp_path, name):
    (tmp_path / name).write_text("kept")
    with pytest.raises(StudyError, match=f"--out must name a folder without results, found {name} in it"):
        store.create(CompareConfig(out=tmp_path))
    assert (tmp_path / name).read_text() == "kept"


def test_a_file_in_place_of_a_folder_is_refused(tmp_path):
    (tmp_path / "out").write_text("kept")
    with pytest.raises(StudyError, match="--out must name a folder that can be written, found: File exists"):
        store.create(CompareConfig(out=tmp_path / "out"))


def test_the_folder_is_made_and_left_empty(tmp_path):
    folder = store.create(CompareConfig(out=tmp_path / "a" / "b"))
    assert folder.is_dir()
    assert list(folder.iterdir()) == []
    assert store.create(CompareConfig(data="mnist")).name.startswith("mnist-2")
