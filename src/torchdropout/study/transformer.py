"""A small transformer over the patches of an image or the words of a text, with places for every kind of noise."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from torchdropout.study.datasets.words import PADDING, UNKNOWN
from torchdropout.study.placement import Placement

WIDTH, TEXT_WIDTH, HEADS, BLOCKS = 64, 128, 4, 2
PATCHES = 7  # along the shorter side, where that leaves patches of two pixels


class Transformer(nn.Module):
    """Patches, learned positions, pre-norm blocks, the mean over patches, a linear layer."""

    def __init__(self, shape: tuple[int, ...], outputs: int, place: Placement) -> None:
        super().__init__()
        channels, height, width = shape
        side = max(2, min(height, width) // PATCHES)
        self.input = place("input", features=channels, dim=1)
        self.whole = place.inputs()
        self.patches = place.conv(channels, WIDTH, side, first=True, stride=side)
        count = (height // side) * (width // side)
        # As large as the patches that they are added to: the mean over patches keeps nothing else of where they were.
        self.positions = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, count, WIDTH), std=0.5))
        self.sequence = place.of("sequences", batch_first=True) or nn.Identity()
        self.subset = place.of("patches", prefix_tokens=0) or nn.Identity()
        self.blocks = nn.ModuleList(_layer(place, WIDTH) for _ in range(BLOCKS))
        self.norm = nn.LayerNorm(WIDTH)
        self.output = place.linear(WIDTH, outputs, last=True)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, or the prediction, of images `(N, C, H, W)`."""
        tokens = self.patches(self.input(self.whole(images))).flatten(2).transpose(1, 2)
        tokens = self.subset(self.sequence(tokens + self.positions))
        for block in self.blocks:
            tokens = block(tokens)
        return self.output(self.norm(tokens).mean(1))  # type: ignore[no-any-return]


class TextTransformer(nn.Module):
    """Words' vectors, learned positions, pre-norm blocks, the mean over a text's own words, a linear layer.

    Nothing attends to padding. A text without a word is read as one of padding.
    """

    def __init__(self, vocabulary: int, longest: int, outputs: int, place: Placement) -> None:
        super().__init__()
        self.words = place.words(UNKNOWN, PADDING)
        self.embedding = place.embedding(vocabulary, TEXT_WIDTH, PADDING)
        self.positions = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, longest, TEXT_WIDTH), std=0.5))
        self.input = place("input", features=TEXT_WIDTH)
        self.sequence = place.of("sequences", "input", batch_first=True) or nn.Identity()
        self.blocks = nn.ModuleList(_layer(place, TEXT_WIDTH) for _ in range(BLOCKS))
        self.norm = nn.LayerNorm(TEXT_WIDTH)
        self.output = place.linear(TEXT_WIDTH, outputs, last=True)

    def forward(self, numbers: Tensor) -> Tensor:
        """Logits, or the prediction, of texts `(N, T)` of words' numbers."""
        lengths = (numbers != PADDING).sum(1, keepdim=True).clamp(min=1)
        numbers = numbers[:, : int(lengths.max())]
        vectors = self.embedding(self.words(numbers)) + self.positions[:, : numbers.shape[1]]
        tokens = self.sequence(self.input(vectors))
        beyond = torch.arange(numbers.shape[1], device=numbers.device) >= lengths
        for block in self.blocks:
            tokens = block(tokens, beyond)
        return self.output(self.norm(tokens).masked_fill(beyond[..., None], 0).sum(1) / lengths)  # type: ignore[no-any-return]


class _Block(nn.Module):
    def __init__(self, place: Placement, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = place.attention(width, HEADS)
        self.branch1, self.branch2 = (place.of("branches") or nn.Identity() for _ in range(2))
        wide = place.width(2 * width)
        self.widen, self.relu = place.linear(width, wide), nn.ReLU()
        self.dense, self.narrow = place("dense", features=wide), place.linear(wide, width, last=True)

    def forward(self, tokens: Tensor, beyond: Tensor | None = None) -> Tensor:
        """`(N, T, F)` to the same shape; no token attends to those `beyond` a text's end."""
        seen = self.norm1(tokens)
        attended = self.attention(seen, seen, seen, key_padding_mask=beyond, need_weights=False)[0]
        tokens = tokens + self.branch1(attended)
        return tokens + self.branch2(self.narrow(self.dense(self.relu(self.widen(self.norm2(tokens))))))  # type: ignore[no-any-return]


def _layer(place: Placement, width: int) -> nn.Module:
    block = _Block(place, width)
    return place.of("layers", layer=block) or block
