"""Locked dropout: one mask a sequence, whichever axis is time."""

import pytest
import torch

import torchdropout as td


@pytest.mark.parametrize("batch_first", [False, True])
def test_each_sequence_has_its_own_mask_at_every_step(batch_first):
    y = td.LockedDropout(0.5, batch_first=batch_first)(torch.ones(12, 12, 64), key=td.key(0))
    by_time = y.transpose(0, 1) if batch_first else y
    assert torch.equal(by_time, by_time[:1].expand(12, 12, 64))
    masks = by_time[0]
    assert masks.unique(dim=0).shape[0] == 12


def test_a_sequence_without_batch_axis():
    y = td.LockedDropout(0.5)(torch.ones(9, 64), key=td.key(0))
    assert torch.equal(y, y[:1].expand(9, 64))
    assert set(y.unique().tolist()) == {0.0, 2.0}


def test_wrong_rank():
    with pytest.raises(ValueError, match=r"must have shape \(N, T, F\) or \(T, F\), got \(2, 3, 4, 5\)\.$"):
        td.LockedDropout(0.5, batch_first=True)(torch.ones(2, 3, 4, 5))


@pytest.mark.parametrize("batch_first", [False, True])
def test_once_a_sequence_and_unit(batch_first):
    """4000 sequences of 3 steps and 4 units at p = 0.25: 5 standard errors on means and covariances."""
    n, k = 4000, 0.75
    x = torch.ones((n, 3, 4) if batch_first else (3, n, 4), dtype=torch.float64)
    y = td.LockedDropout(0.25, batch_first=batch_first)(x, key=td.key(0))
    masks = (y if batch_first else y.transpose(0, 1)).reshape(n, -1) * k
    variance = k * (1 - k)
    assert ((masks.mean(0) - k).abs() < 5 * (variance / n) ** 0.5).all()
    expected = torch.eye(4, dtype=torch.float64).repeat(3, 3) * variance
    assert ((torch.cov(masks.T) - expected).abs() < 5 * 0.25 / n**0.5).all()
    neighbours = ((masks[1:] - k) * (masks[:-1] - k)).mean(0)
    assert (neighbours.abs() < 5 * variance / n**0.5).all()


def test_the_same_key_gives_both_layouts_the_same_masks_however_long_the_sequences_are():
    x, key = torch.randn(7, 5, 6), td.key(4)
    y = td.LockedDropout(0.5)(x, key=key)
    assert torch.equal(td.LockedDropout(0.5, batch_first=True)(x.transpose(0, 1), key=key).transpose(0, 1), y)
    assert torch.equal(td.LockedDropout(0.5)(x[:3], key=key), y[:3])


@pytest.mark.parametrize("batch_first", [False, True])
def test_rates_modes_and_gradients(batch_first):
    x = torch.randn(4, 5, 6, dtype=torch.float64, requires_grad=True)
    layer = td.LockedDropout(0.5, batch_first=batch_first)
    torch.autograd.gradcheck(lambda x: layer(x, key=td.key(0)), x)
    assert torch.equal(layer.eval()(x), x)
    layer.train().p = 0.0
    assert torch.equal(layer(x), x)
    layer.p = 1.0
    assert torch.equal(layer(x), torch.zeros_like(x))
    for shape in ((0, 5, 6), (5, 0, 6), (1, 5, 6)):
        assert td.LockedDropout(0.5, batch_first=batch_first)(torch.ones(shape)).shape == shape
