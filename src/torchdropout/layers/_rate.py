"""The drop probability as a property of a module."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.compiler import is_compiling

from torchdropout.layers._checks import check_probability


class Rate:
    """The drop probability `p`, for a class that is a module as well.

    `p` is checked when set and is not in the `state_dict`. A compiler sees it as a 0-d tensor, so that a schedule can
    change it without recompilation, except to reach 0 or 1.
    """

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


class RateModule(Rate, nn.Module):
    """A module of its own with a drop probability."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def extra_repr(self) -> str:
        """The arguments, as PyTorch prints them."""
        return f"p={self.p}"
