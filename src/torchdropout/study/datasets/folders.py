"""Where the files of a known data set are."""

from __future__ import annotations

import os
from pathlib import Path

from torchdropout.study.errors import StudyError

VARIABLE = "TORCHDROPOUT_DATA"


def find(name: str, data_dir: Path | None, files: str, origin: str) -> Path:
    """The folder of a set's files.

    Args:
        name: The set.
        data_dir: The folder or its parent; None for the variable TORCHDROPOUT_DATA.
        files: What the folder holds, in words.
        origin: Where to have it from, in words.

    Raises:
        StudyError: No folder is named.
    """
    given = data_dir or (Path(value) if (value := os.environ.get(VARIABLE)) else None)
    if given is None:
        raise StudyError(
            f"compare: data set {name!r} needs a folder of {files}, named by --data-dir or {VARIABLE}; {origin}."
        )
    return given / name if (given / name).is_dir() else given
