"""Data-parallel training by two processes over gloo on this machine."""

import sys

import pytest
import torch
from torch import distributed, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

import torchdropout as td


def train(rank, folder):
    """Masks under one seed with and without the rank; then three steps of a model with dropout."""
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    results = {}
    for setting in ("global", None, 5):
        td.set_data_parallel_rank(setting)
        torch.manual_seed(3)
        results[setting] = td.Dropout(0.5)(torch.ones(200))
    td.set_data_parallel_rank("global")
    results["explicit"] = td.functional.dropout(torch.ones(200), key=td.key(1))

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 64), td.Dropout(0.5), nn.ReLU(), td.DropPath(0.3), nn.Linear(64, 1))
    results["before"] = [parameter.detach().clone() for parameter in model.parameters()]
    parallel = DistributedDataParallel(model)
    masks = []
    model[1].register_forward_hook(lambda module, args, output: masks.append(output == 0))
    optimizer = torch.optim.SGD(parallel.parameters(), 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        parallel(torch.ones(16, 8)).square().mean().backward()
        optimizer.step()
    results["masks"] = torch.stack(masks)
    results["gradients"] = [parameter.grad for parameter in model.parameters()]
    results["after"] = [parameter.detach() for parameter in model.parameters()]
    torch.save(results, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ddp")
    with pytest.MonkeyPatch.context() as patch:
        if sys.platform == "linux":
            patch.setenv("GLOO_SOCKET_IFNAME", "lo")
        multiprocessing.spawn(train, (str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def test_ranks_of_one_seed_drop_different_elements(ranks):
    first, second = (rank["global"] for rank in ranks)
    agreement = (first == second).sum()
    assert 55 < agreement < 145  # 200 fair coins leave it less than once in 10**9


def test_ranks_share_masks_where_told_to(ranks):
    for setting in (None, 5, "explicit"):
        assert torch.equal(ranks[0][setting], ranks[1][setting])
    assert torch.equal(ranks[0][None], ranks[0]["global"])
    assert not torch.equal(ranks[0][5], ranks[0][None])


def test_a_model_trains_in_step_with_different_masks(ranks):
    for name in ("before", "gradients", "after"):
        for a, b in zip(ranks[0][name], ranks[1][name], strict=True):
            assert torch.equal(a, b)
    assert not torch.equal(ranks[0]["before"][0], ranks[0]["after"][0])
    masks = torch.cat([rank["masks"].flatten(1) for rank in ranks])
    assert len(masks.unique(dim=0)) == 6
