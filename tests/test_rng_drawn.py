"""Keys that are drawn: `keyed`, the default generator, and the rank."""

import pytest
import torch
from torch import nn

import torchdropout as td
from torchdropout import rng


@pytest.fixture(autouse=True)
def _default_rank():
    yield
    td.set_data_parallel_rank("global")


def test_manual_seed_governs_drawn_keys():
    torch.manual_seed(5)
    first, second = rng.draw(), rng.draw()
    torch.manual_seed(5)
    assert torch.equal(rng.draw(), first)
    assert torch.equal(rng.draw(), second)
    assert not torch.equal(first, second)


def test_drawn_keys_fill_64_bits():
    drawn = torch.stack([rng.draw() for _ in range(200)])
    assert len(drawn.flatten().unique()) == 400
    for bit in range(64):
        share = (drawn >> bit & 1).double().mean()
        assert 0.3 < share < 0.7  # 400 fair coins leave it less than once in 10**12


@pytest.mark.parametrize("key", [7, td.key(7), td.key(7).view(torch.uint64)])
def test_keyed_makes_a_model_reproducible_and_restores_the_generator(key):
    model, x = nn.Sequential(td.Dropout(0.5), td.GaussianDropout(0.3), nn.Dropout(0.5)), torch.ones(500)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    with td.keyed(key):
        first = model(x)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    with td.keyed(7):
        assert torch.equal(model(x), first)
    with td.keyed(8):
        assert not torch.equal(model(x), first)


def test_keys_of_one_seed_but_another_offset_give_other_noise():
    drawn = []
    for offset in range(3):
        with td.keyed(torch.tensor([7, offset])):
            drawn.append(tuple(rng.draw().tolist()))
    assert len(set(drawn)) == 3


def test_keyed_nests():
    with td.keyed(1):
        alone = [rng.draw() for _ in range(2)]
    with td.keyed(1):
        first = rng.draw()
        with td.keyed(2):
            inner = rng.draw()
        second = rng.draw()
    assert torch.equal(first, alone[0])
    assert torch.equal(second, alone[1])
    assert not torch.equal(inner, first)


def test_keyed_restores_after_an_error():
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), td.keyed(1):
        raise ZeroDivisionError
    assert torch.equal(torch.get_rng_state(), before)


def test_keyed_wants_one_key():
    with pytest.raises(ValueError, match=r"keyed: `key` must have shape \(2,\), got"), td.keyed(td.split(td.key(1))):
        pass
    with pytest.raises(TypeError, match="keyed: `key` must be an int64 or uint64 tensor"), td.keyed(torch.zeros(2)):
        pass


def masks_of_rank(rank):
    td.set_data_parallel_rank(rank)
    torch.manual_seed(3)
    return td.functional.dropout_mask((256,), 0.5)


def test_ranks_of_one_seed_draw_different_masks():
    masks = torch.stack([masks_of_rank(rank) for rank in range(8)])
    assert len(masks.unique(dim=0)) == 8


def test_no_rank_is_rank_zero_and_what_runs_without_distributed_training():
    assert torch.equal(masks_of_rank(None), masks_of_rank(0))
    assert torch.equal(masks_of_rank("global"), masks_of_rank(0))


def test_explicit_keys_never_fold_in_the_rank():
    td.set_data_parallel_rank(0)
    first = td.functional.dropout_mask((256,), 0.5, key=td.key(1))
    td.set_data_parallel_rank(5)
    assert torch.equal(td.functional.dropout_mask((256,), 0.5, key=td.key(1)), first)


@pytest.mark.parametrize("rank", [-1, 1.5, "local"])
def test_what_is_no_rank(rank):
    with pytest.raises(ValueError, match="`rank` must be 'global', None or a number from 0, got"):
        td.set_data_parallel_rank(rank)
