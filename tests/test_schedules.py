"""Schedules against the papers' formulas, and the scheduler on real models."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import torchdropout as td
from torchdropout import schedules

STEPS = range(301)


@pytest.mark.parametrize("keep", [0.5, 0.75, 0.9])
def test_curriculum_eq5_keeps_what_the_paper_keeps(keep):
    """keep(t) = (1 - k) exp(-gamma t) + k with gamma = 10 / T; the opposite is 1 - (1 - k) exp(-gamma t)."""
    for step in STEPS:
        gamma = 10 / 300
        assert 1 - (1 - keep) * schedules.Curriculum()(step, 300) == pytest.approx(
            (1 - keep) * math.exp(-gamma * step) + keep, abs=1e-15
        )
        assert 1 - (1 - keep) * schedules.Curriculum(anti=True)(step, 300) == pytest.approx(
            -(1 - keep) * math.exp(-gamma * step) + 1, abs=1e-15
        )


def test_early_and_late_section4_are_those_of_the_papers_code():
    """Per iteration: early is constant, or linspace(d, 0, cutoff), then 0; late is 0, then d."""
    cutoff, total = 50, 300
    constant = np.concatenate([np.full(cutoff, 1.0), np.zeros(total - cutoff)])
    linear = np.concatenate([np.linspace(1.0, 0.0, cutoff, endpoint=False), np.zeros(total - cutoff)])
    found = [[schedule(step, total) for step in range(total)] for schedule in (
        schedules.Early(), schedules.Early(linear=True), schedules.Late()
    )]  # fmt: skip
    np.testing.assert_allclose(found, [constant, linear, 1.0 - constant], atol=1e-12)


def test_straight_lines_and_cosines():
    found = [schedules.Linear(0.25, 1.0)(step, 300) for step in STEPS]
    np.testing.assert_allclose(found, np.linspace(0.25, 1.0, 301), atol=1e-12)
    found = [schedules.Cosine(1.0, 0.0)(step, 300) for step in STEPS]
    np.testing.assert_allclose(found, (1 + np.cos(np.linspace(0, np.pi, 301))) / 2, atol=1e-12)
    assert schedules.Linear()(400, 300) == schedules.Cosine()(400, 300) == schedules.Constant()(7, 300) == 1.0


def every_kind():
    return nn.ModuleDict(
        {
            "ours": td.Dropout(0.5),
            "theirs": nn.Dropout(0.25),
            "gaussian": td.GaussianDropout(0.2),
            "rnn": td.LSTM(2, 3, 2, dropout=0.4, recurrent=[td.Zoneout(cell=0.5, hidden=0.1), td.WeightDrop(0.3)]),
            "plain": nn.GRU(2, 3, 2, dropout=0.2),
            "attention": nn.MultiheadAttention(4, 2, dropout=0.1),
            "linear": td.DropConnectLinear(2, 2, p=0.6),
            "none": nn.Linear(2, 2),
        }
    )


def test_every_probability_of_a_model_follows():
    model = every_kind()
    full = {
        "ours.p": 0.5, "theirs.p": 0.25, "gaussian.p": 0.2, "rnn.dropout": 0.4, "rnn.recurrent.0.hidden": 0.1,
        "rnn.recurrent.0.cell": 0.5, "rnn.recurrent.1.p": 0.3, "plain.dropout": 0.2, "attention.dropout": 0.1,
        "linear.p": 0.6,
    }  # fmt: skip
    scheduler = td.DropoutScheduler(model, schedules.Linear(), total=10)
    assert scheduler.rates == dict.fromkeys(full, 0.0)
    for step in range(1, 13):
        scheduler.step()
        assert scheduler.rates == pytest.approx({name: p * min(1.0, step / 10) for name, p in full.items()})
    assert model["rnn"].recurrent == (td.Zoneout(cell=0.5, hidden=0.1), td.WeightDrop(0.3))
    only = td.DropoutScheduler(every_kind(), lambda step, total: 0.5, 1, lambda module, name: name == "theirs")
    assert only.rates == {"theirs.p": 0.125}


def test_resuming_in_the_middle_of_an_epoch_goes_on_as_if_nothing_had_happened():
    def curve(stop):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), td.Dropout(0.5), nn.Linear(8, 1))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scheduler, losses = td.DropoutScheduler(model, schedules.Curriculum(), total=40), []
        for step in range(40):
            if step == stop:
                state, weights = scheduler.state_dict(), model.state_dict()
                model = nn.Sequential(nn.Linear(4, 8), td.Dropout(0.9), nn.Linear(8, 1))
                model.load_state_dict(weights)
                optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
                scheduler = td.DropoutScheduler(model, schedules.Curriculum(), total=7)
                scheduler.load_state_dict(state)
            with td.keyed(step):
                loss = (model(torch.ones(3, 4)) - 1).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
        return losses

    assert curve(stop=None) == curve(stop=17)


def test_a_schedule_does_not_recompile():
    model = nn.Sequential(td.Dropout(0.5), nn.Linear(4, 4))
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    scheduler = td.DropoutScheduler(compiled, schedules.Linear(0.1, 0.9), total=20)
    compiled(torch.ones(2, 4))
    with torch._dynamo.config.patch(error_on_recompile=True):
        for _ in range(20):
            scheduler.step()
            compiled(torch.ones(2, 4))
    assert model[0].p == pytest.approx(0.45)
    assert list(scheduler.rates) == ["0.p"]


def test_rates_of_depth_and_size():
    """Stochastic depth's 54 blocks with a last one of 1/2 have 40.25 active ones in expectation."""
    assert sum(1 - p for p in td.depth_rates(54, 0.5)) == pytest.approx(40.25)
    np.testing.assert_allclose(td.depth_rates(12, 0.2, "linspace"), np.linspace(0, 0.2, 12), atol=1e-15)
    assert td.depth_rates(1, 0.3, "linspace") == [0.0]
    assert td.size_rates([10, 40], 0.4) == [0.1, 0.4]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: td.DropoutScheduler(nn.Linear(1, 1), schedules.Linear(), 3),
            ValueError,
            "DropoutScheduler: there must be a layer with a drop probability, the model has none.",
        ),
        (
            lambda: td.DropoutScheduler(td.Dropout(0.5), schedules.Linear(), 3, lambda module, name: False),
            ValueError,
            "DropoutScheduler: there must be a layer with a drop probability, `filter_fn` chose none.",
        ),
        (
            lambda: td.DropoutScheduler(td.Dropout(0.5), schedules.Linear(), 0),
            ValueError,
            "DropoutScheduler: `total` must be at least 1, got 0.",
        ),
        (
            lambda: td.DropoutScheduler(nn.Sequential(td.Dropout(0.5)), lambda step, total: 3.0, 3),
            ValueError,
            "DropoutScheduler: the schedule must keep `p` in [0, 1], got 1.5 for 0.p at step 0.",
        ),
        (
            lambda: td.DropoutScheduler(td.Dropout(0.5), schedules.Linear(), 3).load_state_dict(
                {"taken": 1, "total": 2, "full": {"a.p": 0.5}}
            ),
            ValueError,
            "DropoutScheduler: `state` must be of the same layers, these differ: a.p, p.",
        ),
        (
            lambda: schedules.Curriculum(0.0),
            ValueError,
            "Curriculum: `gamma` must be positive and finite, got 0.0.",
        ),
        (lambda: schedules.Early(2.0), ValueError, "Early: `until` must be in [0, 1], got 2.0."),
        (lambda: schedules.Late("a"), TypeError, "Late: `after` must be a number, got 'a'."),
        (lambda: td.depth_rates(0, 0.5), ValueError, "depth_rates: `depth` must be at least 1, got 0."),
        (lambda: td.depth_rates(3, 1.5), ValueError, "depth_rates: `p` must be in [0, 1], got 1.5."),
        (lambda: td.size_rates([0], 0.5), ValueError, "size_rates: `sizes` must be positive numbers, got [0]."),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message


def test_what_breaks_its_rule_leaves_the_model_as_it_was():
    model = nn.Sequential(td.Dropout(0.1), td.Dropout(0.5))
    scheduler = td.DropoutScheduler(model, lambda step, total: 1.0 if step == 0 else 3.0, 3)
    with pytest.raises(ValueError, match="got 1.5 for 1.p at step 1"):
        scheduler.step()
    assert scheduler.rates == {"0.p": 0.1, "1.p": 0.5}
