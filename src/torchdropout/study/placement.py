"""Where a method goes in a network: it makes the noise of a site, or the layers that a method replaces."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

import torchdropout
from torchdropout import catalog
from torchdropout.recurrent import kinds
from torchdropout.study.conditions import PLAIN, SITES, Placed
from torchdropout.study.errors import StudyError

# Methods that come as one class for linear layers and another for convolutions act on both where a network has both.
_CONVOLUTIONS = {
    "concrete": "ConcreteDropout2d",
    "sparse-variational": "SparseVariationalConv2d",
    "variational": "VariationalConv2d",
}
_PER_FEATURE = ("log-normal", "variational-dropout")  # their layers have parameters for each feature
_WRAPPERS = ("concrete", "concrete2d")  # their layers take the layer that consumes the noise
_RECTIFIED = ("dropconnect", "dropconnect2d")  # their test rule averages after the activation
_BLOCK = 7  # the paper's block, where a feature map is large enough for it


class Placement:
    """A method at one strength, as a network's builder asks for it; everything else is plain PyTorch.

    Calling it makes the noise of a site. Layers have the initial values of the plain network, whatever the method:
    they are converted from plain ones, and nothing that a method adds touches the random state.
    """

    def __init__(self, placed: Placed) -> None:
        self.placed = placed
        self.row = None if placed.method == PLAIN else catalog.get(placed.method)
        self.acted = self.row is None

    def __call__(
        self, site: str, share: float = 1.0, *, features: int | None = None, dim: int = -1, size: int | None = None
    ) -> nn.Module:
        """The noise of a site; the identity where nothing acts.

        Args:
            site: `input`, `conv` or `dense`.
            share: The layer's part of the full drop probability.
            features: How many channels or units there are; methods with parameters for each need it.
            dim: Their axis.
            size: The smaller side of a feature map.
        """
        if site not in SITES:
            raise ValueError(f"noise: `site` must be one of {', '.join(SITES)}, got {site!r}.")
        if not (self._is("activations") or (self._is("maps") and site == "conv")):
            return nn.Identity()
        settings = self._strength(site, share)
        if self.placed.method == "drop-block2d" and size is not None:
            settings["block_size"] = min(_BLOCK, max(1, size // 2))
        if self.placed.method not in _PER_FEATURE:
            return self._made(**settings)
        if features is None:
            raise StudyError(f"compare: method {self.placed.method!r} needs `features` where noise is made.")
        return self._made(features, dim=dim, **settings)

    def inputs(self) -> nn.Module:
        """What changes whole examples, before they are flattened."""
        return self._made(**self._strength("input")) if self._is("inputs") else nn.Identity()

    def linear(self, ins: int, outs: int, *, first: bool = False, last: bool = False) -> nn.Module:
        """A linear layer; `last` is the output's, which only methods for all weights replace."""
        plain = nn.Linear(ins, outs)
        if not (self._is("weights") or (self._is("hidden weights") and not last)):
            return plain
        return self._converted(plain, self._class(), "input" if first else "dense")

    def conv(self, ins: int, outs: int, kernel: int, *, first: bool = False, **options: Any) -> nn.Module:
        """A convolution over images."""
        plain = nn.Conv2d(ins, outs, kernel, **options)
        if self._is("kernels"):
            return self._converted(plain, self._class(), "input" if first else "conv")
        if self._is("weights") and self.placed.method in _CONVOLUTIONS:
            layer = getattr(torchdropout, _CONVOLUTIONS[self.placed.method])
            return self._converted(plain, layer, "input" if first else "conv")
        return plain

    def pool(self, size: int) -> nn.Module:
        """A pooling of non-overlapping windows."""
        return self._made(size, **self._strength("dense")) if self._is("pools") else nn.MaxPool2d(size)

    def attention(self, features: int, heads: int) -> nn.Module:
        """Multi-head attention of `(N, T, F)`."""
        plain = nn.MultiheadAttention(features, heads, batch_first=True)
        if not self._is("attention"):
            return plain
        self.acted = True
        with torch.random.fork_rng(devices=[]):
            layer = torchdropout.DropKeyMultiheadAttention(
                features, heads, batch_first=True, drop_key=self.placed.strength or 0.0
            )
        layer.load_state_dict(plain.state_dict())
        return layer

    def words(self, unknown: int, padding: int) -> nn.Module:
        """What replaces numbers of words by that of the unknown one."""
        if self.placed.method != "word-dropout":
            return nn.Identity()
        return self._made(token=unknown, keep=(padding,), **self._strength("dense"))

    def embedding(self, words: int, features: int, padding: int) -> nn.Module:
        """A table of words' vectors."""
        plain = nn.Embedding(words, features, padding_idx=padding)
        if self.placed.method != "embedding-dropout":
            return plain
        return self._made(plain, **self._strength("dense"))

    def lstm(self, ins: int, outs: int) -> nn.Module:
        """An LSTM of `(N, T, ins)`, in the direction of the text."""
        plain = nn.LSTM(ins, outs, batch_first=True)
        if not self._is("recurrent"):
            return plain
        self.acted = True
        kind = kinds.of_strength(self._class(), self.placed.strength or 0.0)
        with torch.random.fork_rng(devices=[]):
            layer = torchdropout.LSTM(ins, outs, batch_first=True, recurrent=kind)
        layer.load_state_dict(plain.state_dict())
        return layer

    def of(self, place: str, site: str = "dense", **options: Any) -> nn.Module | None:
        """The method's layer, at its strength at a site, if that is its place, else None."""
        return self._made(**options, **self._strength(site)) if self._is(place) else None

    def _is(self, place: str) -> bool:
        return self.row is not None and self.row.place == place

    def _class(self) -> Any:
        if self.row is None:
            raise RuntimeError("placement: the plain network has no layer of its own.")
        return getattr(torchdropout, self.row.layer)

    def _strength(self, site: str, share: float = 1.0) -> dict[str, float]:
        strength = self.placed.strength_at(site, share)
        return {} if strength is None or self.row is None else {self.row.argument: strength}

    def _made(self, *arguments: Any, **settings: Any) -> nn.Module:
        self.acted = True
        with torch.random.fork_rng(devices=[]):
            layer: nn.Module = self._class()(*arguments, **settings)
        return layer

    def _converted(self, plain: nn.Module, layer: Any, site: str) -> nn.Module:
        self.acted = True
        settings: dict[str, Any] = self._strength(site)
        if self.placed.method in _RECTIFIED:
            settings["activation"] = "relu"
        with torch.random.fork_rng(devices=[]):
            if self.placed.method in _WRAPPERS:
                return layer(plain, **settings)  # type: ignore[no-any-return]
            convert = layer.from_linear if isinstance(plain, nn.Linear) else layer.from_conv
            return convert(plain, **settings)  # type: ignore[no-any-return]
