"""Methods for words, patches, attention and whole layers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

import torchdropout as td
from torchdropout.layers.embedding import Per
from torchdropout.testing.case import Case, Expectation, Twin, noisy
from torchdropout.testing.claims import TwoPointClaim
from torchdropout.testing.declared._tools import BATCH, enumerated, scaled, with_values

_P, _KEEP = 0.25, 0.75
_UNSCALED = TwoPointClaim(_KEEP, 0.0, 1.0)
_WORDS = 50


def drop_key() -> Case:
    """Scores are lowered; the weights that a softmax makes of them sum to one."""
    scores = torch.tensor([0.5, -1.0, 2.0]).view(1, 1, 1, 3)

    def weights(x: Tensor, m: Tensor) -> Tensor:
        return torch.where(m == 1, x, -1e30).softmax(-1)

    of = enumerated(
        lambda: nn.Sequential(td.DropKey(_P), nn.Softmax(-1)),
        scores,
        (1, 1, 1, 3),
        _KEEP,
        weights,
        test=scores.softmax(-1),
    )
    claim, twin = TwoPointClaim(_KEEP, -1e30, 1.0), Twin(nn.Identity, lambda: td.DropKey(0.0))
    factory, scores = (lambda: td.DropKey(_P)), torch.randn(8, 4, 16, 16)
    return Case(factory, scores, claim, elementwise=False, expected=(of,), twin=twin)  # scores come out dense


class _Residual(nn.Linear):
    """A layer as transformers have them; its output has the input's dtype under autocast too."""

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


def layer_drop() -> Case:
    """One draw for all examples of a call."""

    def layer(p: float = 0.5) -> nn.Module:
        return td.LayerDrop(_Residual(128, 128), p)

    def small() -> nn.Module:
        return td.LayerDrop(with_values(nn.Linear(1, 1), weight=2.0, bias=1.0), _P)

    def ran(layer: nn.Module, seed: int) -> Tensor:
        x = torch.ones(2, 128)
        calls = [noisy(layer, x, 10_000 * seed + call) for call in range(4000)]
        return torch.stack([y != x for y in calls]).double()

    x = torch.tensor([[1.5], [-2.0]])
    either = torch.stack([x, 2.0 * x + 1.0])
    return Case(
        layer, torch.randn(64, 128), TwoPointClaim(0.5, 0.0, 1.0, shared_dims=(1, 2)), elementwise=False, probe=ran,
        remake=layer, expected=(Expectation(small, x, either, torch.tensor([_P, _KEEP]), either[1], **BATCH),),
        twin=Twin(lambda: _Residual(128, 128), lambda: layer(0.0)),
    )  # fmt: skip


class _MeanToken(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


def patch_dropout() -> Case:
    """All subsets of a size are equally likely; the class token stays."""

    def kept(count: int, of: Tensor) -> Tensor:
        pairs = itertools.combinations(range(1, of.shape[1]), count)
        return torch.stack([of[:, [0, *pair]] for pair in pairs])

    def first(layer: nn.Module, seed: int) -> Tensor:
        places = torch.arange(9.0).view(1, 9, 1).repeat(8192, 1, 1)
        return (noisy(layer, places, seed) == 1.0).any(1).double()

    x = torch.tensor([[1.0, 2.0, -1.0, 0.5], [3.0, -2.0, 0.25, 1.5]]).unsqueeze(2)
    third = torch.full((3,), 1 / 3)
    example = Expectation(lambda: td.PatchDropout(1 / 3), x[:1], kept(2, x[:1]), third, x[:1])
    batch = Expectation(lambda: td.PatchDropout(1 / 3, per="batch"), x, kept(2, x), third, x, **BATCH)
    return Case(
        lambda: td.PatchDropout(0.5), torch.randn(8, 65, 32), TwoPointClaim(0.5, 0.0, 1.0), elementwise=False,
        resizes=True, probe=first, bad=(-0.25, 1.0, 1.5, math.nan), expected=(example, batch),
        twin=Twin(
            _MeanToken,
            lambda: nn.Sequential(td.PatchDropout(0.0), _MeanToken()),
            lambda: nn.Sequential(td.PatchDropout(0.5), _MeanToken()),
        ),
    )  # fmt: skip


def _table(weight: Tensor) -> nn.Embedding:
    return nn.Embedding(weight.shape[0], weight.shape[1], _weight=weight)


def embedding_dropout() -> Case:
    """One draw for a word of the vocabulary, and so for all its occurrences, in the batch or in a sequence."""
    table = torch.tensor([[1.0, -2.0], [0.5, 3.0], [2.0, 1.0]])

    def small(per: Per) -> Callable[[], nn.Module]:
        return lambda: td.EmbeddingDropout(_table(table), _P, per=per)

    def outcome(words: Tensor, m: Tensor) -> Tensor:
        return (table.double() * m.unsqueeze(1) / _KEEP)[words]

    def of_words(layer: nn.Module, seed: int) -> Tensor:
        layer.embedding = _table(torch.ones(8192, 2))
        return noisy(layer, torch.arange(8192).repeat(3, 1), seed).double()

    def layer(p: float = _P) -> nn.Module:
        return td.EmbeddingDropout(nn.Embedding(_WORDS, 8), p)

    return Case(
        layer, torch.randint(_WORDS, (32, 20)), scaled(_P, (0, 2)), elementwise=False, probe=of_words, remake=layer,
        expected=(
            enumerated(small("batch"), torch.tensor([[0, 1], [1, 2]]), (3,), _KEEP, outcome, **BATCH),
            enumerated(small("sequence"), torch.tensor([[0, 1, 0]]), (3,), _KEEP, outcome),
        ),
        twin=Twin(lambda: nn.Embedding(_WORDS, 8), lambda: layer(0.0)),
    )  # fmt: skip


def word_dropout() -> Case:
    """One draw for each occurrence; what takes its place is the unknown word."""

    def layer(p: float = _P) -> nn.Module:
        return td.WordDropout(p, token=1)

    def kept(layer: nn.Module, seed: int) -> Tensor:
        return (noisy(layer, torch.full((512, 128), 5), seed) == 5).double()

    def embedded(p: float) -> nn.Module:
        return nn.Sequential(layer(p), nn.Embedding(_WORDS, 8))

    of = enumerated(
        lambda: td.WordDropout(_P, token=1, keep=(0,)), torch.tensor([[3, 0, 7]]), (1, 3), _KEEP,
        lambda x, m: torch.where((m == 0) & (x != 0), 1, x), test=torch.tensor([[3, 0, 7]]),
    )  # fmt: skip
    return Case(
        layer, torch.randint(2, _WORDS, (32, 20)), _UNSCALED, elementwise=False, probe=kept, remake=layer,
        expected=(of,), twin=Twin(lambda: nn.Embedding(_WORDS, 8), lambda: embedded(0.0), lambda: embedded(_P)),
    )  # fmt: skip


DECLARATIONS: dict[str, Callable[[], Case]] = {
    "drop-key": drop_key,
    "layer-drop": layer_drop,
    "patch-dropout": patch_dropout,
    "embedding-dropout": embedding_dropout,
    "word-dropout": word_dropout,
}
