"""Word dropout: single tokens are replaced, and those to be kept are not."""

import copy
import pickle

import pytest
import torch
from torch import nn

import torchdropout as td


def test_word_dropout_section3_1_replaces_each_token_by_itself():
    """20000 draws at p = 0.2 of the tokens 5, 6, 5: 5 standard errors on rates and covariances."""
    n = 20_000
    y = td.WordDropout(0.2, token=1)(torch.tensor([5, 6, 5]).expand(n, 3).contiguous(), key=td.key(0))
    replaced = (y == 1).double()
    assert torch.equal(torch.where(y == 1, 0, y), torch.tensor([5, 6, 5]) * (1 - replaced).long())
    assert ((replaced.mean(0) - 0.2).abs() < 5 * 0.4 / n**0.5).all()
    # occurrences of one word are independent, unlike those of embedding dropout
    assert ((torch.cov(replaced.T) - 0.16 * torch.eye(3, dtype=torch.float64)).abs() < 5 * 0.24 / n**0.5).all()


def test_tokens_to_keep_are_kept():
    tokens = torch.tensor([[0, 2, 9, 9], [0, 9, 2, 0]])
    y = td.WordDropout(1.0, token=1, keep=(0, 2))(tokens)
    assert torch.equal(y, torch.tensor([[0, 2, 1, 1], [0, 1, 2, 0]]))
    assert torch.equal(td.functional.word_dropout(tokens, 1.0, token=-100), torch.full((2, 4), -100))


def test_test_rule_settled_rates_and_untouched_input():
    tokens = torch.arange(50)
    before = tokens.clone()
    layer = td.WordDropout(0.5, token=0)
    y = layer(tokens, key=td.key(0))
    assert 5 < (y == 0).sum() < 45
    assert torch.equal(tokens, before)
    assert torch.equal(layer.eval()(tokens), tokens)
    layer.train().p = 0.0
    assert torch.equal(layer(tokens), tokens)
    assert torch.equal(td.functional.word_dropout(tokens, 0.5, False, token=0), tokens)


def test_training_without_noise_is_the_plain_one_and_with_noise_is_not():
    gaps = []
    for p in (0.0, 1e-9, 0.5):
        curves = []
        for layer in (nn.Identity(), td.WordDropout(p, token=0)):
            torch.manual_seed(0)
            words, t, embedding = torch.randint(1, 7, (8, 5)), torch.randn(8, 5, 3), nn.Embedding(7, 3)
            optimizer, losses = torch.optim.SGD(embedding.parameters(), lr=0.1), []
            for _ in range(20):
                optimizer.zero_grad()
                loss = (embedding(layer(words)) - t).square().mean()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
            curves.append(torch.tensor(losses))
        gaps.append((curves[0] - curves[1]).abs().max())
    assert gaps[0] < 1e-5
    assert gaps[1] < 1e-5
    assert gaps[2] > 1e-3


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_integer_dtypes_and_shapes(dtype):
    layer = td.WordDropout(0.5, token=1, keep=[0])
    for shape in ((), (0, 3), (4,), (2, 3, 4)):
        y = layer(torch.full(shape, 7).to(dtype), key=td.key(0))
        assert y.shape == shape
        assert y.dtype == dtype
    tokens = torch.arange(12).view(3, 4).to(dtype)
    assert torch.equal(layer(tokens.T, key=td.key(0)), layer(tokens.T.contiguous(), key=td.key(0)))


def test_compile_vmap_and_copies():
    layer, tokens = td.WordDropout(0.3, token=1, keep=(0,)), torch.arange(20)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(tokens, key=td.key(1)), layer(tokens, key=td.key(1)))
    with torch._dynamo.config.patch(error_on_recompile=True):
        for layer.p in (0.2, 0.4):
            assert torch.equal(compiled(tokens, key=td.key(1)), layer(tokens, key=td.key(1)))
    rows = torch.func.vmap(layer, randomness="different")(tokens.expand(10, 20))
    assert len(rows.unique(dim=0)) > 1
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(tokens, key=td.key(0)), layer(tokens, key=td.key(0)))
    with td.keyed(3):
        first = layer(tokens)
    with td.keyed(3):
        assert torch.equal(first, layer(tokens))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: td.WordDropout(1.5, token=0), ValueError, "WordDropout: `p` must be in [0, 1], got 1.5."),
        (lambda: td.WordDropout(token=0.5), TypeError, "WordDropout: `token` must be an integer, got 0.5."),
        (
            lambda: td.WordDropout(token=0, keep=("a",)),
            TypeError,
            "WordDropout: `keep` must hold integers, got ('a',).",
        ),
        (
            lambda: td.WordDropout(token=0)(torch.ones(3)),
            TypeError,
            "WordDropout: the input must be an integer tensor, got torch.float32.",
        ),
        (
            lambda: td.functional.word_dropout(torch.tensor([0]), 2, token=0),
            ValueError,
            "word_dropout: `p` must be in [0, 1], got 2.",
        ),
        (
            lambda: td.WordDropout(token=0, sequence_dim=-3)(torch.zeros(2, 3).long()),
            ValueError,
            "WordDropout: `sequence_dim` must be an axis of the input (2, 3), got -3.",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message


@pytest.mark.parametrize("layout", ["NT", "TN"])
def test_either_layout_replaces_single_tokens(layout):
    """Of 2000 sequences of 10 equal tokens at p = 1/2: 5 standard errors on rates and covariances."""
    shape = (2000, 10) if layout == "NT" else (10, 2000)
    replaced = (td.WordDropout(0.5, token=1)(torch.full(shape, 5), key=td.key(0)) == 1).double()
    replaced = replaced if layout == "NT" else replaced.T
    assert ((replaced.mean(0) - 0.5).abs() < 5 * 0.5 / 2000**0.5).all()
    assert ((torch.cov(replaced.T) - 0.25 * torch.eye(10, dtype=torch.float64)).abs() < 5 * 0.25 / 2000**0.5).all()


def test_the_same_tokens_are_replaced_in_both_layouts_and_padding_changes_no_real_one():
    tokens, key = torch.arange(2, 38).view(4, 9), td.key(0)
    y = td.WordDropout(0.5, token=1)(tokens, key=key)
    assert 5 < (y == 1).sum() < 31
    assert torch.equal(td.WordDropout(0.5, token=1, sequence_dim=0)(tokens.T, key=key).T, y)
    padded = torch.cat([tokens, torch.zeros(4, 3, dtype=torch.int64)], 1)
    assert torch.equal(td.WordDropout(0.5, token=1, keep=(0,))(padded, key=key), torch.cat([y, padded[:, 9:]], 1))
