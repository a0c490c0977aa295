"""What a picture is: panels that know their data and paint themselves, a sentence, and perhaps a density."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[Any]
Paint = Callable[["Axes", float], None]

# Okabe and Ito (2008): told apart with every common colour blindness, and in print.
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#6E6E6E"
PALE = "#E4E4E4"  # behind the hatching of what was dropped
VALUES = "cividis"  # light where large, for every eye alike

TITLES = ("input", "training, draw 1", "training, draw 2", "test")


@dataclass(frozen=True)
class Panel:
    """One state of the layer.

    Attributes:
        title: What stands above it.
        paint: Draws it on axes; texts are in points times the second argument, and left out where that is below 0.8.
        data: What the layer returned, by name; `dropped` is what it dropped.
    """

    title: str
    paint: Paint
    data: dict[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Scale:
    """The colours of values: the least and the largest, and what they are values of."""

    low: float
    high: float
    label: str


@dataclass(frozen=True)
class Picture:
    """Before, two draws of training, and test.

    Attributes:
        panels: Input, draw 1, draw 2, test.
        note: One or two sentences that say what is to be seen.
        height: Of the panels, over their width.
        scale: What colours mean, where the panels themselves do not say.
        density: The noise's density, where it has one.
        face: Which panel stands for the picture in the gallery; -1 is the density.
    """

    panels: tuple[Panel, ...]
    note: str
    height: float = 1.0
    scale: Scale | None = None
    density: Panel | None = None
    face: int = 1

    @property
    def thumbnail(self) -> Panel:
        """The panel of the gallery."""
        return self.density if self.face < 0 and self.density is not None else self.panels[self.face]


def panels(paints: list[Paint], data: list[dict[str, Array]], first: str = TITLES[0]) -> tuple[Panel, ...]:
    """The four panels, in the order of their titles; the first may have another one."""
    return tuple(Panel(*each) for each in zip((first, *TITLES[1:]), paints, data, strict=True))


def limits(arrays: list[Array]) -> tuple[float, float]:
    """The least and the largest value, apart."""
    low, high = min(float(a.min()) for a in arrays), max(float(a.max()) for a in arrays)
    return (low, high) if high > low else (low, low + 1.0)


def as_array(x: Any) -> Array:
    """A tensor as an array that shares nothing with it."""
    return np.asarray(x.detach().numpy().copy())
