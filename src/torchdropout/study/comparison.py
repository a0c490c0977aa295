"""The main job: every method on the same folds and seeds, each run durable once over, then a report and a model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from torchdropout.study import (
    datasets,
    description,
    execution,
    expansion,
    hooks,
    models,
    protocol,
    recipe,
    refit,
    reporting,
    sampled,
    tables,
    training,
)
from torchdropout.study.conditions import Condition, Placed
from torchdropout.study.config import CompareConfig, from_settings, placed_in
from torchdropout.study.datasets.prepare import fit as fit_preparation
from torchdropout.study.errors import StudyError
from torchdropout.study.execution import Listener, Material, Outcome
from torchdropout.study.protocol import Run
from torchdropout.study.store import FILE, Store
from torchdropout.study.tables import Stored


@dataclass(frozen=True, slots=True)
class Watcher:
    """Who follows a comparison.

    Attributes:
        on_start: Called once, when the input was found good, with the folder, every run and the number of those done
            before.
        on_begin: Called when a run begins.
        on_outcome: Called when a run is over and stored.
    """

    on_start: Callable[[Path, list[Run], int], None] = lambda folder, runs, done: None
    on_begin: Callable[[Run], None] = lambda run: None
    on_outcome: Callable[[Outcome], None] = lambda outcome: None


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A comparison whose input was found good."""

    material: Material
    conditions: tuple[Condition, ...]
    runs: list[Run]
    parameters: dict[str, int]

    @property
    def description(self) -> dict[str, Any]:
        return description.of(self.material, self.conditions, len(self.runs), self.parameters)


def compare(
    config: CompareConfig | None = None, *, resume: bool = False, watcher: Watcher | None = None, **settings: Any
) -> Stored:
    """Train every method on the same folds and seeds, store the runs, write the report and refit the best method.

    With more than one job the runs go to new processes: a script that calls this needs the usual
    `if __name__ == "__main__":`.

    Args:
        config: The settings, or None to make them of the keyword arguments.
        resume: Whether to go on with the study in the folder `out`. Settings that are not given are those of the
            study; those that are must equal them, but for `jobs` and `data_dir`.
        watcher: Who follows it.
        **settings: The fields of `CompareConfig`, where no `config` is given.

    Returns:
        What was stored, as `torchdropout.study.read` would read it.

    Raises:
        StudyError: A setting or a file cannot be used, or the folder cannot be written. What was stored stays.
        TypeError: A setting does not exist, or `config` and settings are both given.
    """
    if config is not None and settings:
        raise TypeError(f"compare: `config` must stand alone, got {', '.join(settings)} besides.")
    wanted = config or from_settings((_kept_settings(settings) if resume else {}) | settings)
    if resume:
        _check_same(wanted)
    prepared = _prepare(wanted)
    store, folder = _opened(prepared) if resume else _new(prepared)
    try:
        _run(prepared, store, folder, watcher or Watcher())
        _refit(prepared, store, folder)
    finally:
        store.close()
    stored = tables.read(folder)
    _publish(stored)
    return stored


def _prepare(config: CompareConfig) -> _Prepared:
    """Everything that can be wrong with the input is found here."""
    named = expansion.expand(config)
    data = datasets.load(
        config.data,
        target=config.target,
        text=config.text,
        task=config.task,
        data_dir=config.data_dir,
        max_examples=config.max_examples,
    )
    models.check_reads(config, data)
    compared = expansion.fitting(named, config, data)
    protocol.judge(config, data)
    material = Material(config, data, protocol.divide(config, data))
    return _Prepared(material, compared, protocol.plan(config, compared), _parameters(material, compared))


def _parameters(material: Material, compared: tuple[Condition, ...]) -> dict[str, int]:
    """The number of each condition's parameters, at its first strengths; every network is made and found good."""
    with torch.random.fork_rng(devices=[]):
        counts = {each.label: [_checked(material, each, placed) for placed in each.placed] for each in compared}
    return {label: count[0] for label, count in counts.items()}


def _checked(material: Material, condition: Condition, placed: Placed) -> int:
    config, data, train = material.config, material.data, material.folds[0, 0].train
    preparation = fit_preparation(data, train, log_target=config.log_target)
    outputs, vocabulary = len(data.classes) or 1, preparation.vocabulary
    with _refusals(condition):
        model = models.build(config, preparation.shape, outputs, placed, vocabulary=vocabulary)
        models.check(model, config, preparation.shape, outputs, vocabulary=vocabulary)
        added = hooks.of(model, placed, len(train), config, data.task)
        training.start(model, recipe.of(config), added, 1)
        if config.mc is not None:
            sampled.check(model, models.zeros(preparation.shape, vocabulary).to(config.device))
    return sum(parameter.numel() for parameter in model.parameters())


@contextmanager
def _refusals(condition: Condition) -> Iterator[None]:
    try:
        yield
    except StudyError:
        raise
    except (ValueError, TypeError) as error:
        raise StudyError(f"compare: {condition.label} is refused by its layer: {error}") from error


def _new(prepared: _Prepared) -> tuple[Store, Path]:
    config = prepared.material.config
    name = Path(config.data.partition(":")[0]).stem
    folder = config.out or Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    if (folder / FILE).exists():
        raise StudyError(
            f"{folder}: --out must name a folder without a study, found {FILE} in it (--resume goes on with it)."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(f"{folder}: --out must name a folder that can be written, found: {error.strerror}.") from error
    study = prepared.description | {"config": placed_in(config, folder).to_json()}
    return Store.create(folder, study), folder


def _kept(folder: Path | str | None) -> dict[str, Any]:
    """The description of the study that is to go on."""
    if folder is None or not (Path(folder) / FILE).exists():
        raise StudyError(f"compare: --resume needs the folder of a study as --out, got {folder}.")
    with closing(Store.open(Path(folder))) as store:
        return store.study()


def _kept_settings(settings: dict[str, Any]) -> dict[str, Any]:
    return dict(_kept(settings.get("out"))["config"])


def _check_same(wanted: CompareConfig) -> None:
    before = from_settings(_kept(wanted.out)["config"])
    for name in wanted.numbers_differ(before):
        was, now = getattr(before, name), getattr(wanted, name)
        raise StudyError(f"{wanted.out}: `{name}` must be that of the study, {was}, got {now}.")


def _opened(prepared: _Prepared) -> tuple[Store, Path]:
    config, data = prepared.material.config, prepared.material.data
    if _kept(config.out)["data"]["fingerprint"] != data.fingerprint:
        raise StudyError(f"{config.out}: the data must be those of the study, found {config.data} changed since.")
    folder = Path(str(config.out))
    return Store.open(folder), folder


def _run(prepared: _Prepared, store: Store, folder: Path, watcher: Watcher) -> None:
    done = store.keys()
    watcher.on_start(folder, prepared.runs, len(done))
    clock, before = time.perf_counter(), store.study().get("seconds", 0.0)

    def keep(outcome: Outcome) -> None:
        store.record(outcome)
        watcher.on_outcome(outcome)

    left = [run for run in prepared.runs if run.key not in done]
    execution.execute(left, prepared.material, Listener(watcher.on_begin, keep))
    store.describe(seconds=round(before + time.perf_counter() - clock, 2), finished=datetime.now(UTC).isoformat())


def _refit(prepared: _Prepared, store: Store, folder: Path) -> None:
    best = refit.best(tables.read(folder))
    chosen = next((condition for condition in prepared.conditions if condition.label == best), None)
    told = None if chosen is None else refit.write(prepared.material, chosen, folder)
    store.describe(best=best, refit=told)


def write_report(folder: Path) -> Path:
    """Write the report and the tables of a study again from its store, and return the report's path.

    Raises:
        StudyError: The folder holds no study, or a broken one.
    """
    return _publish(tables.read(folder))


def _publish(stored: Stored) -> Path:
    tables.export(stored)
    return reporting.write(stored)
