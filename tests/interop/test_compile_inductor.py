"""Inductor: three layers, and the reference kernel, which it must be able to fuse without changing a bit."""

import pytest
import torch

import torchdropout as td
from torchdropout import laws
from torchdropout.kernels import reference


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(td.Dropout(0.3), (33, 65)), (td.GaussianDropout(0.3), (33, 65)), (td.Dropout2d(0.3), (4, 9, 3, 5))],
    ids=["Dropout", "GaussianDropout", "Dropout2d"],
)
def test_with_an_explicit_key_both_passes_equal_eager_bit_for_bit(layer, shape):
    function = lambda x, key: layer(x, key=key)  # noqa: E731
    fast = torch.compile(function, fullgraph=True)
    for seed in (1, 2):
        x, results = torch.randn(shape), []
        for call in (fast, function):
            leaf = x.clone().requires_grad_()
            y = call(leaf, td.key(seed))
            y.backward(torch.ones_like(y))
            results.append((y.detach(), leaf.grad))
        assert torch.equal(results[0][0], results[1][0])
        assert torch.equal(results[0][1], results[1][1])


def test_drawn_masks_equal_eagers_and_differ_between_layers():
    first, second = td.Dropout(0.3), td.Dropout(0.3)
    function = lambda x: (first(x) + 1, second(x).relu())  # noqa: E731
    fast = torch.compile(function, fullgraph=True)
    x = torch.ones(64, 64)
    for seed in (1, 2):
        torch.manual_seed(seed)
        got = fast(x)
        torch.manual_seed(seed)
        for a, b in zip(got, function(x), strict=True):
            assert torch.equal(a, b)
        assert not torch.equal(got[0] - 1, got[1])


def test_the_reference_kernel_traces_whole_and_keeps_every_bit_for_every_p():
    """One graph for all numbers of bits: p enters as a tensor."""

    def noise(x, key, p):
        return reference.multiply(x, key, laws.Spec("scaled bernoulli", p).as_tensors())

    fast = torch.compile(noise, fullgraph=True)
    x = torch.randn(3, 5000)
    for key in (td.key(-7), td.split(td.key(1), 3)):
        for p in (0.5, 0.25, 0.3, 1e-4):
            rate = torch.tensor(p, dtype=torch.float64)
            assert torch.equal(fast(x, key, rate), reference.multiply(x, key, laws.bernoulli(p)))


def test_the_reference_kernels_normals_trace_whole():
    def noise(x, key):
        return reference.multiply(x, key, laws.Normal(0.0, 1.0))

    x, key = torch.ones(5000), td.key(3)
    torch.testing.assert_close(torch.compile(noise, fullgraph=True)(x, key), noise(x, key), rtol=0, atol=2e-6)
