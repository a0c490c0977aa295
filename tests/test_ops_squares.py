"""Cutout's kernel against masks made of plain operations."""

import pytest
import torch

import torchdropout as td
from torchdropout import ops
from torchdropout.layers import cutout as layer


def by_masks(x, size, holes, inside, key):
    patches = layer.Patches(size, holes, 1.0, inside, 0.0, "square", "image", (1 / 3, 3.0))
    return x * layer._kept(x, patches, size // 2, key).to(x.dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("size", "holes", "inside"), [(16, 1, False), (7, 3, False), (8, 2, True), (20, 1, True)])
def test_kernel_equals_masks(dtype, size, holes, inside):
    x = torch.randn(300, 3, 32, 20).to(dtype)
    x[0, 0] = torch.nan
    for key in (td.key(4), td.split(td.key(4), 300)):
        y = ops.cut_squares(x, size // 2, holes, inside, key=key)
        assert y.is_contiguous()
        assert torch.equal(y.nan_to_num(9.0), by_masks(x, size, holes, inside, key).nan_to_num(9.0))
    assert torch.isnan(y[0, 0]).all()


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_any_number_of_threads_and_the_gradient(threads):
    x, g = torch.randn(101, 3, 32, 32, requires_grad=True), torch.randn(101, 3, 32, 32)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        y = td.functional.cutout(x, 10, key=td.key(7))
        (found,) = torch.autograd.grad(y, x, g)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(y, by_masks(x, 10, 1, False, td.key(7)))
    assert torch.equal(found, by_masks(g, 10, 1, False, td.key(7)))


def test_plain_operations_serve_where_the_kernel_cannot():
    x = torch.randn(4, 3, 8, 8)
    assert ops.cut_squares(torch.randn(4, 3, 8, 8, dtype=torch.float64)[:0], 2, 1, False) is None
    mapped = torch.func.vmap(lambda key: td.functional.cutout(x, 4, key=key))(td.split(td.key(0), 3))
    expected = [td.functional.cutout(x, 4, key=key) for key in td.split(td.key(0), 3)]
    assert torch.equal(mapped, torch.stack(expected))
    turned = x.to(memory_format=torch.channels_last)
    assert torch.equal(td.functional.cutout(turned, 4, key=td.key(1)), td.functional.cutout(x, 4, key=td.key(1)))
