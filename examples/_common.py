"""What every experiment shares: its options, the table of findings, intervals, the data folder and the figure."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

    from torchdropout.study.datasets import Dataset

VARIABLE = "TORCHDROPOUT_DATA"

# Okabe and Ito (2008): told apart with every common colour blindness, and in print.
BLUE, ORANGE, GREEN, RED, PURPLE, BLACK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#000000"
COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, BLACK)


@dataclass(frozen=True)
class Finding:
    """One expectation, what was measured, and whether the measurement meets it (computed, never set by hand)."""

    what: str
    expected: str
    measured: str
    holds: bool


def parse(doc: str | None) -> tuple[bool, Path]:
    """Read `--small` and `--out FOLDER` from the command line; `doc` is what `--help` says."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a reduced size, a few seconds on one core")
    parser.add_argument("--out", type=Path, default=Path("runs/examples"), help="the folder of the figure")
    options = parser.parse_args()
    return options.small, options.out


def show(findings: Sequence[Finding], width: int = 44) -> None:
    """Print the findings as a table: what, expected, measured, and whether the one meets the other."""
    rows = [("", "expected", "measured", "")]
    rows += [(row.what, row.expected, row.measured, "holds" if row.holds else "DOES NOT HOLD") for row in findings]
    cells = [[textwrap.wrap(cell, width) or [""] for cell in row] for row in rows]
    wide = [max(len(line) for row in cells for line in row[column]) for column in range(4)]
    for number, row in enumerate(cells):
        for line in range(max(map(len, row))):
            parts = (cell[line] if line < len(cell) else "" for cell in row)
            print("  ".join(part.ljust(size) for part, size in zip(parts, wide, strict=True)).rstrip())
        if number == 0:
            print("-" * (sum(wide) + 6))


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """The mean and the half width of its interval, by Student's t; infinite for a single value."""
    from scipy.stats import t  # noqa: PLC0415 - half a second that `--help` need not spend

    found = np.asarray(values, dtype=float)
    if len(found) < 2:
        return float(found.mean()), float("inf")
    half = t.ppf((1 + level) / 2, len(found) - 1) * found.std(ddof=1) / np.sqrt(len(found))
    return float(found.mean()), float(half)


def plus_minus(values: Sequence[float], decimals: int = 2, unit: str = "") -> str:
    """The mean and its 95 % interval as text: `12.30 ± 0.12 %`; a single value as it is."""
    mean, half = interval(values)
    return f"{mean:.{decimals}f}{unit}" if len(values) == 1 else f"{mean:.{decimals}f} ± {half:.{decimals}f}{unit}"


def span(curves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least and the largest of several curves (curves, points), at every point."""
    return curves.min(axis=0), curves.max(axis=0)


def data_dir() -> Path | None:
    """The folder of real data that the environment variable TORCHDROPOUT_DATA names, if it does."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else None


def images(name: str, examples: int | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training images and labels, test images and labels of `mnist` or `fashion-mnist`: pixels from 0 to 1, in rows.

    Ends the program with 2 and one sentence if TORCHDROPOUT_DATA names no folder that holds the files.

    Args:
        name: `mnist` or `fashion-mnist`.
        examples: How many training images to keep, drawn at random but always the same; all if None.
    """
    import torch  # noqa: PLC0415 - two seconds that the examples in NumPy need not spend

    data = _loaded(name, examples)
    pixels = (torch.tensor(part).flatten(1).float() / 255 for part in (data.inputs, data.test_inputs))
    labels = (torch.tensor(part) for part in (data.targets, data.test_targets))
    train, test = pixels
    train_labels, test_labels = labels
    return train, train_labels, test, test_labels


@dataclass(frozen=True)
class Texts:
    """Sentences and the numbers of their classes, for training and for testing."""

    sentences: list[str]
    labels: Tensor
    test: list[str]
    test_labels: Tensor


def texts(name: str) -> Texts:
    """The questions of `banking77` or `clinc150`.

    Ends the program with 2 and one sentence if TORCHDROPOUT_DATA names no folder that holds the files.
    """
    import torch  # noqa: PLC0415 - two seconds that the examples in NumPy need not spend

    data = _loaded(name, None)
    labels = (torch.tensor(part) for part in (data.targets, data.test_targets))
    train_labels, test_labels = labels
    return Texts(list(data.inputs), train_labels, list(data.test_inputs), test_labels)


def _loaded(name: str, examples: int | None) -> Dataset:
    from torchdropout.study import StudyError, load_data  # noqa: PLC0415 - as above

    if data_dir() is None:
        _refuse(f"this example needs the files of {name}: set {VARIABLE} to a folder that holds {name}/.")
    try:
        return load_data(name, max_examples=examples)
    except StudyError as error:
        _refuse(str(error))


def _refuse(sentence: str) -> NoReturn:
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(2)


def save(figure: Figure, path: Path) -> None:
    """Write the figure as a PNG, making the folder if need be, and close it."""
    from matplotlib import pyplot  # noqa: PLC0415 - as above

    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, bbox_inches="tight")
    pyplot.close(figure)
    print(f"figure: {path}")


def pyplot():
    """`matplotlib.pyplot` drawing into files, with the style that all figures share."""
    import matplotlib  # noqa: PLC0415 - as above

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    plt.rcParams.update({"axes.prop_cycle": plt.cycler(color=COLOURS), "axes.grid": True, "grid.alpha": 0.3})
    plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "font.size": 10})
    return plt
