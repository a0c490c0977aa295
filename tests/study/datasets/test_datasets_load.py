import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import sklearn.datasets

from torchdropout.study import datasets
from torchdropout.study.datasets import Dataset
from torchdropout.study.errors import StudyError


def test_digits_are_scikit_learns():
    bunch, digits = sklearn.datasets.load_digits(), datasets.load("digits")
    assert digits.inputs.dtype == np.uint8
    np.testing.assert_array_equal(digits.inputs[:, 0], bunch.images)
    np.testing.assert_array_equal(digits.targets, bunch.target)
    assert digits.classes == tuple("0123456789")
    assert digits.description == "images of 1 × 8 × 8"


@pytest.mark.parametrize(
    ("name", "loader", "description"),
    [
        ("iris", "load_iris", "4 numbers"),
        ("wine", "load_wine", "13 numbers"),
        ("breast-cancer", "load_breast_cancer", "30 numbers"),
    ],
)
def test_bundled_classification_sets(name, loader, description):
    bunch, loaded = getattr(sklearn.datasets, loader)(), datasets.load(name)
    np.testing.assert_array_equal(loaded.inputs, bunch.data)
    np.testing.assert_array_equal(loaded.targets, bunch.target)
    assert loaded.classes == tuple(bunch.target_names)
    assert loaded.description == description
    assert loaded.test_inputs is None


def test_diabetes_is_a_regression_in_its_original_units():
    loaded = datasets.load("diabetes")
    assert (loaded.task, loaded.classes, loaded.inputs.shape) == ("regression", (), (442, 10))
    assert set(loaded.inputs[:, 1]) == {1, 2}  # sex: its codes, not their z-scores
    assert (loaded.targets.min(), loaded.targets.max()) == (25, 346)


@pytest.mark.parametrize(("name", "hint"), [("mnits", "Did you mean 'mnist'"), ("zzz", "'zzz'. Known: digits, iris")])
def test_unknown_name(name, hint):
    with pytest.raises(StudyError, match=hint):
        datasets.load(name)


def test_options_that_do_not_apply():
    with pytest.raises(StudyError, match="--target: only a table has a column to choose .*'digits'"):
        datasets.load("digits", target="digit")
    with pytest.raises(StudyError, match="--task: data set 'iris' is a classification, got 'regression'"):
        datasets.load("iris", task="regression")


class TestMaxExamples:
    def test_keeps_proportions_and_is_repeatable(self):
        whole, part = datasets.load("breast-cancer"), datasets.load("breast-cancer", max_examples=100)
        share = (whole.targets == 1).mean()
        assert (part.targets == 1).mean() == pytest.approx(share, abs=0.01)
        assert part.fingerprint == datasets.load("breast-cancer", max_examples=100).fingerprint
        rows = {tuple(row): target for row, target in zip(whole.inputs, whole.targets, strict=True)}
        assert [rows[tuple(row)] for row in part.inputs] == part.targets.tolist()
        assert "A random 100 of its 569 training examples" in part.note

    def test_more_than_there_are_is_all(self):
        assert datasets.load("iris", max_examples=1000).fingerprint == datasets.load("iris").fingerprint

    @pytest.mark.parametrize("count", [149, 150])
    def test_close_to_all(self, count):
        assert len(datasets.load("iris", max_examples=count).targets) == count

    def test_regression(self):
        part = datasets.load("diabetes", max_examples=50)
        assert len(set(map(tuple, part.inputs))) == 50

    @pytest.mark.parametrize(("name", "least"), [("iris", "3, one for each class"), ("diabetes", "2")])
    def test_too_few(self, name, least):
        with pytest.raises(StudyError, match=rf"--max-examples: it must be at least {least}, got 1\."):
            datasets.load(name, max_examples=1)

    def test_a_rare_class_must_stay(self, write):
        path = write("rare.csv", "x,y\n" + "1,a\n" * 500 + "2,b\n" * 500 + "3,c\n")
        with pytest.raises(StudyError, match="must leave every class an example, class 'c' has none left"):
            datasets.load(str(path), target="y", max_examples=10)

    def test_test_split_is_left_whole(self, tmp_path, write_set):
        part = datasets.load("mnist", data_dir=write_set(tmp_path), max_examples=4)
        assert (len(part.targets), len(part.test_targets)) == (4, 3)


X = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
TABLE = pd.DataFrame({"n": [1.0, 2.0, 3.0], "c": pd.Series(["a", None, "b"], dtype=object)})
IMAGES = np.arange(12, dtype=np.uint8).reshape(3, 1, 2, 2)
Y = np.array([0, 1, 0])


def dataset(inputs=X, targets=Y, classes=("a", "b"), task="classification", **rest) -> Dataset:
    return Dataset("given", task, inputs, targets, classes, "", **rest)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [(X, "2 numbers"), (X[:, :1], "1 number"), (IMAGES, "images of 1 × 2 × 2"),
     (IMAGES[:, 0], "sequences of 2 × 2"), (IMAGES[:, None], "volumes of 1 × 1 × 2 × 2"),
     (TABLE, "1 number and 1 category"),
     (TABLE[["c"]], "1 category"), (TABLE.assign(d=TABLE["c"]), "1 number and 2 categories")],
)  # fmt: skip
def test_description(inputs, words):
    assert dataset(inputs).description == words


BROKEN = {
    "task": ({"task": "ranking"}, "the task must be one of classification, regression, found 'ranking'"),
    "lengths": ({"targets": Y[:2]}, "one target for each input, found 3 inputs and 2 targets"),
    "rank": ({"inputs": X[0]}, r"must be of shape \(examples, numbers\), .*, found \(2,\)"),
    "no numbers": ({"inputs": X[:, :0]}, r"at least one example with one number, found shape \(3, 0\)"),
    "complex": ({"inputs": X * 1j}, "must be real numbers, found complex128"),
    "objects": ({"inputs": X.astype(object)}, "must be real numbers, found object"),
    "infinite": ({"inputs": np.where(X == 4, -np.inf, X)}, "must be finite .*, found -inf in column 2, row 2"),
    "infinite image": ({"inputs": np.where(IMAGES == 9, np.inf, 0.0)}, "must be finite .*, found inf in row 3"),
    "too large": ({"inputs": np.where(X == 4, 2e100, X)}, "finite and within ±1e.100, found 2e.100 in column 2, row 2"),
    "infinite halves": ({"inputs": np.where(X == 4, np.inf, X).astype(np.float16)}, "found inf in column 2, row 2"),
    "too large a pixel": ({"inputs": np.where(IMAGES == 9, -2e18, 0.0)}, "±1e.18, found -2e.18 in row 3"),
    "missing pixel": ({"inputs": np.where(IMAGES == 9, np.nan, 0.0)}, "values of images must not be missing, found N"),
    "missing in a sequence": ({"inputs": np.full((3, 1, 2), np.nan)}, "values of sequences must not be missing, found"),
    "infinite volume": ({"inputs": np.where(IMAGES[:, None] == 9, np.inf, 0)}, "must be finite .*, found inf in row 3"),
    "infinite in a table": ({"inputs": TABLE.replace({"n": {2.0: np.inf}})}, "found inf in column 'n', row 2"),
    "no columns": ({"inputs": TABLE[[]]}, "at least one column besides the target"),
    "a name twice": ({"inputs": pd.concat([TABLE, TABLE], axis=1)}, "names of columns must differ, found 'n' 2 times"),
    "integers in a table": ({"inputs": TABLE.astype({"n": int})}, "must be held as float64 or as text, found int64"),
    "only missing": ({"inputs": TABLE.assign(n=np.nan)}, "column 'n' must hold a value, found only missing ones"),
    "dtype of classes": ({"targets": Y.astype(float)}, r"targets must be int64 of shape \(examples,\), found float64"),
    "rank of targets": ({"targets": Y[:, None]}, r"targets must be .*, found int64 of shape \(3, 1\)"),
    "no such class": ({"targets": Y + 1}, r"targets must be in 0\.\.1, one for each class, found 1\.\.2"),
    "one class": ({"targets": Y * 0}, "target must take at least 2 values, found 'a' alone"),
    "constant": ({"task": "regression", "classes": (), "targets": np.full(3, 2.5)}, "found 2.5 alone"),
    "classes of a regression": ({"task": "regression", "targets": Y * 1.0}, "must have no names of classes, found 2"),
    "NaN target": ({"task": "regression", "classes": (), "targets": np.array([1, np.nan, 2])}, "found nan in row 2"),
    "one example": ({"inputs": X[:1], "targets": Y[:1]}, "at least 2 examples, found 1"),
    "half a test split": ({"test_inputs": X}, "a test split must have inputs and targets"),
    "test columns": ({"test_inputs": X[:, :1], "test_targets": Y}, r"split.*\(examples, 2\), found .*\(examples, 1\)"),
    "test targets": ({"test_inputs": X, "test_targets": Y + 1}, r"test split.*in 0\.\.1"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "rule"), BROKEN.values(), ids=BROKEN.keys())
def test_parts_that_do_not_fit(changes, rule):
    with pytest.raises(StudyError, match=rule) as caught:
        dataset(**changes)
    assert str(caught.value).startswith("given")
    assert "\n" not in str(caught.value)


def test_too_many_categories():
    table = pd.DataFrame({"id": pd.Series([f"row {i}" for i in range(101)], dtype=object)})
    targets = np.arange(101) % 2
    with pytest.raises(StudyError, match="column 'id' must have at most 100 different values .*, found 101; drop it"):
        dataset(table, targets)
    dataset(table[:100], targets[:100])


class TestFingerprint:
    @pytest.mark.parametrize(
        "changed",
        [
            dataset(np.where(X == 4, 4.5, X)),
            dataset(X.astype(np.float32)),
            dataset(targets=np.array([0, 0, 1])),
            dataset(classes=("a", "c")),
            dataset(test_inputs=X, test_targets=Y),
            dataset(targets=np.array([0.0, 1.0, 0.0]), classes=(), task="regression"),
        ],
        ids=["input", "dtype", "target", "class", "test split", "task"],
    )
    def test_one_change_changes_it(self, changed):
        assert changed.fingerprint != dataset().fingerprint

    @pytest.mark.parametrize(
        "table",
        [
            TABLE.assign(n=[1.0, 2.0, 3.5]),
            TABLE.assign(c=pd.Series(["a", "None", "b"], dtype=object)),
            TABLE.rename(columns={"n": "m"}),
            TABLE[["c", "n"]],
        ],
        ids=["number", "missing or the word", "name", "order"],
    )
    def test_one_change_of_a_table_changes_it(self, table):
        assert dataset(table).fingerprint != dataset(TABLE).fingerprint

    def test_layout_name_and_note_do_not(self):
        assert dataset(np.asfortranarray(X)).fingerprint == dataset().fingerprint
        assert dataset(X.astype(">f8")).fingerprint == dataset().fingerprint
        assert replace(dataset(), name="moved", note="other").fingerprint == dataset().fingerprint

    def test_it_is_that_of_what_the_set_holds(self):
        assert replace(dataset(), inputs=X + 1).fingerprint == dataset(X + 1).fingerprint

    def test_another_process_computes_the_same(self, write):
        path = write("mixed.csv", "n,c,y\n1,a,u\n2.5,,v\n,b,u\n")
        code = f"from torchdropout.study import datasets; print(datasets.load({str(path)!r}, target='y').fingerprint)"
        environment = {**os.environ, "PYTHONHASHSEED": "7"}
        other = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
        )
        assert other.stdout.strip() == datasets.load(str(path), target="y").fingerprint


def test_workers_that_are_sent_a_set_import_no_pandas_and_no_scikit_learn():
    code = (
        "import sys, torchdropout.study.datasets; print({'pandas', 'sklearn', 'pyarrow', 'scipy'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
