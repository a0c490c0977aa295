import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from torchdropout.study.conditions import Condition
from torchdropout.study.models import build
from torchdropout.study.protocol import Split, folds, scaled
from torchdropout.study.training import Epoch, batches, measure, train


@pytest.fixture
def parts(few):
    return scaled(few, folds(few.labels, 2)[0])


class LiesInTraining(nn.Module):
    """Right in eval mode, always the wrong class in train mode."""

    def __init__(self, labels):
        super().__init__()
        self.labels, self.nothing = labels, nn.Parameter(torch.zeros(()))
        self.modes = []

    def forward(self, inputs):
        self.modes.append(self.training)
        right = functional.one_hot(self.labels[inputs[:, 0].long()], 3).float() * 9
        return (right.roll(1, dims=1) if self.training else right) + self.nothing


def test_training_metrics_are_measured_with_the_noise_off():
    labels = torch.tensor([0, 1, 2, 2, 1, 0])
    split = Split(torch.arange(6.0)[:, None], labels)
    model = LiesInTraining(labels)
    epochs = list(train(model, split, split, epochs=2, batch_size=4, lr=0.1, order_seed=0))
    assert [epoch.train_accuracy for epoch in epochs] == [1.0, 1.0]
    assert epochs[0].train_loss == pytest.approx(math.log(1 + 2 * math.exp(-9)), rel=1e-3)
    assert model.modes == [True, True, False, False] * 2


def test_measured_twice_a_noisy_network_gives_the_same(parts):
    model = build("mlp", (1, 8, 8), 10, Condition("dropout", 0.5))
    model.train()
    assert measure(model, parts[0]) == measure(model, parts[0])
    assert model.training


def test_measures_are_cross_entropy_and_accuracy(parts):
    model = build("mlp", (1, 8, 8), 10, Condition("none"))
    outputs = model(parts[1].inputs).detach().double().log_softmax(1)
    loss = -sum(outputs[row, label] for row, label in enumerate(parts[1].labels)) / len(outputs)
    hits = sum(int(outputs[row].argmax()) == int(label) for row, label in enumerate(parts[1].labels))
    found = measure(model, parts[1])
    assert found[0] == pytest.approx(float(loss), rel=1e-5)
    assert found[1] == pytest.approx(hits / len(outputs), rel=1e-12)


def test_batches_are_a_permutation_from_the_seed_alone():
    first = batches(10, 4, torch.Generator().manual_seed(1))
    torch.rand(5)
    again = batches(10, 4, torch.Generator().manual_seed(1))
    assert [len(batch) for batch in first] == [4, 4, 2]
    assert sorted(torch.cat(first).tolist()) == list(range(10))
    assert torch.cat(first).equal(torch.cat(again))
    assert not torch.cat(first).equal(torch.cat(batches(10, 4, torch.Generator().manual_seed(2))))


def seen(parts, condition):
    """The inputs of each training step, in order."""
    torch.manual_seed(0)
    model, inputs = build("mlp", (1, 8, 8), 10, condition), []
    model.flatten.register_forward_pre_hook(lambda layer, args: inputs.append(args[0]) if layer.training else None)
    for _ in train(model, *parts, epochs=2, batch_size=32, lr=0.01, order_seed=5):
        pass
    return inputs


def test_every_condition_sees_the_same_batches_in_the_same_order(parts, conditions):
    plain = seen(parts, conditions[0])
    assert len(plain) == 2 * math.ceil(len(parts[0].labels) / 32)
    assert not plain[0].equal(plain[len(plain) // 2])
    for condition in conditions[1:]:
        assert all(a.equal(b) for a, b in zip(plain, seen(parts, condition), strict=True))


def test_it_learns(parts):
    torch.manual_seed(0)
    model = build("mlp", (1, 8, 8), 10, Condition("none"))
    epochs = list(train(model, *parts, epochs=10, batch_size=16, lr=0.001, order_seed=0))
    assert [epoch.epoch for epoch in epochs] == list(range(1, 11))
    assert epochs[-1].train_accuracy > 0.98
    assert epochs[-1].val_accuracy > 0.8
    assert epochs[-1].train_loss < epochs[0].train_loss / 10
    assert all(epoch.seconds > 0 for epoch in epochs)


@pytest.mark.parametrize(("loss", "finite"), [(1.0, True), (math.nan, False), (math.inf, False)])
def test_finite_looks_at_both_losses(loss, finite):
    assert Epoch(1, loss, 0.5, 1.0, 0.5, 1.0).finite is finite
    assert Epoch(1, 1.0, 0.5, loss, 0.5, 1.0).finite is finite
