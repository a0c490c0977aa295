"""The data of a comparison: sets, tables, texts, arrays, functions, and what is fitted to a fold's training part."""

from torchdropout.study.datasets.dataset import Dataset, Inputs, Task
from torchdropout.study.datasets.download import fetch
from torchdropout.study.datasets.folders import VARIABLE
from torchdropout.study.datasets.loading import NAMES, TEXT_COLUMN, load, load_inputs
from torchdropout.study.datasets.prepare import Preparation, fit

__all__ = [
    "NAMES",
    "TEXT_COLUMN",
    "VARIABLE",
    "Dataset",
    "Inputs",
    "Preparation",
    "Task",
    "fetch",
    "fit",
    "load",
    "load_inputs",
]
