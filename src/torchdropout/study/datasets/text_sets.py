"""BANKING77 and CLINC150 from the files of their publishers: short questions, and which intent each has.

I. Casanueva, T. Temcinas, D. Gerz, M. Henderson, I. Vulic. Efficient Intent Detection with Dual Sentence Encoders. NLP
for Conversational AI, 2020, arXiv:2003.04807. S. Larson et al. An Evaluation Dataset for Intent Classification and
Out-of-Scope Prediction. EMNLP 2019, arXiv:1909.02027.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from torchdropout.study.datasets import canonical, delimited, folders, targets
from torchdropout.study.datasets.dataset import Dataset
from torchdropout.study.errors import StudyError

if TYPE_CHECKING:
    import pandas as pd

COLUMN = "text"

# Of the files, byte for byte.
SUMS = {
    "banking77": {
        "train.csv": "b06e26ac675513959a63135f11b94ea7786ed02da65db93a5650d8838cbc664b",
        "test.csv": "d12d6e3bc4c3103966ae786dc435913c0c563dfa328f5a3646d0e62cfeeb474d",
    },
    "clinc150": {"data_full.json": "36923c3705a59e08fe9c3883d8bc2dd966ef93e22cb78ac41171782a698d56e0"},
}
PUBLISHED = {
    "banking77": "https://github.com/PolyAI-LDN/task-specific-datasets (banking_data)",
    "clinc150": "https://github.com/clinc/oos-eval (data)",
}
_CLINC_NOTE = (
    "As in the paper, its training queries train and the test split is kept apart. Left out are the queries for "
    "validation, whose part an inner fifth of the training data takes, and those out of scope."
)


def load(name: str, data_dir: Path | None) -> Dataset:
    """The set called `name`, with its given test split.

    Args:
        name: `banking77` or `clinc150`.
        data_dir: The folder of the files or its parent; None for the variable TORCHDROPOUT_DATA.

    Raises:
        StudyError: No folder is named, or a file is missing or not the published one.
    """
    folder = folders.find(name, data_dir, _listed(name), f"published at {PUBLISHED[name]}")
    paths = [folder / file for file in SUMS[name]]
    for path in paths:
        if not path.exists():
            raise StudyError(f"{folder}: there must be a file {path.name} in this folder, found none.")
        canonical.check_sum(name, path, SUMS[name][path.name])
    training, test = (_banking if name == "banking77" else _clinc)(paths)
    found = targets.read(training[1], "classification", name)
    note = f"Its file{'s are those' if len(paths) > 1 else ' is the one'} published. " + (
        _CLINC_NOTE if name == "clinc150" else "Folds divide the given training split; the test split is kept apart."
    )
    test_targets = found.alike(test[1], f"{name} (test split)")
    return Dataset(name, "classification", training[0], found.values, found.classes, note, test[0], test_targets)


def refuse_to_fetch(name: str, folder: Path) -> None:
    """Say where the files go: no address is known for certain to hold these very bytes."""
    where = f"of {PUBLISHED[name]} into {folder / name}"
    raise StudyError(f"fetch: the files of {name!r} must be had by hand, put {_listed(name)} {where}.")


def _listed(name: str) -> str:
    return " and ".join(SUMS[name])


def _banking(paths: list[Path]) -> list[tuple[npt.NDArray[Any], pd.Series]]:
    tables = [delimited.read(path, verbatim=(COLUMN, "category")) for path in paths]
    return [(table[COLUMN].to_numpy(object), table["category"]) for table in tables]


def _clinc(paths: list[Path]) -> list[tuple[npt.NDArray[Any], pd.Series]]:
    import pandas as pd  # noqa: PLC0415 - half a second that worker processes need not spend

    stored = json.loads(paths[0].read_text(encoding="utf-8"))
    parts = [list(zip(*stored[part], strict=True)) for part in ("train", "test")]
    return [(np.array(texts, dtype=object), pd.Series(labels, dtype=object)) for texts, labels in parts]
