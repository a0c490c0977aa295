"""The LSTM that reads texts: what it computes, that padding has no part in it, and where its noise is."""

import pytest
import torch
from torch import nn

import torchdropout as td
from torchdropout import catalog
from torchdropout.study import CompareConfig, StudyError
from torchdropout.study.conditions import Placed
from torchdropout.study.expansion import expand
from torchdropout.study.models import build, check

VOCABULARY, LONGEST = 30, 11
KINDS = [row.name for row in catalog.METHODS if row.place == "recurrent"]
METHODS = ["none", *(row.name for row in catalog.METHODS if "lstm" in row.models)]


def made(method="none", strength=None, outputs=5):
    torch.manual_seed(3)
    if strength is None and method != "none" and catalog.get(method).argument:
        strength = catalog.get(method).default
    config = CompareConfig(model="lstm")
    return build(config, (LONGEST,), outputs, Placed(method, strength), vocabulary=VOCABULARY)


def texts(*lengths, seed=0):
    """Random numbers of words, so many in each row, padded."""
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randint(1, VOCABULARY, (len(lengths), LONGEST), generator=generator)
    return numbers.where(torch.arange(LONGEST) < torch.tensor(lengths)[:, None], 0)


def seen(layer, network, numbers):
    """What goes into a layer and what comes out of it."""
    found = []
    hook = layer.register_forward_hook(lambda _, x, y: found.append((x[0], y)))
    network(numbers)
    hook.remove()
    return found[0]


def test_it_is_one_text_at_a_time_without_padding():
    network, numbers = made().eval(), texts(4, 11, 1, 7)
    with torch.no_grad():
        batch = network(numbers)
        for row, length in enumerate((4, 11, 1, 7)):
            states, _ = network.lstm(network.embedding.weight[numbers[row, :length]])
            torch.testing.assert_close(batch[row], network.output(states.max(0).values), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
@torch.no_grad()
def test_company_and_padding_change_nothing(method):
    network, numbers = made(method).eval(), texts(2, 5, 11, 1, 3)
    whole = network(numbers)
    for rows in ([0], [3, 0], [4, 1, 3], [2]):
        torch.testing.assert_close(network(numbers[rows]), whole[rows], rtol=1e-5, atol=1e-6)
    padded = torch.cat([numbers, torch.zeros(5, 9, dtype=torch.int64)], 1)
    torch.testing.assert_close(network(padded), whole, rtol=1e-5, atol=1e-6)


def test_gradients_are_those_of_single_texts_too():
    network, numbers = made().train(), texts(3, 11, 6)
    network(numbers).square().sum().backward()
    together = {name: parameter.grad.clone() for name, parameter in network.named_parameters()}
    network.zero_grad()
    sum(network(numbers[[row]]).square().sum() for row in range(3)).backward()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.grad, together[name], rtol=1e-4, atol=1e-6)
    assert not together["embedding.weight"][0].any()


@pytest.mark.parametrize("method", METHODS)
def test_a_text_without_a_word_is_one_step_of_zeros(method):
    network, numbers = made(method), texts(0, 4)
    for training in (True, False):
        assert network.train(training)(numbers).isfinite().all()
    if method in ("none", *KINDS):
        with torch.no_grad():
            states, _ = network.eval().lstm(torch.zeros(1, 1, 128))
            torch.testing.assert_close(network(numbers)[0], network.output(states[0, 0]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", ["none", "locked", "variational-rnn"])
def test_a_batch_is_as_long_as_its_longest_text(method):
    network = made(method).train()
    packed, _ = seen(network.lstm, network, texts(3, 6, 0))
    assert packed.batch_sizes.tolist() == [3, 2, 2, 1, 1, 1]  # a text without a word counts as one step


class TestPlaces:
    @pytest.mark.parametrize("method", KINDS)
    def test_a_kind_has_its_strength_everywhere_and_the_plain_network_is_pytorchs(self, method):
        row = catalog.get(method)
        (kind,) = made(method, 0.3).lstm.recurrent
        assert type(kind) is getattr(td, row.layer)
        probabilities = [value for value in vars(kind).values() if isinstance(value, float)]
        assert probabilities
        assert set(probabilities) == {0.3}
        assert type(made().lstm) is nn.LSTM

    def test_rates(self):
        network = made("dropout", 0.5)
        assert (network.input.p, network.dense.p) == (0.2, 0.5)
        network = made("locked", 0.5)
        assert (network.sequence.p, network.read.p) == (0.2, 0.5)
        assert made("word-dropout", 0.5).words.p == made("embedding-dropout", 0.5).embedding.p == 0.5

    def test_word_dropout_replaces_words_and_neither_padding_nor_lengths(self):
        network, numbers = made("word-dropout", 0.5).train(), texts(2, 9, 4)
        before, after = seen(network.words, network, numbers)
        assert ((after == 0) == (before == 0)).all()
        changed = after != before
        assert 0 < changed.sum() < 15
        assert (after[changed] == 1).all()
        packed, _ = seen(network.lstm, network, numbers)
        assert packed.batch_sizes.tolist() == [3, 3, 2, 2, 1, 1, 1, 1, 1]

    def test_embedding_dropout_drops_a_word_wherever_it_is(self):
        network = made("embedding-dropout", 0.5).train()
        numbers = torch.tensor([[4, 5, 4, 6], [5, 4, 7, 6]])
        _, vectors = seen(network.embedding, network, numbers)
        dropped = {}
        for number, vector in zip(numbers.flatten(), vectors.flatten(0, 1), strict=True):
            assert dropped.setdefault(int(number), not vector.any()) is not bool(vector.any())
        assert len(set(dropped.values())) == 2

    @pytest.mark.parametrize("site", ["sequence", "read"])
    def test_locked_dropout_has_one_mask_for_all_words_of_a_text(self, site):
        network, numbers = made("locked", 0.5).train(), texts(5, 5)
        x, y = seen(getattr(network, site), network, numbers)
        kept = (y / x).nan_to_num()
        keep = 0.8 if site == "sequence" else 0.5
        torch.testing.assert_close(kept, kept[:, :1].expand_as(kept))
        assert (kept[0] != kept[1]).any()
        torch.testing.assert_close(kept.round(decimals=3).unique(), torch.tensor([0, 1 / keep]))

    def test_methods_for_weights_act_on_the_output(self):
        for method in ("fast-dropout", "variational", "sparse-variational"):
            assert type(made(method).output).__name__ == catalog.get(method).layer

    def test_all_methods_are_those_with_a_place(self):
        found = [condition.method for condition in expand(CompareConfig(model="lstm", methods=("all",)))]
        assert found == METHODS
        assert {*KINDS, "locked", "embedding-dropout", "word-dropout", "dropout", "concrete"} <= set(found)

    def test_what_has_no_place(self):
        with pytest.raises(
            StudyError, match="'cutout' cannot be placed in model 'lstm': it fits linear and mlp and cnn"
        ):
            expand(CompareConfig(model="lstm", methods=("cutout",)))


@pytest.mark.parametrize("method", ["none", *KINDS, "locked", "embedding-dropout"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_lower_precision(method, dtype):
    network = made(method).train()
    with torch.autocast("cpu", dtype):
        loss = network(texts(3, 11, 0)).float().square().sum()
    loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


def test_its_check_gives_it_numbers_of_words():
    config = CompareConfig(model="lstm")
    check(made(), config, (LONGEST,), 5, vocabulary=VOCABULARY)
    with pytest.raises(StudyError, match="`device` must be one that torch can use here, got 'nowhere'"):
        check(made(), CompareConfig(model="lstm", device="nowhere"), (LONGEST,), 5, vocabulary=VOCABULARY)


def test_a_network_of_ones_own_may_hold_the_lstm(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.py").write_text(
        "from torch import nn\n"
        "class Rows(nn.Module):\n"
        "    def __init__(self, shape, outputs, noise):\n"
        "        super().__init__()\n"
        "        self.lstm, self.output = noise.lstm(shape[2], 6), noise.linear(6, outputs, last=True)\n"
        "    def forward(self, images):\n"
        "        return self.output(self.lstm(images[:, 0])[0][:, -1])\n"
    )
    network = build(CompareConfig(model="rows:Rows"), (1, 8, 8), 10, Placed("zoneout", 0.1))
    assert network.lstm.recurrent == (td.Zoneout(cell=0.1, hidden=0.1),)
    assert network(torch.rand(2, 1, 8, 8)).shape == (2, 10)
