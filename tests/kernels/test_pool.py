import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from torchdropout.kernels import pool


@pytest.fixture(autouse=True)
def _fresh_pool(monkeypatch):
    monkeypatch.setattr(pool, "_pool", None)
    monkeypatch.setattr(pool, "_workers", 0)
    monkeypatch.setattr(pool, "SPLIT", 2**14)
    yield
    if pool._pool is not None:
        pool._pool.shutdown()


def threads(number, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: number)


@pytest.mark.parametrize("number", [1, 2, 3, 8])
@pytest.mark.parametrize("n", [0, 1, 2**14, 2**14 + 1, 3 * 2**14, 2**17 + 12345])
def test_chunks_cover_the_range_once_and_start_at_whole_tiles(monkeypatch, number, n):
    threads(number, monkeypatch)
    parts = []
    pool.run_chunks(lambda start, stop: parts.append((start, stop)), n)
    parts.sort()
    assert parts[0][0] == 0
    assert parts[-1][1] == n
    assert [stop for _, stop in parts[:-1]] == [start for start, _ in parts[1:]]
    assert all(start % 2**14 == 0 for start, _ in parts)
    assert len(parts) <= number


def test_chunks_run_on_different_threads(monkeypatch):
    threads(3, monkeypatch)
    together = threading.Barrier(3, timeout=30)  # breaks unless three threads are in their chunks at once
    pool.run_chunks(lambda *_: together.wait(), 3 * 2**14)


def test_one_thread_starts_no_pool(monkeypatch):
    threads(1, monkeypatch)
    seen = []
    pool.run_chunks(lambda *_: seen.append(threading.current_thread()), 2**20)
    assert seen == [threading.current_thread()]
    assert pool._pool is None


def test_small_work_starts_no_pool(monkeypatch):
    threads(8, monkeypatch)
    pool.run_chunks(lambda *_: None, 2**13)
    assert pool._pool is None


@pytest.mark.parametrize("failing", [0, 2**15])
def test_an_error_reaches_the_caller_after_all_chunks_have_ended(monkeypatch, failing):
    threads(2, monkeypatch)
    ended = []

    def work(start, stop):
        if start == failing:
            raise ZeroDivisionError
        threading.Event().wait(0.05)
        ended.append(start)

    with pytest.raises(ZeroDivisionError):
        pool.run_chunks(work, 2**16)
    assert ended == [2**15 - failing]


def test_the_pool_is_kept_and_grows(monkeypatch):
    threads(2, monkeypatch)
    pool.run_chunks(lambda *_: None, 2**16)
    first = pool._pool
    pool.run_chunks(lambda *_: None, 2**16)
    assert pool._pool is first
    threads(4, monkeypatch)
    together = threading.Barrier(4, timeout=30)
    pool.run_chunks(lambda *_: together.wait(), 2**16)


def test_callers_on_many_threads_at_once(monkeypatch):
    threads(4, monkeypatch)

    def covered(n):
        parts = []
        pool.run_chunks(lambda start, stop: parts.append(stop - start), n)
        return sum(parts)

    sizes = [2**15 + 3 * i for i in range(200)]
    with ThreadPoolExecutor(8) as callers:
        assert list(callers.map(covered, sizes)) == sizes


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_starts_its_own_pool_even_while_the_lock_is_held(monkeypatch):
    threads(2, monkeypatch)
    pool.run_chunks(lambda *_: None, 2**16)
    with pool._lock:
        child = os.fork()
    if child == 0:
        code = 1
        try:
            parts = []
            pool.run_chunks(lambda start, stop: parts.append(stop - start), 2**16)
            code = 0 if sum(parts) == 2**16 and len(parts) == 2 else 2
        finally:
            os._exit(code)
    assert wait_for(child) == 0


def wait_for(child, seconds=60):
    """The exit code of a child, which is killed where it hangs."""
    alarm = threading.Timer(seconds, os.kill, (child, 9))
    alarm.start()
    _, status = os.waitpid(child, 0)
    alarm.cancel()
    return os.waitstatus_to_exitcode(status)
