"""Patches of an image, weights of attention, and words."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from matplotlib.patches import Rectangle
from torch import Tensor, nn

from torchdropout.catalog import Method
from torchdropout.plots import paint, subjects
from torchdropout.plots.passes import Strength, keys, make, once
from torchdropout.plots.picture import BLUE, GREY, PALE, Array, Picture, Scale, as_array, limits, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIDE, _PATCH = 6, 12


def patches(row: Method, strength: Strength, seed: int, note: str) -> Picture:
    """The dahlia in patches: those that go, and the shorter sequence of those that stay."""
    image = subjects.photograph("flower", _SIDE * _PATCH)
    cells = image.unfold(1, _PATCH, _PATCH).unfold(2, _PATCH, _PATCH)  # (3, rows, columns, patch, patch)
    tokens = cells.permute(1, 2, 3, 4, 0).reshape(_SIDE**2, -1)
    numbered = torch.cat([torch.arange(_SIDE**2.0)[:, None], tokens], 1)[None]
    layer = make(row, strength, prefix_tokens=0)
    outputs = [numbered, *(layer.train()(numbered, key=key) for key in keys(seed)), layer.eval()(numbered)]
    paints = [
        partial(_paint_patches, tokens=as_array(y)[0, :, 1:], kept=as_array(y)[0, :, 0].astype(int)) for y in outputs
    ]
    data = [{"values": as_array(y)[0, :, 1:], "kept": as_array(y)[0, :, 0].astype(int)} for y in outputs]
    return Picture(panels(list(paints), data), note, 1.36)


def _paint_patches(axes: Axes, scale: float, *, tokens: Array, kept: Array) -> None:
    """The patches in place above, the sequence below."""
    paint.blank(axes, 1.36)
    left, wide = 0.05, 0.9 / _SIDE
    for n in range(_SIDE**2):
        row, column = divmod(n, _SIDE)
        box = (left + column * wide, row * wide, 0.96 * wide, 0.96 * wide)
        found = (kept == n).nonzero()[0]
        if len(found):
            paint.paint_tile(axes, paint.Tile(tokens[found[0]].reshape(_PATCH, _PATCH, 3), box), 0, 1)
        else:
            paint.paint_tile(axes, paint.Tile(_nothing(), box, _nothing() == 0, crossed=False), 0, 1)
    paint.write(axes, scale, 0.5, 0.955, f"sequence of {len(kept)}")
    small = 1 / 12
    for n, token in enumerate(tokens):
        row, column = divmod(n, 12)
        box = (column * small, 1.0 + row * 1.6 * small, 0.9 * small, 0.9 * small)
        paint.paint_tile(axes, paint.Tile(token.reshape(_PATCH, _PATCH, 3), box), 0, 1)


def _nothing() -> Array:
    return as_array(torch.zeros(2, 2))


def attention(row: Method, strength: Strength, seed: int, note: str) -> Picture:
    """The weights that words give one another, after the softmax of the scores that the layer returns."""
    words, place = subjects.SHORT, torch.arange(6.0)
    scores = (
        1.2 * torch.cos(0.9 * place[:, None] * 1.7 + place) - 0.25 * (place[:, None] - place).abs() + 1.4 * torch.eye(6)
    )
    layer = make(row, strength)
    draws = [once(layer, scores[None, None], key) for key in keys(seed)]
    with torch.no_grad():
        test = as_array(layer.eval()(scores[None, None]))
    outputs = [as_array(scores)[None, None], *(y for y, _ in draws), test]
    dropped = [None, *(out for _, out in draws), None]
    weights = [as_array(torch.from_numpy(y).softmax(-1))[0, 0] for y in outputs]
    low, high = 0.0, limits(weights)[1]
    paints, data = [], []
    for y, w, out in zip(outputs, weights, dropped, strict=True):
        tile = paint.Tile(w, (0.14, 0.14, 0.86, 0.86), None if out is None else out[0, 0])
        paints.append(partial(_paint_attention, tile=tile, low=low, high=high, words=words))
        data.append({"values": y, "weights": w} | ({} if out is None else {"dropped": out}))
    return Picture(panels(list(paints), data), note, 1.0, Scale(low, high, "weight"))


def _paint_attention(
    axes: Axes, scale: float, *, tile: paint.Tile, low: float, high: float, words: Sequence[str]
) -> None:
    paint.paint_tiles(axes, scale, [tile], low, high)
    left, top, wide, _ = tile.box
    step = wide / len(words)
    for n, word in enumerate(words):
        paint.write(axes, scale, left + (n + 0.5) * step, 0.1, word)
        paint.write(axes, scale, 0.12, top + (n + 0.5) * step, word, align="right")
    if tile.dropped is not None:
        for r, c in zip(*tile.dropped.nonzero(), strict=True):
            paint.cross(axes, (left + c * step, top + r * step, step, step), 0.28)


def embedding(row: Method, strength: Strength, seed: int, note: str) -> Picture:
    """Words with their vectors."""
    numbers, table = _numbered(subjects.SENTENCE)
    embedding = nn.Embedding(len(table), table.shape[1], _weight=table)
    layer = make(row, strength, embedding)
    with torch.no_grad():
        draws = [layer.train()(numbers[None], key=key)[0] for key in keys(seed)]
        outputs = [as_array(y) for y in (embedding(numbers), *draws, layer.eval()(numbers[None])[0])]
    low, high = limits(outputs)
    gone = [(y == 0).all(1) for y in outputs]
    paints = [
        partial(_paint_words, words=subjects.SENTENCE, gone=g, vectors=y, span=(low, high))
        for y, g in zip(outputs, gone, strict=True)
    ]
    data = [{"values": y, "dropped": g} for y, g in zip(outputs, gone, strict=True)]
    return Picture(panels(list(paints), data), note, 0.9, Scale(low, high, "value"))


def words(row: Method, strength: Strength, seed: int, note: str) -> Picture:
    """Words that are replaced one by one."""
    numbers, _ = _numbered(subjects.SENTENCE)
    layer = make(row, strength, token=0)
    outputs = [
        as_array(y) for y in (numbers, *(layer.train()(numbers, key=key) for key in keys(seed)), layer.eval()(numbers))
    ]
    paints, data = [], []
    for y in outputs:
        gone = y == 0
        shown = ["<unk>" if out else word for word, out in zip(subjects.SENTENCE, gone, strict=True)]
        paints.append(partial(_paint_words, words=shown, gone=gone, numbers=y))
        data.append({"values": y, "dropped": gone})
    return Picture(panels(list(paints), data), note, 0.9)


def _numbered(sentence: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Numbers from 1 on, equal for equal words, and a vector for each; 0 is the unknown word's."""
    known = list(dict.fromkeys(sentence))
    numbers = torch.tensor([1 + known.index(word) for word in sentence])
    return numbers, subjects.weights(len(known) + 1, 10, 3).abs()


def _paint_words(
    axes: Axes, scale: float, *, words: Sequence[str], gone: Array, vectors: Array | None = None,
    numbers: Array | None = None, span: tuple[float, float] = (0.0, 1.0),
) -> None:  # fmt: skip
    """A row for each word: the word in a box, then its vector, or its number."""
    paint.blank(axes, 0.9)
    high, wide = 0.9 / len(words), 0.34 if vectors is not None else 0.5
    left = 0.0 if vectors is not None else 0.13
    for n, word in enumerate(words):
        look = (
            {"facecolor": PALE, "edgecolor": GREY, "hatch": "//////"}
            if gone[n]
            else {"facecolor": "white", "edgecolor": BLUE}
        )
        axes.add_patch(Rectangle((left, n * high + 0.1 * high), wide, 0.8 * high, linewidth=1.1 * scale, **look))  # type: ignore[arg-type]
        box = {"facecolor": PALE if gone[n] else "white", "edgecolor": "none", "pad": 0.8}
        axes.text(
            left + wide / 2,
            (n + 0.5) * high,
            word,
            fontsize=10.5 * max(scale, 0.66),
            ha="center",
            va="center",
            bbox=box,
            zorder=5,
        )
        if vectors is not None:
            dropped = as_array(torch.ones(1, vectors.shape[1], dtype=torch.bool)) if gone[n] else None
            paint.paint_tile(
                axes,
                paint.Tile(vectors[n : n + 1], (0.4, n * high + 0.1 * high, 0.6, 0.8 * high), dropped, crossed=False),
                *span,
            )
        elif numbers is not None:
            paint.write(axes, scale, left + wide + 0.13, (n + 0.5) * high, f"number {numbers[n]}")
