"""What a study keeps of its settings, data and machine, besides the runs."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torchdropout import catalog
from torchdropout._version import __version__
from torchdropout.study import additions, protocol
from torchdropout.study.conditions import SITES, Condition
from torchdropout.study.config import available_cores
from torchdropout.study.execution import Material
from torchdropout.study.naming import PLAIN


def of(material: Material, conditions: tuple[Condition, ...], runs: int, parameters: dict[str, int]) -> dict[str, Any]:
    """The description that a store begins with."""
    config, data = material.config, material.data
    return {
        "command": config.command(),
        "config": config.to_json(),
        "data": {
            "name": data.name,
            "task": data.task,
            "examples": len(data.targets),
            "test_examples": 0 if data.test_targets is None else len(data.test_targets),
            "description": data.description,
            "dims": data.dims,
            "text": data.is_text,
            "classes": list(data.classes),
            "note": data.note,
            "fingerprint": data.fingerprint,
        },
        "judge": protocol.judge(config, data),
        "metric": "accuracy" if data.task == "classification" else "rmse",
        "methods": {
            condition.label: _method(condition) | {"parameters": parameters[condition.label]}
            for condition in conditions
        },
        "sizes": _sizes(material),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "workers": min(config.workers, runs),
        "versions": versions(),
        "machine": f"{_processor()}, {available_cores()} cores",
    }


def versions() -> dict[str, str]:
    """Those of what the numbers depend on."""
    others = {name: version(name) for name in ("torch", "numpy", "scikit-learn")}
    return {"torchdropout": __version__, "python": platform.python_version()} | others


def _method(condition: Condition) -> dict[str, Any]:
    first, row = condition.placed[0], None if condition.method == PLAIN else catalog.get(condition.method)
    return {
        "method": condition.name,
        "noise": condition.method,
        "argument": condition.argument,
        "candidates": list(condition.candidates),
        "place": "" if row is None else row.place,
        "sites": {site: first.strength_at(site) for site in SITES},
        "added": {
            name: {"argument": additions.get(name).argument, "candidates": list(values)}
            for name, values in condition.added
        },
    }


def _sizes(material: Material) -> dict[str, list[int]]:
    """By repeat and fold: the examples learnt from, and those that judge."""
    test = 0 if material.data.test_targets is None else len(material.data.test_targets)
    early = material.config.patience is not None
    return {
        f"{repeat}.{fold}": [len(each.inner_train if early else each.train), len(each.val) or test]
        for (repeat, fold), each in material.folds.items()
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), None)
    return name or platform.processor() or platform.machine()
