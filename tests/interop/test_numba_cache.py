"""The first call, the cache on disk, installs that cannot be written, and machines without Numba."""

import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

import torchdropout as td
from torchdropout import ops
from torchdropout.kernels import cpu

PACKAGE = Path(td.__file__).parent
FIRST_CALL = """
import time, torch, torchdropout as td
x = torch.ones(1000)
wall, busy = time.perf_counter(), time.process_time()
y = td.functional.dropout(x, 0.3, key=td.key(1))
print(time.perf_counter() - wall, time.process_time() - busy)
"""
MASK = """
import warnings, torch
DTYPES = torch.float32, torch.bfloat16
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import torchdropout as td
    for dtype in DTYPES:
        y = td.functional.dropout(torch.ones(1000, dtype=dtype), 0.3, key=td.key(1))
        print(*(y == 0).int().tolist(), sep="")
    for layer in (td.Dropout(0.3), td.GaussianDropout(0.3)):
        layer(torch.ones(9))
ours = [w for w in caught if str(w.message).startswith("torchdropout")]
print(len(ours), *{w.category.__name__ for w in ours})
from torchdropout.ops import devices
print(td.__file__, devices.__name__ if devices.cpu_kernel(torch.float32) else None)
"""


def run(code, **environment):
    """The lines that code prints in a new process; a variable that is None is unset there."""
    env = {k: v for k, v in {**os.environ, **environment}.items() if v is not None}
    result = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


@pytest.fixture(scope="module")
def mask():
    kept = td.functional.dropout_mask((1000,), 0.3, key=td.key(1))
    return "".join(map(str, (~kept).int().tolist()))


@pytest.fixture(scope="module")
def cold(tmp_path_factory):
    """A cache that one first call has filled, and the seconds of work of that call."""
    folder = tmp_path_factory.mktemp("cache")
    return folder, float(run(FIRST_CALL, NUMBA_CACHE_DIR=str(folder))[0].split()[1])


def test_first_call_with_a_cold_cache_and_with_a_warm_one(cold):
    """Two seconds of this process's work, so that others' work on the machine does not count; a quarter of slack."""
    folder, seconds = cold
    stored = {path for path in folder.rglob("*") if path.is_file()}
    warm = float(run(FIRST_CALL, NUMBA_CACHE_DIR=str(folder))[0].split()[1])
    assert {path.suffix for path in stored} == {".nbi", ".nbc"}
    assert {path for path in folder.rglob("*") if path.is_file()} == stored
    assert seconds <= 2.5
    assert warm <= 0.6 * seconds


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
def test_a_damaged_cache_costs_time_only(cold, tmp_path, mask, suffix):
    shutil.copytree(cold[0], tmp_path / "cache")
    damaged = list((tmp_path / "cache").rglob(f"*.{suffix}"))
    for path in damaged:
        path.write_bytes(path.read_bytes()[:20])
    assert damaged
    lines = run(MASK, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    assert lines[:3] == [mask, mask, "0"]


@pytest.mark.parametrize("missing", ["numba", "llvmlite"])
def test_without_numba_the_reference_serves_with_one_warning(mask, missing):
    lines = run(f"import sys; sys.modules[{missing!r}] = None\n" + MASK)
    assert lines[:2] == [mask] * 2
    assert lines[2] == "1 RuntimeWarning"
    assert lines[3].endswith("None")


def test_a_numba_that_fails_is_replaced_with_one_warning(monkeypatch):
    def fail(dtype):
        raise OSError(f"no code for {dtype}")

    key, x = td.key(1), torch.ones(1000)
    expected = td.functional.dropout(x, 0.3, key=key)
    ops.devices.cpu_kernel.cache_clear()
    monkeypatch.setattr(ops.devices, "_reasons", {})
    monkeypatch.setattr(cpu, "compiled", fail)
    try:
        with pytest.warns(
            RuntimeWarning, match=r"slower reference serves instead \(OSError: no code for torch.float32"
        ):
            assert torch.equal(td.functional.dropout(x, 0.3, key=key), expected)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert torch.equal(td.functional.dropout(x, 0.3, key=key), expected)
            assert torch.equal(td.functional.dropout(x.double(), 0.3, key=key) == 0, expected == 0)
    finally:
        ops.devices.cpu_kernel.cache_clear()


@pytest.fixture
def unwritable(tmp_path):
    """A copy of the package whose folders refuse every new file, to root as well: files stand where caches would."""
    copy = tmp_path / "site" / "torchdropout"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "study"))
    for folder in [copy, *(path for path in copy.rglob("*") if path.is_dir())]:
        (folder / "__pycache__").write_text("")
        folder.chmod(0o555)
    yield str(copy.parent)
    for folder in [copy, *(path for path in copy.rglob("*") if path.is_dir())]:
        folder.chmod(0o755)


def test_a_read_only_install_caches_in_the_users_folder(unwritable, tmp_path, mask):
    home = {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": None, "NUMBA_CACHE_DIR": None}
    lines = run(MASK, PYTHONPATH=unwritable, **home)
    assert lines[:3] == [mask, mask, "0"]
    assert lines[3] == f"{unwritable}/torchdropout/__init__.py torchdropout.ops.devices"
    assert list((tmp_path / "home").rglob("*.nbc"))


def test_a_read_only_install_without_any_folder_compiles_each_time(unwritable, mask):
    nowhere = {"HOME": "/dev/null", "XDG_CACHE_HOME": None, "NUMBA_CACHE_DIR": None}
    lines = run(MASK, PYTHONPATH=unwritable, **nowhere)
    assert lines[:3] == [mask, mask, "0"]
    assert lines[3] == f"{unwritable}/torchdropout/__init__.py torchdropout.ops.devices"
