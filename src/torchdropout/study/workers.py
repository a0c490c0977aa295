"""Worker processes: each starts once, a dead one is replaced, and none outlives the process that started it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from types import TracebackType

import torch

from torchdropout.study.errors import StudyError
from torchdropout.study.execution import Listener, Material, Outcome, train_run
from torchdropout.study.protocol import Run
from torchdropout.study.status import FAILED

DIED = "The worker process of this run died (killed, or out of memory)."
NOT_STARTED = (
    "compare: the worker processes must be able to start, the first one died while it did: a script that trains with "
    "more than one job needs its `if __name__ == '__main__':`, and the machine room for a copy of the data in each."
)
_DEAD = (BrokenProcessPool, BrokenPipeError)  # how the pool, and the pipe to a starting process, say so
_PRELOAD = ["torchdropout.study.workers", "sklearn.metrics", "sklearn.preprocessing", "pandas"]


def execute(runs: list[Run], material: Material, listener: Listener, count: int) -> None:
    """Train every run on `count` processes.

    When a process dies its pool is lost with every run that was on it. Each of these is tried once more, alone, so
    that only the one that kills its process is recorded as failed.
    """
    waiting, flying = deque(runs), dict[Future[Outcome], Run]()
    with _Crew(material, count) as crew:
        while waiting or flying:
            while waiting and len(flying) < count:
                run = waiting.popleft()
                listener.on_begin(run)
                flying[crew.submit(run)] = run
            wait(flying, return_when=FIRST_COMPLETED)
            lost = _collect(flying, listener)
            for run in lost:
                listener.on_outcome(_alone(run, material))
            if lost:
                crew.replace()


def _collect(flying: dict[Future[Outcome], Run], listener: Listener) -> list[Run]:
    """Report what is over, and return the runs whose pool broke: with one of them all are."""
    over = [future for future in flying if future.done()]
    if any(isinstance(future.exception(), _DEAD) for future in over):
        over = list(flying)
    lost = []
    for future in over:
        run = flying.pop(future)
        if isinstance(future.exception(), _DEAD):
            lost.append(run)
        else:
            listener.on_outcome(future.result())
    return lost


def _alone(run: Run, material: Material) -> Outcome:
    with _Crew(material, 1) as crew:
        try:
            return crew.submit(run).result()
        except _DEAD:
            return Outcome(run, FAILED, DIED)


class _Crew:
    """A pool of processes that hold the material."""

    def __init__(self, material: Material, count: int) -> None:
        self.material, self.count = material, count
        self._start()

    def __enter__(self) -> _Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop(at_once=error is not None)

    def submit(self, run: Run) -> Future[Outcome]:
        try:
            return self._executor.submit(_train_in_worker, run)
        except _DEAD as error:  # a process died since the last result
            failed: Future[Outcome] = Future()
            failed.set_exception(error)
            return failed

    def replace(self) -> None:
        """Start again, after a process died.

        Raises:
            StudyError: No process can be started.
        """
        self._stop(at_once=True)
        self._start()

    def _start(self) -> None:
        reader, self._alive = multiprocessing.Pipe(duplex=False)
        self._executor = ProcessPoolExecutor(
            self.count, _context(), initializer=_start_worker, initargs=(self.material, reader)
        )
        try:
            self._executor.submit(os.getpid).result()
        except _DEAD as error:
            raise StudyError(NOT_STARTED) from error

    def _stop(self, *, at_once: bool) -> None:
        if at_once:
            self._alive.close()  # the processes end, whatever they are doing
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._alive.close()


def _context() -> multiprocessing.context.BaseContext:
    """A server that has imported what workers need forks each of them from itself, where there is such a thing."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    return context


_received: list[Material] = []  # in a worker process: the material of its comparison


def _start_worker(material: Material, alive: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the process that coordinates, which then stops us
    threading.Thread(target=_end_with_coordinator, args=(alive,), daemon=True).start()
    torch.set_num_threads(1)
    _received.append(material)


def _end_with_coordinator(alive: Connection) -> None:
    """Wait for the other end of the pipe to close, as it does even if its process is killed."""
    try:
        alive.recv_bytes()
    except EOFError:
        os._exit(1)


def _train_in_worker(run: Run) -> Outcome:
    return train_run(run, _received[0])
