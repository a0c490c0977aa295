"""The divergences that a model's layers have from their priors, in nats, and their part of a loss."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from torchdropout.layers._checks import check_number
from torchdropout.losses._names import plain_name, unwrapped


def kl_loss(model: nn.Module, num_data: float, warmup: float = 1.0) -> Tensor:
    """The divergence of a model's noise from its priors for each training example, to be added to a mean loss in nats.

    `warmup * sum of kl() / num_data` over every module with a method `kl`, a shared one once: divided once, by the
    number of examples of the *whole training set*, whatever a batch holds. Beside a mean negative log-likelihood in
    nats (`torch.nn.functional.cross_entropy` is one, a mean squared error is not) this is the negative evidence lower
    bound for an example. `docs/objectives.md` has the units for classes, tokens and regression.

    Args:
        model: Whose modules; wrapped ones (DDP, compiled) too.
        num_data: How many terms the likelihood of the training set has: examples, or tokens where the loss is a mean
            over tokens.
        warmup: The divergence's weight, in [0, 1], raised from 0 to 1 early in training.

    Returns:
        A 0-d tensor in at least float32; 0 where nothing has a prior.

    Raises:
        ValueError: `num_data` is not positive or `warmup` outside [0, 1]; a `kl()` is no 0-d tensor; or a module with
            `kl` holds others with it, whose divergences would count twice.
        TypeError: `num_data` or `warmup` is no number.

    Example:
        >>> import torch, torchdropout as td
        >>> model = torch.nn.Sequential(td.VariationalLinear(8, 4), td.ConcreteDropout(torch.nn.Linear(4, 2)))
        >>> loss = td.kl_loss(model, num_data=60_000)
        >>> torch.allclose(loss * 60_000, model[0].kl() + model[1].kl())
        True

    Reference:
        D. Kingma, T. Salimans, M. Welling. Variational Dropout and the Local Reparameterization Trick. NIPS 2015,
        arXiv:1506.02557, equations 1 and 2.
    """
    scale = kl_scale("kl_loss", num_data, warmup)
    total = divergence(model)
    return zero(model) if total is None else total * scale


def divergence(model: nn.Module) -> Tensor | None:
    """The sum of what the layers of a model diverge from their priors by, in nats; None where none has a prior."""
    values = list(divergences(model).values())
    return torch.stack([value.to(values[0].device) for value in values]).sum() if values else None


def divergences(model: nn.Module) -> dict[str, Tensor]:
    """What each layer with a prior diverges from it by, in nats, by the layer's name; a shared one once."""
    found = {plain_name(name): module for name, module in unwrapped(model).named_modules() if _has_prior(module)}
    names = {id(module): name for name, module in found.items()}
    for outer, module in found.items():
        inner = next((names[id(m)] for m in module.modules() if m is not module and id(m) in names), None)
        if inner is not None:
            raise ValueError(
                "kl_loss: a module with `kl` must hold no other one, or its divergence may count twice, got "
                f"{outer or 'the model'} with {inner} in it; give the method of one of them another name."
            )
    return {name: _checked(name, module.kl()) for name, module in found.items()}


def kl_scale(owner: str, num_data: float, warmup: float) -> float:
    """The factor of a divergence, its arguments checked."""
    check_number(owner, "num_data", num_data, "positive and finite", lambda n: 0 < n < math.inf)
    check_number(owner, "warmup", warmup, "in [0, 1]", lambda w: 0 <= w <= 1)
    return warmup / num_data


def zero(model: nn.Module) -> Tensor:
    """A zero where a model lives."""
    like = next(model.parameters(), None)
    return torch.zeros((), device=None if like is None else like.device)


def _has_prior(module: Any) -> bool:
    """Whether a module has `kl` itself: a compiled one passes on what it wraps, which then counts twice."""
    return callable(getattr(type(module), "kl", None)) or callable(vars(module).get("kl"))


def _checked(name: str, value: Any) -> Tensor:
    if not isinstance(value, Tensor) or value.dim() != 0:
        got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"kl_loss: `{name or 'model'}.kl()` must be the sum of a divergence, a 0-d tensor, got {got}.")
    return value.to(torch.promote_types(value.dtype, torch.float32))
