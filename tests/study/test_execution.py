from dataclasses import replace

import pytest
import torch

from torchdropout.study import fitting
from torchdropout.study.conditions import Condition
from torchdropout.study.execution import Listener, Outcome, execute, train_run
from torchdropout.study.protocol import Run, plan
from torchdropout.study.status import DIVERGED, FAILED, OK
from torchdropout.study.training import Epoch

NO_SUCH_FOLD = 9


def run_of(method="none", *candidates, fold=0):
    return Run(Condition(method, candidates), 0, fold, 0)


def numbers(outcome):
    return [epoch.measured for epoch in outcome.curve], outcome.parts, outcome.placed, outcome.flattened


def outcomes_of(runs, material):
    told, begun = [], []
    execute(runs, material, Listener(begun.append, told.append))
    assert sorted(map(repr, begun)) == sorted(map(repr, runs))
    return {outcome.run.key: outcome for outcome in told}


def test_results_do_not_depend_on_the_number_of_jobs(material, conditions):
    runs = plan(material.config, (*conditions, Condition("dropout", (0.1, 0.4))))
    here = outcomes_of(runs, material)
    there = outcomes_of(runs, replace(material, config=replace(material.config, jobs=2)))
    assert set(here) == set(there) == {run.key for run in runs}
    assert {outcome.status for outcome in here.values()} == {OK}
    assert all(numbers(here[key]) == numbers(there[key]) for key in here)


def test_results_do_not_depend_on_other_runs_or_on_the_state_before(material):
    run = run_of("dropout", 0.5)
    torch.manual_seed(1)
    first = train_run(run, material)
    torch.manual_seed(2)
    train_run(run_of("gaussian", 0.5, fold=1), material)
    assert numbers(train_run(run, material)) == numbers(first)


def test_conditions_differ(material, conditions):
    losses = {train_run(Run(condition, 0, 0, 0), material).parts["train"].loss for condition in conditions}
    assert len(losses) == len(conditions)


def test_generator_and_threads_are_restored(material):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        before = torch.get_rng_state()
        execute([run_of("dropout", 0.5), run_of(fold=NO_SUCH_FOLD)], material, Listener())
        assert torch.get_rng_state().equal(before)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_run_that_raises_is_recorded_and_the_others_go_on(material, jobs):
    material = replace(material, config=replace(material.config, jobs=jobs))
    runs = [run_of(), run_of(fold=NO_SUCH_FOLD), run_of(fold=1)]
    found = outcomes_of(runs, material)
    assert [found[run.key].status for run in runs] == [OK, FAILED, OK]
    failed = found[runs[1].key]
    assert failed.reason == "KeyError: (0, 9)"
    assert "Traceback" in failed.trace
    assert (failed.curve, failed.parts) == ((), {})


def test_a_failure_in_the_middle_keeps_the_epochs_before(material, monkeypatch):
    def one_epoch(*args, **settings):
        yield next(real(*args, **settings))
        raise MemoryError("no room\nfor more")

    real = fitting.train
    monkeypatch.setattr(fitting, "train", one_epoch)
    outcome = train_run(run_of("dropout", 0.5), material)
    assert (outcome.status, outcome.reason, len(outcome.curve)) == (FAILED, "MemoryError: no room for more", 1)
    assert outcome.placed.strength == 0.5


def test_a_loss_that_is_not_finite_is_a_divergence(material):
    outcome = train_run(run_of(), replace(material, config=replace(material.config, lr=1e30)))
    assert outcome.status == DIVERGED
    assert outcome.reason.startswith("The loss was not finite after epoch 1 of 2: train_loss ")
    assert len(outcome.curve) == 1


def test_the_epoch_whose_weights_were_kept(material):
    material = replace(material, config=replace(material.config, patience=1, epochs=30))
    outcome = train_run(run_of(), material)
    inner = [epoch.measured["inner_loss"] for epoch in outcome.curve]
    assert outcome.best_epoch == inner.index(min(inner)) + 1 == len(inner) - 1


@pytest.mark.parametrize(("seconds", "expected"), [((9.0, 1.0), 1.0), ((9.0, 1.0, 2.0), 2.0), ((9.0,), 9.0)])
def test_time_per_epoch_is_not_moved_by_a_slow_first(seconds, expected):
    outcome = Outcome(run_of(), OK, curve=tuple(Epoch(1, {}, value) for value in seconds))
    assert outcome.seconds_per_epoch == expected
    assert replace(outcome, curve=()).seconds_per_epoch is None
