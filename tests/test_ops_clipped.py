"""Clipped variances by the kernel against PyTorch's operations in float64."""

import pytest
import torch
from torch.nn import functional as F

from torchdropout import ops

BOUNDS = (0.01, 50.0)


def tensors(shape, clipped):
    weight = torch.randn(shape)
    weight.view(-1)[::7] = 0.0 if clipped else 1.0
    factor = torch.rand(shape) * (20 if clipped else 6) - (10 if clipped else 3)
    return weight, (weight.square() + 1e-6).log() + factor


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("clipped", [True, False])
@pytest.mark.parametrize(("rows", "shape"), [((5,), (3, 4)), ((), (3, 4)), ((2, 6), (300, 130)), ((0,), (3, 4))])
def test_product_and_gradients_equal_pytorchs(rows, shape, clipped, threads):
    weight, log_sigma2 = tensors(shape, clipped)
    x, g = torch.rand(*rows, shape[1]), torch.randn(*rows, shape[0])
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        leaves = [t.clone().requires_grad_() for t in (x, weight, log_sigma2)]
        y = ops.clipped_variance_linear(*leaves, BOUNDS)
        found = torch.autograd.grad(y, leaves, g, allow_unused=True)
    finally:
        torch.set_num_threads(before)
    wide = [t.double().requires_grad_() for t in (x, weight, log_sigma2)]
    variance = ops.plain_variance(*wide[1:], BOUNDS)
    expected = F.linear(wide[0], variance)
    torch.testing.assert_close(y.double(), expected, rtol=2e-5, atol=1e-5)
    for one, other in zip(found, torch.autograd.grad(expected, wide, g.double()), strict=True):
        given = torch.zeros_like(other) if one is None else one.double()
        torch.testing.assert_close(given, other, rtol=2e-4, atol=2e-4)


def test_second_derivatives_and_what_has_to_be_served_by_others():
    weight, log_sigma2 = tensors((3, 4), False)
    x = torch.rand(2, 4, requires_grad=True)
    log_sigma2.requires_grad_()
    y = ops.clipped_variance_linear(x, weight, log_sigma2, BOUNDS)
    (first,) = torch.autograd.grad(y.sum(), log_sigma2, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    torch.testing.assert_close(second, log_sigma2.exp().sum(0).expand(2, 4), rtol=1e-4, atol=1e-4)
    assert ops.clipped_variance_linear(x.double(), weight.double(), log_sigma2.double(), BOUNDS) is None
    assert ops.clipped_variance_linear(x, weight.T.contiguous().T, log_sigma2, BOUNDS) is None
