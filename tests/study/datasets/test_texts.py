"""Texts from tables, files of lines, arrays and functions."""

import sys
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from torchdropout.study import datasets
from torchdropout.study.datasets import Dataset, fit
from torchdropout.study.errors import StudyError

REVIEWS = 'id,review,mood\n1,"Good, really",up\n2,none,down\n3,?,down\n4,2020,up\n'
SAID = ["Good, really", "none", "?", "2020"]


def load(path, **settings):
    return datasets.load(str(path), **{"target": "mood", "text": "review"} | settings)


@pytest.mark.parametrize("kind", ["csv", "tsv", "semicolons", "parquet"])
def test_a_column_of_text_is_read_as_it_stands(write, tmp_path, kind):
    path = write("t.csv", REVIEWS)
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    if kind == "parquet":
        path = tmp_path / "t.parquet"
        frame.to_parquet(path)
    elif kind != "csv":
        path = write("t.tsv", frame.to_csv(index=False, sep="\t" if kind == "tsv" else ";"))
    loaded = load(path)
    assert loaded.inputs.tolist() == SAID
    assert (loaded.task, loaded.classes, loaded.targets.tolist()) == ("classification", ("down", "up"), [1, 0, 0, 1])
    assert loaded.note.startswith("Texts of column 'review', target 'mood'. Not used: 'id'. The task, classification,")
    assert loaded.description == "texts of 1 word on average"  # 2, 1, 0 and 1


def test_a_regression_on_text_and_a_target_by_its_number(write):
    path = write("t.csv", "review,stars\nfine,4.5\nbad bad,1\n")
    loaded = load(path, target="-1")
    assert (loaded.task, loaded.targets.tolist()) == ("regression", [4.5, 1])
    assert "Not used" not in loaded.note


REFUSED = {
    "absent": (REVIEWS, {"text": "words"}, "--text: .*t.csv has no column 'words', it has 'id', 'review', 'mood'"),
    "the target": (REVIEWS, {"text": "mood"}, "--text: it must be another column than the target, got 'mood' for both"),
    "no target": (REVIEWS, {"target": None}, "--target: it must name the column to predict, .* has 'id', 'review'"),
    "numbers": (
        REVIEWS,
        {"text": "id"},
        r"t\.csv: column 'id' must hold text, found nothing but numbers, 1 in row 1",
    ),
    "empty": ("review,mood\nfine,up\n,down\n", {}, "every input must be a text and not empty, found '' in row 2"),
    "one class": ("review,mood\nfine,up\nbad,up\n", {}, "the target must take at least 2 values, found 'up' alone"),
    "one text": ("review,mood\nfine,up\n", {}, "there must be at least 2 examples, found 1"),
    "not UTF-8": (
        b"review,mood\n\xe9t\xe9,up\n",
        {},
        r"t\.csv: the text must be UTF-8, found byte 0xe9 at position 12",
    ),
    "a quote cut": ('review,mood\n"fine,up\n', {}, "must be fields between separators, found: unexpected end of data"),
}


@pytest.mark.parametrize(("content", "settings", "rule"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_read(write, content, settings, rule):
    with pytest.raises(StudyError, match=rule) as caught:
        load(write("t.csv", content), **settings)
    assert "\n" not in str(caught.value)


def test_a_missing_text_of_a_parquet_file(tmp_path):
    pd.DataFrame({"review": ["fine", None, "bad"], "mood": ["up", "up", "down"]}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(StudyError, match="every input must be a text and not empty, found None in row 2"):
        load(tmp_path / "t.parquet")


def test_numbers_of_a_parquet_file(tmp_path):
    pd.DataFrame({"review": [1.5, 2.0], "mood": ["up", "down"]}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(StudyError, match=r"column 'review' must hold text, found nothing but numbers, 1\.5 in row 1"):
        load(tmp_path / "t.parquet")


@pytest.mark.parametrize("name", ["digits", "x.npz", "a:b"])
def test_only_a_table_has_a_column_of_text(name):
    with pytest.raises(StudyError, match=f"--text: only a table has a column to choose as the text, .* is '{name}'"):
        datasets.load(name, text="review")


def test_free_text_among_categories_names_the_option(write):
    path = write("t.csv", "review,mood\n" + "".join(f"text {i},{'ud'[i % 2]}\n" for i in range(101)))
    with pytest.raises(StudyError, match="found 101; drop it if it is a name; if it is free text, read it with --text"):
        datasets.load(str(path), target="mood")


def test_arrays_of_text(tmp_path):
    texts, targets = np.array(["a b", "c d e", "f"]), np.array([0, 1, 0])
    np.savez(tmp_path / "t.npz", inputs=texts, targets=targets, test_inputs=texts[:2], test_targets=targets[:2])
    loaded = datasets.load(str(tmp_path / "t.npz"))
    assert loaded.inputs.tolist() == ["a b", "c d e", "f"]
    assert loaded.test_inputs.tolist() == ["a b", "c d e"]
    assert loaded.is_text
    assert loaded.description == "texts of 2 words on average"


def test_a_function_of_lists_of_text(tmp_path, monkeypatch):
    (tmp_path / "given.py").write_text("def texts():\n    return ['one two', 'three', 'four five six'], [0, 1, 0]\n")
    monkeypatch.chdir(tmp_path)
    try:
        assert datasets.load("given:texts").inputs.tolist() == ["one two", "three", "four five six"]
    finally:
        sys.modules.pop("given", None)


def texts(*values, **rest):
    return Dataset("given", "classification", np.array(values, dtype=object), np.array([0, 1]), ("u", "v"), "", **rest)


def test_the_fingerprint_covers_every_text():
    assert texts("a", "b").fingerprint == texts("a", "b").fingerprint
    assert (
        len({texts(*each).fingerprint for each in (("a", "b"), ("a", "B"), ("ab", " "[:0] or "c"), ("a ", "b"))}) == 4
    )


def test_the_test_split_is_of_texts_too():
    rest = {"test_inputs": np.zeros((1, 2)), "test_targets": np.array([0])}
    with pytest.raises(
        StudyError, match=r"given \(test split\): inputs must be like .* texts, found an array of shape"
    ):
        texts("a", "b", **rest)


@pytest.mark.parametrize(("values", "found"), [(("a", 3.0), r"3\.0 in row 2"), ((None, "b"), "None in row 1")])
def test_what_is_no_text(values, found):
    with pytest.raises(StudyError, match=f"given: every input must be a text and not empty, found {found}"):
        texts(*values)


class TestNewTexts:
    @pytest.fixture
    def fitted(self):
        return fit(texts("card card", "lost lost"), np.arange(2))

    def found(self, path, fitted):
        return datasets.load_inputs(path, fitted, column="review").tolist()

    def test_a_table_with_other_columns(self, write, fitted):
        assert self.found(write("n.csv", REVIEWS), fitted) == SAID

    def test_a_table_of_the_column_alone(self, write, fitted):
        path = write("n.csv", 'review\na card is lost\n"one, two"\nnone\n')
        assert self.found(path, fitted) == ["a card is lost", "one, two", "none"]

    def test_a_name_of_several_words_alone(self, write, fitted):
        path = write("n.csv", "what they said\na card is lost\n")
        assert datasets.load_inputs(path, fitted, column="what they said").tolist() == ["a card is lost"]

    def test_an_empty_field_of_the_column_alone_is_a_row(self, write, fitted):
        path = write("n.csv", 'review\nlost\n""\ncard\n\n')
        assert self.found(path, fitted) == ["lost", "", "card"]
        with pytest.raises(StudyError, match="inputs: every input must be a text and not empty, found '' in row 2"):
            fitted.inputs(datasets.load_inputs(path, fitted, column="review"))

    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r", ""])
    def test_a_line_each(self, write, fitted, end):
        path = write("n.txt", "a card, lost" + (end or "\n") + "none" + end)
        assert self.found(path, fitted) == ["a card, lost", "none"]

    def test_lines_below_the_name_of_the_column(self, write, fitted):
        assert self.found(write("n.txt", "review\tmood\na card, lost\tup\n"), fitted) == ["a card, lost"]

    def test_an_array(self, tmp_path, fitted):
        np.savez(tmp_path / "n.npz", inputs=np.array(["card", "lost"]))
        assert self.found(tmp_path / "n.npz", fitted) == ["card", "lost"]
        np.savez(tmp_path / "n.npz", inputs=np.zeros(2))
        with pytest.raises(
            StudyError, match=r"inputs: they must be texts as in training, found float64 of shape \(2,\)"
        ):
            fitted.inputs(datasets.load_inputs(tmp_path / "n.npz", fitted))

    def test_a_table(self, fitted):
        with pytest.raises(StudyError, match=r"inputs: they must be texts as in training, found a table\."):
            fitted.inputs(pd.DataFrame({"review": ["a"]}))

    BROKEN: ClassVar = {
        "absent": ("n.csv", "said,mood\na,up\n", "there must be a column 'review', as in training, found 'said'"),
        "numbers": ("n.csv", "review\n1\n2\n", "column 'review' must hold text, found nothing but numbers, 1 in row 1"),
        "no lines": ("n.txt", "", "there must be a line in the file, found it empty"),
        "not UTF-8": ("n.txt", b"caf\xe9\n", "the text must be UTF-8, found byte 0xe9 at position 3"),
        "two fields": ("n.csv", "review\na card, lost\n", "line 2 must have 1 fields like the first line, found 2"),
        "another kind": ("n.json", "{}", r"new examples must be in a \.csv"),
    }  # fmt: skip

    @pytest.mark.parametrize(("name", "content", "rule"), BROKEN.values(), ids=BROKEN.keys())
    def test_unusable(self, write, fitted, name, content, rule):
        with pytest.raises(StudyError, match=rule):
            self.found(write(name, content), fitted)
