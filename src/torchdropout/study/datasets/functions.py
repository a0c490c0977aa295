"""Data sets from a function of the user's, named `module:function`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torchdropout.study.datasets import arrays
from torchdropout.study.datasets.dataset import Dataset, Task
from torchdropout.study.errors import StudyError
from torchdropout.study.named import importable, raised, resolve

_RETURNED = "a Dataset, (inputs, targets) or (inputs, targets, test_inputs, test_targets)"


def load(name: str, task: Task | None) -> Dataset:
    """The data set that a function returns.

    Args:
        name: `module:function`; modules in the current directory are found.
        task: Overrides the task that is guessed from the targets; a returned `Dataset` has its own.

    Raises:
        StudyError: There is no such function, it raises, or what it returns cannot be used.
    """
    with importable(Path.cwd()):
        function = resolve(name)
        try:
            found = function()
        except (Exception, SystemExit) as error:
            raise StudyError(f"{name}: the function must return {_RETURNED}, {raised(error)}.") from error
    if isinstance(found, Dataset):
        if task not in (None, found.task):
            raise StudyError(f"--task: {name} returned a {found.task}, got {task!r}.")
        return found
    if not isinstance(found, tuple) or len(found) not in (2, 4):
        returned = f"a tuple of {len(found)}" if isinstance(found, tuple) else f"a {type(found).__name__}"
        raise StudyError(f"{name}: the function must return {_RETURNED}, found {returned}.")
    return _assembled(name, list(found), task)


def _assembled(name: str, parts: list[Any], task: Task | None) -> Dataset:
    try:
        return arrays.assemble(name, parts, task)
    except StudyError:
        raise
    except (TypeError, ValueError) as error:  # NumPy's, of what is no array
        raise StudyError(f"{name}: the function must return arrays or tables, {raised(error)}.") from error
