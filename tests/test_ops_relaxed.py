"""The relaxed Bernoulli's kernel against plain float64 operations."""

import pytest
import torch

import torchdropout as td
from torchdropout import laws, ops


def reference(x, logit, temperature, key):
    """In float64, from the same uniforms, which both kernels compute in float32."""
    u = ops.multiply(torch.ones(x.shape), laws.Spec("uniform", 0.0, 1.0), key=key).double()
    kept = torch.sigmoid(-(logit + torch.logit(u)) / temperature)
    return x * kept / (1 - torch.sigmoid(logit))


@pytest.mark.parametrize("temperature", [0.1, 2 / 3, 3.0])
@pytest.mark.parametrize("p", [1e-6, 0.1, 0.5, 0.97])
@pytest.mark.parametrize("shape", [(1,), (513,), (7, 300), (40_000,)])
def test_kernel_equals_float64(temperature, p, shape):
    key, g = td.key(3), torch.randn(shape)
    x, logit = torch.randn(shape, requires_grad=True), torch.logit(torch.tensor(p)).requires_grad_()
    y = ops.relaxed_multiply(x, logit, temperature, key=key)
    wide, wide_logit = (t.detach().double().requires_grad_() for t in (x, logit))
    expected = reference(wide, wide_logit, temperature, key)
    torch.testing.assert_close(y.double(), expected, rtol=2e-5, atol=2e-5)
    found = torch.autograd.grad(y, (x, logit), g)
    wanted = torch.autograd.grad(expected, (wide, wide_logit), g.double())
    torch.testing.assert_close(found[0].double(), wanted[0], rtol=2e-5, atol=2e-5)
    scale = (g * expected).abs().sum().item() / temperature
    assert abs(found[1].item() - wanted[1].item()) < 1e-5 * scale


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_change_nothing_but_the_order_of_a_sum(threads):
    x, logit, key = torch.randn(100_000, requires_grad=True), torch.tensor(-1.0, requires_grad=True), td.key(1)
    expected = ops.relaxed_multiply(x, logit, 0.1, key=key)
    grads = torch.autograd.grad(expected.sum(), (x, logit))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        y = ops.relaxed_multiply(x, logit, 0.1, key=key)
        found = torch.autograd.grad(y.sum(), (x, logit))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(y, expected)
    assert torch.equal(found[0], grads[0])
    torch.testing.assert_close(found[1], grads[1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sixteen_bits(dtype):
    x, logit, key = torch.randn(3000).to(dtype), torch.tensor(-1.0), td.key(1)
    y = ops.relaxed_multiply(x, logit, 0.5, key=key)
    assert y.dtype == dtype
    torch.testing.assert_close(y.double(), reference(x.double(), logit.double(), 0.5, key), rtol=8e-3, atol=1e-3)


def test_a_key_for_every_row_and_layouts():
    keys, x, logit = td.split(td.key(0), 5), torch.randn(5, 700), torch.tensor(0.3)
    y = ops.relaxed_multiply(x, logit, 0.2, key=keys)
    rows = [ops.relaxed_multiply(row, logit, 0.2, key=key) for row, key in zip(x, keys, strict=True)]
    assert torch.equal(y, torch.stack(rows))
    turned = x.T.contiguous().T
    assert torch.equal(
        ops.relaxed_multiply(turned, logit, 0.2, key=td.key(1)), ops.relaxed_multiply(x, logit, 0.2, key=td.key(1))
    )


def test_second_derivatives():
    x = torch.randn(9, requires_grad=True)
    logit = torch.tensor(0.4, requires_grad=True)
    (grad,) = torch.autograd.grad(
        ops.relaxed_multiply(x, logit, 0.5, key=td.key(0)).square().sum(), x, create_graph=True
    )
    found = torch.autograd.grad(grad.sum(), (x, logit))
    wide, wide_logit = (t.detach().double().requires_grad_() for t in (x, logit))
    (grad,) = torch.autograd.grad(reference(wide, wide_logit, 0.5, td.key(0)).square().sum(), wide, create_graph=True)
    for one, other in zip(found, torch.autograd.grad(grad.sum(), (wide, wide_logit)), strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-4)
    run = lambda x, logit: ops.relaxed_multiply(x, logit, 0.5, key=td.key(0))  # noqa: E731
    torch.autograd.gradcheck(run, (wide, wide_logit), check_forward_ad=True)
    _, tangent = torch.func.jvp(lambda x: run(x, logit), (x.detach(),), (torch.ones(9),))
    torch.testing.assert_close(
        tangent,
        torch.func.jvp(lambda x: reference(x, wide_logit, 0.5, td.key(0)), (wide,), (torch.ones(9).double(),))[
            1
        ].float(),
    )


def test_a_nan_stays():
    x = torch.ones(600)
    x[::2] = torch.nan
    assert torch.isnan(ops.relaxed_multiply(x, torch.tensor(0.0), 0.1)[::2]).all()
