from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings

# The same examples on every run: a red build is then about the change, and repeats at will.
settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
settings.load_profile("repeatable")

# Test processes run side by side, and OpenMP's idle threads keep others' from the cores; tests of threads set theirs.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _generator_left_alone() -> Iterator[None]:
    """No test starts from, or ends with, another's state of the default generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(20140614)
        yield
