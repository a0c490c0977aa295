"""Compare methods on data: `torchdropout compare` and its functions.

Needs the study extra: `pip install 'torchdropout[study]'`. The names are imported when they are first used, so that a
worker process loads only what training needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from torchdropout.study.errors import StudyError

if TYPE_CHECKING:
    from torchdropout.study.comparison import compare
    from torchdropout.study.config import CompareConfig
    from torchdropout.study.report import write as write_report
    from torchdropout.study.store import Stored, read
    from torchdropout.study.summary import summarise

__all__ = ["CompareConfig", "Stored", "StudyError", "compare", "read", "summarise", "write_report"]

_WHERE = {
    "CompareConfig": ("config", "CompareConfig"),
    "Stored": ("store", "Stored"),
    "compare": ("comparison", "compare"),
    "read": ("store", "read"),
    "summarise": ("summary", "summarise"),
    "write_report": ("report", "write"),
}


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _WHERE[name]
    try:
        return getattr(import_module(f"{__name__}.{module}"), attribute)
    except ModuleNotFoundError as error:
        raise ImportError(f"{__name__} needs {error.name}: pip install 'torchdropout[study]'.") from error
