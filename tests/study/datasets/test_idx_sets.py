import gzip
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from torchdropout.study import datasets
from torchdropout.study.datasets import canonical
from torchdropout.study.errors import StudyError


@pytest.mark.parametrize("inner", ["", "mnist"], ids=["the set's own folder", "its parent"])
@pytest.mark.parametrize("by_variable", [False, True])
def test_folder_is_found(tmp_path, monkeypatch, write_set, idx_files, inner, by_variable):
    write_set(tmp_path / "sets" / inner)
    monkeypatch.setenv(datasets.VARIABLE, str(tmp_path / ("sets" if by_variable else "elsewhere")))
    loaded = datasets.load("mnist", data_dir=None if by_variable else tmp_path / "sets")
    np.testing.assert_array_equal(loaded.inputs[:, 0], idx_files["train-images-idx3-ubyte"])
    assert loaded.targets.tolist() == [3, 1, 4, 1, 9]
    assert loaded.description == "images of 1 × 2 × 3"


def test_t10k_files_are_the_given_test_split(tmp_path, write_set, idx_files):
    loaded = datasets.load("fashion-mnist", data_dir=write_set(tmp_path))
    np.testing.assert_array_equal(loaded.test_inputs[:, 0], idx_files["t10k-images-idx3-ubyte"])
    assert loaded.test_targets.tolist() == [2, 7, 1]
    assert loaded.classes[9] == "Ankle boot"


@pytest.mark.parametrize("value", [None, ""])
def test_no_folder_named(monkeypatch, value):
    monkeypatch.delenv(datasets.VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(datasets.VARIABLE, value)
    with pytest.raises(
        StudyError, match="'mnist' needs a folder of idx files, named by --data-dir or TORCHDROPOUT_DATA"
    ):
        datasets.load("mnist")


@pytest.mark.parametrize("missing", ["train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
def test_file_missing_from_the_folder(tmp_path, write_set, missing):
    (write_set(tmp_path) / missing).unlink()
    with pytest.raises(StudyError, match=rf"{missing} or {missing}\.gz in this folder, found neither"):
        datasets.load("mnist", data_dir=tmp_path)


def test_counts_must_match(tmp_path, write_set):
    write_set(tmp_path, t10k_labels=np.array([1, 2]))
    with pytest.raises(StudyError, match=r"t10k-labels.*one label for each image of .*, found 3 images and 2 labels"):
        datasets.load("mnist", data_dir=tmp_path)


def test_labels_must_be_classes(tmp_path, write_set):
    write_set(tmp_path, train_labels=np.array([4, 2, 5, 2, 10]))
    with pytest.raises(StudyError, match=r"labels must be in 0\.\.9, found 10"):
        datasets.load("mnist", data_dir=tmp_path)


@pytest.mark.parametrize("shape", [(0, 2, 3), (5, 0, 3)])
def test_empty_set(tmp_path, write_set, shape):
    write_set(tmp_path, train_images=np.zeros(shape), train_labels=np.zeros(shape[0]))
    with pytest.raises(StudyError, match="at least one image with at least one pixel"):
        datasets.load("mnist", data_dir=tmp_path)


def test_images_of_the_two_splits_must_be_of_one_size(tmp_path, write_set):
    write_set(tmp_path, t10k_images=np.zeros((3, 3, 2)))
    with pytest.raises(StudyError, match=r"test split.*\(examples, 1, 2, 3\), found .*\(examples, 1, 3, 2\)"):
        datasets.load("mnist", data_dir=tmp_path)


def zipped(folder: Path) -> Path:
    for path in list(folder.iterdir()):
        (folder / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
        path.unlink()
    return folder


def test_gzipped_files_must_be_those_published(tmp_path, write_set):
    path = zipped(write_set(tmp_path)) / "train-images-idx3-ubyte.gz"
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    published = "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
    with pytest.raises(StudyError) as caught:
        datasets.load("mnist", data_dir=tmp_path)
    assert str(caught.value) == (f"{path}: the sha256 of mnist's file as published must be {published}, found {found}.")


def test_gzipped_files_of_the_right_sum_are_preferred_to_unpacked_ones(tmp_path, monkeypatch, write_set):
    zipped(write_set(tmp_path))
    sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in tmp_path.iterdir()}
    monkeypatch.setitem(canonical.SUMS, "mnist", sums)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"broken")
    loaded = datasets.load("mnist", data_dir=tmp_path)
    assert len(loaded.targets) == 5
    assert loaded.note.startswith("Its files are those published.")


def test_note_says_that_unpacked_files_were_not_checked(tmp_path, write_set):
    loaded = datasets.load("mnist", data_dir=write_set(tmp_path))
    assert loaded.note.startswith("4 of its 4 files are unpacked, so not checked.")


@pytest.mark.parametrize(("name", "mean", "deviation"), [("mnist", 0.1307, 0.3081), ("fashion-mnist", 0.2860, 0.3530)])
def test_real_set_has_its_published_moments(name, mean, deviation):
    folder = os.environ.get(datasets.VARIABLE)
    if not folder or not (Path(folder) / name).is_dir():
        pytest.skip(f"{datasets.VARIABLE} names no folder that holds {name}/")
    loaded = datasets.load(name)
    assert loaded.inputs.shape == (60_000, 1, 28, 28)
    assert loaded.test_inputs.shape == (10_000, 1, 28, 28)
    assert loaded.inputs.mean() / 255 == pytest.approx(mean, abs=5e-5)
    assert loaded.inputs.std() / 255 == pytest.approx(deviation, abs=5e-5)
    assert set(np.unique(loaded.targets)) == set(np.unique(loaded.test_targets)) == set(range(10))
