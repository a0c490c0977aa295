"""BANKING77 and CLINC150: found, verified by their sha256, and read as what they are."""

import csv
import hashlib
import json
import os
from pathlib import Path

import pytest

from torchdropout.study import datasets
from torchdropout.study.datasets import text_sets
from torchdropout.study.errors import StudyError

TRAIN = 'text,category\nIs my card lost?,lost\n"Yes, none",lost\nnull,none\n'
TEST = "text,category\nLost,none\n"
CLINC = {
    "oos_train": [["what?", "oos"]],
    "val": [["never read", "lost"]],
    "train": [["is it lost", "lost"], ["how far", "far"]],
    "test": [["so far", "far"], ["none", "lost"], ["too far", "far"]],
    "oos_test": [["who?", "oos"]],
}


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Small files in the place of the published ones."""
    contents = {
        "banking77": {"train.csv": TRAIN, "test.csv": TEST},
        "clinc150": {"data_full.json": json.dumps(CLINC)},
    }
    for name, files in contents.items():
        (tmp_path / name).mkdir()
        for file, text in files.items():
            (tmp_path / name / file).write_text(text)
        sums = {file: hashlib.sha256(text.encode()).hexdigest() for file, text in files.items()}
        monkeypatch.setitem(text_sets.SUMS, name, sums)
    return tmp_path


@pytest.mark.parametrize("inner", ["", "banking77"], ids=["its parent", "the set's own folder"])
def test_banking77(small, monkeypatch, inner):
    monkeypatch.setenv(datasets.VARIABLE, str(small))
    loaded = datasets.load("banking77", data_dir=small / inner if inner else None)
    assert loaded.inputs.tolist() == ["Is my card lost?", "Yes, none", "null"]
    assert [loaded.classes[target] for target in loaded.targets] == ["lost", "lost", "none"]
    assert loaded.test_inputs.tolist() == ["Lost"]
    assert [loaded.classes[target] for target in loaded.test_targets] == ["none"]
    assert loaded.note.startswith("Its files are those published. Folds divide the given training split")


def test_clinc150_has_neither_validation_nor_out_of_scope_queries(small):
    loaded = datasets.load("clinc150", data_dir=small)
    assert loaded.inputs.tolist() == ["is it lost", "how far"]
    assert loaded.classes == ("far", "lost")
    assert loaded.test_inputs.tolist() == ["so far", "none", "too far"]
    assert loaded.test_targets.tolist() == [0, 1, 0]
    for said in ("Its file is the one published.", "Left out are the queries for validation", "and those out of scope"):
        assert said in loaded.note


def test_files_must_be_those_published(small):
    path = small / "banking77" / "test.csv"
    path.write_text(TEST + "More,lost\n")
    with pytest.raises(StudyError, match=r"test\.csv: the sha256 of banking77's file as published must be "):
        datasets.load("banking77", data_dir=small)


@pytest.mark.parametrize(("name", "missing"), [("banking77", "test.csv"), ("clinc150", "data_full.json")])
def test_file_missing_from_the_folder(small, name, missing):
    (small / name / missing).unlink()
    with pytest.raises(StudyError, match=f"{name}: there must be a file {missing} in this folder, found none"):
        datasets.load(name, data_dir=small)


@pytest.mark.parametrize(
    ("name", "files", "where"),
    [
        ("banking77", "train.csv and test.csv", "PolyAI-LDN/task-specific-datasets"),
        ("clinc150", "data_full.json", "clinc/oos-eval"),
    ],
)
def test_no_folder_named_and_nothing_to_download(monkeypatch, tmp_path, name, files, where):
    monkeypatch.delenv(datasets.VARIABLE, raising=False)
    rule = f"data set '{name}' needs a folder of {files}, named by --data-dir or TORCHDROPOUT_DATA; published at "
    with pytest.raises(StudyError, match=f"{rule}.*{where}"):
        datasets.load(name)
    with pytest.raises(StudyError, match=f"fetch: the files of '{name}' must be had by hand, put {files} of .*{where}"):
        datasets.fetch(name, tmp_path)
    assert not list(tmp_path.iterdir())


def real(name: str) -> Path:
    folder = Path(os.environ.get(datasets.VARIABLE) or "") / name
    if not os.environ.get(datasets.VARIABLE) or not folder.is_dir():
        pytest.skip(f"{datasets.VARIABLE} names no folder that holds {name}/")
    return folder


def test_real_banking77():
    folder, loaded = real("banking77"), datasets.load("banking77")
    assert (len(loaded.targets), len(loaded.test_targets), len(loaded.classes)) == (10_003, 3_080, 77)
    assert sorted(json.loads((folder / "categories.json").read_text())) == list(loaded.classes)
    parts = (("train.csv", loaded.inputs, loaded.targets), ("test.csv", loaded.test_inputs, loaded.test_targets))
    for file, inputs, targets in parts:
        with (folder / file).open(newline="", encoding="utf-8") as stream:
            rows = list(csv.reader(stream))[1:]
        assert [text.strip() for text, _ in rows] == inputs.tolist()
        assert [label for _, label in rows] == [loaded.classes[target] for target in targets]


def test_real_clinc150():
    real("clinc150")
    loaded = datasets.load("clinc150")
    assert (len(loaded.targets), len(loaded.test_targets), len(loaded.classes)) == (15_000, 4_500, 150)
    assert loaded.inputs[0] == "what expression would i use to say i love you if i were an italian"
    assert loaded.classes[loaded.targets[0]] == "translate"
    assert "oos" not in loaded.classes
