"""What each addition does to training, against computations of its own."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

import torchdropout as td
from torchdropout import catalog
from torchdropout.study import CompareConfig, additions, hooks
from torchdropout.study.conditions import Placed
from torchdropout.study.config import from_settings
from torchdropout.study.expansion import expand
from torchdropout.study.fitting import Job
from torchdropout.study.metrics import Split, loss_of
from torchdropout.study.models import build
from torchdropout.study.protocol import divide, random_state
from torchdropout.study.recipe import Hooks, of
from torchdropout.study.training import batches, start, train

WORDS, VOCABULARY, IMAGE = (12,), 40, (1, 8, 8)
MODELS = ("linear", "mlp", "cnn", "transformer", "lstm")
STEPS = 12  # of `learn`: 3 epochs of 4 batches


def placed(name, model="mlp", **settings):
    (condition,) = expand(from_settings({"methods": [name], "model": model, **settings}))
    return condition.placed[0]


def made(name, model="mlp", outputs=4, **settings):
    """A network with a condition in it, and the condition."""
    torch.manual_seed(3)
    found = placed(name, model, **settings)
    shape, vocabulary = (WORDS, VOCABULARY) if model == "lstm" else (IMAGE, 0)
    return build(CompareConfig(model=model, widths=(16, 16)), shape, outputs, found, vocabulary=vocabulary), found


def examples(model="mlp", count=50, outputs=4):
    generator = torch.Generator().manual_seed(0)
    if model == "lstm":
        inputs = torch.randint(1, VOCABULARY, (count, *WORDS), generator=generator)
    else:
        inputs = torch.randn(count, *IMAGE, generator=generator)
    return Split(inputs, torch.randint(outputs, (count,), generator=generator))


def learn(network, found, *, epochs=3, watch=lambda model: {}, task="classification", split=None, **settings):
    """Train by the study's loop: SGD, batches of 16."""
    config = CompareConfig(**{"optimizer": "sgd", "lr": 0.1, "epochs": epochs, "batch_size": 16} | settings)
    split = split or examples()
    added = hooks.of(network, found, len(split), config, task)
    torch.manual_seed(11)
    return list(train(network, split, loss_of(task), of(config), measure=watch, order_seed=1, hooks=added))


def weights(model):
    return torch.cat([value.flatten() for value in model.state_dict().values()])


def by_hand(model, groups, epochs=3):
    """The same batches under PyTorch's own optimizer."""
    optimizer, split = torch.optim.SGD(groups, lr=0.1, momentum=0.9), examples()
    generator = torch.Generator().manual_seed(1)
    for _ in range(epochs):
        for batch in batches(len(split), 16, generator):
            optimizer.zero_grad()
            functional.cross_entropy(model(split.inputs[batch]), split.targets[batch]).backward()
            yield model
            optimizer.step()


def split_by_kind(model):
    matrices = [p for p in model.parameters() if p.dim() > 1]
    return matrices, [p for p in model.parameters() if p.dim() == 1]


def test_l2_is_the_weight_decay_of_the_matrices():
    model, found = made("l2", strength={"l2": [0.05]})
    other, _ = made("none")
    learn(model, found)
    matrices, biases = split_by_kind(other)
    for _ in by_hand(other, [{"params": matrices, "weight_decay": 0.05}, {"params": biases}]):
        pass
    torch.testing.assert_close(weights(model), weights(other))


@pytest.mark.parametrize(("name", "of_sign", "of_weight"), [("l1", 0.01, 0.0), ("elastic", 0.005, 0.005)])
def test_l1_adds_the_sign_of_each_weight_and_the_elastic_net_half_of_both(name, of_sign, of_weight):
    model, found = made(name, strength={name: [0.01]})
    other, _ = made("none")
    learn(model, found)
    for stepping in by_hand(other, other.parameters()):
        for matrix in split_by_kind(stepping)[0]:
            matrix.grad += of_sign * matrix.detach().sign() + of_weight * matrix.detach()
    torch.testing.assert_close(weights(model), weights(other))


def test_normalisations_have_no_penalty():
    model, found = made("l2", "transformer", strength={"l2": [2.0]})
    (term,) = hooks.of(model, found, 50, CompareConfig(), "classification").terms
    parts = [p for name, p in model.named_parameters() if p.dim() > 1 and "norm" not in name]
    torch.testing.assert_close(term(model), sum(p.square().sum() for p in parts))
    term(model).backward()
    assert all(p.grad is None for p in [*model.norm.parameters(), model.output.bias])


def norms(model):
    return {name: p.norm(dim=1) for name, p in model.named_parameters() if p.dim() == 2}


def test_no_hidden_unit_is_longer_than_the_bound_and_the_output_is_free():
    model, bound = made("maxnorm", strength={"maxnorm": [0.6]})
    learn(model, bound, lr=0.5)
    other, _ = made("none")
    learn(other, Placed("none"), lr=0.5)
    found, free = norms(model), norms(other)
    for name in ("linear1.weight", "linear2.weight"):
        assert free[name].max() > 0.7
        assert 0.6 - 1e-6 < found[name].max() <= 0.6 + 1e-6
    assert found["output.weight"].max() > 0.7


def test_a_huge_bound_changes_nothing():
    model, found = made("dropout+maxnorm", strength={"maxnorm": [1e6]})
    other, plain = made("dropout")
    learn(model, found)
    learn(other, plain)
    assert weights(model).equal(weights(other))


def rates(name, epochs=3, **settings):
    """The hidden drop probability at each training step."""
    model, found = made(name, **settings)
    seen = []
    model.dense1.register_forward_pre_hook(lambda layer, x: seen.append(layer.p) if layer.training else None)
    learn(model, found, epochs=epochs)
    return seen


def test_early_dropout_is_dropout_before_the_switch_and_nothing_after():
    assert rates("early-dropout", strength={"early-dropout": [0.5]}) == [0.5] * 6 + [0.0] * 6
    assert rates("early-dropout") == [0.5] * 2 + [0.0] * 10
    states = []
    model, found = made("early-dropout", strength={"early-dropout": [1 / 3]})
    learn(model, found, watch=lambda net: states.append(weights(net).clone()) or {})
    other, plain = made("dropout")
    learn(other, plain, epochs=1)
    assert states[0].equal(weights(other))


def test_the_rate_of_the_curriculum_grows_from_nothing():
    expected = [0.5 * (1 - math.exp(-4 * step / STEPS)) for step in range(STEPS)]
    assert rates("curriculum", strength={"curriculum": [4.0]}) == pytest.approx(expected)
    assert rates("gaussian+curriculum")[::11] == pytest.approx([0.0, 0.5 * (1 - math.exp(-10 * 11 / 12))])


def objective(model, found, task="classification", split=None):
    """The loss of the data, as training has it, at a known random state."""
    split = split or examples()
    torch.manual_seed(5)
    return hooks.of(model, found, 50, CompareConfig(), task).objective(model, split.inputs, split.targets)


def two_passes(model, inputs):
    """The same noise: both passes as one batch."""
    torch.manual_seed(5)
    return model(torch.cat([inputs, inputs])).chunk(2)


@pytest.mark.parametrize("alpha", [0.0, 1.0, 4.0])
def test_r_drop_is_the_mean_of_two_passes_and_their_divergence(alpha):
    model, found = made("rdrop", strength={"rdrop": [alpha]})
    split = examples()
    a, b = two_passes(model, split.inputs)
    mean = (functional.cross_entropy(a, split.targets) + functional.cross_entropy(b, split.targets)) / 2
    logs = a.log_softmax(1), b.log_softmax(1)
    apart = sum(functional.kl_div(x, y, log_target=True, reduction="batchmean") for x, y in (logs, logs[::-1])) / 2
    assert apart > 0.005
    torch.testing.assert_close(objective(model, found), mean + alpha / 2 * apart)


def test_r_drop_of_a_regression_is_squared():
    model, found = made("rdrop", outputs=1, strength={"rdrop": [3.0]})
    inputs, targets = examples().inputs, torch.randn(50, 1)
    a, b = two_passes(model, inputs)
    expected = ((a - targets).square() + (b - targets).square() + 3 * (a - b).square()).mean() / 2
    torch.testing.assert_close(objective(model, found, "regression", Split(inputs, targets)), expected)


@pytest.mark.parametrize("row", catalog.METHODS, ids=lambda row: row.name)
def test_r_drop_and_max_norm_of_every_method(row):
    """Two passes of each differ, and each is trained, by however a pass is drawn."""
    model = row.models[-1]
    activation = "selu" if row.needs_selu else "relu"
    shape = WORDS if model == "lstm" else (1, *(8,) * (row.dims or 2))
    config = CompareConfig(model=model, activation=activation, epochs=1, batch_size=16)
    strength = {None: None, "p": 0.4}.get(row.argument or None, row.default)
    found = Placed(row.name, strength, (("rdrop", 1.0), *([] if model == "linear" else [("maxnorm", 0.4)])))
    torch.manual_seed(0)
    network = build(config, shape, 4, found, vocabulary=VOCABULARY if model == "lstm" else 0)
    inputs = examples(model).inputs if model == "lstm" else torch.randn(50, *shape)
    split = Split(inputs, examples().targets)
    (epoch,) = learn(
        network, found, epochs=1, split=split, watch=lambda net: {"of": objective(net, found, split=split).item()}
    )
    agree = Placed(row.name, strength, (("rdrop", 0.0),))
    assert epoch.measured["of"] > objective(network.train(), agree, split=split).item() > 0


def test_the_samples_of_multi_sample_dropout_are_of_the_features_before_the_head():
    model, found = made("multisample", strength={"multisample": [3]}, p=[0.4])
    features, outputs = [], []
    model.dense2.register_forward_hook(lambda layer, x, y: features.append(y))
    model.output.head.register_forward_hook(lambda layer, x, y: outputs.append((x[0], y)))
    loss, split = objective(model, found), examples()
    ((given, logits),) = outputs
    kept = given.view(3, 50, 16) / features[0]
    known = features[0] > 0
    for sample in kept:
        torch.testing.assert_close(sample[known].mul(0.6).round(decimals=4).unique(), torch.tensor([0.0, 1.0]))
    assert not kept[0][known].equal(kept[1][known])
    each = [functional.cross_entropy(y, split.targets) for y in logits.chunk(3)]
    torch.testing.assert_close(loss, sum(each) / 3)
    assert model.dense1.p == 0.4
    assert model.eval()(split.inputs).shape == (50, 4)


@pytest.mark.parametrize("model", MODELS)
def test_multi_sample_dropout_in_every_model(model):
    network, _ = made("multisample", model)
    plain, _ = made("none", model)
    assert isinstance(network.output, td.MultiSampleDropout)
    assert network.output.p == (0.2 if model == "linear" else 0.5)
    x = examples(model).inputs
    torch.testing.assert_close(network.eval()(x), plain.eval()(x))
    others = [m for m in network.modules() if isinstance(m, td.Dropout)]
    assert len(others) == {"linear": 0, "mlp": 2, "cnn": 3, "transformer": 3, "lstm": 1}[model]


class TestRecipe:
    @pytest.mark.parametrize(("p", "units"), [(0.5, 32), (0.2, 20), (0.0, 16)])
    def test_layers_are_as_wide_as_keeps_so_many_units(self, p, units):
        model, _ = made("recipe", p=[p])
        assert [layer.out_features for layer in model if isinstance(layer, nn.Linear)] == [units, units, 4]
        assert [layer.p for layer in model if isinstance(layer, td.Dropout)] == [min(p, 0.2), p, p]

    def test_the_other_models(self):
        assert made("recipe", "cnn")[0].linear1.out_features == 256
        assert made("recipe", "lstm")[0].lstm.hidden_size == 256
        assert made("recipe", "transformer")[0].blocks[0].widen.out_features == 256

    @pytest.mark.parametrize(("settings", "lr"), [({"optimizer": "adam"}, 0.1), ({"optimizer": "sgd", "lr": 0.3}, 3.0)])
    def test_how_it_trains(self, settings, lr):
        model, found = made("recipe")
        config = CompareConfig(**settings, weight_decay=0.1)
        optimizer, schedule = start(model, of(config), hooks.of(model, found, 50, config, "classification"), 10)
        assert type(optimizer) is torch.optim.SGD
        (group,) = optimizer.param_groups
        assert (group["lr"], group["momentum"], group["weight_decay"]) == (pytest.approx(lr), 0.95, 0)
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, 10.0)
        for _ in range(10):
            optimizer.step()
            schedule.step()
        assert group["lr"] == pytest.approx(lr / 100)
        lengths = norms(model)
        for name in ("linear1.weight", "linear2.weight"):
            torch.testing.assert_close(lengths[name], torch.full_like(lengths[name], 3.0))
        assert lengths["output.weight"].min() > 3.1

    def test_another_factor(self):
        model, found = made("recipe", strength={"recipe": [30.0]})
        optimizer, _ = start(
            model, of(CompareConfig()), hooks.of(model, found, 50, CompareConfig(), "classification"), 9
        )
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.3)


def test_what_adds_nothing():
    model, found = made("dropout")
    assert hooks.of(model, found, 50, CompareConfig(), "classification") == Hooks()


@pytest.mark.parametrize(("name", "model"), [(row.name, m) for row in additions.ADDITIONS for m in row.models])
def test_every_addition_trains_every_model(name, model):
    network, found = made(name, model)
    before = weights(network).clone()
    split = examples(model)

    def measured(net):
        with torch.no_grad():
            return {"loss": float(functional.cross_entropy(net.eval()(split.inputs), split.targets))}

    (epoch,) = learn(network.train(), found, epochs=1, split=split, watch=measured, optimizer="adam", lr=0.01)
    assert epoch.finite
    assert not weights(network).equal(before)


def test_curves_are_of_the_data_alone(few):
    """Penalties, divergences and second passes train; the figure of an epoch is the plain loss."""
    config = CompareConfig(folds=2, epochs=2, jobs=1, widths=(16,))
    job = Job(config, few, divide(config, few)[0, 0], random_state(0, 0, 0))
    curve = []
    network = job.train(Placed("none", None, (("l2", 10.0),)), job.part, curve)
    split = job._split(network, job.part)
    with torch.no_grad():
        loss = functional.cross_entropy(network.model.eval()(split.inputs), split.targets)
    assert curve[-1].measured["train_loss"] == pytest.approx(float(loss), rel=1e-5)
    assert loss < 2.4
