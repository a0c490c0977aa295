"""Two hundred broken files: each is a data set or one sentence, soon."""

import functools
import gzip
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from torchdropout.study import datasets
from torchdropout.study.datasets import Dataset, canonical
from torchdropout.study.errors import StudyError

SECONDS = 2
Mutation = Callable[[bytes, np.random.Generator], bytes]


def cut(content: bytes, generator: np.random.Generator) -> bytes:
    return content[: generator.integers(len(content))]


def flipped(content: bytes, generator: np.random.Generator) -> bytes:
    changed = np.frombuffer(content, np.uint8).copy()
    changed[generator.integers(len(changed), size=3)] ^= np.uint8(1) << generator.integers(8, size=3).astype(np.uint8)
    return changed.tobytes()


def inserted(content: bytes, generator: np.random.Generator) -> bytes:
    at = generator.integers(len(content))
    return content[:at] + generator.bytes(generator.integers(1, 40)) + content[at:]


def inserted_mark(content: bytes, generator: np.random.Generator) -> bytes:
    """Of those that mean something to a reader of tables."""
    at = generator.integers(len(content))
    mark = generator.choice(
        [b'"', b",", b";", b"\t", b"\n", b"\r", b"\0", b"\xef\xbb\xbf", b"\xff", b"inf", b"nan", b"1e999"]
    )
    return content[:at] + bytes(mark) + content[at:]


def duplicated(content: bytes, generator: np.random.Generator) -> bytes:
    start, stop = sorted(generator.integers(len(content), size=2))
    return content[:stop] + content[start:stop] * int(generator.integers(1, 50)) + content[stop:]


def swapped_lines(content: bytes, generator: np.random.Generator) -> bytes:
    lines = content.splitlines(keepends=True)
    one, other = generator.integers(len(lines), size=2)
    lines[one], lines[other] = lines[other], lines[one]
    return b"".join(lines)


def removed(content: bytes, generator: np.random.Generator) -> bytes:
    start, stop = sorted(generator.integers(len(content), size=2))
    return content[:start] + content[stop:]


def huge(content: bytes, generator: np.random.Generator) -> bytes:
    """Sizes near the beginning, or a number in a table, claim more than there is."""
    at = generator.integers(4, 16)
    return (
        content[:at] + generator.choice([b"\xff" * 4, b"\x7f\xff\xff\xff", b"9" * 400, b"\0" * 8]) + content[at + 4 :]
    )


MUTATIONS: tuple[Mutation, ...] = (cut, flipped, inserted, inserted_mark, duplicated, swapped_lines, removed, huge)


def mutate(content: bytes, seed: int) -> bytes:
    """One kind of change after another, by seed; every other time two of them."""
    generator = np.random.default_rng(seed)
    for _ in range(1 + seed // len(MUTATIONS) % 2):
        content = MUTATIONS[seed % len(MUTATIONS)](content, generator) or content[:1]
        seed += 3
    return content


def table() -> bytes:
    generator = np.random.default_rng(0)
    columns = {
        "height": generator.normal(170, 10, 60).round(1),
        "colour": generator.choice(["red", "gréen", '"dark, blue"', ""], 60),
        "count": generator.integers(0, 9, 60),
        "kind": generator.choice(["yes", "no"], 60),
    }
    rows = zip(*columns.values(), strict=True)
    return "\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]).encode() + b"\n"


@contextmanager
def limited() -> Iterator[None]:
    """Whatever hangs is interrupted, and fails."""

    def stop(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def outcome(load: Callable[[], Dataset]) -> str:
    """`loaded`, or the study's sentence; whatever else is raised gets through."""
    with limited():
        try:
            assert len(load().targets) > 1
        except StudyError as error:
            return str(error)
    return "loaded"


def check(outcomes: list[str], least: int) -> None:
    """Sentences all, and a fuzz that neither breaks everything nor nothing."""
    sentences = [text for text in outcomes if text != "loaded"]
    assert all("\n" not in text and text.endswith(".") for text in sentences)
    assert least <= len(sentences) <= len(outcomes) - least


@pytest.mark.parametrize("target", ["kind", "height", "-1"])
def test_csv(write, target):
    content = table()
    assert outcome(lambda: datasets.load(str(write("t.csv", content)), target=target)) == "loaded"
    outcomes = []
    for seed in range(100):
        path = write("t.csv", mutate(content, seed))
        outcomes.append(outcome(lambda: datasets.load(str(path), target=target)))  # noqa: B023
    check(outcomes, 10)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_idx(tmp_path, write_set, idx_files, monkeypatch, packed):
    write_set(tmp_path)
    monkeypatch.setattr(canonical, "check_sum", lambda *_: None)  # or no changed file would get as far as the reader
    suffix, pack = (".gz", functools.partial(gzip.compress, mtime=0)) if packed else ("", bytes)
    originals = {name: (tmp_path / name).read_bytes() for name in idx_files}
    outcomes = []
    for seed in range(100):
        name = sorted(originals)[seed % 4]
        path = tmp_path / f"{name}{suffix}"
        path.write_bytes(mutate(pack(originals[name]), seed // 4))
        outcomes.append(outcome(lambda: datasets.load("mnist", data_dir=tmp_path)))
        path.unlink()
        (tmp_path / name).write_bytes(originals[name])
    check(outcomes, 5)


@pytest.mark.parametrize("kind", ["parquet", "npz"])
def test_parquet_and_npz(tmp_path, write, kind):
    path = tmp_path / f"t.{kind}"
    if kind == "parquet":
        pd.read_csv(write("t.csv", table())).to_parquet(path)
    else:
        np.savez(path, inputs=np.arange(60.0).reshape(30, 2), targets=np.arange(30) % 3)
    content, target = path.read_bytes(), "kind" if kind == "parquet" else None
    outcomes = []
    for seed in range(100):
        path.write_bytes(mutate(content, seed))
        outcomes.append(outcome(lambda: datasets.load(str(path), target=target)))
    check(outcomes, 0)


def test_real_formats_are_not_each_other(write, tmp_path):
    contents = {"t.csv": table(), "t.npz": b"PK\x03\x04" + table(), "t.parquet": b"PAR1" + table() + b"PAR1"}
    for name in contents:
        for other, content in contents.items():
            if other != name:
                path: Path = write(name, content)
                assert outcome(lambda: datasets.load(str(path), target=None)) != "loaded"  # noqa: B023
