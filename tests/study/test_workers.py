import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass, replace

import pytest

from torchdropout.study.conditions import Condition
from torchdropout.study.execution import Listener
from torchdropout.study.protocol import Run, plan
from torchdropout.study.status import FAILED, OK
from torchdropout.study.workers import DIED, execute


@dataclass(frozen=True)
class Deadly(Condition):
    """Ends the process that receives it."""

    method: str = "none"
    candidates: tuple[float, ...] = ()

    def __reduce__(self):
        return os._exit, (3,)


def test_only_the_run_that_kills_its_process_is_lost(material):
    """Wherever in the order it comes, and with every other process busy."""
    runs = [run for run in plan(material.config, (Condition("none"), Condition("dropout", (0.5,)))) if run.seed < 2]
    deadly = Run(Deadly(), 0, 7, 7)
    order = [*runs[:3], deadly, *runs[3:]]
    told = []
    execute(order, replace(material, config=replace(material.config, jobs=2)), Listener(on_outcome=told.append), 2)
    assert len(told) == len(order)
    assert {outcome.run.key: outcome.status for outcome in told} == {
        run.key: FAILED if run is deadly else OK for run in order
    }
    assert [outcome.reason for outcome in told if outcome.status == FAILED] == [DIED]


def test_a_script_without_its_guard_is_told_so(tmp_path):
    script = tmp_path / "study.py"
    script.write_text(
        "from torchdropout.study import compare\ncompare(epochs=1, folds=2, seeds=1, jobs=2, out='out')\n"
    )
    ended = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert ended.returncode == 1
    told = "torchdropout.study.errors.StudyError: compare: the worker processes must be able to start"
    assert any(line.startswith(told) for line in ended.stderr.splitlines()), ended.stderr
    assert "if __name__ == '__main__':" in ended.stderr


def children(pid):
    """The live descendants of a process."""
    found = subprocess.run(["ps", "-eo", "pid,ppid,stat"], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in found.splitlines()[1:]]
    parents = {int(p): int(parent) for p, parent, stat in rows if not stat.startswith("Z")}
    below, grown = {pid}, True
    while grown:
        more = {p for p, parent in parents.items() if parent in below} - below
        below |= more
        grown = bool(more)
    return below - {pid}


def alive(pids):
    return {pid for pid in pids if os.path.exists(f"/proc/{pid}") and "Z" not in state(pid)}


def state(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return "Z"


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs /proc")
@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGINT])
def test_no_worker_outlives_its_coordinator(tmp_path, kind):
    script = tmp_path / "study.py"
    script.write_text(
        textwrap.dedent("""
        from torchdropout.study import compare, Watcher
        if __name__ == "__main__":
            say = lambda outcome: print("over", flush=True)
            compare(epochs=40, folds=4, seeds=50, jobs=2, out="out", watcher=Watcher(on_outcome=say))
        """)
    )
    process = subprocess.Popen(
        [sys.executable, str(script)], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout.readline() == "over\n"
    workers = children(process.pid)
    assert len(workers) >= 2
    process.send_signal(kind)
    process.wait(timeout=20)
    end = time.monotonic() + 20
    while alive(workers) and time.monotonic() < end:
        time.sleep(0.05)
    assert not alive(workers)
