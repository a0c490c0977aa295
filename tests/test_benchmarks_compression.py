"""The pieces of `benchmarks/papers/compression.py`: training that goes on, and magnitude pruning of equal size."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import torchdropout as td

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks" / "papers"))

import _compression_nets as nets
import compression

X, Y = torch.rand(500, 1, 28, 28), torch.randint(10, (500,))


def stage(path, steps, model, stop=None):
    calls = []

    def loss(x, y, share):
        calls.append(share)
        if stop is not None and len(calls) > stop:
            raise KeyboardInterrupt
        return F.cross_entropy(model(x), y) + td.kl_loss(model, 500, share)

    return nets.Stage(path, steps, loss), calls


def started():
    torch.manual_seed(3)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    td.sparsify_(model)
    return model, torch.optim.Adam(td.noise_param_groups(model, 0.001, 0.01))


def test_an_interrupted_training_ends_as_one_that_was_not(tmp_path):
    whole, optimizer = started()
    nets.train(stage(tmp_path / "a.pt", 12, whole)[0], whole, optimizer, (X, Y))
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.001 / 6, 0.01 / 6])
    first, optimizer = started()
    with pytest.raises(KeyboardInterrupt):
        nets.train(stage(tmp_path / "b.pt", 12, first, stop=8)[0], first, optimizer, (X, Y))
    second, optimizer = started()
    going_on, calls = stage(tmp_path / "b.pt", 12, second)
    nets.train(going_on, second, optimizer, (X, Y))
    assert calls == [step / 12 for step in range(5, 12)]
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), second.parameters(), strict=True))


def test_as_many_weights_are_left():
    network = nets.NETWORKS[0]
    pruned, trained = network.make(), network.make()
    with torch.no_grad():
        for module in nets.layers(pruned):
            module.weight[torch.rand(module.weight.shape) < 0.97] = 0.0
    found = nets.of_equal_size(network, pruned, trained)
    left = sum(int(module.weight.count_nonzero()) for module in nets.layers(pruned))
    kept = torch.cat([module.weight.flatten() for module in nets.layers(found)]).abs()
    assert int((kept > 0).sum()) == left
    every = torch.cat([module.weight.flatten() for module in nets.layers(trained)]).abs()
    assert kept[kept > 0].min() >= every.sort(descending=True).values[left - 1]
    assert compression.left(network, pruned) == compression.left(network, found) == f"{266_200 / left:.0f} times"


def test_as_many_units_are_left_of_every_layer():
    network = replace(nets.NETWORKS[3])
    pruned, trained = network.make(), network.make()
    with torch.no_grad():
        for module, count in zip(nets.layers(pruned), (3, 18, 283), strict=False):
            module.weight[count:], module.bias[count:] = 0.0, 0.0
        pruned[7].weight[:, 284:] = 0.0
    found = nets.of_equal_size(network, pruned, trained)
    assert compression.left(network, pruned) == compression.left(network, found) == "3-18-284-283"
    small = td.shrink(found, X[:2])
    assert [len(module.weight) for module in nets.layers(small)][:2] == [3, 18]
    torch.testing.assert_close(small(X[:9]), found(X[:9]), rtol=1e-4, atol=1e-5)


def test_gates_are_where_the_paper_has_them(tmp_path):
    for network, widths in ((nets.NETWORKS[2], [784, 500, 300]), (nets.NETWORKS[3], [20, 50, 800, 500])):
        model, before = nets.prepared(network, 4, tmp_path, (X, Y))
        gates = [module for module in model.modules() if isinstance(module, td.LogNormalDropout)]
        assert sorted(gate.num_features for gate in gates) == sorted(widths)
        assert before == 2
        model.eval()
        expected = model(X[:5])
        td.prune_(model)
        torch.testing.assert_close(model(X[:5]), expected, rtol=1e-4, atol=1e-4)
