"""What a user names as `module:function`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from torchdropout.study.errors import StudyError


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
