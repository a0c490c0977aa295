"""Penalties on weights, as they are: not divided by anything."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from torchdropout.layers._checks import check_number
from torchdropout.losses._names import Filter, chosen
from torchdropout.losses._weights import Owned, by_unit, owned
from torchdropout.losses.kl import zero

Measure = Callable[[Tensor, nn.Module], Tensor]


def penalty(
    model: nn.Module,
    *,
    l1: float | None = None,
    l2: float | None = None,
    elastic: tuple[float, float] | None = None,
    group: float | None = None,
    filter_fn: Filter = None,
) -> Tensor:
    """Penalties on a model's weights, to be added to a mean loss as they are.

    - `l1`: `l1 * sum |w|`.
    - `l2`: `l2 / 2 * sum w**2`, whose gradient is that of `weight_decay=l2` in `torch.optim.SGD`.
    - `elastic=(alpha, l1_ratio)`: `alpha * l1_ratio * sum |w| + alpha * (1 - l1_ratio) / 2 * sum w**2`, as in
      scikit-learn's `ElasticNet`.
    - `group`: `group * sum over units of sqrt(size) * ||w_unit||`, the group lasso over the `size` weights that lead
      into an output unit: a row of a matrix, a filter of a convolution, a word's vector.

    The weights are the matrices and filters that are trained, each once, tied ones too: no bias, no normalisation,
    nothing that says how noisy a layer is. With L1, subgradients never reach an exact zero: `proximal_l1_` does.

    Args:
        model: Whose weights; wrapped ones (DDP, compiled) too.
        l1: The strength of the L1 norm.
        l2: The strength of half the squared L2 norm.
        elastic: The strength of the elastic net, and its L1 part in [0, 1].
        group: The strength of the group lasso.
        filter_fn: Which weights: a function of a weight and its qualified name, or a pattern of names as `fnmatch`
            has it (`"encoder.*"`); None for all.

    Returns:
        A 0-d tensor, in at least float32.

    Raises:
        ValueError: No penalty is given, a strength is negative or not finite, or no weight is chosen.
        TypeError: A strength is no number.

    Example:
        >>> import torch, torchdropout as td
        >>> layer = torch.nn.Linear(2, 1)
        >>> _ = layer.weight.data.copy_(torch.tensor([[3.0, -4.0]]))
        >>> [round(td.penalty(layer, **{name: 0.1}).item(), 4) for name in ("l1", "l2", "group")]
        [0.7, 1.25, 0.7071]

    Reference:
        R. Tibshirani. Regression Shrinkage and Selection via the Lasso. JRSS B 58:267-288, 1996. H. Zou, T. Hastie.
        Regularization and Variable Selection via the Elastic Net. JRSS B 67:301-320, 2005. M. Yuan, Y. Lin. Model
        Selection and Estimation in Regression with Grouped Variables. JRSS B 68:49-67, 2006.
    """
    terms = penalties("penalty", model, l1, l2, elastic, group, filter_fn)
    if not terms:
        raise ValueError("penalty: one of `l1`, `l2`, `elastic`, `group` must be given, got none.")
    return total(model, [value for term in terms.values() for value in term.values()])


def penalties(
    owner: str,
    model: nn.Module,
    l1: float | None,
    l2: float | None,
    elastic: tuple[float, float] | None,
    group: float | None,
    filter_fn: Filter,
) -> dict[str, dict[str, Tensor]]:
    """The penalties that are given, each by the name of a weight."""
    measures = _measures(owner, l1, l2, elastic, group)
    if not measures:
        return {}
    weights = trained_weights(owner, model, filter_fn)
    return {term: {w.name: of(_wide(w.parameter), w.owner) for w in weights} for term, of in measures.items()}


def trained_weights(owner: str, model: nn.Module, filter_fn: Filter) -> list[Owned]:
    """The matrices and filters of a model that are trained and that a filter chooses; not none."""
    weights = [each for each in owned(model) if each.is_weight() and each.parameter.requires_grad]
    if not weights:
        raise ValueError(f"{owner}: `model` must have matrices or filters that are trained, found none.")
    names = chosen(owner, [(each.name, each.parameter) for each in weights], filter_fn)
    return [each for each in weights if each.name in names]


def total(model: nn.Module, values: list[Tensor]) -> Tensor:
    """The sum, on the device of the first."""
    return torch.stack([value.to(values[0].device) for value in values]).sum() if values else zero(model)


def check_strength(owner: str, argument: str, value: float) -> None:
    """A factor of something that is to be small."""
    check_number(owner, argument, value, "finite and not negative", lambda v: 0 <= v < math.inf)


def _measures(
    owner: str, l1: float | None, l2: float | None, elastic: tuple[float, float] | None, group: float | None
) -> dict[str, Measure]:
    found: dict[str, Measure] = {}
    for name, value in (("l1", l1), ("l2", l2), ("group", group)):
        if value is not None:
            check_strength(owner, name, value)
    if l1 is not None:
        found["l1"] = lambda w, _: l1 * w.abs().sum()
    if l2 is not None:
        found["l2"] = lambda w, _: 0.5 * l2 * w.square().sum()
    if elastic is not None:
        alpha, ratio = _elastic(owner, elastic)
        found["elastic"] = lambda w, _: alpha * (ratio * w.abs().sum() + 0.5 * (1 - ratio) * w.square().sum())
    if group is not None:
        found["group"] = lambda w, module: group * _group_norm(by_unit(w, module))
    return found


def _elastic(owner: str, elastic: tuple[float, float]) -> tuple[float, float]:
    if not isinstance(elastic, (tuple, list)) or len(elastic) != 2:
        raise ValueError(f"{owner}: `elastic` must be (alpha, l1_ratio), got {elastic!r}.")
    alpha, ratio = elastic
    check_strength(owner, "elastic[0]", alpha)
    check_number(owner, "elastic[1]", ratio, "in [0, 1]", lambda v: 0 <= v <= 1)
    return alpha, ratio


def _group_norm(units: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(units, dim=1)
    return math.sqrt(units.shape[1]) * norms.sum()


def _wide(weight: Tensor) -> Tensor:
    return weight.to(torch.promote_types(weight.dtype, torch.float32))
