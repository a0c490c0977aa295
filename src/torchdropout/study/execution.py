"""Runs one after another, in this process or on workers; whatever one of them raises, the others go on."""

from __future__ import annotations

import statistics
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from torchdropout.study.conditions import Placed
from torchdropout.study.config import CompareConfig
from torchdropout.study.datasets import Dataset
from torchdropout.study.fitting import DivergedError, Job, flattened
from torchdropout.study.metrics import Metrics
from torchdropout.study.protocol import Fold, Run, random_state
from torchdropout.study.status import DIVERGED, FAILED, OK
from torchdropout.study.training import Epoch


@dataclass(frozen=True, slots=True)
class Material:
    """What all runs of a comparison share; sent to each process once."""

    config: CompareConfig
    data: Dataset
    folds: dict[tuple[int, int], Fold]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a run.

    Attributes:
        run: The run.
        status: `ok`, `failed` or `diverged`.
        reason: One sentence where it is not `ok`.
        trace: The traceback of a run that raised.
        placed: The method at the strength that was chosen; None before that.
        curve: The epochs that were finished.
        best_epoch: The epoch whose weights were kept, where training could stop early.
        flattened: Whether the loss had stopped falling at the end.
        parts: The metrics by part, of a run that came to its end.
        seconds: The time of the whole run.
    """

    run: Run
    status: str
    reason: str = ""
    trace: str = ""
    placed: Placed | None = None
    curve: tuple[Epoch, ...] = ()
    best_epoch: int | None = None
    flattened: bool | None = None
    parts: dict[str, Metrics] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def seconds_per_epoch(self) -> float | None:
        """The (lower) median time of an epoch's steps, which a slow first one does not move; None before it is done."""
        return statistics.median_low(epoch.seconds for epoch in self.curve) if self.curve else None


@dataclass(frozen=True, slots=True)
class Listener:
    """Who is told of runs: when one begins (in this process or in a worker) and when it is over."""

    on_begin: Callable[[Run], None] = lambda run: None
    on_outcome: Callable[[Outcome], None] = lambda outcome: None


def execute(runs: list[Run], material: Material, listener: Listener) -> None:
    """Train every run, in this process for one worker and in new ones for more."""
    from torchdropout.study import workers  # noqa: PLC0415 - it imports this module

    count = min(material.config.workers, len(runs))
    if count > 1:
        workers.execute(runs, material, listener, count)
        return
    with _one_thread():
        for run in runs:
            listener.on_begin(run)
            listener.on_outcome(train_run(run, material))


def train_run(run: Run, material: Material) -> Outcome:
    """Train one run; whatever it raises becomes its outcome."""
    start, curve, known = time.perf_counter(), list[Epoch](), dict[str, Any]()
    try:
        with torch.random.fork_rng(devices=[]):
            _train(run, material, curve, known)
        outcome = Outcome(run, OK)
    except DivergedError as error:
        outcome = Outcome(run, DIVERGED, str(error))
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        outcome = Outcome(run, FAILED, reason, traceback.format_exc())
    return replace(outcome, **known, curve=tuple(curve), seconds=time.perf_counter() - start)


def _train(run: Run, material: Material, curve: list[Epoch], known: dict[str, Any]) -> None:
    """Fill in the curve, and what else becomes known of the outcome."""
    config = material.config
    state = random_state(run.repeat, run.fold, run.seed)
    job = Job(config, material.data, material.folds[run.repeat, run.fold], state)
    known["placed"] = job.choose(run.condition)
    network = job.train(known["placed"], job.part, curve)
    if config.patience is not None:
        known["best_epoch"] = min(curve, key=lambda epoch: epoch.measured["inner_loss"]).epoch
    known["flattened"] = flattened(curve)
    known["parts"] = job.measure(network)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums depend on the number of threads, so every run has one, wherever it trains."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
