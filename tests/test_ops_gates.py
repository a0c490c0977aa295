"""A factor for each channel: the kernel's gradients against autograd's."""

import pytest
import torch

from torchdropout import ops


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("shape", "dim"),
    [((300, 40), -1), ((300, 40), 1), ((5, 7, 9, 11), 1), ((70, 3, 50, 60), 1), ((4, 6, 5), 0), ((3,), 0), ((1, 1), 1)],
)
def test_gradients_equal_autograds(shape, dim, dtype):
    x, g = (torch.randn(shape, dtype=dtype) for _ in range(2))
    gates = torch.rand(shape[dim], dtype=dtype)
    for threads in (1, 2):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            leaves = x.clone().requires_grad_(), gates.clone().requires_grad_()
            y = ops.gate(*leaves, dim)
            found = torch.autograd.grad(y, leaves, g)
        finally:
            torch.set_num_threads(before)
        plain = x.clone().requires_grad_(), gates.clone().requires_grad_()
        view = [1] * len(shape)
        view[dim] = -1
        expected = plain[0] * plain[1].view(view)
        assert torch.equal(y, expected)
        wanted = torch.autograd.grad(expected, plain, g)
        assert torch.equal(found[0], wanted[0])
        torch.testing.assert_close(found[1], wanted[1], rtol=1e-4, atol=1e-4 if dtype == torch.float32 else 1e-10)


def test_what_autograd_may_be_asked_for():
    x = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    gates = torch.rand(5, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda x, gates: ops.gate(x, gates, 1), (x, gates), check_forward_ad=True)
    torch.autograd.gradgradcheck(lambda x, gates: ops.gate(x, gates, 1), (x, gates))
    turned = torch.randn(5, 6, dtype=torch.float64).T.requires_grad_()
    torch.autograd.gradcheck(lambda x: ops.gate(x, gates, 1), turned)
    nothing = torch.randn(0, 5, requires_grad=True)
    assert ops.gate(nothing, gates.float(), 1).shape == (0, 5)
