"""Where a method goes in a network: it makes the noise of a site, or the layers that a method replaces."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn import functional

import torchdropout
from torchdropout import catalog
from torchdropout.recipes import dropout_recipe
from torchdropout.recurrent import kinds
from torchdropout.study.conditions import SITES, SITES_OF, Placed, lacks_convolution
from torchdropout.study.errors import StudyError
from torchdropout.study.naming import PLAIN

_PER_FEATURE = ("log-normal", "variational-dropout")  # their layers have parameters for each feature
_BLOCK = 7  # the paper's block, where a feature map is large enough for it
_SAMPLES = 32  # where DropConnect's average has no closed form: that of SELU is then off by 0.005 deviations at most
_CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_POOLS = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}


class Placement:
    """A method at one strength, as a network's builder asks for it; everything else is plain PyTorch.

    Calling it makes the noise of a site. Layers have the initial values of the plain network, whatever the method:
    they are converted from plain ones, and nothing that a method adds touches the random state.

    Args:
        placed: The method at its strength.
        activation: What follows hidden layers: `relu`, or `selu`, whose layers begin with LeCun's normal weights and
            without biases (Klambauer et al. 2017).
        dims: How many axes convolutions and pools go over.
    """

    def __init__(self, placed: Placed, activation: str = "relu", dims: int = 2) -> None:
        self.placed = placed
        self.selu = activation == "selu"
        self.dims = dims
        self.row = None if placed.method == PLAIN else catalog.get(placed.method)
        self.acted = self.row is None
        self.widened = False

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
        if self.row is None or site not in SITES_OF.get(self.row.place, ()):
            return nn.Identity()
        settings = self._strength(site, share)
        if self.row.family == "drop-block" and size is not None:
            settings["block_size"] = min(_BLOCK, max(1, size // 2))
        if self.placed.method not in _PER_FEATURE:
            return self._made(**settings)
        if features is None:
            raise StudyError(f"compare: method {self.placed.method!r} needs `features` where noise is made.")
        return self._made(features, dim=dim, **settings)

    def width(self, units: int, share: float = 1.0) -> int:
        """How many units a hidden layer has where `units` are right without dropout; more in the recipe alone."""
        if self.placed.of("recipe") is None:
            return units
        self.widened = True
        return replace(dropout_recipe(), hidden_p=self.placed.strength_at("dense", share) or 0.0).width(units)

    def inputs(self) -> nn.Module:
        """What changes whole examples, before they are flattened."""
        return self._made(**self._strength("input")) if self._is("inputs") else nn.Identity()

    def linear(self, ins: int, outs: int, *, first: bool = False, last: bool = False) -> nn.Module:
        """A linear layer; `last` is the output's, which only methods for all weights replace."""
        plain = nn.Linear(ins, outs)
        if not last:
            self._begin(plain)
        if not (self._is("weights") or (self._is("hidden weights") and not last)):
            return plain
        return self._converted(plain, self._class(), "input" if first else "dense")

    def conv(self, ins: int, outs: int, kernel: int, *, first: bool = False, **options: Any) -> nn.Module:
        """A convolution over sequences, images or volumes, as the data are.

        Raises:
            StudyError: The method replaces convolutions, but has none over so many axes.
        """
        plain = _CONVOLUTIONS[self.dims](ins, outs, kernel, **options)
        self._begin(plain)
        if self._is("kernels"):
            return self._converted(plain, self._class(), "input" if first else "conv")
        if self.row is None or not self._is("weights") or not catalog.forms(self.row):
            return plain
        return self._converted(plain, self._convolution(self.row), "input" if first else "conv")

    def activation(self, layer: nn.Module) -> nn.Module:
        """What follows a hidden layer; the identity if that layer of the method applies it itself."""
        if not self.selu:
            return nn.ReLU()
        return nn.Identity() if getattr(layer, "activation", None) is functional.selu else nn.SELU()

    def pool(self, size: int) -> nn.Module:
        """A pooling of non-overlapping windows."""
        return self._made(size, **self._strength("dense")) if self._is("pools") else _POOLS[self.dims](size)

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

    def _begin(self, plain: nn.Linear | nn.modules.conv._ConvNd) -> None:
        """Initial values of a hidden layer: where PyTorch's are not meant, LeCun's."""
        if self.selu:
            nn.init.kaiming_normal_(plain.weight, nonlinearity="linear")
            if plain.bias is not None:
                nn.init.zeros_(plain.bias)

    def _activated(self) -> dict[str, Any]:
        """For layers that mask or average after the activation: which it is."""
        if self._family() not in ("dropconnect", "standout"):
            return {}
        if not self.selu:
            return {"activation": "relu"}
        return {"activation": functional.selu} | ({"samples": _SAMPLES} if self._family() == "dropconnect" else {})

    def _family(self) -> str:
        return "" if self.row is None else self.row.family

    def _convolution(self, row: catalog.Method) -> Any:
        """The convolution of a method that replaces all layers."""
        if lacks_convolution(row, self.dims):
            kinds = " and ".join(catalog.RANKS[dims] for dims in sorted(catalog.forms(row)))
            rule = f"has convolutions over {kinds} only, none over {catalog.RANKS[self.dims]}"
            raise StudyError(f"compare: method {row.name!r} {rule}.")
        return getattr(torchdropout, catalog.forms(row)[self.dims].layer)

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
        settings: dict[str, Any] = self._strength(site) | self._activated()
        with torch.random.fork_rng(devices=[]):
            if self._family() == "concrete":  # its layers take the layer that consumes the noise
                return layer(plain, **settings)  # type: ignore[no-any-return]
            convert = layer.from_linear if isinstance(plain, nn.Linear) else layer.from_conv
            return convert(plain, **settings)  # type: ignore[no-any-return]
