"""Comparisons on text from a file to predictions, and each way in which they can be refused."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from torchdropout import catalog
from torchdropout.study import CompareConfig, StudyError, compare, datasets, load_model, predict, protocol, read
from torchdropout.study.comparison import Watcher
from torchdropout.study.conditions import Placed
from torchdropout.study.fitting import Job

TOPICS = {
    "card": ["my card is lost", "the card has not arrived", "where is my new card", "block the card please"],
    "rate": ["what is the exchange rate", "the rate was wrong", "is this rate fair", "show me today's rate"],
    "pin": ["i forgot my pin", "how do i change the pin", "the pin is blocked", "reset my pin please"],
}
SMALL = {"model": "lstm", "folds": 2, "seeds": 1, "jobs": 1, "batch_size": 16, "lr": 0.01}


def table(seed=0, each=20):
    """Sentences of three topics, some of their words exchanged, and a column that tells nothing."""
    generator = np.random.default_rng(seed)
    rows = []
    for topic, sentences in TOPICS.items():
        for number in range(each):
            words = sentences[number % 4].split()
            words.insert(generator.integers(len(words)), str(generator.choice(["please", "now", "so", "again"])))
            rows.append((number, " ".join(words).capitalize() + "?", topic))
    return pd.DataFrame(rows, columns=["number", "said", "topic"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished study of every method that an LSTM has a place for."""
    place = tmp_path_factory.mktemp("text")
    table().to_csv(place / "said.csv", index=False)
    settings = SMALL | {"data": str(place / "said.csv"), "target": "topic", "text": "said", "epochs": 5}
    return compare(methods=["all"], out=place / "out", **settings).folder


def test_every_method_that_has_a_place_learns(folder):
    stored = read(folder)
    assert set(stored.results["method"]) == {"none"} | {r.name for r in catalog.METHODS if "lstm" in r.models}
    assert (stored.results["status"] == "ok").all()
    means = stored.results.groupby("method")["val_accuracy"].mean()
    assert means["none"] > 0.9
    assert (means.drop("sparse-variational") > 0.9).all(), means  # thirty examples do not outweigh that one's prior


def test_what_the_study_and_its_report_say_of_the_data(folder):
    study, page = read(folder).study, (folder / "report.html").read_text()
    assert study["data"]["description"] == "texts of 5 words on average"
    assert study["data"]["note"].startswith("Texts of column 'said', target 'topic'. Not used: 'number'.")
    assert "--text said" in study["command"]
    for said in (
        "60 examples, texts of 5 words on average, 3 classes",
        "Words that occur at least 2 times in the training part have a number",
        "an LSTM in the direction of the text",
        "zoneout p=0.15: inside the LSTM",
        "word-dropout p=0.1: on words",
        "locked p=0.5: on the words&#39; vectors and on the LSTM&#39;s outputs, alike for all words of a text",
        "dropout p=0.5: inputs 0.2, after hidden layers 0.5",
        "fast-dropout p=0.5: in place of the output&#39;s linear layer",
    ):
        assert said in page, said
    assert "Scaling, encoding" not in page


@pytest.mark.parametrize("kind", ["csv", "txt", "npz", "parquet"])
def test_new_texts_are_predicted(folder, tmp_path, kind):
    new = table(seed=1, each=5).sample(frac=1, random_state=0)
    path = tmp_path / f"new.{kind}"
    if kind == "csv":
        new[["said"]].to_csv(path, index=False)
    elif kind == "parquet":
        new.to_parquet(path)
    elif kind == "txt":
        path.write_text("\n".join(new["said"]))
    else:
        np.savez(path, inputs=new["said"].to_numpy(str))
    found = predict(folder, path)
    assert (found["prediction"].to_numpy() == new["topic"].to_numpy()).mean() > 0.9
    assert list(found.columns[1:]) == ["probability card", "probability pin", "probability rate"]


def test_a_text_of_unknown_words_and_one_without_words(folder, tmp_path):
    (tmp_path / "new.txt").write_text("zebra crossing\n?!\nquagga standing\n")
    found = predict(folder, tmp_path / "new.txt").drop(columns="prediction").to_numpy()
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(found[0], found[2], rtol=1e-5)  # two unknown words each
    assert not np.allclose(found[0], found[1], atol=1e-4)


def test_an_empty_text_among_new_ones(folder, tmp_path):
    (tmp_path / "new.txt").write_text("my card\n\nmy pin\n")
    with pytest.raises(StudyError, match="inputs: every input must be a text and not empty, found '' in row 2"):
        predict(folder, tmp_path / "new.txt")
    (tmp_path / "new.csv").write_text("words\nmy card\n")
    with pytest.raises(StudyError, match="there must be a column 'said', as in training, found 'words'"):
        predict(folder, tmp_path / "new.csv")


def test_the_model_is_the_networks_own_words_and_weights(folder):
    network, about = load_model(folder)
    assert about["config"]["text"] == "said"
    assert network.preparation.vocabulary == len(network.model.embedding.weight)
    assert {"card", "pin", "rate"} <= set(network.preparation.encoding.words)


def test_folds_differ_in_their_words(tmp_path, monkeypatch):
    """The vocabulary is that of a fold's training part: a word of the other fold alone is unknown."""
    seen = []
    real = datasets.words.fit
    monkeypatch.setattr(datasets.prepare.words, "fit", lambda texts, where: seen.append(real(texts, where)) or seen[-1])
    frame = table()
    frame.loc[7, "said"] = "Quagga, quagga"
    frame.to_csv(tmp_path / "t.csv", index=False)
    settings = SMALL | {"data": "t.csv", "target": "topic", "text": "said", "epochs": 1}
    compare(methods=["none"], out=tmp_path / "out", **settings)
    known = ["quagga" in fitted.words for fitted in seen]  # the check's, both folds', and that of all data
    assert len(known) == 4
    assert known[0] == known[1] != known[2]
    assert known[3]


def test_a_regression_on_text(tmp_path):
    frame = table()
    frame["stars"] = frame["topic"].map({"card": 1.5, "pin": 3.0, "rate": 5.0})
    frame.drop(columns="topic").to_csv(tmp_path / "t.csv", index=False)
    settings = SMALL | {"data": "t.csv", "target": "stars", "text": "said", "epochs": 12}
    stored = compare(methods=["none", "word-dropout"], out=tmp_path / "out", **settings)
    assert (stored.results["val_rmse"] < 0.5 * frame["stars"].std()).all()


def test_autocast(tmp_path):
    table().to_csv(tmp_path / "t.csv", index=False)
    settings = SMALL | {"data": "t.csv", "target": "topic", "text": "said", "epochs": 2}
    stored = compare(methods=["none", "zoneout"], out=tmp_path / "out", autocast="bfloat16", **settings)
    assert (stored.results["status"] == "ok").all(), stored.results["reason"].tolist()


REFUSED = {
    "an mlp": (
        {"model": "mlp"},
        r"model 'mlp' cannot read t\.csv, which is text; --model lstm and --model transformer can\.",
    ),
    "one's own": (
        {"model": "my:net"},
        r"model 'my:net' cannot read t\.csv, which is text; --model lstm and --model transformer can\.",
    ),
    "numbers": ({"data": "iris", "text": None, "target": None}, r"model 'lstm' reads text, got 4 numbers\."),
    "images": ({"data": "digits", "text": None, "target": None}, r"model 'lstm' reads text, got images of 1 × 8 × 8\."),
    "no option": (
        {"text": None},
        "model 'lstm' reads text, got 1 number and 1 category; --text said would read that column",
    ),
    "no text": (
        {"text": None, "data": "n.csv"},
        "model 'lstm' reads text, got 1 number and 1 category; --text names a column of text",
    ),
    "numbers in the column": ({"text": "number"}, "column 'number' must hold text, found nothing but numbers"),
    "no word twice": ({"data": "u.csv"}, r"u\.csv: a word must occur at least 2 times in the texts that train"),
    "device": ({"device": "nowhere"}, "`device` must be one that torch can use here, got 'nowhere'"),
    "method": ({"methods": ["dropout2d"]}, "method 'dropout2d' cannot be placed in model 'lstm': it fits cnn"),
    "strength": ({"methods": ["zoneout"], "p": [1.5]}, r"`p` must be in \[0, 1\], got 1\.5"),
}


@pytest.mark.parametrize(("changed", "rule"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused_before_anything_is_trained_or_written(tmp_path, changed, rule):
    frame = table()
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.assign(said=["yes", "no"] * 30).to_csv(tmp_path / "n.csv", index=False)
    frame.assign(said=[f"w{row}" for row in range(60)]).to_csv(tmp_path / "u.csv", index=False)
    settings = SMALL | {"data": "t.csv", "target": "topic", "text": "said", "methods": ["none"]} | changed
    never = Watcher(on_start=lambda *_: pytest.fail("began"))
    with pytest.raises(StudyError, match=rule) as caught:
        compare(out=tmp_path / "out", watcher=never, **settings)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_real_texts_are_learnt():
    """A part of the training queries and a few epochs: far above one class in 77."""
    folder = os.environ.get(datasets.VARIABLE)
    if not folder or not (Path(folder) / "banking77").is_dir():
        pytest.skip(f"{datasets.VARIABLE} names no folder that holds banking77/")
    data = datasets.load("banking77", max_examples=2000)
    config = CompareConfig(model="lstm", folds=1, epochs=5, batch_size=32, lr=0.01)
    job = Job(config, data, protocol.everything(data), protocol.random_state(0, 0, 0))
    network = job.train(Placed("none"), job.part, [])
    assert job.measure(network)["test"].accuracy > 0.6
