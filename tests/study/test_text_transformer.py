"""The transformer that reads texts: what it computes, that padding has no part in it, and where its noise is."""

import pandas as pd
import pytest
import torch
from torch import nn

import torchdropout as td
from torchdropout import catalog
from torchdropout.study import CompareConfig, StudyError, compare, predict, read
from torchdropout.study.conditions import Placed
from torchdropout.study.models import build

VOCABULARY, LONGEST = 30, 11
ELSEWHERE = ("patches", "kernels", "inputs")
METHODS = [row.name for row in catalog.METHODS if "transformer" in row.models and row.place not in ELSEWHERE]
TOPICS = {"card": "my card is lost", "rate": "what is the exchange rate", "pin": "i forgot the pin"}


def made(method="none", strength=None):
    torch.manual_seed(3)
    if strength is None and method != "none" and catalog.get(method).argument:
        strength = catalog.get(method).default
    placed = Placed(method, strength)
    return build(CompareConfig(model="transformer"), (LONGEST,), 5, placed, vocabulary=VOCABULARY)


def texts(*lengths):
    """Random numbers of words, so many in each row, padded."""
    numbers = torch.randint(1, VOCABULARY, (len(lengths), LONGEST), generator=torch.Generator().manual_seed(0))
    return numbers.where(torch.arange(LONGEST) < torch.tensor(lengths)[:, None], 0)


def reference(network):
    """PyTorch's own encoder with the same weights."""
    layer = nn.TransformerEncoderLayer(128, 4, 256, dropout=0.0, batch_first=True, norm_first=True)
    encoder = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(128), enable_nested_tensor=False)
    for theirs, ours in zip(encoder.layers, network.blocks, strict=True):
        pairs = {"self_attn": "attention", "linear1": "widen", "linear2": "narrow", "norm1": "norm1", "norm2": "norm2"}
        for their, our in pairs.items():
            getattr(theirs, their).load_state_dict(getattr(ours, our).state_dict())
    encoder.norm.load_state_dict(network.norm.state_dict())
    return encoder.train()


@torch.no_grad()
def test_it_is_pytorchs_encoder_on_one_text_at_a_time():
    network, lengths = made().eval(), (4, 11, 1, 7)
    numbers, encoder = texts(*lengths), reference(network)
    batch = network(numbers)
    for row, length in enumerate(lengths):
        vectors = network.embedding.weight[numbers[row, :length]] + network.positions[0, :length]
        expected = network.output(encoder(vectors[None])[0].mean(0))
        torch.testing.assert_close(batch[row], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
@torch.no_grad()
def test_company_and_padding_change_nothing(method):
    network, numbers = made(method).eval(), texts(2, 5, 11, 1, 3)
    whole = network(numbers)
    for rows in ([0], [3, 0], [4, 1, 3], [2]):
        torch.testing.assert_close(network(numbers[rows]), whole[rows], rtol=1e-4, atol=1e-5)
    padded = torch.cat([numbers, torch.zeros(5, 9, dtype=torch.int64)], 1)
    torch.testing.assert_close(network(padded), whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["none", "drop-key", "layer-drop", "locked"])
def test_no_gradient_reaches_padding_in_training(method):
    network, numbers = made(method).train(), texts(3, 6)
    network(numbers).square().sum().backward()
    assert not network.embedding.weight.grad[0].any()
    assert network.positions.grad[0, :3].any(1).all()
    assert not network.positions.grad[0, 6:].any()


def test_a_text_without_a_word():
    network = made().eval()
    assert network(texts(0, 3)).isfinite().all()


def test_the_order_of_words_matters():
    network = made().eval()
    numbers = texts(6)
    assert not torch.allclose(network(numbers), network(numbers.flip(1).roll(6, 1)), rtol=1e-3)


def test_where_noise_is():
    network = made("dropout", 0.5)
    assert (network.input.p, [block.dense.p for block in network.blocks]) == (0.2, [0.5, 0.5])
    assert made("locked", 0.5).sequence.p == 0.2
    assert made("word-dropout", 0.4).words.p == made("embedding-dropout", 0.4).embedding.p == 0.4
    assert [type(made("drop-path").blocks[1].branch2), type(made("layer-drop").blocks[0])] == [
        td.DropPath,
        td.LayerDrop,
    ]


def table(folder):
    rows = [(f"{words} {extra}", topic) for topic, words in TOPICS.items() for extra in ("please", "now", "so") * 7]
    pd.DataFrame(rows, columns=["said", "topic"]).to_csv(folder / "t.csv", index=False)
    return {
        "data": "t.csv", "text": "said", "target": "topic", "model": "transformer", "folds": 2, "seeds": 1, "jobs": 1,
        "batch_size": 8, "epochs": 4,
    }  # fmt: skip


def test_a_study_of_text_to_its_predictions(tmp_path):
    settings = table(tmp_path)
    methods = ["none", "rdrop", "drop-path+rdrop", "word-dropout", "multisample", "recipe"]
    folder = compare(methods=methods, out=tmp_path / "out", **settings).folder
    results = read(folder).results
    assert (results["status"] == "ok").all(), results["reason"].tolist()
    assert (results["val_accuracy"] > 0.9).all()
    page = (folder / "report.html").read_text()
    for said in (
        "Vectors of words and their positions, two blocks of attention",
        "Words that occur at least 2 times in the training part have a number",
        "word-dropout p=0.1: on words",
        "rdrop alpha=1, with dropout: inputs 0.2, after hidden layers 0.5",
    ):
        assert said in page, said
    (tmp_path / "new.txt").write_text("where is my card\na pin " + "so " * 40 + "\n")
    assert predict(folder, tmp_path / "new.txt")["prediction"].tolist() == ["card", "pin"]


def test_all_is_what_fits_texts(tmp_path):
    settings = table(tmp_path) | {"epochs": 1, "max_examples": 40}
    results = compare(methods=["all"], out=tmp_path / "out", **settings).results
    assert set(results["method"]) == {"none", *METHODS}
    assert (results["status"] == "ok").all(), results["reason"].tolist()


@pytest.mark.parametrize(
    ("data", "method", "sentence"),
    [
        ("text", "patch-dropout", "method 'patch-dropout' acts on images, got texts of"),
        ("text", "cutout", "method 'cutout' acts on images, got texts of"),
        ("text", "dropconnect2d", "method 'dropconnect2d' acts on images, got texts of"),
        ("digits", "word-dropout", "method 'word-dropout' acts on texts, got images of 1 × 8 × 8"),
        ("digits", "embedding-dropout+rdrop", "method 'embedding-dropout' acts on texts, got images"),
    ],
)
def test_methods_of_the_other_kind_of_data(tmp_path, data, method, sentence):
    settings = table(tmp_path) if data == "text" else {"data": "digits", "model": "transformer"}
    with pytest.raises(StudyError, match=sentence):
        compare(methods=["none", method], out=tmp_path / "out", **settings)
