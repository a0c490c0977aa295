"""Embedding dropout: what shares a draw, the scale, and the options of the embedding."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import torchdropout as td

D = torch.float64


def table(rows=7, dim=3, **options):
    torch.manual_seed(0)
    return nn.Embedding(rows, dim, dtype=D, **options)


def ones(rows, dim=1):
    return nn.Embedding.from_pretrained(torch.ones(rows, dim))


def test_embedding_dropout_section4_3_masks_rows_of_the_table():
    """Looking up in a copy of the table whose rows are masked and scaled gives the same vectors and gradients."""
    embedding, words = table(), torch.tensor([[0, 1, 2, 1], [6, 1, 0, 0]])
    layer, key = td.EmbeddingDropout(embedding, 0.5), td.key(2)
    mask = td.functional.dropout_mask((7, 1), 0.5, key=key).double()
    assert 0 < mask.sum() < 7
    reference = F.embedding(words, embedding.weight * mask / 0.5)
    y = layer(words, key=key)
    torch.testing.assert_close(y, reference)
    r = torch.randn_like(y)
    grads = [torch.autograd.grad((r * v).sum(), embedding.weight)[0] for v in (y, reference)]
    torch.testing.assert_close(*grads)
    assert torch.equal(td.functional.embedding_dropout(words, embedding.weight, 0.5, key=key), y)


def test_mean_variance_and_covariance_of_the_occurrences():
    """20000 forwards at p = 0.2 of the words 0, 1, 0: 5 standard errors on means and covariances."""
    words, n = torch.tensor([0, 1, 0]), 20_000
    layer = td.EmbeddingDropout(ones(2), 0.2)
    y = torch.stack([layer(words, key=key).flatten() for key in td.split(td.key(0), n)]).double()
    assert torch.equal(y[:, 0], y[:, 2])
    m = y[:, :2]
    assert ((m.mean(0) - 1).abs() < 5 * 0.5 / n**0.5).all()  # the standard deviation is sqrt(0.2 / 0.8)
    assert ((torch.cov(m.T) - 0.25 * torch.eye(2, dtype=D)).abs() < 0.02).all()


@pytest.mark.parametrize("layout", ["NT", "TN"])
def test_per_sequence_shares_within_and_differs_between_sequences(layout):
    torch.manual_seed(0)
    words = torch.randint(0, 5, (200, 12))
    layer = td.EmbeddingDropout(ones(5), 0.5, per="sequence", sequence_dim=-1 if layout == "NT" else 0)
    given = words if layout == "NT" else words.T
    y = layer(given, key=td.key(0)).squeeze(-1)
    y = y if layout == "NT" else y.T
    assert set(y.unique().tolist()) == {0.0, 2.0}
    draws = torch.full((200, 5), -1.0)
    for n in range(200):
        for word in words[n].unique().tolist():
            values = y[n][words[n] == word].unique()
            assert len(values) == 1
            draws[n, word] = values
    seen = draws >= 0
    assert abs(draws[seen].mean() - 1) < 5 / seen.sum() ** 0.5
    complete = draws[seen.all(1)]
    assert ((torch.cov(complete.T) - torch.eye(5)).abs() < 5 * 2**0.5 / len(complete) ** 0.5).all()
    batch = td.EmbeddingDropout(ones(5), 0.5)(words, key=td.key(0)).squeeze(-1)
    assert all(len(batch[words == word].unique()) == 1 for word in range(5))


def test_test_rule_and_settled_rates():
    embedding, words = table(), torch.tensor([0, 3, 3])
    layer = td.EmbeddingDropout(embedding, 0.5)
    assert torch.equal(layer.eval()(words), embedding(words))
    layer.train().p = 0.0
    assert torch.equal(layer(words), embedding(words))
    layer.p = 1.0
    assert torch.equal(layer(words), torch.zeros(3, 3, dtype=D))
    assert torch.equal(td.functional.embedding_dropout(words, embedding.weight, 0.9, False), embedding(words))


def test_options_of_the_embedding_are_respected():
    words = torch.tensor([[0, 1, 1], [2, 2, 2]])
    padded = td.EmbeddingDropout(table(padding_idx=0), 0.5)
    (padded(words, key=td.key(1)) ** 2).sum().backward()
    assert (padded.weight.grad[0] == 0).all()
    functional = table().weight
    td.functional.embedding_dropout(words, functional, 0.0, padding_idx=0).sum().backward()
    assert (functional.grad[0] == 0).all()
    assert (functional.grad[1] != 0).all()
    sparse = td.EmbeddingDropout(table(sparse=True), 0.5)
    sparse(words, key=td.key(1)).sum().backward()
    assert sparse.weight.grad.is_sparse
    capped = td.EmbeddingDropout(table(max_norm=0.1), 0.5)
    assert (capped(words, key=td.key(1)).norm(dim=-1) <= 0.2 + 1e-6).all()
    frequent, plain = (td.EmbeddingDropout(table(scale_grad_by_freq=f), 0.0) for f in (True, False))
    frequent(words).sum().backward()
    plain(words).sum().backward()
    torch.testing.assert_close(frequent.weight.grad[2] * 3, plain.weight.grad[2])


def test_checkpoints_copies_and_tied_weights():
    layer, words = td.EmbeddingDropout(table(), 0.5), torch.tensor([0, 3, 3])
    assert list(layer.state_dict()) == ["embedding.weight"]
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        twin.load_state_dict(layer.state_dict())
        assert torch.equal(twin(words, key=td.key(0)), layer(words, key=td.key(0)))
    assert layer.weight is layer.embedding.weight


@pytest.mark.parametrize("per", ["batch", "sequence"])
def test_compile_vmap_and_checkpointing(per):
    layer, words = td.EmbeddingDropout(table(), 0.3, per=per), torch.tensor([[0, 3, 3], [1, 2, 0]])
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(words, key=td.key(1)), layer(words, key=td.key(1)))
    with torch._dynamo.config.patch(error_on_recompile=True):
        for layer.p in (0.2, 0.4):
            torch.testing.assert_close(compiled(words, key=td.key(1)), layer(words, key=td.key(1)))
    rows = torch.func.vmap(layer, randomness="different")(words[0].expand(50, 3))
    assert len(rows.flatten(1).unique(dim=0)) > 2
    grads = []
    for run in (layer, lambda w: torch.utils.checkpoint.checkpoint(layer, w, use_reentrant=False)):
        torch.manual_seed(0)
        grads.append(torch.autograd.grad(run(words).square().sum(), layer.weight)[0])
    assert torch.equal(*grads)


@pytest.mark.parametrize("per", ["batch", "sequence"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_dtypes_and_shapes(per, dtype):
    layer = td.EmbeddingDropout(nn.Embedding(5, 2, dtype=dtype), 0.1, per=per)
    for words in (torch.zeros(0, 4), torch.zeros(4, 0), torch.zeros(()), torch.zeros(2, 3, 4), torch.zeros(3)):
        y = layer(words.long(), key=td.key(0))
        assert y.shape == (*words.shape, 2)
        assert y.dtype == dtype
    words = torch.arange(6).view(2, 3).T % 5
    assert torch.equal(layer(words, key=td.key(0)), layer(words.contiguous(), key=td.key(0)))
    assert torch.equal(layer(words.int(), key=td.key(0)), layer(words, key=td.key(0)))


@pytest.mark.parametrize("per", ["batch", "sequence"])
def test_gradcheck(per):
    words, weight = torch.tensor([[0, 1, 1], [2, 2, 0]]), torch.randn(3, 2, dtype=D, requires_grad=True)
    f = td.functional.embedding_dropout
    torch.autograd.gradcheck(lambda w: f(words, w, 0.5, per=per, key=td.key(0)), weight)
    torch.autograd.gradgradcheck(lambda w: f(words, w, 0.5, per=per, key=td.key(0)).square(), weight)


def test_training_without_noise_is_the_plain_one_and_with_noise_is_not():
    gaps = []
    for p in (0.0, 1e-9, 0.5):
        torch.manual_seed(0)
        words, t, curves = torch.randint(0, 7, (8, 5)), torch.randn(8, 5, 3, dtype=D), []
        for wrap in (lambda e: e, lambda e, p=p: td.EmbeddingDropout(e, p)):
            model = wrap(table())
            optimizer, losses = torch.optim.SGD(model.parameters(), lr=0.1), []
            for _ in range(20):
                optimizer.zero_grad()
                loss = (model(words) - t).square().mean()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
            curves.append(torch.tensor(losses))
        gaps.append((curves[0] - curves[1]).abs().max())
    assert gaps[0] < 1e-5
    assert gaps[1] < 1e-5
    assert gaps[2] > 1e-3


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: td.EmbeddingDropout(table(), 1.5), ValueError, "EmbeddingDropout: `p` must be in [0, 1], got 1.5."),
        (
            lambda: td.EmbeddingDropout(nn.Linear(2, 2)),
            TypeError,
            "EmbeddingDropout: `embedding` must be a torch.nn.Embedding, got Linear.",
        ),
        (
            lambda: td.EmbeddingDropout(table(), per="word"),
            ValueError,
            "EmbeddingDropout: `per` must be one of 'batch', 'sequence', got 'word'.",
        ),
        (
            lambda: td.EmbeddingDropout(table())(torch.ones(3)),
            TypeError,
            "EmbeddingDropout: the input must be an integer tensor, got torch.float32.",
        ),
        (
            lambda: td.functional.embedding_dropout(torch.tensor([0]), torch.ones(3)),
            ValueError,
            "embedding_dropout: `weight` must have shape (V, D), got (3,).",
        ),
        (
            lambda: td.EmbeddingDropout(table(), per="sequence", sequence_dim=2)(torch.zeros(2, 3).long()),
            ValueError,
            "EmbeddingDropout: `sequence_dim` must be an axis of the input (2, 3), got 2.",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message


def test_a_sequences_draw_is_the_same_in_both_layouts_and_padding_changes_no_real_one():
    words, key = torch.randint(0, 7, (4, 9)), td.key(3)
    layers = [td.EmbeddingDropout(ones(7), 0.5, per="sequence", sequence_dim=dim) for dim in (1, 0)]
    y = layers[0](words, key=key)
    assert torch.equal(layers[1](words.T, key=key).transpose(0, 1), y)
    padded = torch.cat([words, torch.zeros(4, 3, dtype=torch.int64)], 1)
    assert torch.equal(layers[0](padded, key=key)[:, :9], y)


@pytest.mark.parametrize("p", [0.25, 0.5])
def test_a_batchs_draw_is_the_same_in_both_layouts(p):
    """The draw is over rows of the table, so neither the layout nor padding plays a part."""
    layer, words, key = td.EmbeddingDropout(table(), p), torch.randint(0, 7, (4, 9)), td.key(3)
    y = layer(words, key=key)
    assert torch.equal(layer(words.T, key=key).transpose(0, 1), y)
    assert torch.equal(layer(words[:2, :5], key=key), y[:2, :5])
