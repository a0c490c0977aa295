"""The main job: every method on the same folds and seeds, in parallel, stored, and a report of it."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from torchdropout._version import __version__
from torchdropout.study import conditions, data, execution, protocol, report, store
from torchdropout.study.config import CompareConfig, from_settings, placed_in
from torchdropout.study.execution import Material, Outcome
from torchdropout.study.models import build
from torchdropout.study.protocol import Run


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A comparison whose input was found good, before the first run."""

    material: Material
    runs: list[Run]
    folder: Path


def compare(
    config: CompareConfig | None = None,
    *,
    on_start: Callable[[list[Run]], None] = lambda runs: None,
    on_outcome: Callable[[Outcome], None] = lambda outcome: None,
    **settings: Any,
) -> store.Stored:
    """Train every method on the same folds and seeds, store the runs and write the report.

    With more than one job the runs go to new processes: a script that calls this needs the usual
    `if __name__ == "__main__":`.

    Args:
        config: The settings, or None to make them of the keyword arguments.
        on_start: Called once with all runs, when the input was found good.
        on_outcome: Called after each run.
        **settings: The fields of `CompareConfig`, where no `config` is given.

    Returns:
        What was stored, as `torchdropout.study.read` would read it.

    Raises:
        StudyError: A setting or a file cannot be used. Nothing was trained.
        TypeError: A setting does not exist, or `config` and settings are both given.
    """
    if config is not None and settings:
        raise TypeError(f"compare: `config` must stand alone, got {', '.join(settings)} besides.")
    prepared = _prepare(config or from_settings(settings))
    on_start(prepared.runs)
    started, clock = datetime.now(UTC), time.perf_counter()
    outcomes = execution.execute(prepared.runs, prepared.material, on_outcome)
    seconds = time.perf_counter() - clock
    store.write(prepared.folder, _description(prepared, started, seconds), outcomes)
    report.write(prepared.folder)
    return store.read(prepared.folder)


def _prepare(config: CompareConfig) -> _Prepared:
    """Everything that can be wrong with the input is found here."""
    compared = conditions.expand(config)
    loaded = data.load(config.data, config.data_dir)
    folds = protocol.folds(loaded.labels, config.folds)
    with torch.random.fork_rng(devices=[]):
        build(config.model, loaded.shape, loaded.classes, compared[0])
    folder = store.create(config)
    material = Material(placed_in(config, folder), loaded, folds)
    return _Prepared(material, protocol.plan(config, compared), folder)


def _description(prepared: _Prepared, started: datetime, seconds: float) -> dict[str, Any]:
    config, loaded = prepared.material.config, prepared.material.data
    return {
        "command": config.command(),
        "config": config.to_json(),
        "data": {
            "name": loaded.name,
            "examples": len(loaded.labels),
            "shape": list(loaded.shape),
            "classes": loaded.classes,
            "note": loaded.note,
        },
        "strengths": _strengths(prepared.runs),
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(seconds, 2),
        "workers": min(config.workers, len(prepared.runs)),
        "versions": {"torchdropout": __version__, "torch": version("torch"), "python": platform.python_version()},
    }


def _strengths(runs: list[Run]) -> dict[str, dict[str, float | None]]:
    """What each condition puts at the inputs, after convolutions and after dense layers."""
    sites = ("input", "conv", "dense")
    compared = dict.fromkeys(run.condition for run in runs)
    return {each.label: {site: conditions.strength_at(each, site) for site in sites} for each in compared}
