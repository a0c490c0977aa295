"""A small thread pool over index ranges: nothing happens at import, and a fork starts with a fresh one."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

SPLIT = 1 << 19  # elements; handing a part of anything smaller to a second thread costs more than it saves
_ALIGN = 1 << 14  # the largest tile, so that no tile is computed twice

_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None
_workers = 0


def run_chunks(work: Callable[[int, int], object], n: int) -> None:
    """Call `work(start, stop)` over `range(n)`, on at most `torch.get_num_threads()` threads, this one included."""
    threads = min(torch.get_num_threads(), 2 * n // SPLIT)
    if threads < 2:
        work(0, n)
        return
    size = -(-n // threads // _ALIGN) * _ALIGN
    executor = _executor(threads - 1)
    futures = [executor.submit(work, start, min(start + size, n)) for start in range(size, n, size)]
    try:
        work(0, size)
    finally:
        for future in futures:
            future.result()


def run_members(work: Callable[[], object], members: int) -> None:
    """Call `work()` on `members` threads, this one included."""
    futures = [_executor(members - 1).submit(work) for _ in range(members - 1)]
    try:
        work()
    finally:
        for future in futures:
            future.result()


def _executor(workers: int) -> ThreadPoolExecutor:
    """The pool, replaced by a larger one where needed; the threads of an unused pool end with its last reference."""
    global _pool, _workers
    with _lock:
        if _pool is None or _workers < workers:
            _pool, _workers = ThreadPoolExecutor(workers, thread_name_prefix="torchdropout"), workers
        return _pool


def _forget() -> None:
    """After a fork the child has the pool's object but none of its threads."""
    global _pool, _workers, _lock
    _pool, _workers, _lock = None, 0, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
