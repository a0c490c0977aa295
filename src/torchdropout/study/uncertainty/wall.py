"""The wall of examples: pictures as pictures, texts as texts, rows as values, with what the model says of each."""

from __future__ import annotations

import base64
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from torchdropout.study.datasets import Inputs
from torchdropout.study.datasets.checks import is_text

LONGEST = 240  # characters of a text
COLUMNS = 10  # of a row
_LINES = 3  # channels of a sequence


@dataclass(frozen=True, slots=True)
class Shown:
    """An example on the wall.

    Attributes:
        kind: `image`, `line`, `text` or `row`: how its content is drawn.
        content: The address of a picture, the points of lines, a text, or names with values.
        said: What the model says of it, a line each.
        wrong: Whether the prediction is wrong; None where that is not known.
    """

    kind: str
    content: Any
    said: tuple[str, ...]
    wrong: bool | None


def shown(inputs: Inputs, row: int, said: tuple[str, ...], wrong: bool | None, span: tuple[float, float]) -> Shown:
    """An example of raw inputs; `span` is the lowest and the highest value of all."""
    if not isinstance(inputs, np.ndarray):
        values = [(str(name), _value(inputs[name].iloc[row])) for name in list(inputs.columns)[:COLUMNS]]
        return Shown("row", _more(values, inputs.shape[1]), said, wrong)
    example = inputs[row]
    if is_text(inputs):
        return Shown("text", example if len(example) <= LONGEST else f"{example[:LONGEST]} …", said, wrong)
    if inputs.ndim == 2:
        values = [(f"number {n}", _value(value)) for n, value in enumerate(example[:COLUMNS], 1)]
        return Shown("row", _more(values, len(example)), said, wrong)
    if inputs.ndim == 3:
        return Shown("line", _lines(example, span), said, wrong)
    return Shown(
        "image", picture(example if inputs.ndim == 4 else example[:, example.shape[1] // 2], span), said, wrong
    )


def span(inputs: Inputs) -> tuple[float, float]:
    """The lowest and the highest value, for brightness; of tables and texts nothing."""
    if not isinstance(inputs, np.ndarray) or inputs.dtype == object:
        return 0.0, 1.0
    return float(np.nanmin(inputs)), float(np.nanmax(inputs))


def picture(image: npt.NDArray[Any], span: tuple[float, float]) -> str:
    """An image `(channels, height, width)` as an address that holds it: three channels in colour, else their mean."""
    low, high = span
    scaled = (image.astype(np.float64) - low) / ((high - low) or 1.0)
    pixels = np.round(255 * scaled.clip(0, 1)).astype(np.uint8)
    pixels = pixels.transpose(1, 2, 0) if len(image) == 3 else pixels.mean(0).round().astype(np.uint8)
    return f"data:image/png;base64,{base64.b64encode(png(pixels)).decode()}"


def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """A PNG file of grey `(height, width)` or coloured `(height, width, 3)` pixels."""
    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", width, height, 8, 2 if pixels.ndim == 3 else 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*each) for each in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _lines(example: npt.NDArray[Any], span: tuple[float, float]) -> list[str]:
    """The points of the first channels of a sequence `(channels, length)`, in a box of 100 by 50."""
    low, high = span
    x = np.linspace(1, 99, example.shape[1])
    scaled = 49 - 48 * (example[:_LINES].astype(np.float64) - low) / ((high - low) or 1.0)
    return [" ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, each, strict=True)) for each in scaled]


def _value(value: Any) -> str:
    if value is None or value != value:  # noqa: PLR0124 - NaN
        return "missing"
    return value if isinstance(value, str) else f"{float(value):.4g}"


def _more(values: list[tuple[str, str]], total: int) -> list[tuple[str, str]]:
    return values if total <= COLUMNS else [*values, ("…", f"{total - COLUMNS} more")]
