"""Compare methods on data: `torchdropout compare` and its functions.

Needs the study extra: `pip install 'torchdropout[study]'`. The names are imported when they are first used, so that a
worker process loads only what training needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from torchdropout.study.errors import StudyError

if TYPE_CHECKING:
    from torchdropout.study.comparison import Watcher, compare, write_report
    from torchdropout.study.compressing import Compressed, compress
    from torchdropout.study.config import CompareConfig
    from torchdropout.study.datasets import Dataset
    from torchdropout.study.datasets import load as load_data
    from torchdropout.study.prediction import predict
    from torchdropout.study.refit import load as load_model
    from torchdropout.study.statistics import compare_conditions
    from torchdropout.study.tables import Stored, read
    from torchdropout.study.uncertainty import Assessment, assess

__all__ = [
    "Assessment",
    "CompareConfig",
    "Compressed",
    "Dataset",
    "Stored",
    "StudyError",
    "Watcher",
    "assess",
    "compare",
    "compare_conditions",
    "compress",
    "load_data",
    "load_model",
    "predict",
    "read",
    "write_report",
]

_WHERE = {
    "Assessment": ("uncertainty", "Assessment"),
    "CompareConfig": ("config", "CompareConfig"),
    "Compressed": ("compressing", "Compressed"),
    "Dataset": ("datasets", "Dataset"),
    "Stored": ("tables", "Stored"),
    "Watcher": ("comparison", "Watcher"),
    "assess": ("uncertainty", "assess"),
    "compare": ("comparison", "compare"),
    "compare_conditions": ("statistics", "compare_conditions"),
    "compress": ("compressing", "compress"),
    "load_data": ("datasets", "load"),
    "load_model": ("refit", "load"),
    "predict": ("prediction", "predict"),
    "read": ("tables", "read"),
    "write_report": ("comparison", "write_report"),
}


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _WHERE[name]
    try:
        return getattr(import_module(f"{__name__}.{module}"), attribute)
    except ModuleNotFoundError as error:
        raise ImportError(f"{__name__} needs {error.name}: pip install 'torchdropout[study]'.") from error
