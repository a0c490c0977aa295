"""The textbook experiments of `examples/`: find them, run one of them.

Each script states what is expected, measures it and saves a figure. They travel with the package, so that
`torchdropout example NAME` needs no clone.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from importlib import util
from pathlib import Path
from types import ModuleType
from typing import Protocol


class Finding(Protocol):
    """One expectation beside what was measured."""

    @property
    def what(self) -> str:
        """What is measured."""

    @property
    def expected(self) -> str:
        """The expectation, in words or numbers."""

    @property
    def measured(self) -> str:
        """The measurement."""

    @property
    def holds(self) -> bool:
        """Whether the measurement meets the expectation."""


class UnknownExample(ValueError):  # noqa: N818 - it is about what the user typed
    """No experiment has the name asked for; the message is one sentence that lists the names."""


def folder() -> Path:
    """The folder of the scripts: inside an installed package, otherwise that of the source tree.

    Raises:
        UnknownExample: Neither is there.
    """
    here = Path(__file__).resolve().parent
    for candidate in (here / "_examples", here.parents[1] / "examples"):
        if (candidate / "_common.py").is_file():
            return candidate
    raise UnknownExample(f"example: the scripts must be in {here / '_examples'}, found none; install the package anew.")


def names() -> list[str]:
    """The names of the experiments, sorted."""
    return sorted(path.stem for path in folder().glob("*.py") if not path.stem.startswith("_"))


def run(name: str, small: bool, out: Path) -> list[Finding]:
    """Run an experiment and return what it found; its figure is saved as `out/NAME.png`.

    Args:
        name: One of `names()`.
        small: Whether to run at the reduced size, a few seconds on one core.
        out: The folder of the figure, made if need be.

    Raises:
        UnknownExample: There is no experiment of that name.
    """
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=1, cutoff=0.4)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UnknownExample(f"example: no experiment is called {name!r}.{hint} Known: {', '.join(names())}.")
    found: list[Finding] = _module(name).run(small, out)
    return found


def show(findings: Sequence[Finding]) -> None:
    """Print the findings as a table, expected beside measured."""
    _module("_common").show(findings)


def _module(name: str) -> ModuleType:
    """The script called `name`, loaded once; it imports the other files of its folder as a script does."""
    qualified = f"torchdropout_examples.{name}"
    if qualified in sys.modules:
        return sys.modules[qualified]
    spec = util.spec_from_file_location(qualified, folder() / f"{name}.py")
    if spec is None or spec.loader is None:
        raise ImportError(f"{name} cannot be loaded from {folder()}.")
    module = util.module_from_spec(spec)
    sys.modules[qualified] = module
    sys.path.insert(0, str(folder()))
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[qualified]
        raise
    finally:
        sys.path.remove(str(folder()))
    return module
