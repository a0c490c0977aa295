"""A small transformer over the patches of an image, with places for branches, layers, patches and keys."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from torchdropout.study.placement import Placement

WIDTH, HEADS, BLOCKS = 64, 4, 2
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
        self.blocks = nn.ModuleList(_layer(place) for _ in range(BLOCKS))
        self.norm = nn.LayerNorm(WIDTH)
        self.output = place.linear(WIDTH, outputs, last=True)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, or the prediction, of images `(N, C, H, W)`."""
        tokens = self.patches(self.input(self.whole(images))).flatten(2).transpose(1, 2)
        tokens = self.subset(self.sequence(tokens + self.positions))
        for block in self.blocks:
            tokens = block(tokens)
        return self.output(self.norm(tokens).mean(1))  # type: ignore[no-any-return]


class _Block(nn.Module):
    def __init__(self, place: Placement) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention = place.attention(WIDTH, HEADS)
        self.branch1, self.branch2 = (place.of("branches") or nn.Identity() for _ in range(2))
        wide = place.width(2 * WIDTH)
        self.widen, self.relu = place.linear(WIDTH, wide), nn.ReLU()
        self.dense, self.narrow = place("dense", features=wide), place.linear(wide, WIDTH, last=True)

    def forward(self, tokens: Tensor) -> Tensor:
        """`(N, T, F)` to the same shape."""
        seen = self.norm1(tokens)
        tokens = tokens + self.branch1(self.attention(seen, seen, seen, need_weights=False)[0])
        return tokens + self.branch2(self.narrow(self.dense(self.relu(self.widen(self.norm2(tokens))))))  # type: ignore[no-any-return]


def _layer(place: Placement) -> nn.Module:
    block = _Block(place)
    return place.of("layers", layer=block) or block
