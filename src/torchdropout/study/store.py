"""What a comparison leaves on disk: `results.parquet`, `curves.parquet` and `config.json`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from torchdropout.study.config import CompareConfig
from torchdropout.study.errors import StudyError
from torchdropout.study.execution import OK, Outcome

RESULTS, CURVES, CONFIG, REPORT = "results.parquet", "curves.parquet", "config.json", "report.html"
FORMAT = 1

_KEY = [
    pa.field("condition", pa.string(), nullable=False),
    pa.field("method", pa.string(), nullable=False),
    pa.field("p", pa.float64()),
    pa.field("std", pa.float64()),
    pa.field("repeat", pa.int64(), nullable=False),
    pa.field("fold", pa.int64(), nullable=False),
    pa.field("seed", pa.int64(), nullable=False),
]
_METRICS = [pa.field(f"{part}_{name}", pa.float64()) for part in ("train", "val") for name in ("loss", "accuracy")]
RESULTS_SCHEMA = pa.schema(
    [
        *_KEY,
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        *_METRICS,
        pa.field("gap", pa.float64()),
        pa.field("seconds_per_epoch", pa.float64()),
        pa.field("epochs", pa.int64(), nullable=False),
        pa.field("traceback", pa.string(), nullable=False),
    ]
)
CURVES_SCHEMA = pa.schema(
    [*_KEY, pa.field("epoch", pa.int64(), nullable=False), *_METRICS, pa.field("seconds", pa.float64())]
)


@dataclass(frozen=True)
class Stored:
    """A comparison read from its folder.

    Attributes:
        folder: Where it lies.
        study: What was run: the settings, the data, the machine.
        results: One row per run.
        curves: One row per run and epoch.
    """

    folder: Path
    study: dict[str, Any]
    results: pd.DataFrame
    curves: pd.DataFrame


def create(config: CompareConfig) -> Path:
    """The empty folder of a new comparison.

    Raises:
        StudyError: It holds a comparison already, or cannot be made.
    """
    folder = config.out or Path("runs") / f"{config.data}-{datetime.now():%Y%m%d-%H%M%S}"
    for name in (CONFIG, RESULTS, CURVES, REPORT):
        if (folder / name).exists():
            raise StudyError(f"{folder}: --out must name a folder without results, found {name} in it.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise StudyError(f"{folder}: --out must name a folder that can be written, found: {error.strerror}.") from error
    return folder


def write(folder: Path, study: dict[str, Any], outcomes: list[Outcome]) -> None:
    """Store what was run and what came of it."""
    text = json.dumps({"format": FORMAT} | study, indent=2, ensure_ascii=False)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")
    results = [_result(outcome) for outcome in outcomes]
    curves = [_key(outcome) | asdict(epoch) for outcome in outcomes for epoch in outcome.curve]
    pq.write_table(pa.Table.from_pylist(results, RESULTS_SCHEMA), folder / RESULTS)
    pq.write_table(pa.Table.from_pylist(curves, CURVES_SCHEMA), folder / CURVES)


def read(folder: Path) -> Stored:
    """The comparison in a folder.

    Raises:
        StudyError: The folder holds none, or one of its files is broken.
    """
    for name in (CONFIG, RESULTS, CURVES):
        if not (folder / name).is_file():
            raise StudyError(f"{folder}: a folder written by `torchdropout compare` must hold {name}, found none.")
    study = _read_config(folder / CONFIG)
    return Stored(folder, study, _table(folder / RESULTS, RESULTS_SCHEMA), _table(folder / CURVES, CURVES_SCHEMA))


def _read_config(path: Path) -> dict[str, Any]:
    try:
        study = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: the file must be JSON, found: {error}.") from error
    found = study.get("format") if isinstance(study, dict) else type(study).__name__
    if found != FORMAT:
        raise StudyError(f"{path}: `format` must be {FORMAT}, found {found}.")
    return dict(study)


def _table(path: Path, schema: pa.Schema) -> pd.DataFrame:
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise StudyError(f"{path}: the file must be intact Parquet, found: {str(error).splitlines()[0]}") from error
    if not table.schema.equals(schema):
        raise StudyError(f"{path}: the columns must be those of `torchdropout compare`, found {table.column_names}.")
    return table.to_pandas()


def _key(outcome: Outcome) -> dict[str, Any]:
    run, condition = outcome.run, outcome.run.condition
    strengths = {name: condition.strength if condition.argument == name else None for name in ("p", "std")}
    names = {"condition": condition.label, "method": condition.method}
    return names | strengths | {"repeat": run.repeat, "fold": run.fold, "seed": run.seed}


def _result(outcome: Outcome) -> dict[str, Any]:
    """A row of results: the metrics after the last epoch, for a run that came to its end."""
    row = _key(outcome) | {"status": outcome.status, "reason": outcome.reason, "traceback": outcome.trace}
    row |= {"seconds_per_epoch": outcome.seconds_per_epoch, "epochs": len(outcome.curve)}
    if outcome.status == OK:
        last = outcome.curve[-1]
        row |= {field.name: getattr(last, field.name) for field in _METRICS}
        row["gap"] = last.train_accuracy - last.val_accuracy
    return row
