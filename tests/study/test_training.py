import math
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

import torchdropout.study.training as module
from torchdropout.study.metrics import Split
from torchdropout.study.recipe import Hooks, Recipe
from torchdropout.study.training import Epoch, batches, train


def data(count=40):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(count, 3, generator=generator)
    return Split(inputs, (inputs @ torch.tensor([[1.0], [2.0], [-1.0]])))


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))


def fit(model, split=None, *, hooks=Hooks(), measure=None, loss=functional.mse_loss, **settings):  # noqa: B008
    split = split or data()

    def measured(net):
        with torch.no_grad():
            return {"train_loss": float(loss(net(split.inputs), split.targets))}

    recipe = Recipe(**{"epochs": 3, "batch_size": 16, "optimizer": "sgd", "lr": 0.05} | settings)
    return list(
        train(model, split, loss, recipe, measure=measure or measured, order_seed=1, hooks=hooks, watched="train_loss")
    )


def weights(model):
    return torch.cat([value.flatten() for value in model.state_dict().values()])


def by_hand(model, split, epochs, step):
    """The same order of batches, and a step of the caller's."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(epochs):
        for batch in batches(len(split), 16, generator):
            step(model, split.inputs[batch], split.targets[batch])


def test_the_loop_is_at_most_150_lines():
    assert len(Path(module.__file__).read_text().splitlines()) <= 150


def test_it_learns():
    epochs = fit(network(), epochs=60)
    assert [epoch.epoch for epoch in epochs] == list(range(1, 61))
    assert epochs[-1].measured["train_loss"] < epochs[0].measured["train_loss"] / 20
    assert all(epoch.seconds > 0 for epoch in epochs)


def test_plain_descent_by_hand():
    model, other, velocity = network(), network(), {}

    def step(net, inputs, targets):
        grads = torch.autograd.grad(functional.mse_loss(net(inputs), targets), list(net.parameters()))
        with torch.no_grad():
            for number, (parameter, grad) in enumerate(zip(net.parameters(), grads, strict=True)):
                velocity[number] = 0.9 * velocity.get(number, 0) + grad + 0.1 * parameter
                parameter.sub_(0.05 * velocity[number])

    fit(model, weight_decay=0.1)
    by_hand(other, data(), 3, step)
    torch.testing.assert_close(weights(model), weights(other))


def test_a_penalty_is_weight_decay():
    penalty = Hooks(terms=(lambda net: 0.05 * sum(p.square().sum() for p in net.parameters()),))
    model, other = network(), network()
    fit(model, hooks=penalty)
    fit(other, weight_decay=0.1)
    torch.testing.assert_close(weights(model), weights(other))


def test_what_is_attached_once_acts_after_every_step():
    seen, began = [], []

    def attach(net, optimizer, steps):
        began.append(steps)

        @torch.no_grad()
        def clip(*_):
            seen.append(1)
            for parameter in net.parameters():
                parameter.clamp_(-0.1, 0.1)

        optimizer.register_step_post_hook(clip)

    model = network()
    fit(model, hooks=Hooks(attached=(attach,)))
    assert began == [3 * 3]
    assert len(seen) == 3 * 3
    assert weights(model).abs().max() <= 0.1


def test_an_objective_stands_for_the_loss_of_one_pass_and_terms_join_it():
    model, other = network(), network()

    def objective(net, inputs, targets):
        return (functional.mse_loss(net(inputs), targets) + functional.mse_loss(net(inputs), targets)) / 2

    halves = (lambda net: 0.02 * sum(p.square().sum() for p in net.parameters()),) * 2
    fit(model, hooks=Hooks(terms=halves, objective=objective))
    fit(other, weight_decay=0.08)
    torch.testing.assert_close(weights(model), weights(other))


def test_an_optimizer_of_the_hooks_takes_the_place_of_the_recipes():
    model, other, asked = network(), network(), []

    def make(net, steps):
        asked.append(steps)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
        return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)

    fit(model, hooks=Hooks(optimizer=make), optimizer="adam", lr=9.0)
    fit(other, schedule="cosine", lr=0.02)
    assert asked == [9]
    assert weights(model).equal(weights(other))


def losses(values):
    left = iter(values)
    return lambda net: {"train_loss": next(left)}


@pytest.mark.parametrize(
    ("values", "patience", "epochs", "best"),
    [([3, 2, 1, 2, 2, 9], 2, 5, 3), ([3, 2, 1, 2, 0, 9], 2, 6, 5), ([1, 2, 3], 9, 3, 1), ([1, 1, 1, 0], 2, 3, 1)],
)
def test_early_stopping_keeps_the_best_weights(values, patience, epochs, best):
    stopped, plain = network(), network()
    found = fit(stopped, measure=losses(values), patience=patience, epochs=len(values))
    assert len(found) == epochs
    fit(plain, epochs=best)
    assert weights(stopped).equal(weights(plain))


def test_without_patience_the_last_weights_stay():
    model, plain = network(), network()
    fit(model, measure=losses([1, 2, 3]))
    fit(plain, epochs=3)
    assert weights(model).equal(weights(plain))


def test_cosine_ends_at_zero():
    rates = []

    class Watched(torch.optim.SGD):
        def step(self, closure=None):
            rates.append(self.param_groups[0]["lr"])
            return super().step(closure)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim, "SGD", Watched)
        fit(network(), schedule="cosine", lr=0.1)
    expected = [0.05 * (1 + math.cos(math.pi * n / 9)) for n in range(9)]
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_optimizers(name, kind):
    model, other = network(), network()
    optimizer = kind(other.parameters(), lr=0.05, weight_decay=0.1)

    def step(net, inputs, targets):
        optimizer.zero_grad()
        functional.mse_loss(net(inputs), targets).backward()
        optimizer.step()

    fit(model, optimizer=name, weight_decay=0.1)
    by_hand(other, data(), 3, step)
    assert weights(model).equal(weights(other))


def test_autocast_computes_in_bfloat16_and_keeps_float32_weights():
    kinds = []
    model = network()
    model[0].register_forward_hook(lambda layer, args, output: kinds.append(output.dtype) if layer.training else None)
    fit(model, autocast="bfloat16")
    assert kinds[0] is torch.bfloat16
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_batches_are_a_permutation_from_the_seed_alone():
    first = batches(10, 4, torch.Generator().manual_seed(1))
    torch.rand(5)
    again = batches(10, 4, torch.Generator().manual_seed(1))
    assert [len(batch) for batch in first] == [4, 4, 2]
    assert sorted(torch.cat(first).tolist()) == list(range(10))
    assert torch.cat(first).equal(torch.cat(again))
    assert not torch.cat(first).equal(torch.cat(batches(10, 4, torch.Generator().manual_seed(2))))


@pytest.mark.parametrize(("loss", "finite"), [(1.0, True), (math.nan, False), (math.inf, False)])
def test_finite(loss, finite):
    assert Epoch(1, {"train_loss": 1.0, "val_loss": loss}, 1.0).finite is finite
