"""Forked workers, forks, and many threads: the pool and the compiled code in the company they will meet."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import torchdropout as td
from torchdropout.kernels import openmp, pool

F = td.functional
LARGE = 2**20 + 12345  # elements; enough for two threads
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=["torch's team", "our pool"])
def used_with_threads(two_threads, request, monkeypatch):
    """The noise of 2**20 elements, made by two threads that now exist in this process."""
    monkeypatch.setattr(pool, "_pool", None)
    if request.param == "our pool":
        monkeypatch.setattr(openmp, "usable", lambda: False)
    elif not openmp.usable():
        pytest.skip("this build of torch brings no OpenMP library of GNU's")
    y = F.dropout(torch.ones(LARGE), 0.3, key=td.key(1))
    F.gaussian_dropout(torch.ones(LARGE, dtype=torch.float64), 0.3, key=td.key(1))
    assert (pool._pool is None) == (request.param == "torch's team")
    return y


# A forked child must not run PyTorch's own parallel loops: these hang where the parent has run any. What a child needs
# of them (the large input) is therefore made before.


class Noisy(Dataset):
    """Each item is the noise of its own key, large enough that a worker with two threads uses its pool."""

    def __init__(self, threads):
        self.threads = threads
        self.ones = torch.ones(LARGE)

    def __len__(self):
        return 4

    def __getitem__(self, index):
        torch.set_num_threads(self.threads)
        return F.dropout(self.ones, 0.3, key=td.key(index))


@forks
@pytest.mark.parametrize("threads", [1, 2])
def test_forked_dataloader_workers(used_with_threads, threads):
    loader = DataLoader(Noisy(threads), batch_size=None, num_workers=2, multiprocessing_context="fork", timeout=60)
    for index, item in enumerate(loader):
        assert torch.equal(item, F.dropout(torch.ones(LARGE), 0.3, key=td.key(index)))
    assert index == 3


class Drawn(Noisy):
    def __getitem__(self, index):
        return td.Dropout(0.5)(torch.ones(64))


@forks
@pytest.mark.usefixtures("used_with_threads")
def test_forked_workers_draw_different_masks_in_modules():
    loader = DataLoader(Drawn(1), batch_size=None, num_workers=2, multiprocessing_context="fork", timeout=60)
    assert len(torch.stack(list(loader)).unique(dim=0)) == 4


@forks
def test_a_forked_child_computes_with_its_own_threads(used_with_threads):
    x = torch.ones(LARGE)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            y = F.dropout(x, 0.3, key=td.key(1))
            code = 0 if (y.numpy() == used_with_threads.numpy()).all() and pool._pool is not None else 2
        finally:
            os._exit(code)
    alarm = threading.Timer(60, os.kill, (child, 9))
    alarm.start()
    _, status = os.waitpid(child, 0)
    alarm.cancel()
    assert os.waitstatus_to_exitcode(status) == 0
    assert torch.equal(F.dropout(x, 0.3, key=td.key(1)), used_with_threads)


@pytest.mark.usefixtures("used_with_threads")
def test_many_threads_at_once_give_what_one_gives():
    """Small and large inputs, forward and backward, all dtypes, through one team or pool."""
    dtypes = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
    jobs = [(i, dtypes[i % 4], LARGE if i % 5 == 0 else 1000 + i) for i in range(40)]

    def job(arguments):
        seed, dtype, number = arguments
        x = torch.ones(number, dtype=dtype, requires_grad=True)
        y = F.gaussian_dropout(F.dropout(x, 0.3, key=td.key(seed)), 0.2, key=td.key(seed + 1))
        y.sum().backward()
        return y.detach(), x.grad

    alone = [job(arguments) for arguments in jobs]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(job, jobs))
    for (y, grad), (expected, expected_grad) in zip(together, alone, strict=True):
        assert torch.equal(y, expected)
        assert torch.equal(grad, expected_grad)


FIRST_CALLS = """
import threading, torch, torchdropout as td
start, results = threading.Barrier(8), []
def call():
    start.wait()
    results.append(td.functional.dropout(torch.ones(1000), 0.3, key=td.key(1)))
threads = [threading.Thread(target=call) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(len(results), all(torch.equal(result, results[0]) for result in results))
"""


def test_first_calls_on_many_threads_at_once(tmp_path):
    """All of them find the kernel not yet compiled."""
    env = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-W", "error::RuntimeWarning", "-c", FIRST_CALLS]
    result = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert (result.stdout.split(), result.stderr) == (["8", "True"], "")


def test_one_thread_gives_the_same_and_starts_no_other(used_with_threads, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(pool, "_pool", None)
    monkeypatch.setattr(openmp, "run", None)
    assert torch.equal(F.dropout(torch.ones(LARGE), 0.3, key=td.key(1)), used_with_threads)
    assert pool._pool is None


@pytest.mark.parametrize("before", ["", "openmp.usable = lambda: False"])
def test_a_process_that_used_threads_ends(before):
    code = f"""
import torch, torchdropout as td
from torchdropout.kernels import openmp
torch.set_num_threads(2)
{before}
print(len(td.functional.dropout(torch.ones({LARGE}))))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert (result.stdout.strip(), result.stderr) == (str(LARGE), "")
