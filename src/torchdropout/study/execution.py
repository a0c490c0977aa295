"""Runs on processes: each starts once, trains on one thread, and gives the same numbers as this process would."""

from __future__ import annotations

import multiprocessing
import signal
import statistics
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from torchdropout.study.config import CompareConfig
from torchdropout.study.data import Dataset
from torchdropout.study.models import build
from torchdropout.study.protocol import Fold, Run, random_state, scaled
from torchdropout.study.training import Epoch, train

OK, FAILED, DIVERGED = "ok", "failed", "diverged"


@dataclass(frozen=True, slots=True)
class Material:
    """What all runs of a comparison share; sent to each process once."""

    config: CompareConfig
    data: Dataset
    folds: list[Fold]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a run.

    Attributes:
        run: The run.
        status: `ok`, `failed` or `diverged`.
        reason: One sentence where it is not `ok`.
        curve: The epochs that were finished.
        trace: The traceback of a run that raised.
    """

    run: Run
    status: str
    reason: str
    curve: tuple[Epoch, ...]
    trace: str = ""

    @property
    def seconds_per_epoch(self) -> float | None:
        """The (lower) median time of an epoch's steps, which a slow first one does not move; None before it is done."""
        return statistics.median_low(epoch.seconds for epoch in self.curve) if self.curve else None


def execute(runs: list[Run], material: Material, on_outcome: Callable[[Outcome], None]) -> list[Outcome]:
    """Train every run, in this process for one worker and in new ones for more, and return outcomes in their order.

    Args:
        runs: What to train.
        material: What the runs share.
        on_outcome: Called in this process whenever a run is over.
    """
    workers = min(material.config.workers, len(runs))
    outcomes = _here(runs, material) if workers == 1 else _elsewhere(runs, material, workers)
    done = {}
    for outcome in outcomes:
        done[outcome.run] = outcome
        on_outcome(outcome)
    return [done[run] for run in runs]


def train_run(run: Run, material: Material) -> Outcome:
    """Train one run; whatever it raises becomes its outcome, so that the others go on."""
    curve: list[Epoch] = []
    try:
        with torch.random.fork_rng(devices=[]):
            for epoch in _epochs(run, material):
                curve.append(epoch)
                if not epoch.finite:
                    return Outcome(run, DIVERGED, _divergence(epoch, material.config.epochs), tuple(curve))
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return Outcome(run, FAILED, reason, tuple(curve), traceback.format_exc())
    return Outcome(run, OK, "", tuple(curve))


def _epochs(run: Run, material: Material) -> Iterator[Epoch]:
    """The epochs of a run, from the run's own seeds for the default generator, which the caller restores."""
    config, data, state = material.config, material.data, random_state(run)
    torch.manual_seed(state.parameters)
    model = build(config.model, data.shape, data.classes, run.condition)
    training, validation = scaled(data, material.folds[run.fold])
    torch.manual_seed(state.noise)
    schedule = {"epochs": config.epochs, "batch_size": config.batch_size}
    return train(model, training, validation, **schedule, lr=config.lr, order_seed=state.order)


def _divergence(epoch: Epoch, epochs: int) -> str:
    losses = f"training {epoch.train_loss}, validation {epoch.val_loss}"
    return f"The loss was not finite after epoch {epoch.epoch} of {epochs}: {losses}."


def _here(runs: list[Run], material: Material) -> Iterator[Outcome]:
    with _one_thread():
        for run in runs:
            yield train_run(run, material)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums depend on the number of threads, so every run has one, wherever it trains."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _elsewhere(runs: list[Run], material: Material, workers: int) -> Iterator[Outcome]:
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(material,))
    try:
        futures = {executor.submit(_train_in_worker, run): run for run in runs}
        for future in as_completed(futures):
            yield _outcome(future, futures[future])
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _outcome(future: Future[Outcome], run: Run) -> Outcome:
    try:
        return future.result()
    except BrokenProcessPool:
        reason = "A worker process died before this run was over (killed, or out of memory)."
        return Outcome(run, FAILED, reason, (), traceback.format_exc())


_received: list[Material] = []  # in a worker process: the material of its comparison


def _start_worker(material: Material) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends a worker at once; the coordinating process reports it
    torch.set_num_threads(1)
    _received.append(material)


def _train_in_worker(run: Run) -> Outcome:
    return train_run(run, _received[0])
