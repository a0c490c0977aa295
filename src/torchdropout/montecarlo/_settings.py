"""What a prediction is asked for, and what outputs must be like."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from torchdropout import rng
from torchdropout.layers._checks import check_choice, check_number
from torchdropout.losses._passes import Select, selected
from torchdropout.montecarlo.sampling import Excluded

Output = Literal["logits", "probs", "values"]
_OUTPUTS = ("logits", "probs", "values")


@dataclass(frozen=True)
class Settings:
    """All that does not depend on a batch."""

    owner: str
    num_samples: int
    output: Output
    key: Tensor
    select: Select
    log_variance: Select
    class_dim: int
    batch_dim: int
    keep_samples: bool
    consistent: bool
    exclude: Excluded
    strict: bool
    memory: int

    def __post_init__(self) -> None:
        check_number(self.owner, "num_samples", self.num_samples, "an integer of at least 1", _is_count)
        check_choice(self.owner, "output", self.output, _OUTPUTS)
        check_number(self.owner, "memory", self.memory, "positive", lambda value: value > 0)
        if self.log_variance is not None and self.output != "values":
            raise ValueError(f"{self.owner}: `log_variance` is for output 'values', got {self.output!r}.")

    def take(self, output: Any) -> Tensor:
        """The tensor that is predicted."""
        return selected(self.owner, output, self.select)


def _is_count(value: float) -> bool:
    return value >= 1 and value == int(value)


def key_of(key: int | Tensor | None) -> Tensor:
    return rng.draw() if key is None else rng.key_of(key)


def check_classes(settings: Settings, values: Tensor) -> None:
    if not values.is_floating_point():
        raise TypeError(f"{settings.owner}: the model's output must be floating point, got {values.dtype}.")
    if settings.output == "values":
        return
    dim, rank = settings.class_dim, values.dim() - 1
    if not -rank <= dim < rank or values.shape[dim if dim < 0 else dim + 1] < 2:
        raise ValueError(
            f"{settings.owner}: the output must have two or more classes at axis `class_dim` = {dim}, got shape "
            f"{tuple(values.shape[1:])}; of one logit z, `select=lambda z: nn.functional.pad(z, (1, 0))` makes two."
        )
    if settings.output == "probs":
        _check_probabilities(settings, values, dim if dim < 0 else dim + 1)


def _check_probabilities(settings: Settings, values: Tensor, dim: int) -> None:
    low, total = values.min(), values.float().sum(dim)
    if low < 0 or not torch.allclose(total, torch.ones_like(total), atol=1e-2, equal_nan=True):
        raise ValueError(
            f"{settings.owner}: with output 'probs' the classes' probabilities must add up to 1, got sums from "
            f"{float(total.min()):g} to {float(total.max()):g}; does the model give logits?"
        )


def check_finite(settings: Settings, values: Tensor, numbers: range) -> None:
    bad = values.isnan().flatten(1).any(1)
    if not bool(bad.any()):
        return
    names = ", ".join(str(numbers[i]) for i in bad.nonzero().flatten()[:8].tolist())
    told = f"{settings.owner}: the output has NaN in sample {names}{' and more' if int(bad.sum()) > 8 else ''}"
    if settings.strict:
        raise ValueError(f"{told}, of {settings.num_samples}; `strict=False` makes this a warning.")
    warnings.warn(f"{told}.", stacklevel=5)
