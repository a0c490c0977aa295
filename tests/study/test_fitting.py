from dataclasses import replace

import numpy as np
import pytest
import torch

from torchdropout.study import fitting
from torchdropout.study.conditions import Condition, Placed
from torchdropout.study.config import CompareConfig
from torchdropout.study.fitting import DivergedError, Job, flattened
from torchdropout.study.protocol import divide, random_state
from torchdropout.study.training import Epoch


def job(data, **settings):
    config = CompareConfig(**{"folds": 2, "epochs": 2, "jobs": 1} | settings)
    return Job(config, data, divide(config, data)[0, 0], random_state(0, 0, 0))


@pytest.fixture
def trained(few):
    work, curve = job(few), []
    return work, work.train(Placed("dropout", 0.5), work.part, curve), curve


def test_the_curve_ends_with_what_is_measured_of_the_network(trained):
    work, network, curve = trained
    parts = work.measure(network)
    assert list(parts) == ["train", "val"]
    for part in parts:
        assert curve[-1].measured[f"{part}_loss"] == pytest.approx(parts[part].loss, rel=1e-6)
        assert curve[-1].measured[f"{part}_score"] == pytest.approx(parts[part].accuracy, rel=1e-12)


def test_metrics_are_those_of_the_fold(trained, few):
    work, network, _ = trained
    inputs = network.preparation.inputs(few.inputs[work.fold.val])
    network.model.eval()
    hits = (network.model(inputs).argmax(1).numpy() == few.targets[work.fold.val]).mean()
    assert work.measure(network)["val"].accuracy == pytest.approx(hits)


def test_what_is_left_out_has_no_part_in_training(few):
    """Other values in the fold that judges change nothing that was learnt."""
    work = job(few)
    changed = few.inputs.copy()
    changed[work.fold.val] = 255 - changed[work.fold.val]
    targets = few.targets.copy()
    targets[work.fold.val] = targets[work.fold.val][::-1]
    other = replace(work, data=replace(few, inputs=changed, targets=targets))
    networks = [each.train(Placed("dropout", 0.5), each.part, []) for each in (work, other)]
    states = [network.model.state_dict() for network in networks]
    assert all(states[0][name].equal(states[1][name]) for name in states[0])
    assert networks[0].preparation.to_json() == networks[1].preparation.to_json()


def test_the_strength_is_chosen_on_the_inner_part(few, monkeypatch):
    """The candidate that does best there is taken; neither the fold that judges nor the rest is looked at."""
    work = job(few)
    trainings, losses = [], {0.1: 3.0, 0.3: 1.0, 0.5: 2.0}

    def train(self, placed, part, curve):
        trainings.append((placed.strength, part.tolist()))
        return placed

    def loss(placed, split):
        assert split == work.fold.inner_val.tolist()
        return type("Loss", (), {"loss": losses[placed.strength]})

    monkeypatch.setattr(Job, "train", train)
    monkeypatch.setattr(Job, "_split", lambda self, network, rows: rows.tolist())
    monkeypatch.setattr(Placed, "measure", loss, raising=False)
    assert work.choose(Condition("dropout", (0.1, 0.3, 0.5))) == Placed("dropout", 0.3)
    assert trainings == [(value, work.fold.inner_train.tolist()) for value in losses]


def test_one_candidate_is_not_tried(few, monkeypatch):
    monkeypatch.setattr(Job, "train", lambda *args: pytest.fail("trained"))
    assert job(few).choose(Condition("dropout", (0.3,))) == Placed("dropout", 0.3)
    assert job(few).choose(Condition("none")) == Placed("none")


def test_a_candidate_that_diverges_is_not_chosen(few, monkeypatch):
    def train(self, placed, part, curve):
        if placed.strength == 0.1:
            raise DivergedError("x")
        return real(self, placed, part, curve)

    real = Job.train
    monkeypatch.setattr(Job, "train", train)
    assert job(few).choose(Condition("dropout", (0.1, 0.5))).strength == 0.5


def test_early_stopping_learns_from_the_inner_part_and_watches_the_rest(few):
    work, curve = job(few, patience=1, epochs=30), []
    network = work.train(Placed("none"), work.part, curve)
    assert work.part.tolist() == work.fold.inner_train.tolist()
    inner = [epoch.measured["inner_loss"] for epoch in curve]
    assert len(curve) < 30
    assert np.argmin(inner) == len(inner) - 2
    split = fitting.prepared(network, few.inputs[work.fold.inner_val], few.targets[work.fold.inner_val])
    assert network.measure(split).loss == pytest.approx(min(inner), rel=1e-6)


def test_a_given_test_split_is_measured_once_and_never_watched(few):
    work = job(replace(few, test_inputs=few.inputs[:30], test_targets=few.targets[:30]))
    curve = []
    network = work.train(Placed("none"), work.part, curve)
    assert list(work.measure(network)) == ["train", "val", "test"]
    assert not any("test" in name for epoch in curve for name in epoch.measured)


def test_regression_in_units(line):
    work, curve = job(line, epochs=60, widths=(20,), lr=0.01), []
    network = work.train(Placed("none"), work.part, curve)
    found = work.measure(network)["val"]
    predicted = network.preparation.in_units(network.outputs(network.preparation.inputs(line.inputs[work.fold.val])))
    residuals = predicted.numpy() - line.targets[work.fold.val]
    assert found.rmse == pytest.approx(np.sqrt((residuals**2).mean()), rel=1e-5)
    assert found.rmse < 0.5 * line.targets.std()
    assert curve[-1].measured["val_score"] == pytest.approx(found.rmse, rel=1e-5)
    variance = work.measure(network)["train"].rmse ** 2
    assert found.nll == pytest.approx(0.5 * np.log(2 * np.pi * variance) + found.rmse**2 / (2 * variance), rel=1e-4)


def test_log_targets_are_judged_in_units(line):
    positive = replace(line, targets=np.exp(line.targets / 4))
    work = job(positive, epochs=60, widths=(20,), lr=0.01, log_target=True)
    network = work.train(Placed("none"), work.part, [])
    predicted = network.preparation.in_units(
        network.outputs(network.preparation.inputs(positive.inputs[work.fold.val]))
    )
    residuals = predicted.numpy() - positive.targets[work.fold.val]
    assert work.measure(network)["val"].rmse == pytest.approx(np.sqrt((residuals**2).mean()), rel=1e-5)


def test_a_loss_that_is_not_finite(few):
    work, curve = job(few, lr=1e30), []
    with pytest.raises(DivergedError, match="The loss was not finite after epoch 1 of 2: train_loss nan"):
        work.train(Placed("none"), work.part, curve)
    assert len(curve) == 1


def test_every_method_sees_the_same_batches_in_the_same_order(few, conditions, monkeypatch):
    def seen(condition):
        inputs = []
        real = fitting.build

        def watched(*args, **settings):
            model = real(*args, **settings)
            model.flatten.register_forward_pre_hook(lambda layer, x: inputs.append(x[0]) if layer.training else None)
            return model

        with monkeypatch.context() as patch:
            patch.setattr(fitting, "build", watched)
            work = job(few)
            work.train(work.choose(condition), work.part, [])
        return inputs

    plain = seen(conditions[0])
    assert len(plain) == 2 * 2
    for condition in conditions[1:]:
        assert all(a.equal(b) for a, b in zip(plain, seen(condition), strict=True))


def test_noise_starts_from_its_own_seed_whatever_the_network_drew(few, monkeypatch):
    states = []
    monkeypatch.setattr(fitting, "train", lambda *args, **settings: states.append(torch.get_rng_state()) or iter(()))
    for model in ("mlp", "cnn"):
        work = job(few, model=model)
        work.train(Placed("dropout", 0.5), work.part, [])
    torch.manual_seed(work.state.noise)
    assert len(states) == 2
    assert all(state.equal(torch.get_rng_state()) for state in states)


@pytest.mark.parametrize(
    ("losses", "flat"),
    [
        ([1.0] * 20, True),
        ([1 / n for n in range(1, 21)], False),
        ([5, 4, 3, 2, 1, 1, 1, 1, 1, 1, 1, 1], True),
        ([1.0] * 3, True),
        ([3.0, 2.0, 1.0], False),
        ([1.0], None),
        ([*([1.0] * 10), *np.linspace(1, 2, 10).tolist()], True),
    ],
)
def test_whether_a_curve_had_flattened(losses, flat):
    assert flattened([Epoch(n, {"train_loss": loss}, 1.0) for n, loss in enumerate(losses, 1)]) is flat


def test_the_fold_that_judges_decides_whether_a_curve_had_flattened():
    curve = [Epoch(n, {"train_loss": 0.5**n, "val_loss": 1.0 + n}, 1.0) for n in range(1, 21)]
    assert flattened(curve) is True
