"""Checks of modes: off in eval, anew in training, the same for one seed, in copies; strengths that are refused."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable

import torch
from torch import Tensor, nn

from torchdropout import rng
from torchdropout.testing.case import Case, close, gradients, leaves, noisy, require, same, takes_key

_CALLS = 100  # of which some two must differ; a layer that is skipped half of the time fails with 2**-99


def check_eval(case: Case) -> str | None:
    """Eval mode draws nothing, is deterministic, stays eval mode, and comes and goes with the parent's."""
    layer = case.factory()
    parent = nn.Sequential(layer).train().eval()
    state = torch.get_rng_state()
    y = parent(case.input)
    require(torch.equal(state, torch.get_rng_state()), "eval mode drew from the random generator.")
    require(not layer.training, "a call in eval mode switched training mode on.")
    require(same(y, parent(case.input)), "eval mode is not deterministic.")
    if case.claim is not None and case.elementwise:
        torch.testing.assert_close(y, case.input * case.claim.eval_scale)
    return None


def check_train_is_noisy(case: Case) -> str | None:
    """Training mode draws anew at every call, and after eval mode."""
    parent = nn.Sequential(case.factory()).train()
    first = parent(case.input)
    again = (parent.eval().train()(case.input) for _ in range(_CALLS))
    require(any(not same(first, y) for y in again), "calls in training mode gave the same output.")
    return None


def check_reproducible(case: Case) -> str | None:
    """The same seed, and the same key where the layer takes one, give the same output; others give another."""
    layer, x = case.factory().train(), case.input
    first = noisy(layer, x, seed=1)
    require(same(first, noisy(layer, x, seed=1)), "one seed gave two outputs.")
    others = (noisy(layer, x, seed) for seed in range(2, _CALLS))
    require(any(not same(first, y) for y in others), "all seeds gave one output.")
    if takes_key(layer):
        state, first = torch.get_rng_state(), layer(x, key=rng.key(1))
        require(same(first, layer(x, key=rng.key(1))), "one key gave two outputs.")
        others = (layer(x, key=rng.key(seed)) for seed in range(2, _CALLS))
        require(any(not same(first, y) for y in others), "all keys gave one output.")
        require(torch.equal(state, torch.get_rng_state()), "a call with a key drew from the random generator.")
    return None


def check_copies(case: Case) -> str | None:
    """A deep copy, a pickle, a saved module and a loaded state dict give the same noise, and stand on their own."""
    layer = case.factory()
    expected = noisy(layer, case.input)
    ways: dict[str, Callable[[nn.Module], nn.Module]] = {
        "deepcopy": copy.deepcopy,
        "pickle": lambda layer: pickle.loads(pickle.dumps(layer)),
        "torch.save": _saved,
        "load_state_dict": lambda layer: _loaded(case.factory(), layer),
    }
    for what, way in ways.items():
        twin = way(layer)
        require(same(noisy(twin, case.input), expected), f"{what} changed the layer.")
        _check_independent(case, layer, twin, what)
    require(same(noisy(layer, case.input), expected), "a change of a copy changed the layer.")
    return None


def _saved(layer: nn.Module) -> nn.Module:
    buffer = io.BytesIO()
    torch.save(layer, buffer)
    buffer.seek(0)
    found: nn.Module = torch.load(buffer, weights_only=False)
    return found


def _loaded(fresh: nn.Module, layer: nn.Module) -> nn.Module:
    fresh.load_state_dict(layer.state_dict(), strict=True)
    return fresh


def _check_independent(case: Case, layer: nn.Module, twin: nn.Module, kind: str) -> None:
    """A copy computes with its own parameters, and with no others."""
    if not list(twin.parameters()):
        return
    before = noisy(twin, case.input)
    kept = [parameter.detach().clone() for parameter in layer.parameters()]
    _move(layer)
    alone = same(before, noisy(twin, case.input))
    with torch.no_grad():
        for parameter, value in zip(layer.parameters(), kept, strict=True):
            parameter.copy_(value)
    _move(twin)
    require(alone and not same(before, noisy(twin, case.input)), f"{kind} uses the parameters of the original.")


def _move(layer: nn.Module) -> None:
    """Change all parameters."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.sub_(1.0)


def check_errors(case: Case) -> str | None:
    """A strength out of range or NaN is refused with the value in the sentence."""
    for bad in case.bad:
        try:
            if case.at(bad) is None:
                return "no strength"
        except (ValueError, TypeError) as error:
            require(f"{bad:g}" in str(error), f"the refusal of {bad} does not show the value: {error}")
        else:
            raise AssertionError(f"p = {bad} was accepted.")
    return None


def check_extremes_of_p(case: Case) -> str | None:
    """At `p = 0` training is eval; at `p = 1` and beside 0 and 1 all is finite, or `p = 1` is refused by name."""
    layer = case.factory()
    if not isinstance(getattr(layer, "p", None), float):
        return "no `p`"
    layer.p = 0.0  # type: ignore[assignment]
    found, expected = noisy(layer, case.input), layer.eval()(case.input)
    require(close(found, expected), "p = 0 is not free of noise.")
    if case.elementwise:
        require(same(found, case.input), "p = 0 is not the identity.")
    for p in (1e-6, 1.0 - 1e-6, 1.0):
        try:
            layer.p = p  # type: ignore[assignment]
        except ValueError as error:
            require(p == 1.0 and "1" in str(error), f"the refusal of p = {p} does not show the value: {error}")
            continue
        y = _finite(layer, case.input, f"p = {p}")
        if p == 1.0 and case.elementwise and case.probe is None:
            require(bool((y == y.flatten()[0]).all()), "p = 1 must make the output constant.")
    return None


def check_extremes(case: Case) -> str | None:
    """At extreme settings of the parameters outputs, gradients and the divergence are finite."""
    if not case.extremes:
        return "no settings declared"
    for what, setting in case.extremes.items():
        layer = case.factory()
        with torch.no_grad():
            setting(layer)
        _finite(layer, case.input, what)
        if hasattr(layer, "kl"):
            kl = layer.kl()  # type: ignore[operator]
            require(_are_finite([kl]), f"at {what} the divergence is {kl.item()}.")
            found = torch.autograd.grad(kl, list(layer.parameters()), allow_unused=True)
            fine = _are_finite([g for g in found if g is not None])
            require(fine, f"at {what} the divergence's gradient is not finite.")
    return None


def _finite(layer: nn.Module, x: Tensor, what: str) -> Tensor:
    for mode in ("eval", "training"):
        leaf, of = leaves(layer, x)
        y: Tensor = layer.train(mode == "training")(leaf)
        require(_are_finite([y]), f"{what} gives values that are not finite in {mode}.")
        if of and y.requires_grad:
            require(_are_finite(gradients(y, of)), f"{what} gives gradients that are not finite in {mode}.")
    return y.detach()


def _are_finite(tensors: list[Tensor]) -> bool:
    return all(bool(torch.isfinite(t).all()) for t in tensors)
