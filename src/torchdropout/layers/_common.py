"""What the layers share: checks in PyTorch's words, the drop probability as a property, noise shared over axes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.compiler import is_compiling

from torchdropout import laws, ops

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


class RateModule(nn.Module):
    """A module with a drop probability.

    `p` is checked when set and is not in the `state_dict`. A compiler sees it as a 0-d tensor, so that a schedule can
    change it without recompilation, except to reach 0 or 1.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    @property
    def p(self) -> float:
        """The drop probability."""
        return self._p

    @p.setter
    def p(self, value: float) -> None:
        self._check_p(value)
        self._p = value
        self._p_is_fixed = value in (0, 1)
        self._p_tensor = torch.tensor(float(value), dtype=torch.float64, device="cpu")

    def _check_p(self, value: float) -> None:
        check_probability(type(self).__name__, value)

    def _rate(self) -> float | Tensor:
        return self._p_tensor if is_compiling() and not self._p_is_fixed else self._p

    def extra_repr(self) -> str:
        """The arguments, as PyTorch prints them."""
        return f"p={self.p}"


def times_bernoulli(
    x: Tensor, p: float | Tensor, key: Tensor | None, *, scaled: bool = True, inplace: bool = False
) -> Tensor:
    """`x` times one Bernoulli draw an element; the settled cases 0 and 1 draw nothing."""
    if not isinstance(p, Tensor):
        if p == 0:
            return x
        if p == 1:
            zero = torch.zeros((), dtype=x.dtype, device=x.device)  # keeps integers integers, and NaN a NaN
            return x.mul_(zero) if inplace else x * zero
    spec = laws.Spec("scaled bernoulli" if scaled else "bernoulli", p)
    return ops.multiply(x, spec, key=key, inplace=inplace)


def times_shared_bernoulli(
    x: Tensor,
    p: float | Tensor,
    noise_shape: Sequence[int],
    key: Tensor | None,
    *,
    scaled: bool = True,
    inplace: bool = False,
) -> Tensor:
    """`x` times Bernoulli noise of `noise_shape`, whose axes of size 1 share a draw; the noise is all that is kept."""
    if not isinstance(p, Tensor) and p in (0, 1):
        return times_bernoulli(x, p, key, inplace=inplace)
    ones = torch.ones(noise_shape, dtype=x.dtype, device=x.device)
    mask = times_bernoulli(ones, p, key, scaled=False)
    keep = laws.keep(p) if scaled else 1.0
    if x.dtype in (torch.float16, torch.bfloat16):  # the scale itself has no exact value in these formats
        y = x.mul_(mask) if inplace else x * mask
        return y.mul_(1.0 / keep) if scaled else y
    noise = mask * (1.0 / keep) if scaled else mask
    return x.mul_(noise) if inplace else x * noise
