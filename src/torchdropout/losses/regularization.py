"""All that a model adds to its loss, in one object that tells its parts."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from torchdropout.losses._names import Filter
from torchdropout.losses.kl import divergences, kl_scale
from torchdropout.losses.penalty import penalties, total


@dataclass(frozen=True)
class Regularization:
    """What is added to a mean loss: `loss + it` is a tensor.

    Args:
        total: The sum, 0-d.
        terms: The parts by the name of a term (`kl`, `l1`, ...), then by that of a layer or weight; they add up to it.
    """

    total: Tensor
    terms: dict[str, dict[str, Tensor]]

    def breakdown(self) -> dict[str, dict[str, float]]:
        """The parts as numbers, by term, then by layer or weight."""
        return {term: {name: float(v.detach()) for name, v in parts.items()} for term, parts in self.terms.items()}

    def __add__(self, loss: Tensor | float) -> Tensor:
        return self.total + loss

    def __radd__(self, loss: Tensor | float) -> Tensor:
        return loss + self.total

    def __float__(self) -> float:
        return float(self.total.detach())


def regularization_loss(
    model: nn.Module,
    num_data: float,
    *,
    warmup: float = 1.0,
    l1: float | None = None,
    l2: float | None = None,
    elastic: tuple[float, float] | None = None,
    group: float | None = None,
    filter_fn: Filter = None,
) -> Regularization:
    """`kl_loss` and `penalty` in one, with their parts by layer.

    The divergences are divided by `num_data`, the penalties by nothing. To a weight with a prior, its divergence
    already is a penalty: choose the others by `filter_fn`.

    Args:
        model: Whose layers and weights; wrapped ones (DDP, compiled) too.
        num_data: How many terms the likelihood of the training set has, as for `torchdropout.kl_loss`.
        warmup: The divergence's weight, in [0, 1].
        l1: As for `torchdropout.penalty`, as all below.
        l2: The strength of half the squared L2 norm.
        elastic: The strength of the elastic net, and its L1 part.
        group: The strength of the group lasso.
        filter_fn: Which weights the penalties are for.

    Returns:
        A `Regularization`: `loss + it` is a tensor, `it.breakdown()` its parts as numbers.

    Raises:
        ValueError: As `kl_loss` and `penalty`; without a penalty, the divergence is all.
        TypeError: An argument is no number.

    Example:
        >>> import torch, torchdropout as td
        >>> model = torch.nn.Sequential(td.VariationalLinear(3, 3), torch.nn.Linear(3, 1))
        >>> added = td.regularization_loss(model, 1000, l2=1e-3, filter_fn="1.*")
        >>> {term: list(parts) for term, parts in added.breakdown().items()}
        {'kl': ['0'], 'l2': ['1.weight']}
        >>> loss = torch.tensor(0.5) + added
    """
    owner = "regularization_loss"
    scale = kl_scale(owner, num_data, warmup)
    terms = {"kl": {name: value * scale for name, value in divergences(model).items()}}
    terms |= penalties(owner, model, l1, l2, elastic, group, filter_fn)
    terms = {term: parts for term, parts in terms.items() if parts}
    return Regularization(total(model, [value for parts in terms.values() for value in parts.values()]), terms)
