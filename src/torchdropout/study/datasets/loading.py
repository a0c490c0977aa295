"""Data sets by name, by file or by function."""

from __future__ import annotations

import dataclasses
import difflib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from torchdropout.study.datasets import arrays, bundled, canonical, functions, idx_sets, tables, text_sets, texts
from torchdropout.study.datasets.dataset import Dataset, Inputs, Task
from torchdropout.study.datasets.encoding import Encoding
from torchdropout.study.datasets.prepare import rows
from torchdropout.study.datasets.words import Words
from torchdropout.study.errors import StudyError

if TYPE_CHECKING:
    from torchdropout.study.datasets.prepare import Preparation

TEXT_COLUMN = text_sets.COLUMN
NAMES = (*bundled.NAMES, *canonical.SUMS, *text_sets.SUMS)
_KINDS = "a .csv, .tsv, .txt, .data, .parquet or .npz file, or a module:function"
_SUBSET_SEED = 0


def load(
    name: str,
    *,
    target: str | int | None = None,
    text: str | None = None,
    task: Task | None = None,
    data_dir: Path | None = None,
    max_examples: int | None = None,
) -> Dataset:
    """The data set called `name`.

    Args:
        name: One of `NAMES`; or the path of a .csv, .tsv, .txt, .data, .parquet or .npz file; or `module:function`.
        target: For a table, the name of the target's column or its position: 1 is the first, -1 the last.
        text: For a table, the name of the column whose texts are the inputs; None where all columns are.
        task: Overrides the task that is guessed from a file's or a function's targets.
        data_dir: For `mnist`, `fashion-mnist`, `banking77` and `clinc150`, the folder of their files or its parent;
            None for the variable TORCHDROPOUT_DATA.
        max_examples: Keep a random subset of this size, with the proportions of classes; the same at every call. A
            given test split is left whole.

    Raises:
        StudyError: There is no such data, or it cannot be used; the message says why.
    """
    data = _load(name, target, text, task, data_dir)
    return data if max_examples is None else _subset(data, max_examples)


def load_inputs(path: str | Path, preparation: Preparation, *, column: str = TEXT_COLUMN) -> Inputs:
    """The inputs in a file of new examples, as `preparation.inputs` takes them.

    Args:
        path: A table with at least the columns of training, or an .npz file with an array `inputs`. Texts may be the
            lines of a .txt file too.
        preparation: What was fitted in training.
        column: The name of the texts' column, where training was on texts.

    Raises:
        StudyError: The file cannot be used.
    """
    suffix = Path(path).suffix.lower()
    if suffix in (arrays.SUFFIX, *tables.SUFFIXES) and isinstance(preparation.encoding, Words):
        return texts.load_inputs(Path(path), column)
    if suffix == arrays.SUFFIX:
        return arrays.load_inputs(Path(path))
    if suffix in tables.SUFFIXES and isinstance(preparation.encoding, Encoding):
        return tables.load_inputs(Path(path), preparation.encoding)
    raise StudyError(f"{path}: new examples must be in a .csv, .tsv, .txt, .data, .parquet or .npz file.")


def _load(name: str, target: str | int | None, text: str | None, task: Task | None, data_dir: Path | None) -> Dataset:
    suffix = Path(name).suffix.lower()
    if name not in NAMES and suffix in tables.SUFFIXES:
        path = Path(name)
        return tables.load(path, target, task) if text is None else texts.load(path, text, target, task)
    if text is not None:
        raise StudyError(f"--text: only a table has a column to choose as the text, the data is {name!r}.")
    if target is not None:
        raise StudyError(f"--target: only a table has a column to choose as the target, the data is {name!r}.")
    if name not in NAMES and suffix == arrays.SUFFIX:
        return arrays.load(Path(name), task)
    if name not in NAMES and ":" in name:
        return functions.load(name, task)
    data = _known(name, data_dir)
    if task not in (None, data.task):
        raise StudyError(f"--task: data set {name!r} is a {data.task}, got {task!r}.")
    return data


def _known(name: str, data_dir: Path | None) -> Dataset:
    if name in bundled.NAMES:
        return bundled.load(name)
    if name in text_sets.SUMS:
        return text_sets.load(name, data_dir)
    if name in NAMES:
        return idx_sets.load(name, data_dir)
    near = difflib.get_close_matches(name, NAMES, n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise StudyError(f"compare: no data set is called {name!r}.{hint} Known: {', '.join(NAMES)}; or {_KINDS}.")


def _subset(data: Dataset, count: int) -> Dataset:
    """Some of the training examples, in their order."""
    from sklearn.utils import resample  # noqa: PLC0415 - worker processes are given the data

    total, present = len(data.targets), len(np.unique(data.targets)) if data.classes else 2
    if count < present:
        why = ", one for each class" if data.classes else ""
        raise StudyError(f"--max-examples: it must be at least {present}{why}, got {count}.")
    if count >= total:
        return data
    strata = data.targets if data.classes else None
    kept = np.sort(
        resample(np.arange(total), replace=False, n_samples=count, stratify=strata, random_state=_SUBSET_SEED)
    )
    if data.classes and len(np.unique(data.targets[kept])) < present:
        lost = data.classes[np.setdiff1d(data.targets, data.targets[kept])[0]]
        raise StudyError(f"--max-examples: {count:,} must leave every class an example, class {lost!r} has none left.")
    note = f"{data.note} A random {count:,} of its {total:,} training examples."
    return dataclasses.replace(data, inputs=rows(data.inputs, kept), targets=data.targets[kept], note=note)
