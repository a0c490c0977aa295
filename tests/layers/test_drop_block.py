"""DropBlock: the share that is dropped, by enumeration and by chance; the blocks; the count's normalisation."""

import itertools

import pytest
import torch
from scipy.optimize import brentq

import torchdropout as td
from torchdropout.layers.drop_block import _seed_rate, seed_rate


def masks(size, block, gamma):
    """Every pattern of seeds on a small map: what is kept, and its probability."""
    seeds = [range(length - block + 1) for length in size]
    places = list(itertools.product(*seeds))
    for bits in itertools.product((False, True), repeat=len(places)):
        kept = torch.ones(size, dtype=torch.float64)
        for place in itertools.compress(places, bits):
            kept[tuple(slice(first, first + block) for first in place)] = 0.0
        yield kept, gamma ** sum(bits) * (1 - gamma) ** (len(places) - sum(bits))


SMALL = [((3, 3), 3), ((3, 3), 2), ((4, 3), 2), ((5, 4), 3), ((4, 6), 4), ((6,), 2), ((7,), 3), ((5,), 4), ((5, 3), 1)]


@pytest.mark.parametrize(("size", "block"), SMALL)
@pytest.mark.parametrize("p", [0.001, 0.1, 0.5, 0.9, 0.999999])
def test_drop_block_algorithm1_exact_gamma_drops_the_share_p(size, block, p):
    gamma = seed_rate(p, size, block)
    share = sum(q * (1 - kept.mean().item()) for kept, q in masks(size, block, gamma))
    assert share == pytest.approx(p, rel=1e-9)


@pytest.mark.parametrize(("size", "block"), [((56, 56), 7), ((14, 14), 7), ((13, 29), 6), ((100,), 33), ((8, 8), 7)])
@pytest.mark.parametrize("p", [1e-6, 0.1, 0.9, 1 - 1e-6])
def test_exact_gamma_is_the_root_that_bisection_finds(size, block, p):
    """The number of covering seeds is counted pixel by pixel; solved for `log(1 - gamma)`, which p near 1 needs."""
    line = [[sum(max(0, j - block + 1) <= i <= min(j, n - block) for i in range(n)) for j in range(n)] for n in size]
    counts = torch.tensor(line[0]).double()
    if len(size) == 2:
        counts = torch.outer(counts, torch.tensor(line[1]).double())

    def excess(t):
        return (1 - p) - torch.exp(-t * counts).mean().item()

    t = brentq(excess, 0.0, 50.0, xtol=1e-16, rtol=1e-14)
    assert seed_rate(p, size, block) == pytest.approx(-torch.expm1(torch.tensor(-t).double()).item(), rel=1e-6)


@pytest.mark.parametrize(("size", "block"), [((14, 14), 7), ((28, 28), 7), ((9, 12), 4), ((50,), 8)])
def test_a_tensor_p_solves_to_the_same_gamma(size, block):
    for p in (1e-6, 0.1, 0.5, 1 - 1e-6):
        traced = _seed_rate(torch.tensor(p, dtype=torch.float64), size, block, "exact")
        assert traced.item() == pytest.approx(seed_rate(p, size, block), rel=1e-9)


def test_drop_block_eq1_paper_gamma():
    assert _seed_rate(0.1, (14, 14), 7, "paper") == pytest.approx(0.00625)
    assert _seed_rate(0.1, (28, 28), 7, "paper") == pytest.approx(0.0033058, abs=5e-8)


@pytest.mark.parametrize(
    ("size", "block"), [((7, 7), 7), ((8, 8), 7), ((14, 14), 7), ((56, 56), 7), ((14, 10), 6), ((9, 33), 4)]
)
def test_the_realised_share_is_p_at_every_map_size(size, block):
    """Means of independent maps within 6 standard errors. Popular code gives 92 % and 21 % on the first and third."""
    maps = 200_000 // size[0]
    kept = td.DropBlock2d(0.1, block)(torch.ones(1, maps, *size), key=td.key(0)) != 0
    share = 1 - kept.double().mean((0, 2, 3))
    error = share.std().item() / maps**0.5
    assert error < 0.004
    assert abs(share.mean().item() - 0.1) < 6 * error


@pytest.mark.parametrize("block", [3, 4])
def test_the_realised_share_in_one_dimension_and_of_the_papers_gamma(block):
    x = torch.ones(1, 20_000, 12)
    kept = td.DropBlock1d(0.3, block)(x, key=td.key(0)) != 0
    share = 1 - kept.double().mean((0, 2))
    assert abs(share.mean().item() - 0.3) < 6 * share.std().item() / 20_000**0.5
    first_order = 1 - (td.DropBlock1d(0.3, block, gamma="paper")(x, key=td.key(0)) != 0).double().mean((0, 2))
    exact = sum(q * (1 - kept.mean().item()) for kept, q in masks((12,), block, 0.3 * 12 / (block * (12 - block + 1))))
    assert abs(first_order.mean().item() - exact) < 6 * first_order.std().item() / 20_000**0.5
    assert exact < 0.28


@pytest.mark.parametrize(("size", "block"), [((3, 4), 2), ((4, 4), 3), ((3, 3), 3)])
def test_patterns_are_those_of_the_enumeration(size, block):
    """Mean, variance and covariance of all pixels against every pattern of seeds; 6 standard errors of each."""
    gamma = seed_rate(0.4, size, block)
    patterns = [(kept.flatten(), q) for kept, q in masks(size, block, gamma)]
    mean = sum(q * kept for kept, q in patterns)
    covariance = sum(q * torch.outer(kept - mean, kept - mean) for kept, q in patterns)
    count = 40_000
    kept = (td.DropBlock2d(0.4, block)(torch.ones(count, 1, *size), key=td.key(1)) != 0).double().flatten(1)
    assert ((kept.mean(0) - mean).abs() < 6 * 0.5 / count**0.5).all()
    assert ((kept.T.cov() - covariance).abs() < 6 * 0.5 / count**0.5).all()
    seen = {tuple(row) for row in kept.int().unique(dim=0).tolist()}
    assert seen <= {tuple(pattern.int().tolist()) for pattern, _ in patterns}


def test_examples_and_channels_draw_their_own_unless_channels_share():
    """The share a map loses: correlation below 6 / sqrt(n), or 1."""
    x = torch.ones(4000, 3, 8, 8)
    own = (td.DropBlock2d(0.3, 3)(x, key=td.key(0)) != 0).double().mean((2, 3))
    assert own.T.corrcoef().fill_diagonal_(0).abs().max() < 6 / 4000**0.5
    y = td.DropBlock2d(0.3, 3, shared_channels=True)(x, key=td.key(0))
    assert torch.equal(y[:, 0], y[:, 1])
    assert torch.equal(y[:, 0], y[:, 2])
    shares = (y[:, 0] != 0).double().mean((1, 2))
    assert torch.stack([shares[:-1], shares[1:]]).corrcoef()[0, 1].abs() < 6 / 3999**0.5


def test_the_kept_are_scaled_by_the_count():
    x = torch.randn(3, 4, 9, 9, dtype=torch.float64, requires_grad=True)
    y = td.DropBlock2d(0.3, 3)(x, key=td.key(0))
    mask = (y != 0).double()
    assert 0.3 < mask.mean() < 0.95
    torch.testing.assert_close(y, x * mask * mask.numel() / mask.sum())
    y.sum().backward()
    torch.testing.assert_close(x.grad, mask * mask.numel() / mask.sum())


def test_a_map_keeps_its_size_for_even_blocks():
    for block in range(1, 7):
        for training in (True, False):
            assert td.DropBlock2d(0.2, block).train(training)(torch.ones(2, 3, 6, 11)).shape == (2, 3, 6, 11)
            assert td.DropBlock1d(0.2, block).train(training)(torch.ones(3, 6)).shape == (3, 6)


def test_when_nothing_is_kept_the_output_is_zero_and_finite():
    x = torch.randn(2, 3, 7, 7, requires_grad=True)
    for p in (1.0, 1 - 1e-6):
        y = td.DropBlock2d(p, 7)(x, key=td.key(0))
        (gradient,) = torch.autograd.grad(y.sum(), x)
        assert torch.equal(y.abs(), torch.zeros_like(y))
        assert torch.equal(gradient, torch.zeros_like(y))


def test_a_batch_of_keys_is_normalised_key_by_key():
    layer, keys = td.DropBlock2d(0.3, 2), td.split(td.key(0), 4)
    x = torch.randn(4, 2, 6, 6)
    assert torch.equal(layer(x, key=keys), torch.stack([layer(x[i], key=keys[i]) for i in range(4)]))


def test_eval_and_p_zero_are_the_identity():
    x = torch.randn(2, 3, 8, 8)
    assert td.DropBlock2d(0.3).eval()(x) is x
    assert td.DropBlock2d(0.0)(x) is x
    assert td.functional.drop_block2d(x, training=False) is x


@pytest.mark.parametrize(
    ("kind", "call", "message"),
    [
        (ValueError, lambda: td.DropBlock2d(1.5), "DropBlock2d: `p` must be in [0, 1], got 1.5."),
        (ValueError, lambda: td.DropBlock2d(0.1, 0), "DropBlock2d: `block_size` must be at least 1, got 0."),
        (TypeError, lambda: td.DropBlock1d(0.1, 2.0), "DropBlock1d: `block_size` must be an integer, got 2.0."),
        (
            ValueError,
            lambda: td.DropBlock2d(gamma="timm"),
            "DropBlock2d: `gamma` must be one of 'exact', 'paper', got 'timm'.",
        ),
        (
            ValueError,
            lambda: td.DropBlock2d()(torch.ones(1, 4, 9)),
            "DropBlock2d: `block_size` must fit into the map, got 7 for (4, 9).",
        ),
        (
            ValueError,
            lambda: td.functional.drop_block1d(torch.ones(9)),
            "drop_block1d: the input must have shape (N, C, L) or (C, L), got (9,).",
        ),
        (
            TypeError,
            lambda: td.functional.drop_block2d(torch.ones(1, 9, 9, dtype=torch.int64)),
            "drop_block2d: the input must be floating point, got torch.int64.",
        ),
    ],
)
def test_errors(kind, call, message):
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == message
