import os
from dataclasses import dataclass, replace

import pytest
import torch

from torchdropout.study import execution
from torchdropout.study.conditions import Condition
from torchdropout.study.execution import DIVERGED, FAILED, OK, Outcome, execute, train_run
from torchdropout.study.protocol import Run, plan, random_state
from torchdropout.study.training import Epoch

NO_SUCH_FOLD = 9


def run_of(method="none", strength=None, fold=0):
    return Run(Condition(method, strength), 0, fold, 0)


def numbers(outcome):
    return [(e.epoch, e.train_loss, e.train_accuracy, e.val_loss, e.val_accuracy) for e in outcome.curve]


def test_results_do_not_depend_on_the_number_of_jobs(material, conditions):
    runs = plan(material.config, conditions)
    here = execute(runs, material, lambda outcome: None)
    there = execute(runs, replace(material, config=replace(material.config, jobs=2)), lambda outcome: None)
    assert [outcome.run for outcome in here] == [outcome.run for outcome in there] == runs
    assert {outcome.status for outcome in here} == {OK}
    assert [numbers(outcome) for outcome in here] == [numbers(outcome) for outcome in there]


def test_results_do_not_depend_on_other_runs_or_on_the_state_before(material):
    run = run_of("dropout", 0.5)
    torch.manual_seed(1)
    first = train_run(run, material)
    torch.manual_seed(2)
    train_run(run_of("gaussian", 0.5, fold=1), material)
    assert numbers(train_run(run, material)) == numbers(first)


def test_noise_starts_from_its_own_seed_whatever_the_network_drew(material, monkeypatch):
    def watch(*args, **settings):
        states.append(torch.get_rng_state())
        return iter(())

    states = []
    monkeypatch.setattr(execution, "train", watch)
    for model in ("mlp", "cnn"):
        train_run(run_of("dropout", 0.5), replace(material, config=replace(material.config, model=model)))
    torch.manual_seed(random_state(run_of()).noise)
    assert all(state.equal(torch.get_rng_state()) for state in states)
    assert len(states) == 2


def test_conditions_differ(material, conditions):
    losses = {train_run(Run(condition, 0, 0, 0), material).curve[-1].train_loss for condition in conditions}
    assert len(losses) == len(conditions)


def test_generator_and_threads_are_restored(material):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        before = torch.get_rng_state()
        execute([run_of("dropout", 0.5), run_of(fold=NO_SUCH_FOLD)], material, lambda outcome: None)
        assert torch.get_rng_state().equal(before)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_run_that_raises_is_recorded_and_the_others_go_on(material, jobs):
    material = replace(material, config=replace(material.config, jobs=jobs))
    told = []
    outcomes = execute([run_of(), run_of(fold=NO_SUCH_FOLD), run_of(fold=1)], material, told.append)
    assert [outcome.status for outcome in outcomes] == [OK, FAILED, OK]
    assert outcomes[1].reason == "IndexError: list index out of range"
    assert "Traceback" in outcomes[1].trace
    assert "scaled" in outcomes[1].trace
    assert outcomes[1].curve == ()
    assert sorted(told, key=lambda outcome: outcome.run.fold) == [outcomes[0], outcomes[2], outcomes[1]]


def test_a_failure_in_the_middle_keeps_the_epochs_before(material, monkeypatch):
    def two_epochs(*args, **settings):
        yield from list(train(*args, **settings))[:1]
        raise MemoryError("no room\nfor more")

    train = execution.train
    monkeypatch.setattr(execution, "train", two_epochs)
    outcome = train_run(run_of(), material)
    assert (outcome.status, outcome.reason, len(outcome.curve)) == (FAILED, "MemoryError: no room for more", 1)


def test_a_loss_that_is_not_finite_is_a_divergence(material):
    outcome = train_run(run_of(), replace(material, config=replace(material.config, lr=1e30)))
    assert outcome.status == DIVERGED
    assert outcome.reason.startswith("The loss was not finite after epoch 1 of 2: training ")
    assert len(outcome.curve) == 1


@dataclass(frozen=True)
class Deadly(Condition):
    """Ends the process that receives it."""

    method: str = "none"

    def __reduce__(self):
        return os._exit, (3,)


def test_a_worker_that_dies_is_recorded(material):
    material = replace(material, config=replace(material.config, jobs=2))
    outcomes = execute([Run(Deadly(), 0, 0, 0), run_of(fold=1)], material, lambda outcome: None)
    assert outcomes[0].status == FAILED
    assert outcomes[0].reason == "A worker process died before this run was over (killed, or out of memory)."
    assert len(outcomes) == 2


@pytest.mark.parametrize(("seconds", "expected"), [((9.0, 1.0), 1.0), ((9.0, 1.0, 2.0), 2.0), ((9.0,), 9.0)])
def test_time_per_epoch_is_not_moved_by_a_slow_first(seconds, expected):
    outcome = Outcome(run_of(), OK, "", tuple(Epoch(1, 1.0, 1.0, 1.0, 1.0, value) for value in seconds))
    assert outcome.seconds_per_epoch == expected
    assert replace(outcome, curve=()).seconds_per_epoch is None
