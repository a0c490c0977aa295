"""A stored comparison as data frames, and as files for other programs."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from torchdropout import catalog
from torchdropout.study import additions
from torchdropout.study.errors import StudyError
from torchdropout.study.store import FILE, Store

PARTS = ("train", "val", "test")
FIGURES = ("loss", "accuracy", "rmse", "nll", "ece")
SAMPLED = tuple(
    f"{part}_mc_{name}" for part in ("val", "test") for name in ("accuracy", "rmse", "nll", "ece", "seconds")
)
STRENGTHS = (*dict.fromkeys(row.argument for row in catalog.METHODS if row.argument), *additions.names())
KEY = ["condition", "method", "repeat", "fold", "seed"]
EXPORTS = ("results.parquet", "results.csv", "curves.parquet", "calibration.parquet", "study.json")


@dataclass(frozen=True)
class Stored:
    """A comparison read from its folder.

    Attributes:
        folder: Where it lies.
        study: What was run: the settings, the data, the machine.
        results: One row per run.
        curves: One row per run and epoch.
        calibration: One row per run and bin of confidence, of the part that judges a classification.
    """

    folder: Path
    study: dict[str, Any]
    results: pd.DataFrame
    curves: pd.DataFrame
    calibration: pd.DataFrame


def read(folder: Path) -> Stored:
    """The comparison in a folder.

    Raises:
        StudyError: The folder holds none, or its store is broken.
    """
    if not (folder / FILE).is_file():
        raise StudyError(f"{folder}: a folder written by `torchdropout compare` must hold {FILE}, found none.")
    with closing(Store.open(folder)) as store:
        study, rows = store.study(), store.rows()
    rows = _in_order(study, rows)
    return Stored(folder, study, _results(study, rows), _curves(study, rows), _calibration(study, rows))


def export(stored: Stored) -> None:
    """Write the results, curves and calibration as Parquet, the results as CSV, and the description as JSON."""
    folder = stored.folder
    try:
        stored.results.to_parquet(folder / "results.parquet")
        stored.results.to_csv(folder / "results.csv", index=False)
        stored.curves.to_parquet(folder / "curves.parquet")
        stored.calibration.to_parquet(folder / "calibration.parquet")
        text = json.dumps(stored.study, indent=2, ensure_ascii=False)
        (folder / "study.json").write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise StudyError(f"{folder}: the folder must be writable, found: {error.strerror or error}.") from error


def _in_order(study: dict[str, Any], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As planned, whatever the order in which runs ended."""
    places = {label: number for number, label in enumerate(study["methods"])}
    return sorted(rows, key=lambda row: (row["seed"], row["repeat"], row["fold"], places[row["condition"]]))


def _results(study: dict[str, Any], rows: list[dict[str, Any]]) -> pd.DataFrame:
    table = pd.DataFrame([_result(study, row) for row in rows], columns=_result_columns())
    numbers = [f"{part}_{figure}" for part in PARTS for figure in FIGURES]
    numbers += [*SAMPLED, *STRENGTHS, "gap", "seconds", "seconds_per_epoch"]
    types = dict.fromkeys(numbers, "float64") | {"best_epoch": "Int64", "flattened": "boolean"}
    return table.astype(types)


def _result_columns() -> list[str]:
    columns = ["condition", "method", *STRENGTHS, "repeat", "fold", "seed", "status", "reason", "epochs"]
    columns += [
        "best_epoch",
        "flattened",
        "n_train",
        "n_judge",
        *(f"{part}_{figure}" for part in PARTS for figure in FIGURES),
        *SAMPLED,
    ]
    return [*columns, "gap", "seconds_per_epoch", "seconds", "traceback"]


def _result(study: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    method = study["methods"][row["condition"]]
    n_train, n_judge = study["sizes"][f"{row['repeat']}.{row['fold']}"]
    same = ("condition", "repeat", "fold", "seed", "status", "reason", "best_epoch", "seconds", "seconds_per_epoch")
    result = {name: row[name] for name in same} | {"traceback": row["traceback"], "method": method["method"]}
    result |= {"epochs": len(json.loads(row["curve"])), "n_train": n_train, "n_judge": n_judge}
    result |= {"flattened": None if row["flattened"] is None else bool(row["flattened"])}
    result |= _strengths(method, json.loads(row["placed"])) if row["placed"] else {}
    metrics = json.loads(row["metrics"])
    result |= {f"{part}_{name}": metrics[part][name] for part in metrics for name in FIGURES}
    result |= {f"{part}_mc_{name}": value for part in metrics for name, value in _sampled(metrics[part]).items()}
    return result | {"gap": _gap(study, metrics)}


def _sampled(measured: dict[str, Any]) -> dict[str, Any]:
    """The figures with the noise on, where they were taken."""
    found = measured.get("sampled") or {}
    return {name: value for name, value in found.items() if name != "passes"}


def _strengths(method: dict[str, Any], placed: dict[str, Any]) -> dict[str, float]:
    """Those that a run chose: the noise's by its argument, those of additions by their names."""
    noise = {method["argument"]: placed["strength"]} if method["argument"] else {}
    added: dict[str, float] = placed["added"]
    return noise | added


def _gap(study: dict[str, Any], metrics: dict[str, Any]) -> float | None:
    """By how much the part trained on does better than the part that judges."""
    if not metrics:
        return None
    train, judged = (metrics[part][study["metric"]] for part in ("train", study["judge"]))
    return float(train - judged if study["metric"] == "accuracy" else judged - train)


def _curves(study: dict[str, Any], rows: list[dict[str, Any]]) -> pd.DataFrame:
    measured = [f"{part}_{name}" for part in ("train", "val") for name in ("loss", "score")]
    table = pd.DataFrame(
        [
            _key(study, row) | {"epoch": epoch["epoch"], "seconds": epoch["seconds"]} | epoch["measured"]
            for row in rows
            for epoch in json.loads(row["curve"])
        ],
        columns=[*KEY, "epoch", *measured, "seconds"],
    )
    return table.astype(dict.fromkeys([*measured, "seconds"], "float64"))


def _calibration(study: dict[str, Any], rows: list[dict[str, Any]]) -> pd.DataFrame:
    bins = [
        _key(study, row) | b
        for row in rows
        for part, metrics in json.loads(row["metrics"]).items()
        if part == study["judge"]
        for b in metrics["bins"]
    ]
    return pd.DataFrame(bins, columns=[*KEY, "bin", "count", "confidence", "accuracy"])


def _key(study: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    method = study["methods"][row["condition"]]["method"]
    return {"condition": row["condition"], "method": method} | {name: row[name] for name in KEY[2:]}
