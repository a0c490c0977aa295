import os
import struct
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from torchdropout.study import StudyError, data


def write_set(folder: Path, images: np.ndarray, labels: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in (("train-images-idx3-ubyte", images), ("train-labels-idx1-ubyte", labels)):
        header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
        (folder / name).write_bytes(header + array.astype(np.uint8).tobytes())


IMAGES = np.arange(5 * 2 * 3, dtype=np.uint8).reshape(5, 2, 3)
LABELS = np.array([3, 1, 4, 1, 9], dtype=np.uint8)


def test_digits_are_scikit_learns(digits):
    bunch = load_digits()
    assert digits.shape == (1, 8, 8)
    np.testing.assert_array_equal(digits.inputs[:, 0], bunch.images)
    np.testing.assert_array_equal(digits.labels, bunch.target)


@pytest.mark.parametrize("inner", ["", "mnist"], ids=["the set's own folder", "its parent"])
@pytest.mark.parametrize("by_variable", [False, True])
def test_folder_is_found(tmp_path, monkeypatch, inner, by_variable):
    write_set(tmp_path / "sets" / inner, IMAGES, LABELS)
    monkeypatch.setenv(data.VARIABLE, str(tmp_path / ("sets" if by_variable else "elsewhere")))
    loaded = data.load("mnist", None if by_variable else tmp_path / "sets")
    np.testing.assert_array_equal(loaded.inputs[:, 0], IMAGES)
    np.testing.assert_array_equal(loaded.labels, LABELS)
    assert loaded.shape == (1, 2, 3)


def test_test_split_is_not_read(tmp_path):
    write_set(tmp_path, IMAGES, LABELS)
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(b"broken")
    assert "test split was not read" in data.load("fashion-mnist", tmp_path).note


@pytest.mark.parametrize("value", [None, ""])
def test_no_folder_named(monkeypatch, value):
    monkeypatch.delenv(data.VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(data.VARIABLE, value)
    with pytest.raises(
        StudyError, match="'mnist' needs a folder of idx files, named by --data-dir or TORCHDROPOUT_DATA"
    ):
        data.load("mnist")


def test_file_missing_from_the_folder(tmp_path):
    write_set(tmp_path, IMAGES, LABELS)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(StudyError, match=r"train-labels-idx1-ubyte or train-labels-idx1-ubyte\.gz in this folder"):
        data.load("mnist", tmp_path)


def test_counts_must_match(tmp_path):
    write_set(tmp_path, IMAGES, LABELS[:4])
    with pytest.raises(StudyError, match=r"one label for each image of .*, found 5 images and 4 labels"):
        data.load("mnist", tmp_path)


def test_labels_must_be_classes(tmp_path):
    write_set(tmp_path, IMAGES, LABELS + 1)
    with pytest.raises(StudyError, match=r"labels must be in 0\.\.9, found 10"):
        data.load("mnist", tmp_path)


@pytest.mark.parametrize("shape", [(0, 2, 3), (5, 0, 3)])
def test_empty_set(tmp_path, shape):
    write_set(tmp_path, np.zeros(shape, np.uint8), np.zeros(shape[0], np.uint8))
    with pytest.raises(StudyError, match="at least one image with at least one pixel"):
        data.load("mnist", tmp_path)


@pytest.mark.parametrize(("name", "hint"), [("mnits", "Did you mean 'mnist'"), ("zzz", "Known: digits, mnist")])
def test_unknown_name(name, hint):
    with pytest.raises(StudyError, match=hint):
        data.load(name)


@pytest.mark.parametrize(("name", "mean", "deviation"), [("mnist", 0.1307, 0.3081), ("fashion-mnist", 0.2860, 0.3530)])
def test_real_set_has_its_published_moments(name, mean, deviation):
    folder = os.environ.get(data.VARIABLE)
    if not folder or not (Path(folder) / name).is_dir():
        pytest.skip(f"{data.VARIABLE} names no folder that holds {name}/")
    loaded = data.load(name)
    assert loaded.inputs.shape == (60_000, 1, 28, 28)
    assert (loaded.inputs / np.float32(255)).mean(dtype=np.float64) == pytest.approx(mean, abs=5e-5)
    assert (loaded.inputs / np.float32(255)).std(dtype=np.float64) == pytest.approx(deviation, abs=5e-5)
    assert set(np.unique(loaded.labels)) == set(range(10))
