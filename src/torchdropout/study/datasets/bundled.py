"""The small data sets that scikit-learn brings along."""

from __future__ import annotations

import numpy as np

from torchdropout.study.datasets.dataset import Dataset

_LOADERS = {
    "digits": "load_digits",
    "iris": "load_iris",
    "wine": "load_wine",
    "breast-cancer": "load_breast_cancer",
    "diabetes": "load_diabetes",
}
_NOTES = {
    "digits": "Scikit-learn's copy of the test part of the UCI handwritten digits.",
    "iris": "Fisher's iris measurements, scikit-learn's copy.",
    "wine": "The UCI wine recognition data (training part), scikit-learn's copy.",
    "breast-cancer": "The UCI breast cancer Wisconsin (diagnostic) data, scikit-learn's copy.",
    "diabetes": "The diabetes progression data of Efron et al. (2004) in its original units, scikit-learn's copy.",
}
NAMES = tuple(_LOADERS)


def load(name: str) -> Dataset:
    """The bundled set called `name`."""
    from sklearn import datasets  # noqa: PLC0415 - a second that worker processes need not spend

    options = {"scaled": False} if name == "diabetes" else {}
    bunch = getattr(datasets, _LOADERS[name])(**options)
    note = f"{_NOTES[name]} It has no given test split."
    if name == "diabetes":
        return Dataset(name, "regression", bunch.data, bunch.target.astype(np.float64), (), note)
    inputs = bunch.images.astype(np.uint8)[:, None] if name == "digits" else bunch.data
    classes = tuple(str(label) for label in bunch.target_names)
    return Dataset(name, "classification", inputs, bunch.target.astype(np.int64), classes, note)
