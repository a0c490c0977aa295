"""Data sets from a function of the user's, named `module:function`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from torchdropout.study.datasets import arrays
from torchdropout.study.datasets.dataset import Dataset, Task
from torchdropout.study.errors import StudyError

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


def resolve(name: str) -> Callable[..., Any]:
    """The function called `module:function`.

    Raises:
        StudyError: The module cannot be imported, or has nothing callable of that name.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise StudyError(
            f"{name}: it must be module:function, found nothing {'after' if module_name else 'before'} the colon."
        )
    try:
        module = import_module(module_name)
    except (Exception, SystemExit) as error:
        raise StudyError(f"{name}: module {module_name!r} must be importable, {raised(error)}.") from error
    found = getattr(module, attribute, None)
    if not callable(found):
        what = f"none of that name in {getattr(module, '__file__', module_name)}" if found is None else f"{found!r:.80}"
        raise StudyError(f"{name}: {attribute!r} must be a function, found {what}.")
    return found  # type: ignore[no-any-return]


def raised(error: BaseException) -> str:
    """In one line, which exception was raised: the end of a sentence."""
    text = " ".join(str(error).split()).rstrip(".")
    return f"it raised {type(error).__name__}: {text}" if text else f"it raised {type(error).__name__}"


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Find modules in `folder` first, as `python -m` does."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        if str(folder) in sys.path:  # unless the user's code took it out
            sys.path.remove(str(folder))
