"""PatchDropout: every subset equally likely, the prefix kept, the count."""

import copy
import itertools
import pickle

import pytest
import torch
from scipy import stats
from torch import nn

import torchdropout as td


def tokens(n=3, t=6, d=2):
    """Values that say where they came from."""
    return torch.arange(float(n * t * d)).view(n, t, d)


def test_patch_dropout_section3_every_subset_is_equally_likely():
    """6000 draws over the 10 subsets of 3 in 5 patches: chi-square, error rate 1e-6."""
    x = torch.zeros(6000, 6, 1)
    _, kept = td.functional.patch_dropout(x, 0.4, return_indices=True, key=td.key(0))
    subsets = list(itertools.combinations(range(5), 3))
    counts = [int((kept == torch.tensor(s)).all(1).sum()) for s in subsets]
    assert sum(counts) == 6000
    assert stats.chisquare(counts).pvalue > 1e-6


def test_orders_are_equally_likely_when_not_ordered():
    """6000 draws over the 6 arrangements of 2 in 3 patches."""
    _, kept = td.functional.patch_dropout(
        torch.zeros(6000, 3, 1), 0.3, prefix_tokens=0, ordered=False, return_indices=True, key=td.key(1)
    )
    counts = [int((kept == torch.tensor(s)).all(1).sum()) for s in itertools.permutations(range(3), 2)]
    assert sum(counts) == 6000
    assert stats.chisquare(counts).pvalue > 1e-6


def test_pairs_of_examples_are_independent():
    """Two examples of a batch, 4000 times: a chi-square test of independence between their subsets."""
    x = torch.zeros(2, 4, 1)
    kept = torch.stack(
        [td.functional.patch_dropout(x, 0.6, return_indices=True, key=k)[1] for k in td.split(td.key(0), 4000)]
    )
    assert kept.shape == (4000, 2, 1)
    table = torch.zeros(3, 3)
    table.index_put_((kept[:, 0, 0], kept[:, 1, 0]), torch.ones(4000), accumulate=True)
    assert stats.chi2_contingency(table.numpy()).pvalue > 1e-6


@pytest.mark.parametrize("prefix", [0, 1, 3])
@pytest.mark.parametrize("ordered", [True, False])
def test_prefix_and_patches_come_whole(prefix, ordered):
    x = tokens(4, 9)
    y, kept = td.functional.patch_dropout(
        x, 0.5, prefix_tokens=prefix, ordered=ordered, return_indices=True, key=td.key(2)
    )
    count = (9 - prefix) // 2
    assert y.shape == (4, prefix + count, 2)
    assert torch.equal(y[:, :prefix], x[:, :prefix])
    for n in range(4):
        assert torch.equal(y[n, prefix:], x[n, prefix:][kept[n]])  # not rescaled
        assert len(set(kept[n].tolist())) == count
        assert not ordered or kept[n].tolist() == sorted(kept[n].tolist())
    layer = td.PatchDropout(0.5, prefix_tokens=prefix, ordered=ordered)
    assert torch.equal(layer(x, key=td.key(2)), y)


def test_per_batch_all_examples_keep_the_same_patches():
    x = tokens(8, 9)
    for per, kinds in (("batch", 1), ("example", 2)):
        _, kept = td.functional.patch_dropout(x, 0.5, per=per, return_indices=True, key=td.key(0))
        assert kept.shape == (8, 4)
        assert (len(kept.unique(dim=0)) >= kinds) if kinds > 1 else (len(kept.unique(dim=0)) == 1)


@pytest.mark.parametrize(
    ("patches", "p", "count"),
    [(20, 0.9, 2), (10, 0.9, 1), (5, 0.5, 2), (196, 0.5, 98), (3, 0.99, 1), (7, 0.0, 7), (1000, 0.7, 300), (0, 0.5, 0)],
)
def test_number_of_kept_patches(patches, p, count):
    """The whole part; 20 * (1 - 0.9) is 1.9999999999999996 in floating point."""
    assert td.PatchDropout(p)(torch.zeros(2, patches + 1, 3)).shape == (2, count + 1, 3)


def test_identity_in_eval_and_at_zero():
    x = tokens()
    assert td.PatchDropout(0.5).eval()(x) is x
    assert td.PatchDropout(0.0)(x) is x
    y, kept = td.functional.patch_dropout(x, 0.5, training=False, return_indices=True)
    assert y is x
    assert torch.equal(kept, torch.arange(5).expand(3, 5))


def test_gradients_reach_kept_patches_alone():
    x = torch.randn(2, 6, 3, dtype=torch.float64, requires_grad=True)
    layer = td.PatchDropout(0.5)
    torch.autograd.gradcheck(lambda x: layer(x, key=td.key(0)), x)
    y, kept = td.functional.patch_dropout(x, 0.5, return_indices=True, key=td.key(0))
    (grad,) = torch.autograd.grad(y.sum(), x)
    expected = torch.zeros(2, 6, 3, dtype=torch.float64)
    expected[:, 0] = 1
    for n in range(2):
        expected[n, 1 + kept[n]] = 1
    assert torch.equal(grad, expected)


def test_training_without_noise_is_the_plain_one_and_with_noise_is_not():
    gaps = []
    for p in (0.0, 0.5):
        torch.manual_seed(0)
        x, t = torch.randn(16, 9, 4), torch.randn(16, 4)
        twin, curves = nn.Linear(4, 4), []
        start = copy.deepcopy(twin.state_dict())
        for layer in (nn.Identity(), td.PatchDropout(p, prefix_tokens=0)):
            twin.load_state_dict(start)
            optimizer, losses = torch.optim.SGD(twin.parameters(), lr=0.1), []
            for _ in range(20):
                optimizer.zero_grad()
                loss = (twin(layer(x)).mean(1) - t).square().mean()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
            curves.append(torch.tensor(losses))
        gaps.append((curves[0] - curves[1]).abs().max())
    assert gaps[0] < 1e-5
    assert gaps[1] > 1e-3


def test_compile_vmap_checkpoint_and_copies():
    layer, x = td.PatchDropout(0.5), torch.randn(3, 9, 2, requires_grad=True)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x, key=td.key(1)), layer(x, key=td.key(1)))
    same = torch.randn(1, 9, 2).expand(20, 3, 9, 2)
    rows = torch.func.vmap(layer, randomness="different")(same)
    assert len(rows.flatten(1).unique(dim=0)) > 1
    grads = []
    for run in (layer, lambda x: torch.utils.checkpoint.checkpoint(layer, x, use_reentrant=False)):
        torch.manual_seed(0)
        grads.append(torch.autograd.grad(run(x).square().sum(), x)[0])
    assert torch.equal(*grads)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(x, key=td.key(0)), layer(x, key=td.key(0)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtypes_share_the_choice_and_odd_inputs_work(dtype):
    layer, x = td.PatchDropout(0.5), tokens(2, 7)
    y = layer(x.to(dtype), key=td.key(0))
    assert y.dtype == dtype
    assert torch.equal(y.float(), layer(x, key=td.key(0)))
    assert layer(x.to(dtype)[:0]).shape == (0, 4, 2)
    strided = tokens(2, 7).transpose(0, 1).contiguous().transpose(0, 1)
    assert torch.equal(layer(strided, key=td.key(0)), layer(x, key=td.key(0)))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: td.PatchDropout(1.0), ValueError, "PatchDropout: `p` must be in [0, 1), got 1.0."),
        (
            lambda: td.PatchDropout(0.5, prefix_tokens=-1),
            ValueError,
            "PatchDropout: `prefix_tokens` must be at least 0, got -1.",
        ),
        (
            lambda: td.PatchDropout(0.5, per="image"),
            ValueError,
            "PatchDropout: `per` must be one of 'example', 'batch', got 'image'.",
        ),
        (
            lambda: td.PatchDropout(0.5)(torch.ones(3, 4)),
            ValueError,
            "PatchDropout: the input must have shape (N, T, D), got (3, 4).",
        ),
        (
            lambda: td.PatchDropout(0.5, prefix_tokens=5)(torch.ones(3, 4, 2)),
            ValueError,
            "PatchDropout: the input must have at least `prefix_tokens` = 5 tokens, got 4.",
        ),
        (
            lambda: td.functional.patch_dropout(torch.ones(3, 4, 2, dtype=torch.int64)),
            TypeError,
            "patch_dropout: the input must be floating point, got torch.int64.",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message
