from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from torchdropout.study import datasets
from torchdropout.study.conditions import Condition
from torchdropout.study.config import CompareConfig
from torchdropout.study.datasets import Dataset
from torchdropout.study.execution import Material
from torchdropout.study.protocol import divide


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Steps of a millisecond gain nothing from more, and tests may share the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return datasets.load("digits")


@pytest.fixture(scope="session")
def few(digits: Dataset) -> Dataset:
    """Two hundred of the digits, so that an epoch takes milliseconds."""
    return replace(digits, name="few", inputs=digits.inputs[:200], targets=digits.targets[:200], note="The first 200.")


@pytest.fixture(scope="session")
def line() -> Dataset:
    """A regression: sixty noisy points on a plane."""
    rng = np.random.default_rng(5)
    inputs = rng.normal(size=(60, 3))
    return Dataset("line", "regression", inputs, 7 + inputs @ [1.0, -2.0, 0.5] + 0.1 * rng.normal(size=60), (), "")


@pytest.fixture
def material(few: Dataset) -> Material:
    config = CompareConfig(folds=2, epochs=2, jobs=1)
    return Material(config, few, divide(config, few))


@pytest.fixture
def conditions() -> tuple[Condition, ...]:
    found = (("dropout", 0.5), ("gaussian", 0.5), ("gaussian-noise", 0.2))
    return (Condition("none"), *(Condition(name, (value,)) for name, value in found))


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever a test writes without naming a folder lands in its own, and the default generator is left as it was."""
    monkeypatch.chdir(tmp_path)
    with torch.random.fork_rng(devices=[]):
        yield
