"""MNIST and Fashion-MNIST from their idx files.

A file ending in .gz must be the published one, by its sha256. A file without that ending is read unchecked: unpacked
copies have no published sum.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from torchdropout.study.datasets import canonical, folders, idx
from torchdropout.study.datasets.dataset import Dataset
from torchdropout.study.errors import StudyError

_Part = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]


def load(name: str, data_dir: Path | None) -> Dataset:
    """The set called `name`, its t10k files as the given test split.

    Args:
        name: `mnist` or `fashion-mnist`.
        data_dir: The folder of the files or its parent; None for the variable TORCHDROPOUT_DATA.

    Raises:
        StudyError: No folder is named, or a file is missing, broken, or not the published one.
    """
    origin = f"`torchdropout data fetch {name}` downloads them"
    folder = folders.find(name, data_dir, "idx files", origin)
    paths = [_find(folder, file) for file in (*canonical.TRAINING, *canonical.TEST)]
    for path in paths:
        if path.suffix == ".gz":
            canonical.check_sum(name, path, canonical.SUMS[name][path.name])
    training, test = _part(*paths[:2]), _part(*paths[2:])
    unchecked = sum(path.suffix != ".gz" for path in paths)
    origin = (
        f"{unchecked} of its 4 files are unpacked, so not checked" if unchecked else "Its files are those published"
    )
    note = f"{origin}. Folds divide the given training split; the given test split is kept apart."
    return Dataset(name, "classification", *training, canonical.CLASSES[name], note, *test)


def _find(folder: Path, name: str) -> Path:
    """The file called `name`, preferably as published: gzipped."""
    candidates = (folder / f"{name}.gz", folder / name)
    for path in candidates:
        if path.exists():
            return path
    raise StudyError(f"{folder}: there must be a file {name} or {name}.gz in this folder, found neither.")


def _part(images_path: Path, labels_path: Path) -> _Part:
    images, labels = idx.read(images_path, 3), idx.read(labels_path, 1)
    if len(images) != len(labels):
        counts = f"found {len(images):,} images and {len(labels):,} labels"
        raise StudyError(f"{labels_path}: there must be one label for each image of {images_path.name}, {counts}.")
    if not images.size:
        raise StudyError(f"{images_path}: there must be at least one image with at least one pixel, found none.")
    if labels.max() > 9:
        raise StudyError(f"{labels_path}: labels must be in 0..9, found {labels.max()}.")
    return images[:, None], labels.astype(np.int64)
