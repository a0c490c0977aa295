"""Jagged nested tensors, which PyTorch's dropout accepts too."""

import pytest
import torch
from torch import nn

import torchdropout as td

ROWS = [torch.arange(1.0, 13).view(3, 4), torch.arange(1.0, 21).view(5, 4)]
EVERY = [td.Dropout(0.5), td.GaussianDropout(0.3), td.AlphaDropout(0.5)]


def jagged(requires_grad=False):
    return torch.nested.nested_tensor(ROWS, layout=torch.jagged, requires_grad=requires_grad)


@pytest.mark.parametrize("layer", EVERY, ids=repr)
def test_the_noise_is_that_of_the_values(layer):
    x = jagged()
    y = layer(x, key=td.key(3))
    torch.testing.assert_close(y.values(), layer(torch.cat(ROWS), key=td.key(3)))
    assert (x + y).shape == x.shape  # the ragged sizes are known to be the same


def test_the_gradient_has_the_forward_passs_mask():
    x = jagged(requires_grad=True)
    y = td.Dropout(0.5)(x)
    y.values().sum().backward()
    torch.testing.assert_close(x.grad.values() * x.detach().values(), y.detach().values())


def test_in_place():
    x = jagged()
    y = td.Dropout(0.5, inplace=True)(x, key=td.key(3))
    assert y is x
    torch.testing.assert_close(x.values(), td.Dropout(0.5)(torch.cat(ROWS), key=td.key(3)))


@pytest.mark.parametrize("package", [nn, td], ids=["torch.nn", "torchdropout"])
@pytest.mark.parametrize("p", [0.0, 0.5, 1.0])
def test_as_pytorch_accepts_them(package, p):
    y = package.Dropout(p)(jagged())
    assert y.is_nested
    kept = y.values() != 0
    torch.testing.assert_close(y.values()[kept], torch.cat(ROWS)[kept] / (1 - p) if p < 1 else y.values()[kept])


def test_a_transposed_one_and_one_with_holes():
    transposed = jagged().transpose(1, 2)
    assert td.Dropout(0.5)(transposed).shape == transposed.shape
    holes = torch.nested.narrow(
        torch.ones(3, 10, 4), 1, torch.tensor([0, 1, 2]), torch.tensor([2, 3, 4]), layout=torch.jagged
    )
    assert [len(row) for row in td.Dropout(0.5)(holes).unbind()] == [2, 3, 4]


def test_compiled():
    def call(x):
        return td.functional.dropout(x, 0.5, key=td.key(3)) * 1.0

    x = jagged()
    compiled = torch.compile(call, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x).values(), call(x).values())
