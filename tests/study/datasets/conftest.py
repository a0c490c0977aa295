from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest


def idx_bytes(array: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


@pytest.fixture(scope="session")
def encode() -> Callable[[np.ndarray], bytes]:
    """The bytes of an idx file."""
    return idx_bytes


@pytest.fixture(scope="session")
def idx_files() -> dict[str, np.ndarray]:
    """A set of five training and three test images, under the names of its files."""
    return {
        "train-images-idx3-ubyte": np.arange(5 * 2 * 3, dtype=np.uint8).reshape(5, 2, 3),
        "train-labels-idx1-ubyte": np.array([3, 1, 4, 1, 9], dtype=np.uint8),
        "t10k-images-idx3-ubyte": np.arange(100, 100 + 3 * 2 * 3, dtype=np.uint8).reshape(3, 2, 3),
        "t10k-labels-idx1-ubyte": np.array([2, 7, 1], dtype=np.uint8),
    }


@pytest.fixture
def write_set(idx_files: dict[str, np.ndarray]) -> Callable[..., Path]:
    """Write that set, with some of its arrays replaced, as plain files."""

    def write(folder: Path, **replaced: np.ndarray) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for name, array in idx_files.items():
            key = name.replace("-", "_").split("_idx")[0]
            (folder / name).write_bytes(idx_bytes(replaced.get(key, array)))
        return folder

    return write


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write text or bytes to a file of this test's folder."""

    def to(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return to
