"""The store of a comparison: one SQLite file, one row per run, durable as soon as the run is over.

Only the process that coordinates writes. Every row is a transaction of its own in write-ahead mode with full
synchronisation, so a process that is killed, or a machine that loses power, leaves every finished run.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torchdropout.study.errors import StudyError
from torchdropout.study.execution import Outcome

FILE = "study.sqlite"
FORMAT = 3
_COLUMNS = {
    "condition": "TEXT NOT NULL",
    "repeat": "INTEGER NOT NULL",
    "fold": "INTEGER NOT NULL",
    "seed": "INTEGER NOT NULL",
    "status": "TEXT NOT NULL",
    "reason": "TEXT NOT NULL",
    "traceback": "TEXT NOT NULL",
    "placed": "TEXT",  # the strengths that were chosen, as JSON
    "best_epoch": "INTEGER",
    "flattened": "INTEGER",
    "seconds": "REAL NOT NULL",
    "seconds_per_epoch": "REAL",
    "metrics": "TEXT NOT NULL",  # by part, as JSON
    "curve": "TEXT NOT NULL",  # by epoch, as JSON
}
_CREATE = (
    "CREATE TABLE study (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    f"CREATE TABLE runs ({', '.join(f'{name} {kind}' for name, kind in _COLUMNS.items())}, "
    "PRIMARY KEY (condition, repeat, fold, seed))",
)
_INSERT = f"INSERT INTO runs VALUES ({', '.join('?' * len(_COLUMNS))})"

Key = tuple[str, int, int, int]


class Store:
    """An open store.

    Raises:
        StudyError: From every method: the file cannot be read or written. What was stored before stays.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _told(self.path):
            self._connection = sqlite3.connect(self.path, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")

    @classmethod
    def open(cls, folder: Path) -> Store:
        """The store of a study that was begun."""
        return cls(folder / FILE)

    @classmethod
    def create(cls, folder: Path, study: dict[str, Any]) -> Store:
        """The store of a new study, which appears with its description in it or not at all."""
        new = folder / f"{FILE}.new"
        with _told(new):
            for left in (new, folder / f"{new.name}-wal", folder / f"{new.name}-shm"):
                left.unlink(missing_ok=True)  # of a process that was killed here
            with closing(cls(new)) as store, store._transaction():
                for statement in _CREATE:
                    store._connection.execute(statement)
                store._describe({"format": FORMAT} | study)
            os.replace(new, folder / FILE)
        return cls.open(folder)

    def describe(self, **values: Any) -> None:
        """Keep more of the study's description, or replace some of it."""
        with _told(self.path), self._transaction():
            self._describe(values)

    def record(self, outcome: Outcome) -> None:
        """Keep a run."""
        with _told(self.path):
            self._connection.execute(_INSERT, _row(outcome))

    def study(self) -> dict[str, Any]:
        """The description."""
        with _told(self.path):
            rows = self._connection.execute("SELECT name, value FROM study").fetchall()
        study = {name: json.loads(value) for name, value in rows}
        if study.get("format") != FORMAT:
            raise StudyError(f"{self.path}: `format` must be {FORMAT}, found {study.get('format')}.")
        return study

    def keys(self) -> set[Key]:
        """The runs that are over."""
        with _told(self.path):
            return set(self._connection.execute("SELECT condition, repeat, fold, seed FROM runs"))

    def rows(self) -> list[dict[str, Any]]:
        """Every run, in the order in which they ended."""
        with _told(self.path):
            values = self._connection.execute("SELECT * FROM runs ORDER BY rowid").fetchall()
        return [dict(zip(_COLUMNS, row, strict=True)) for row in values]

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _describe(self, values: dict[str, Any]) -> None:
        rows = [(name, json.dumps(value, ensure_ascii=False)) for name, value in values.items()]
        self._connection.executemany("INSERT OR REPLACE INTO study VALUES (?, ?)", rows)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        found = getattr(error, "strerror", None) or error
        raise StudyError(f"{path}: the store must be a file that can be read and written, found: {found}.") from error


def _row(outcome: Outcome) -> tuple[Any, ...]:
    run = outcome.run
    return (
        *run.key,
        outcome.status,
        outcome.reason,
        outcome.trace,
        None if outcome.placed is None else json.dumps(outcome.placed.to_json()),
        outcome.best_epoch,
        outcome.flattened,
        outcome.seconds,
        outcome.seconds_per_epoch,
        json.dumps({part: asdict(metrics) for part, metrics in outcome.parts.items()}),
        json.dumps([asdict(epoch) for epoch in outcome.curve]),
    )
