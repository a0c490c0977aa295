"""Checks of gradients and of what transforms a layer: checkpointing, autocast, compilation."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from torchdropout import rng
from torchdropout.testing.case import Case, close, gradients, leaves, noisy, require, same, takes_key

_NO_GRADIENT = "nothing has a gradient"


def check_gradient(case: Case) -> str | None:
    """The backward pass uses the noise of the forward pass: `<y, 1>` and `<grad, x>` agree where `y` is linear."""
    if not case.elementwise:
        return "not linear in its input; see gradcheck"
    layer = case.factory().double()
    x = case.input.double().requires_grad_()
    zero = noisy(layer, torch.zeros_like(x), seed=3)
    y = noisy(layer, x, seed=3)
    (grad,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close((grad * x).sum(), (y - zero).sum(), rtol=1e-6, atol=1e-6)
    return None


def check_gradcheck(case: Case) -> str | None:
    """For fixed noise, gradients in float64 are those of finite differences, of input and parameters."""
    layer = case.factory().double()
    x, of = leaves(layer, case.input.double() if case.is_floating else case.input)
    if not of:
        return _NO_GRADIENT
    names = [name for name, parameter in layer.named_parameters() if parameter.requires_grad]
    arguments = {"key": rng.key(4)} if takes_key(layer) else {}

    def run(*given: Tensor) -> Tensor:
        first = given[0] if case.is_floating else x
        parameters = dict(zip(names, given[case.is_floating :], strict=True))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(4)
            y: Tensor = torch.func.functional_call(layer.train(), parameters, (first,), arguments)
            return y

    try:
        torch.autograd.gradcheck(run, tuple(of), fast_mode=True, atol=1e-4, rtol=1e-4)
    except RuntimeError as error:
        raise AssertionError(str(error).strip().splitlines()[0]) from error
    return None


def check_checkpoint(case: Case) -> str | None:
    """Activation checkpointing, reentrant or not, recomputes the same noise."""
    layer = case.factory().train()
    if not leaves(layer, case.input)[1]:
        return _NO_GRADIENT

    def run(call: Callable[[Tensor], Tensor]) -> list[Tensor]:
        layer.zero_grad()
        x, of = leaves(layer, case.input)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            torch.rand(3)
            torch.autograd.backward([call(x).square().sum()])
        return [torch.zeros_like(t) if t.grad is None else t.grad for t in of]

    expected = run(layer)
    for reentrant in (True, False) if case.is_floating else (False,):  # reentrant, the input must have a gradient
        found = run(functools.partial(checkpoint, layer, use_reentrant=reentrant))
        fine = all(map(same, found, expected))
        require(fine, f"checkpointing with use_reentrant={reentrant} changed the gradient.")
    return None


def check_autocast(case: Case) -> str | None:
    """Under autocast the output's dtype is the input's, or else eval's."""
    layer = case.factory()
    if not case.is_floating:
        return "no floating-point input"
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for dtype in (torch.float32, torch.bfloat16):
            x = case.input.to(dtype)
            expected = dtype if case.elementwise else layer.eval()(x).dtype
            got = layer.train()(x).dtype
            require(got == expected, f"autocast turned {dtype} into {got}, not {expected}.")
    return None


def check_compile(case: Case) -> str | None:
    """`torch.compile(fullgraph=True)` works, with `allow_rnn` where it is needed; for one key, all is eager's."""
    if case.backend is None:
        return "no backend named"
    layer = case.factory().train()
    arguments = {"key": rng.key(9)} if takes_key(layer) else {}
    torch.compiler.reset()
    compiled = torch.compile(layer, fullgraph=True, backend=case.backend)
    results = []
    with torch._dynamo.config.patch(allow_rnn=True) if case.recurrent else contextlib.nullcontext():
        for run in (layer, compiled):
            x, of = leaves(layer, case.input)
            y = run(x, **arguments)
            results.append([y.detach(), *(gradients(y, of) if of else ())])
    alike = close if list(layer.parameters()) or not case.elementwise else same  # arithmetic may be rounded otherwise
    if arguments and not all(map(alike, *results)):
        raise AssertionError("the compiled layer differs from the eager one for the same key.")
    return None
