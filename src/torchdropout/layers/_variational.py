"""What variational dropout's layers share: alpha, its bound, and the noise of independent weights."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from torchdropout.layers._checks import check_choice, check_floating, check_number
from torchdropout.layers._conversion import take_weights
from torchdropout.layers._kl import FORMS, Form, projected_clamp
from torchdropout.layers._local import Product, sample_outputs, squared_product, wide

Per = Literal["layer", "unit", "weight"]

_FLOOR = 1e-16  # of the output's variance: keeps the root's gradient finite, and is far below float32's resolution


def settle(log_alpha: Tensor) -> Tensor:
    """Log alpha in use: at most 0, in at least float32; the gradient passes if it points back below."""
    return projected_clamp(wide(log_alpha), -math.inf, 0.0)


def apply_type_b(
    owner: str,
    product: Product,
    x: Tensor,
    weight: Tensor,
    log_alpha: Tensor,
    bias: Tensor | None,
    noisy: bool,
    key: Tensor | None,
) -> Tensor:
    """Independent weights: `log_alpha` of the weight's shape, or of a shape that broadcasts with the input."""
    check_floating(owner, x)
    mean = product(x, weight, bias)
    if not noisy:
        return mean
    alpha, theta = settle(log_alpha).exp(), wide(weight)

    def spread(squares: Tensor) -> Tensor:
        if alpha.dim() and alpha.shape == weight.shape:
            return product(squares, alpha * theta.square(), None)
        return squared_product(product, squares * alpha, theta)

    return sample_outputs(product, mean, x, spread, _FLOOR, key)


class Alpha(nn.Module):
    """The noise level of a module, learned."""

    log_alpha: nn.Parameter

    def _set_up(self, p: float, per: str, kl: Form, shape: tuple[int, ...], **factory: Any) -> None:
        owner = type(self).__name__
        check_number(owner, "p", p, "in (0, 0.5]", lambda value: 0 < value <= 0.5)
        check_choice(owner, "kl", kl, tuple(FORMS))
        self.per, self.kl_form = per, kl
        self._initial = math.log(p) - math.log1p(-p)
        self.log_alpha = nn.Parameter(torch.full(shape, self._initial, **factory))

    @property
    def alpha(self) -> Tensor:
        """The variance of the multiplicative noise, at most 1, with its gradient."""
        return settle(self.log_alpha).exp()

    def _kl(self, count: int) -> Tensor:
        """The divergence of `count` noisy quantities, of which each alpha has an equal share."""
        return FORMS[self.kl_form](settle(self.log_alpha)).sum() * (count / self.log_alpha.numel())


class TypeB(Alpha):
    """Alpha for a class that has a `weight`."""

    weight: Tensor

    def _set_up_weights(self, p: float, per: Per, kl: Form, inputs: int) -> None:
        check_choice(type(self).__name__, "per", per, ("layer", "unit", "weight"))
        shape = {"layer": (), "unit": (inputs,), "weight": tuple(self.weight.shape)}[per]
        self._set_up(p, per, kl, shape, device=self.weight.device, dtype=self.weight.dtype)

    def kl(self) -> Tensor:
        """The divergence of the weights' posterior from the log-uniform prior: a sum in nats, 0-d."""
        return self._kl(self.weight.numel())

    def reset_parameters(self) -> None:
        """New weights as the torch layer draws them, and the initial alpha."""
        super().reset_parameters()  # type: ignore[misc]
        if "log_alpha" in self._parameters:
            nn.init.constant_(self.log_alpha, self._initial)

    def _copy(self, layer: nn.Module) -> None:
        take_weights(self, layer)

    def extra_repr(self) -> str:
        """The arguments, as PyTorch prints them."""
        return f"{super().extra_repr()}, per={self.per!r}, kl={self.kl_form!r}"
