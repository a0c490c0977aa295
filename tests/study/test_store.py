import sqlite3
from dataclasses import asdict, replace

import pytest

from torchdropout.study import StudyError
from torchdropout.study.conditions import Condition, Placed
from torchdropout.study.execution import Outcome
from torchdropout.study.metrics import Bin, Metrics
from torchdropout.study.protocol import Run
from torchdropout.study.status import FAILED, OK
from torchdropout.study.store import FILE, Store
from torchdropout.study.training import Epoch

PLACED = Placed("dropout", 0.2, (("maxnorm", 3.0),))
RUN = Run(Condition("dropout", (0.2, 0.5)), 1, 2, 3)
METRICS = {"val": Metrics(0.5, accuracy=0.75, nll=0.5, ece=0.125, bins=(Bin(14, 3, 0.97, 1.0),))}
CURVE = (Epoch(1, {"train_loss": 0.1, "val_loss": float("nan")}, 0.25),)
DONE = Outcome(RUN, OK, placed=PLACED, curve=CURVE, best_epoch=1, flattened=True, parts=METRICS, seconds=2.0)


@pytest.fixture
def store(tmp_path):
    store = Store.create(tmp_path, {"command": "x", "methods": {"ä": 1.5}})
    yield store
    store.close()


def test_a_row_holds_the_outcome(store):
    import json  # noqa: PLC0415

    store.record(DONE)
    (row,) = store.rows()
    assert (row["condition"], row["repeat"], row["fold"], row["seed"]) == RUN.key
    assert Placed.from_json(json.loads(row["placed"])) == Placed("dropout", 0.2, (("maxnorm", 3.0),))
    assert (row["best_epoch"], row["flattened"], row["seconds"]) == (1, 1, 2.0)
    assert row["seconds_per_epoch"] == 0.25
    assert json.loads(row["metrics"]) == json.loads(json.dumps({"val": asdict(METRICS["val"])}))
    assert json.loads(row["curve"])[0]["measured"]["train_loss"] == 0.1
    assert store.keys() == {RUN.key}


def test_a_run_is_seen_by_others_at_once(store, tmp_path):
    store.record(DONE)
    other = Store.open(tmp_path)
    assert other.keys() == {RUN.key}
    other.close()


def test_the_file_is_written_ahead_and_synchronised(store):
    assert store._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert store._connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_no_run_is_kept_twice(store):
    store.record(DONE)
    with pytest.raises(StudyError, match="UNIQUE constraint failed"):
        store.record(replace(DONE, status=FAILED, reason="again"))
    assert [row["status"] for row in store.rows()] == [OK]


def test_description_and_what_joins_it(store):
    store.describe(seconds=2.5, best=None)
    assert store.study() == {"format": 3, "command": "x", "methods": {"ä": 1.5}, "seconds": 2.5, "best": None}


def test_a_full_disk_keeps_what_was_stored(store):
    store.record(DONE)
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    big = replace(DONE, run=replace(RUN, seed=4), trace="x" * 100_000, status=FAILED, reason="no")
    with pytest.raises(
        StudyError, match=f"{FILE}: the store must be a file that can be read and written, found: .*full"
    ):
        store.record(big)
    assert store.keys() == {RUN.key}


def test_a_broken_file(tmp_path):
    (tmp_path / FILE).write_bytes(b"not a database" * 100)
    with pytest.raises(StudyError, match="found: file is not a database"):
        Store.open(tmp_path)


def test_another_format(tmp_path, store):
    store.describe(format=1)
    with pytest.raises(StudyError, match="`format` must be 3, found 1"):
        store.study()


def test_a_file_without_the_tables(tmp_path):
    sqlite3.connect(tmp_path / FILE).close()
    store = Store.open(tmp_path)
    with pytest.raises(StudyError, match="found: no such table: study"):
        store.study()
    store.close()


def test_a_study_is_created_whole_or_not_at_all(tmp_path):
    with pytest.raises(TypeError):
        Store.create(tmp_path, {"command": object()})
    assert not (tmp_path / FILE).exists()
    (tmp_path / f"{FILE}.new").write_bytes(b"half of a file")
    store = Store.create(tmp_path, {"command": "x"})
    assert store.study()["command"] == "x"
    store.close()
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
