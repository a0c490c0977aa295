"""The recipe on real models: what is dropped where, what the optimizer does, and what the paper says."""

import pytest
import torch
from torch import nn

import torchdropout as td


def mlp():
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 3), nn.Sigmoid())


def cnn():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 8), nn.GELU(), nn.Linear(8, 2)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("make", "shape", "rates"), [(mlp, (5, 6), {"1": 0.5, "3": 0.5}), (cnn, (5, 1, 8, 8), {"1": 0.25, "4": 0.5})]
)
def test_noise_is_on_the_inputs_and_after_hidden_activations_never_on_outputs(make, shape, rates):
    torch.manual_seed(0)
    model, x = make().eval(), torch.randn(shape)
    expected = model(x)
    assert td.dropout_recipe().apply_(model) == list(rates)
    found = {source.name: source.rate for source in td.noise_sources(model)}
    assert found == {"0.noise_before.0": 0.2} | {f"{name}.noise_after.0": p for name, p in rates.items()}
    assert torch.equal(model(x), expected)
    td.revert_(model)
    assert td.noise_sources(model) == []


def test_the_optimizer_bounds_all_weights_but_the_outputs():
    torch.manual_seed(0)
    model = mlp()
    recipe = td.dropout_recipe(lr=1.0, max_norm=0.5)
    optimizer = recipe.optimizer(model)
    schedule = recipe.schedule(optimizer, steps=20)
    assert optimizer.param_groups[0]["lr"] == 10.0
    assert optimizer.param_groups[0]["momentum"] == 0.95
    for _ in range(20):
        optimizer.zero_grad()
        (-model(torch.ones(2, 6))[:, 0].sum()).backward()
        optimizer.step()
        schedule.step()
    lengths = [model[n].weight.norm(dim=1).max().item() for n in (0, 2, 4)]
    assert max(lengths[:2]) <= 0.5 * (1 + 1e-6)
    assert lengths[2] > 0.5
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1)


def test_what_it_says():
    recipe = td.dropout_recipe(0.02, max_norm=2.0)
    assert recipe.width(100) == 200
    text = str(recipe)
    assert len(text.splitlines()) == len(recipe.advice) == 9
    for words in ("drop 0.2", "drop 0.5", "units / 0.5", "0.2 ", "0.95", "max-norm"):
        assert words in text


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: td.dropout_recipe(0.0), "dropout_recipe: `lr` must be positive and finite, got 0.0."),
        (lambda: td.dropout_recipe().width(0), "DropoutRecipe: `units` must be at least 1, got 0."),
        (
            lambda: td.dropout_recipe().apply_(nn.Linear(2, 2)),
            "DropoutRecipe: the model must have hidden activations that are modules, found none.",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        call()
    assert str(caught.value) == message
