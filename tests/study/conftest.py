from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from torchdropout.study.conditions import Condition
from torchdropout.study.config import CompareConfig
from torchdropout.study.data import Dataset, load
from torchdropout.study.execution import Material
from torchdropout.study.protocol import folds


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Steps of a millisecond gain nothing from more, and tests may share the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load("digits")


@pytest.fixture(scope="session")
def few(digits: Dataset) -> Dataset:
    """Two hundred of the digits, so that an epoch takes milliseconds."""
    return Dataset("few", digits.inputs[:200], digits.labels[:200], digits.classes, "The first 200 digits.")


@pytest.fixture
def material(few: Dataset) -> Material:
    config = CompareConfig(folds=2, epochs=2, jobs=1)
    return Material(config, few, folds(few.labels, 2))


@pytest.fixture
def conditions() -> tuple[Condition, ...]:
    return (Condition("none"), Condition("dropout", 0.5), Condition("gaussian", 0.5), Condition("gaussian-noise", 0.2))


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever a test writes without naming a folder lands in its own, and the default generator is left as it was."""
    monkeypatch.chdir(tmp_path)
    with torch.random.fork_rng(devices=[]):
        yield
