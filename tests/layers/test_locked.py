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
