"""Which of many thresholds: the smallest model that is good enough, or the best that is small enough."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from torchdropout.study.errors import StudyError
from torchdropout.study.sparsifying import Point

LOSS = 2.0  # points of accuracy that may be lost where nothing else is said


@dataclass(frozen=True, slots=True)
class Wanted:
    """How small, or how good, the result is to be.

    Attributes:
        size: The most bytes of the compact file, or below 1 a part of the weights' bytes; None for no limit.
        loss: The most points of accuracy that may be lost; None: 2 without a size, and no limit with one.
    """

    size: float | None = None
    loss: float | None = None

    @classmethod
    def parsed(cls, size: str | None, loss: float | None) -> Wanted:
        """From what the command line was given: bytes, `20k`, `2M`, a part such as `0.05`, or `20x`."""
        if loss is not None and not 0 <= loss <= 100:
            raise StudyError(f"compress: `max-accuracy-loss` must be in [0, 100] points, got {loss:g}.")
        return cls(None if size is None else _bytes(size), loss)


def _bytes(text: str) -> float:
    units = {"k": 1e3, "m": 1e6}
    word = text.strip().lower().removesuffix("b")
    try:
        if word.endswith("x"):
            value = 1 / float(word[:-1])
        else:
            value = float(word[:-1]) * units[word[-1]] if word[-1:] in units else float(word)
    except (ValueError, ZeroDivisionError):
        value = math.nan
    if not 0 < value < math.inf:
        raise StudyError(f"compress: `target-size` must be bytes, 20k, a part such as 0.05, or 20x, got {text!r}.")
    return value


def choose(points: list[Point], wanted: Wanted, dense: int, before: float) -> Point:
    """The point of a curve that gives what is wanted.

    With a size, of those that are small enough the most accurate, the smaller of equals; else the smallest of those
    that are good enough.

    Args:
        points: The curve.
        wanted: The limits.
        dense: The bytes of the weights before.
        before: The accuracy before.

    Raises:
        StudyError: No point is within the limits; the message names the nearest.
    """
    most = math.inf if wanted.size is None else wanted.size * dense if wanted.size < 1 else wanted.size
    loss = wanted.loss if wanted.loss is not None else LOSS if wanted.size is None else 100.0
    small = [point for point in points if point.bytes <= most]
    if not small:
        least = min(points, key=lambda point: point.bytes)
        raise StudyError(
            f"compress: no threshold leaves {most:,.0f} bytes or less, the smallest {least.bytes:,}, "
            f"{dense / least.bytes:.1f} times less than before; more --epochs remove more."
        )
    good = [point for point in small if 100 * (before - point.accuracy) <= loss + 1e-9]
    if not good:
        best = max(small, key=lambda point: point.accuracy)
        limit = "" if wanted.size is None else f" that leaves {most:,.0f} bytes or less"
        raise StudyError(
            f"compress: no threshold{limit} loses at most {loss:g} points of accuracy, the best "
            f"{100 * (before - best.accuracy):.2f}; more --epochs may do better."
        )
    if wanted.size is not None:
        return max(good, key=lambda point: (point.accuracy, -point.bytes))
    return min(good, key=lambda point: (point.bytes, -point.accuracy))


def changed(before: Tensor, after: Tensor) -> dict[str, Any]:
    """The accuracies of two networks on the same examples, and their difference with its 95 % interval.

    The interval is that of a paired difference of proportions by Agresti and Min's adjustment: half an example is added
    to each of the four cells, so that it is not empty where nothing changed.
    """
    count = len(before)
    lost, won = int((before & ~after).sum()), int((~before & after).sum())
    total = count + 2.0
    low, high = lost + 0.5, won + 0.5
    middle = (high - low) / total
    reach = 1.959964 * math.sqrt(high + low - (high - low) ** 2 / total) / total
    return {
        "examples": count,
        "before": float(before.double().mean()),
        "after": float(after.double().mean()),
        "difference": (won - lost) / count,
        "interval": [middle - reach, middle + reach],
    }
