"""A study that is killed at any moment goes on and ends with the numbers of one that was not."""

import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from torchdropout.study import StudyError, Watcher, compare, read
from torchdropout.study.store import FILE

SETTINGS = {
    "methods": ["none", "dropout+maxnorm", "rdrop+l2"],
    "p": [0.2, 0.5],
    "strength": {"l2": [1e-4, 1e-2]},
    "folds": 3,
    "seeds": 2,
    "epochs": 3,
    "widths": [16],
    "max_examples": 300,
    "jobs": 1,
}
RUNS = 3 * 3 * 2
TIMES = ["seconds", "seconds_per_epoch"]
KILLS = 20


def numbers(stored):
    key = ["condition", "repeat", "fold", "seed"]
    results = stored.results.drop(columns=TIMES).sort_values(key).reset_index(drop=True)
    curves = stored.curves.drop(columns="seconds").sort_values([*key, "epoch"]).reset_index(drop=True)
    calibration = stored.calibration.sort_values([*key, "bin"]).reset_index(drop=True)
    return results, curves, calibration


def equal(a, b):
    return all(x.equals(y) for x, y in zip(numbers(a), numbers(b), strict=True))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The study without an interruption, and how long it took."""
    start = time.perf_counter()
    stored = compare(**SETTINGS, out=tmp_path_factory.mktemp("whole") / "out")
    return stored, time.perf_counter() - start


def in_child(out, resume):
    """Begin or continue the study in a forked process."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            compare(**SETTINGS, out=out, resume=resume)
            status = 0
        finally:
            os._exit(status)
    return child


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_killed_at_twenty_random_moments(whole, tmp_path):
    stored, seconds = whole
    chance, out, kills, counts = random.Random(7), tmp_path / "out", 0, []
    while kills < KILLS:
        child = in_child(out, resume=(out / FILE).exists())
        time.sleep(chance.uniform(0, 2.5 * seconds / KILLS))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):  # it came to its end before: from the beginning, in another folder
            assert os.WEXITSTATUS(status) == 0
            assert equal(read(out), stored)
            out = tmp_path / f"out{kills}"
            continue
        kills += 1
        counts.append(len(read(out).results) if _begun(out) else 0)
    assert any(0 < count < RUNS for count in counts), counts
    final = compare(**SETTINGS, out=out, resume=(out / FILE).exists())
    assert len(final.results) == RUNS
    assert not final.results.duplicated(["condition", "repeat", "fold", "seed"]).any()
    assert equal(final, stored)
    weights = [load_file(folder / "model.safetensors") for folder in (out, stored.folder)]
    assert all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[1])


def _begun(out: Path) -> bool:
    try:
        read(out)
    except StudyError:
        return False
    return True


def interrupted(out, after, **settings):
    """A study of which only so many runs were kept."""

    def stop(outcome):
        kept.append(outcome)
        if len(kept) == after:
            raise KeyboardInterrupt

    kept = []
    with pytest.raises(KeyboardInterrupt):
        compare(**SETTINGS | settings, out=out, watcher=Watcher(on_outcome=stop))


@pytest.mark.parametrize("jobs", [1, 2])
def test_only_what_is_missing_is_trained(whole, tmp_path, jobs):
    interrupted(tmp_path, 5, jobs=jobs)
    kept = len(read(tmp_path).results)
    assert kept >= 5
    told, started = [], []
    watcher = Watcher(on_start=lambda *found: started.append(found), on_outcome=told.append)
    stored = compare(out=tmp_path, resume=True, jobs=2, watcher=watcher)
    assert len(told) == RUNS - kept
    assert started[0][2] == kept
    assert equal(stored, whole[0])


def test_a_finished_study_stays_as_it_is(whole):
    stored, _ = whole
    again = compare(out=stored.folder, resume=True, watcher=Watcher(on_begin=lambda run: pytest.fail("trained")))
    assert equal(again, stored)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"epochs": 4}, "`epochs` must be that of the study, 3, got 4"),
        ({"methods": ["none"]}, "`methods` must be that of the study"),
        ({"data": "wine"}, "`data` must be that of the study, digits, got wine"),
    ],
)
def test_another_study_is_refused(whole, settings, sentence):
    with pytest.raises(StudyError, match=sentence):
        compare(out=whole[0].folder, resume=True, **settings)


def test_data_that_changed_are_refused(tmp_path):
    rows = "\n".join(f"{n % 7},{n % 3},{'ab'[n % 2]}" for n in range(40))
    (tmp_path / "a.csv").write_text("x,z,y\n" + rows)
    settings = {"data": str(tmp_path / "a.csv"), "target": "y", "methods": ["none"], "p": [], "strength": {}}
    interrupted(tmp_path / "out", 2, **settings, max_examples=None)
    (tmp_path / "a.csv").write_text("x,z,y\n" + rows.replace("6,", "5,"))
    with pytest.raises(StudyError, match="the data must be those of the study, found .*a.csv changed since"):
        compare(out=tmp_path / "out", resume=True)


def test_nothing_to_go_on_with(tmp_path):
    with pytest.raises(StudyError, match="--resume needs the folder of a study as --out, got None"):
        compare(resume=True)
    with pytest.raises(StudyError, match="--resume needs the folder of a study as --out, got .*nothing"):
        compare(resume=True, out=tmp_path / "nothing")
