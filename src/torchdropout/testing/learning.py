"""Checks of what is learned with: the divergence of a posterior, and training at the zero-noise limit."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from torchdropout.testing.case import Case, Factory, require

_STEPS, _LEARNING_RATE = 20, 0.5
_WITHIN, _APART = 1e-5, 1e-4


def check_divergence(case: Case) -> str | None:
    """`kl()` is the sum over parameters, in nats, that numerical integration finds."""
    if not case.divergences:
        return "no divergence declared"
    for setting in case.divergences:
        found = setting.factory().double().kl().detach()  # type: ignore[operator]
        require(found.dim() == 0, f"kl() must be 0-d, got shape {tuple(found.shape)}.")
        off = abs(float(found) - setting.nats)
        fine = off <= setting.within
        require(fine, f"{setting.what}: kl() is {float(found):.9g}, integration gives {setting.nats:.9g}.")
    layer = case.factory().train()
    before = layer.kl()  # type: ignore[operator]
    layer(case.input)
    require(bool(layer.kl() == before), "kl() depends on the input.")  # type: ignore[operator]
    return None


def check_twin(case: Case) -> str | None:
    """At the zero-noise limit the loss follows the noiseless twin's over 20 steps, and leaves it when noisy."""
    twin = case.twin
    if twin is None:
        return "no noiseless twin declared"
    expected = _losses(twin.noiseless, case.input)
    apart = (_losses(twin.quiet, case.input) - expected).abs().max()
    require(
        bool(apart <= _WITHIN), f"at the zero-noise limit the loss is {float(apart):.3g} from the noiseless twin's."
    )
    apart = (_losses(twin.noisy or case.factory, case.input) - expected).abs().max()
    require(not bool(apart <= _APART), f"with noise the loss stays within {float(apart):.3g} of the noiseless twin's.")
    require(float(expected[0] - expected[-1]) > _APART, "the noiseless twin learned nothing: nothing was compared.")
    return None


def _losses(factory: Factory, x: Tensor) -> Tensor:
    """The losses of 20 steps of gradient descent, on the layer's parameters and a scale of the input's features."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = factory().double()
        scale = nn.Parameter(torch.ones(x.shape[-1], dtype=torch.float64))
        parameters = [p for p in (scale, *layer.parameters()) if p.requires_grad and (p is not scale or _has_scale(x))]
        optimizer = torch.optim.SGD(parameters, _LEARNING_RATE)
        losses, target = [], None
        for step in range(_STEPS):
            torch.manual_seed(step)
            y = layer(x.double() * scale) if _has_scale(x) else layer(x)
            if target is None:
                target = torch.linspace(-1.0, 1.0, y.numel(), dtype=torch.float64).sin().view(y.shape)
            loss = (y - target).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
    return torch.stack(losses)


def _has_scale(x: Tensor) -> bool:
    return x.is_floating_point()
