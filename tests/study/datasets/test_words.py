"""Texts as numbers of words, fitted on the training part alone."""

import json

import numpy as np
import pytest
import torch

from torchdropout.study.datasets import Dataset, Preparation, fit, words
from torchdropout.study.errors import StudyError

TEXTS = np.array(
    ["The card, the CARD!", "my card is lost", "lost: a card", "is my card\nhere?", "nobody knows", "?!"], dtype=object
)
DATA = Dataset("t", "classification", TEXTS, np.array([0, 1, 1, 0, 1, 0]), ("u", "v"), "")
TRAIN = np.arange(4)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Hasn't it arrived?", ["hasn't", "it", "arrived"]),
        ("Hasn\N{RIGHT SINGLE QUOTATION MARK}t", ["hasn't"]),
        ("'quoted' and dogs'", ["quoted", "and", "dogs"]),
        ("£3.50 top-up_now", ["3", "50", "top", "up", "now"]),
        ("Größe ÉTÉ", ["größe", "été"]),
        (" \t?! …", []),
    ],
)
def test_what_a_word_is(text, found):
    assert words.split(text) == found


def test_words_that_occur_twice_have_numbers_the_most_frequent_first():
    fitted = fit(DATA, TRAIN)
    assert fitted.encoding.words == ("card", "is", "lost", "my", "the")  # 5 times, then twice each
    assert fitted.vocabulary == 7
    assert fitted.shape == (4,)
    assert fitted.inputs(TEXTS).tolist() == [
        [6, 2, 6, 2],
        [5, 2, 3, 4],
        [4, 1, 2, 0],
        [3, 5, 2, 1],
        [1, 1, 0, 0],
        [0, 0, 0, 0],
    ]
    assert fitted.inputs(TEXTS).dtype == torch.int64


def test_nothing_outside_of_the_training_part_matters():
    changed = TEXTS.copy()
    changed[4:] = ["here here here a a a and much longer than all the others", "nobody"]
    other = Dataset("t", "classification", changed, DATA.targets, DATA.classes, "")
    assert other.fingerprint != DATA.fingerprint
    assert fit(other, TRAIN) == fit(DATA, TRAIN)
    assert fit(other, np.arange(6)) != fit(DATA, np.arange(6))


def test_texts_are_cut_after_the_longest_of_training_and_after_256_words():
    fitted = fit(DATA, TRAIN)
    longer = np.array(["card card card card lost"], dtype=object)
    assert fitted.inputs(longer).tolist() == [[2, 2, 2, 2]]
    long = np.array([" ".join(["a"] * 300), "b"], dtype=object)
    data = Dataset("t", "classification", long, np.array([0, 1]), ("u", "v"), "")
    assert fit(data, np.arange(2)).shape == (256,)
    assert fit(data, np.arange(2)).inputs(long).tolist() == [[2] * 256, [1] + [0] * 255]


def test_no_word_occurs_twice():
    with pytest.raises(StudyError) as caught:
        fit(DATA, np.array([1]))
    assert str(caught.value) == (
        "t: a word must occur at least 2 times in the texts that train, to have a number, found 4 different words and "
        "none of them so often."
    )


def test_comes_back_equal_and_prepares_equally():
    fitted = fit(DATA, TRAIN)
    again = Preparation.from_json(json.loads(json.dumps(fitted.to_json())))
    assert again == fitted
    assert again.inputs(TEXTS).equal(fitted.inputs(TEXTS))


@pytest.mark.parametrize("change", [{"words": None}, {"words": ["a"], "shape": 3}, {"words": [], "extra": 1}])
def test_something_else(change):
    stored = fit(DATA, TRAIN).to_json()
    stored["encoding"] |= change
    with pytest.raises(StudyError, match="preparation: it must be as `Preparation.to_json` wrote it, found "):
        Preparation.from_json(stored)


def test_numbers_of_a_regression_are_standardised_beside_texts():
    data = Dataset("t", "regression", TEXTS, np.arange(6.0), (), "")
    assert fit(data, np.arange(6)).targets(data.targets).mean() == pytest.approx(0, abs=1e-6)


OTHERS = {
    "numbers": (np.zeros((2, 4)), r"must be texts as in training, found float64 of shape \(2, 4\)"),
    "one number each": (np.zeros(2), r"must be texts as in training, found float64 of shape \(2,\)"),
    "not text": (np.array(["card", 3.5], dtype=object), r"must be a text and not empty, found 3\.5 in row 2"),
    "empty": (np.array(["card", " \n"], dtype=object), r"must be a text and not empty, found ' \\n' in row 2"),
    "none": (np.array([], dtype=object), "there must be at least one text, found none"),
}


@pytest.mark.parametrize(("raw", "rule"), OTHERS.values(), ids=OTHERS.keys())
def test_what_is_no_text(raw, rule):
    with pytest.raises(StudyError, match=f"inputs: .*{rule}"):
        fit(DATA, TRAIN).inputs(raw)


def test_texts_where_numbers_were_trained_on():
    data = Dataset("a", "classification", np.arange(6.0).reshape(3, 2), np.array([0, 1, 0]), ("u", "v"), "")
    with pytest.raises(
        StudyError, match=r"must be an array of shape \(examples, 2\) as in training, found shape \(6,\)"
    ):
        fit(data, np.arange(3)).inputs(TEXTS)
