"""The data sets of a comparison: scikit-learn's digits, and MNIST and Fashion-MNIST from idx files."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from torchdropout.study import idx
from torchdropout.study.errors import StudyError

NAMES = ("digits", "mnist", "fashion-mnist")
VARIABLE = "TORCHDROPOUT_DATA"
_IMAGES = "train-images-idx3-ubyte"
_LABELS = "train-labels-idx1-ubyte"
_CLASSES = 10


@dataclass(frozen=True, slots=True)
class Dataset:
    """Labelled images in memory.

    Attributes:
        name: What the command line calls it.
        inputs: Images as stored, unscaled, of shape (examples, channels, height, width).
        labels: Classes from 0, of shape (examples,).
        classes: The number of classes.
        note: What a reader of the results should know about the set.
    """

    name: str
    inputs: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    classes: int
    note: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        _, channels, height, width = self.inputs.shape
        return channels, height, width


def load(name: str, data_dir: Path | None = None) -> Dataset:
    """The data set called `name`.

    Args:
        name: `digits`, `mnist` or `fashion-mnist`.
        data_dir: For the last two, the folder of the idx files or its parent; None for the variable TORCHDROPOUT_DATA.

    Raises:
        StudyError: There is no such set, or its files are missing or broken.
    """
    if name == "digits":
        return _digits()
    if name in NAMES:
        return _idx_set(name, _folder(name, data_dir))
    near = difflib.get_close_matches(name, NAMES, n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise StudyError(f"compare: no data set is called {name!r}.{hint} Known: {', '.join(NAMES)}.")


def _digits() -> Dataset:
    from sklearn.datasets import load_digits  # noqa: PLC0415 - a second that worker processes need not spend

    inputs, labels = load_digits(return_X_y=True)
    images = inputs.astype(np.uint8).reshape(-1, 1, 8, 8)
    note = "Scikit-learn's copy of the test part of the UCI handwritten digits. It has no given test split."
    return Dataset("digits", images, labels.astype(np.int64), _CLASSES, note)


def _folder(name: str, data_dir: Path | None) -> Path:
    given = data_dir or (Path(value) if (value := os.environ.get(VARIABLE)) else None)
    if given is None:
        raise StudyError(f"compare: data set {name!r} needs a folder of idx files, named by --data-dir or {VARIABLE}.")
    return given / name if (given / name).is_dir() else given


def _idx_set(name: str, folder: Path) -> Dataset:
    images_path, labels_path = _find(folder, _IMAGES), _find(folder, _LABELS)
    images, labels = idx.read(images_path, 3), idx.read(labels_path, 1)
    if len(images) != len(labels):
        counts = f"found {len(images):,} images and {len(labels):,} labels"
        raise StudyError(f"{labels_path}: there must be one label for each image of {images_path.name}, {counts}.")
    if not images.size:
        raise StudyError(f"{images_path}: there must be at least one image with at least one pixel, found none.")
    if labels.max() >= _CLASSES:
        raise StudyError(f"{labels_path}: labels must be in 0..{_CLASSES - 1}, found {labels.max()}.")
    note = "Folds divide the given training split; the given test split was not read."
    return Dataset(name, images[:, None], labels.astype(np.int64), _CLASSES, note)


def _find(folder: Path, name: str) -> Path:
    """The file called `name`, plain or gzipped."""
    candidates = (folder / name, folder / f"{name}.gz")
    for path in candidates:
        if path.exists():
            return path
    raise StudyError(f"{folder}: there must be a file {name} or {name}.gz in this folder, found neither.")
