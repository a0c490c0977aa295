"""Checks of randomness: reproducibility in every mode, and the distribution itself."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from torchdropout import rng
from torchdropout.testing.basics import require, same
from torchdropout.testing.bounds import check_count, check_normal_moments
from torchdropout.testing.case import Case, GaussianNoiseClaim, TwoPointClaim

_ELEMENTS = 1 << 22  # enough for several threads


def check_reproducible(case: Case) -> None:
    """The same seed, and the same key where the layer takes one, give the same output; another gives another."""
    layer, x = case.factory().train(), case.input
    require(same(case.noisy(layer, x, seed=1), case.noisy(layer, x, seed=1)), "one seed gave two outputs.")
    require(not same(case.noisy(layer, x, seed=1), case.noisy(layer, x, seed=2)), "two seeds gave one output.")
    if case.takes_key(layer):
        one, two = rng.key(1), rng.key(2)
        state = torch.get_rng_state()
        require(same(layer(x, key=one), layer(x, key=one)), "one key gave two outputs.")
        require(not same(layer(x, key=one), layer(x, key=two)), "two keys gave one output.")
        require(torch.equal(state, torch.get_rng_state()), "a call with a key drew from the random generator.")


def check_gradient(case: Case) -> None:
    """The backward pass uses the noise of the forward pass: `<y, 1>` and `<grad, x>` agree where `y` is linear."""
    layer = case.factory()
    x = case.input.double().requires_grad_()
    zero = case.noisy(layer, torch.zeros_like(x), seed=3)
    y = case.noisy(layer, x, seed=3)
    (grad,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close((grad * x).sum(), (y - zero).sum(), rtol=1e-6, atol=1e-6)


def check_checkpoint(case: Case) -> None:
    """Activation checkpointing, reentrant or not, recomputes the same noise."""
    layer = case.factory().train()

    def gradient(run: object) -> Tensor:
        x = case.input.clone().requires_grad_()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            torch.rand(3)
            run(x).square().sum().backward()  # type: ignore[operator]
        return x.grad  # type: ignore[return-value]

    expected = gradient(layer)
    for reentrant in (True, False):
        found = gradient(lambda x, reentrant=reentrant: checkpoint(layer, x, use_reentrant=reentrant))
        require(same(found, expected), f"checkpointing with use_reentrant={reentrant} changed the gradient.")


def check_autocast(case: Case) -> None:
    """Under autocast the layer leaves its input's dtype alone."""
    layer = case.factory().train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for dtype in (torch.float32, torch.bfloat16):
            got = layer(case.input.to(dtype)).dtype
            require(got == dtype, f"autocast turned {dtype} into {got}.")


def check_compile(case: Case) -> None:
    """`torch.compile(fullgraph=True)` works; for one key, values and gradients are eager's bit for bit."""
    if case.backend is None:
        return
    layer = case.factory().train()
    arguments = {"key": rng.key(9)} if case.takes_key(layer) else {}
    torch.compiler.reset()
    compiled = torch.compile(layer, fullgraph=True, backend=case.backend)
    results = [_values(run, case.input, arguments) for run in (layer, compiled)]
    if arguments:
        for eager, traced in zip(*results, strict=True):
            require(same(eager, traced), "the compiled layer differs from the eager one for the same key.")


def _values(run: object, x: Tensor, arguments: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    leaf = x.clone().requires_grad_()
    y = run(leaf, **arguments)  # type: ignore[operator]
    y.square().sum().backward()
    return y.detach(), leaf.grad  # type: ignore[return-value]


def check_statistics(case: Case) -> None:
    """Rate, mean, variance, and which axes share a draw."""
    claim = case.claim
    if claim is None:
        return
    layer = case.factory()
    y = case.noisy(layer, torch.ones_like(_enlarged(case.input), dtype=torch.float64), seed=11)
    for dim in claim.shared_dims:
        first = y.select(dim, 0).unsqueeze(dim)
        require(bool((y == first).all()), f"the draws along axis {dim} differ, where one draw is claimed.")
        y = first
    draws = _check_distribution(y, claim)
    for dim in range(y.dim()):
        if dim not in claim.shared_dims and y.shape[dim] > 1:
            _check_independent(draws, dim, claim)


def _check_distribution(y: Tensor, claim: TwoPointClaim | GaussianNoiseClaim) -> Tensor:
    """The distribution of single draws; returned is an indicator of known rate for each."""
    if isinstance(claim, TwoPointClaim):
        kept = (y - claim.kept).abs() < (y - claim.dropped).abs()
        expected = torch.where(kept, claim.kept, claim.dropped).to(y.dtype)
        torch.testing.assert_close(y, expected, rtol=1e-6, atol=1e-6)
        check_count("the rate of keeping", int(kept.sum()), kept.numel(), claim.keep)
        return kept
    z = (y - claim.mean) / claim.std
    check_normal_moments("the noise", float(z.sum()), float(z.square().sum()), z.numel())
    check_count("the rate of |z| < 1", int((z.abs() < 1.0).sum()), z.numel(), 0.6826894921370859)
    return z > 0.0


def _check_independent(draws: Tensor, dim: int, claim: TwoPointClaim | GaussianNoiseClaim) -> None:
    """Disjoint pairs of neighbours along an axis agree as often as independent draws do."""
    half = draws.shape[dim] // 2
    even, odd = (torch.arange(start, 2 * half, 2) for start in (0, 1))
    agree = draws.index_select(dim, even) == draws.index_select(dim, odd)
    q = claim.keep if isinstance(claim, TwoPointClaim) else 0.5
    check_count(f"agreement along axis {dim}", int(agree.sum()), agree.numel(), q**2 + (1.0 - q) ** 2)


def check_huge(case: Case) -> None:
    """An input large enough for several threads: its beginning has the noise of a small input under the same seed."""
    layer, x = case.factory(), case.input
    large = _enlarged(x)
    y = case.noisy(layer, large, seed=13)
    require(y.shape == large.shape, "a large input changed shape.")
    if case.claim is not None and 0 not in case.claim.shared_dims and case.takes_key(layer):
        part = case.noisy(layer, x, seed=13)
        require(same(y[: x.shape[0]], part), "the noise of the first examples depends on the size of the batch.")


def _enlarged(x: Tensor) -> Tensor:
    copies = -(-_ELEMENTS // x.numel())
    return x.repeat(copies, *[1] * (x.dim() - 1))
