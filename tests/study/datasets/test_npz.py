import contextlib
from pathlib import Path

import numpy as np
import pytest

from torchdropout.study import datasets
from torchdropout.study.errors import StudyError

X = np.array([[1.0, 2.0], [3.0, np.nan], [5.0, 6.0]])
Y = np.array([7, 5, 7])


@pytest.fixture
def save(tmp_path):
    def to(**arrays):
        np.savez_compressed(tmp_path / "a.npz", **arrays)
        return str(tmp_path / "a.npz")

    return to


def test_numbers_and_classes(save):
    loaded = datasets.load(save(inputs=X, targets=Y))
    np.testing.assert_array_equal(loaded.inputs, X)
    assert (loaded.task, loaded.classes, loaded.targets.tolist()) == ("classification", ("5", "7"), [1, 0, 1])
    assert "no given test split" in loaded.note


def test_images_and_a_test_split(save):
    images = np.arange(24, dtype=np.uint8).reshape(3, 2, 2, 2)
    loaded = datasets.load(save(inputs=images, targets=Y, test_inputs=images[:1], test_targets=Y[1:2]))
    assert loaded.inputs.dtype == np.uint8
    np.testing.assert_array_equal(loaded.test_inputs, images[:1])
    assert loaded.test_targets.tolist() == [0]


def test_task_is_overridden(save):
    loaded = datasets.load(save(inputs=X, targets=Y, test_inputs=X, test_targets=Y + 1), task="regression")
    assert loaded.targets.tolist() == [7.0, 5.0, 7.0]
    assert loaded.test_targets.tolist() == [8.0, 6.0, 8.0]


@pytest.mark.parametrize(
    ("targets", "classes"), [(["u", "v", "u"], ("u", "v")), ([True, False, True], ("False", "True"))]
)
def test_text_and_booleans_are_classes(save, targets, classes):
    assert datasets.load(save(inputs=X, targets=np.array(targets))).classes == classes


BROKEN = {
    "other names": ({"x": X, "y": Y}, "arrays must be inputs and targets, .*, found x, y"),
    "nothing": ({}, "arrays must be inputs and targets, .*, found none"),
    "one more": ({"inputs": X, "targets": Y, "weights": Y}, "found inputs, targets, weights"),
    "half a test split": ({"inputs": X, "targets": Y, "test_inputs": X}, "found inputs, targets, test_inputs"),
    "lengths": ({"inputs": X, "targets": Y[:2]}, "one target for each input, found 3 inputs and 2 targets"),
    "rank": ({"inputs": X[0], "targets": Y}, r"found \(2,\)"),
    "six axes": ({"inputs": np.zeros((3, 4, 4, 4, 4, 4)), "targets": Y}, r"width\), or .*, found \(3, 4, 4, 4, 4, 4\)"),
    "targets' rank": ({"inputs": X, "targets": Y[:, None]}, r"targets must be of shape \(examples,\), found \(3, 1\)"),
    "text inputs": ({"inputs": X.astype(str), "targets": Y}, "inputs must be real numbers, found <U32"),
    "complex": ({"inputs": X * 1j, "targets": Y}, "inputs must be real numbers, found complex128"),
    "complex targets": ({"inputs": X, "targets": Y * 1j}, "targets must hold numbers or text, found complex128"),
    "dates": ({"inputs": X, "targets": np.array(["2020"] * 3, "M8[D]")}, "must hold numbers or text, found datetime"),
    "infinite": ({"inputs": np.where(X == 5, np.inf, X), "targets": Y}, "found inf in column 1, row 3"),
    "NaN targets": ({"inputs": X, "targets": np.array([1, np.nan, 2])}, "1 of 3 are missing, the first in row 2"),
    "infinite targets": ({"inputs": X, "targets": np.array([1.5, np.inf, 2])}, "must be finite .*, found inf in row 2"),
    "constant": ({"inputs": X, "targets": Y * 0}, "target must take at least 2 values, found '0' alone"),
    "new class": ({"inputs": X, "targets": Y, "test_inputs": X, "test_targets": Y * 6}, "training part, found '30'"),
    "objects": ({"inputs": X.astype(object), "targets": Y}, "hold arrays of numbers or text.*allow_pickle=False"),
}  # fmt: skip


@pytest.mark.parametrize(("arrays", "rule"), BROKEN.values(), ids=BROKEN.keys())
def test_unusable_arrays(save, arrays, rule):
    path = save(**arrays)
    with pytest.raises(StudyError, match=rule) as caught:
        datasets.load(path)
    assert str(caught.value).startswith(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PK", b"text", b"PK\x03\x04 and no more"])
def test_another_kind_of_file(write, content):
    with pytest.raises(
        StudyError, match=r"a\.npz: it must be an \.npz file of numpy\.savez, found another kind or half of one"
    ):
        datasets.load(str(write("a.npz", content)))


def test_a_pickle_is_not_loaded(write):
    path = write("a.npz", b"")
    with path.open("wb") as stream:
        np.save(stream, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(StudyError, match=r"must be an \.npz file of numpy\.savez, found another kind"):
        datasets.load(str(path))


def test_any_change_of_bytes_loads_or_is_a_study_error(save):
    path = Path(save(inputs=X, targets=Y))
    content = path.read_bytes()
    generator = np.random.default_rng(3)
    for _ in range(300):
        changed = np.frombuffer(content, np.uint8).copy()
        changed[generator.integers(len(changed), size=2)] = generator.integers(256, size=2)
        path.write_bytes(changed[: generator.integers(len(changed) // 2, 2 * len(changed))].tobytes())
        with contextlib.suppress(StudyError):
            assert len(datasets.load(str(path)).targets) == 3


def test_missing_file(tmp_path):
    with pytest.raises(StudyError, match=r"absent\.npz: a file must be here, found none"):
        datasets.load(str(tmp_path / "absent.npz"))
