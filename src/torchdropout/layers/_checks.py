"""Checks of arguments and inputs: PyTorch's words for its drop-ins, ours for the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

_SCALAR_NAMES = {torch.bool: "Bool", torch.uint8: "Byte", torch.int8: "Char", torch.int16: "Short"}
_SCALAR_NAMES |= {torch.int32: "Int", torch.int64: "Long"}


def check_torch_probability(p: float) -> None:
    """PyTorch's rule and words; NaN, which PyTorch's modules let through, is refused as well."""
    if p < 0 or p > 1 or p != p:  # noqa: PLR0124 - NaN
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def check_probability(owner: str, p: float, *, below_one: bool = False) -> None:
    """Our words, for what is no drop-in for a PyTorch class."""
    if not isinstance(p, (int, float)):
        raise TypeError(f"{owner}: `p` must be a number, got {p!r}.")
    if not 0 <= p <= 1 or (below_one and p == 1):
        raise ValueError(f"{owner}: `p` must be in [0, 1{')' if below_one else ']'}, got {p}.")


def check_choice(owner: str, argument: str, value: str, choices: Sequence[str]) -> None:
    """Refuse a word that is none of `choices`."""
    if value not in choices:
        raise ValueError(f"{owner}: `{argument}` must be one of {', '.join(map(repr, choices))}, got {value!r}.")


def check_torch_floating(x: Tensor, p: float | Tensor) -> None:
    """Noise turns integers into floats, which PyTorch refuses in these words, unless `p` is 0 or 1."""
    if not x.is_floating_point() and not x.is_complex() and (isinstance(p, Tensor) or p not in (0, 1)):
        name = _SCALAR_NAMES.get(x.dtype, str(x.dtype))
        raise RuntimeError(f"result type Float can't be cast to the desired output type {name}")


def check_floating(owner: str, x: Tensor) -> None:
    """Our words, for what is no drop-in for a PyTorch class."""
    if not x.is_floating_point():
        raise TypeError(f"{owner}: the input must be floating point, got {x.dtype}.")


def check_number(owner: str, argument: str, value: float, rule: str, holds: Callable[[float], bool]) -> None:
    """Refuse what is no number, or does not obey the rule, which is given in words and as a function."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{owner}: `{argument}` must be a number, got {value!r}.")
    if not holds(value):
        raise ValueError(f"{owner}: `{argument}` must be {rule}, got {value}.")


def check_rank(owner: str, x: Tensor, ranks: Sequence[int], layout: str) -> None:
    """Refuse an input whose number of axes is none of `ranks`."""
    if x.dim() not in ranks:
        raise ValueError(f"{owner}: the input must have shape {layout}, got {tuple(x.shape)}.")


def check_features(owner: str, x: Tensor, features: int) -> None:
    """Refuse an input whose last axis is not the layer's."""
    if x.shape[-1:] != (features,):
        raise ValueError(f"{owner}: the input's last axis must have size {features}, got {tuple(x.shape)}.")
