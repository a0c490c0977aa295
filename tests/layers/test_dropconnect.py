"""DropConnect: masks by weight, bias and example; the paper's moments; the kernel against materialised masks."""

import copy
import functools
import itertools
import math
import pickle

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import torchdropout as td

# METHODS, section 8: a layer small enough to enumerate all 2**8 masks.
W = torch.tensor([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75]], dtype=torch.float64)
B = torch.tensor([0.1, -0.2], dtype=torch.float64)
V = torch.tensor([[1.0, 2.0, -0.5]], dtype=torch.float64)


def small(**options):
    layer = td.DropConnectLinear(3, 2, dtype=torch.float64, **options)
    layer.load_state_dict({"weight": W, "bias": B})
    return layer


def enumerated(function, p=0.5):
    """The expectation of a function of the pre-activations over all masks of weights and biases."""
    total = 0.0
    for bits in itertools.product((0.0, 1.0), repeat=8):
        m = torch.tensor(bits, dtype=torch.float64)
        chance = math.prod(1 - p if bit else p for bit in bits)
        total = total + chance * function((W * m[:6].view(2, 3)) @ V[0] + B * m[6:])
    return total


def test_dropconnect_algorithm2_moments_are_those_of_all_masks():
    mean = enumerated(lambda r: r)
    variance = enumerated(lambda r: (r - mean) ** 2)
    np.testing.assert_allclose(mean, [-1.2, 1.0875])
    np.testing.assert_allclose(variance, [1.315, 0.67015625])
    torch.testing.assert_close(small().eval()(V)[0], mean)
    torch.testing.assert_close(small(inference="scale").eval()(V)[0], mean)
    torch.testing.assert_close(enumerated(torch.relu), torch.tensor([0.075, 1.1], dtype=torch.float64))
    torch.testing.assert_close(
        small(activation="relu").eval()(V)[0], torch.tensor([0.08738458, 1.12257310], dtype=torch.float64)
    )


@pytest.mark.parametrize("p", [0.25, 0.5, 0.875])
def test_dropconnect_algorithm2_averages_after_the_activation(p):
    """Against quadrature of the normal; the rule of dropout, the activation of the mean, is another number."""
    mean, deviation = enumerated(lambda r: r, p), enumerated(lambda r: r**2, p)
    deviation = (deviation - mean**2).sqrt()
    for activation, tolerance in (("relu", 1e-9), (torch.tanh, 1e-3), (nn.Sigmoid(), 1e-3)):
        function = torch.relu if activation == "relu" else activation
        expected = [
            integrate.quad(
                lambda u, m=m, s=s, f=function: float(f(torch.tensor(u))) * stats.norm.pdf(u, m, s),
                m - 12 * s, m + 12 * s, points=[0.0], limit=400, epsabs=1e-11,
            )[0]
            for m, s in zip(mean.tolist(), deviation.tolist(), strict=True)
        ]  # fmt: skip
        found = small(p=p, activation=activation, samples=2000).eval()(V)[0]
        np.testing.assert_allclose(found.detach(), expected, atol=tolerance)
        scaled = small(p=p, activation=activation, inference="scale").eval()(V)[0]
        torch.testing.assert_close(scaled, function(mean))
        assert (found - scaled).abs().max() > 2 * tolerance


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("n", "out", "ins", "p"), [(3, 5, 7, 0.5), (4, 90, 300, 0.3), (2, 70, 33, 0.001), (9, 40, 517, 0.25)]
)
def test_dropconnect_eq_training_pass_and_gradients_equal_materialised_masks(n, out, ins, p, dtype):
    """The mask of element (n, o, i), that the kernel never stores, is that of `dropout_mask` for the same key."""
    x, w, b, g = (torch.randn(s, dtype=dtype) for s in ((n, ins), (out, ins), (out,), (n, out)))
    for t in (x, w, b):
        t.requires_grad_()
    key = td.key(5)
    m = td.functional.dropout_mask((n, out, ins), p, key=td.fold_in(key, 0)).to(dtype)
    mb = td.functional.dropout_mask((n, out), p, key=td.fold_in(key, 1)).to(dtype)
    y = td.functional.dropconnect(x, w, b, p, key=key)
    expected = torch.einsum("noi,oi,ni->no", m, w, x) + mb * b
    close = functools.partial(torch.testing.assert_close, rtol=1e-5, atol=1e-4 if dtype == torch.float32 else 1e-12)
    close(y, expected)
    pair = [torch.autograd.grad(result, (x, w, b), g) for result in (y, expected)]
    for found, wanted in zip(*pair, strict=True):
        close(found, wanted)
    (only,) = torch.autograd.grad(td.functional.dropconnect(x.detach(), w, None, p, key=key), w, g)
    close(only, torch.einsum("noi,ni,no->oi", m, x, g))


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_number_of_threads_changes_no_mask(threads):
    before = torch.get_num_threads()
    x, w, g = torch.randn(40, 130, requires_grad=True), torch.randn(150, 130, requires_grad=True), torch.randn(40, 150)
    expected = td.functional.dropconnect(x, w, None, 0.3, key=td.key(2))
    grads = torch.autograd.grad(expected, (x, w), g)
    torch.set_num_threads(threads)
    try:
        y = td.functional.dropconnect(x, w, None, 0.3, key=td.key(2))
        torch.testing.assert_close(torch.autograd.grad(y, (x, w), g), grads)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(y, expected)


def test_one_draw_covers_one_weight_of_one_example():
    """Equal rows get different outputs, where many copies share the mask; the covariance of two rows is zero.

    4096 rows in 4 groups of neighbours: correlations of 5 standard errors, 0.16; error rate below 1e-5.
    """
    x, w = torch.ones(4096, 20), torch.ones(3, 20)
    y = td.functional.dropconnect(x, w, None, 0.5, key=td.key(0)).double()
    assert len(y[:4].unique(dim=0)) > 1
    correlation = torch.corrcoef(torch.cat([y.view(1024, 4, 3).flatten(1)]).T)
    assert (correlation - torch.eye(12)).abs().max() < 0.16
    # Binomial(20, 1/2): mean 10, variance 5; 5 standard errors over 12,288 sums
    assert abs(y.mean() - 10) < 5 * math.sqrt(5 / 12288)
    assert abs(y.var() - 5) < 5 * 5 * math.sqrt(2 / 12288)
    together = td.functional.dropconnect(x, w, None, 0.5, shared="batch", key=td.key(0))
    assert len(together.unique(dim=0)) == 1


def test_biases_are_dropped_too():
    y = td.functional.dropconnect(torch.zeros(2000, 4), torch.ones(3, 4), torch.ones(3), 0.25, key=td.key(0))
    assert set(y.unique().tolist()) == {0.0, 1.0}
    assert abs(y.mean() - 0.75) < 5 * math.sqrt(0.75 * 0.25 / 6000)


def test_a_key_for_every_example():
    keys = td.split(td.key(3), 6)
    x, w = torch.randn(6, 8), torch.randn(5, 8)
    y = td.functional.dropconnect(x, w, None, 0.5, key=keys)
    apart = [td.functional.dropconnect(row[None], w, None, 0.5, key=key) for row, key in zip(x, keys, strict=True)]
    torch.testing.assert_close(y, torch.cat(apart))


@pytest.mark.parametrize("shape", [(8,), (2, 8), (2, 3, 8), (0, 8), (2, 0, 8)])
def test_shapes_are_those_of_a_linear_layer(shape):
    layer, x = td.DropConnectLinear(8, 5), torch.randn(shape)
    for inference in ("moments", "scale", "sample"):
        layer.inference = inference
        for mode in (True, False):
            assert layer.train(mode)(x).shape == F.linear(x, layer.weight).shape


def test_gradcheck_and_the_second_derivative():
    layer = small(p=0.3)
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    run = lambda x, w, b: td.functional.dropconnect(x, w, b, 0.3, key=td.key(1))  # noqa: E731
    torch.autograd.gradcheck(run, (x, layer.weight, layer.bias))
    torch.autograd.gradgradcheck(run, (x, layer.weight, layer.bias))
    torch.autograd.gradcheck(run, (x, layer.weight, layer.bias), check_forward_ad=True)
    averaged = small(p=0.3, activation="relu").eval()
    torch.autograd.gradcheck(averaged, x)


@pytest.mark.parametrize("p", [0.0, 1e-6, 1 - 1e-6, 1.0])
def test_extreme_p(p):
    for activation in ("relu", torch.tanh):
        layer, x = small(p=p, activation=activation), torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
        for mode in (True, False):
            y = layer.train(mode)(x)
            grads = torch.autograd.grad(y.sum(), (x, layer.weight, layer.bias))
            assert all(torch.isfinite(t).all() for t in (y, *grads))
    plain = F.relu(F.linear(x, W, B))
    torch.testing.assert_close(small(p=0.0, activation="relu")(x), plain)
    assert torch.equal(small(p=1.0, activation="relu")(x), torch.zeros_like(plain))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_autocast(dtype):
    layer, x = td.DropConnectLinear(16, 8, dtype=dtype), torch.randn(4, 16, dtype=dtype)
    y = layer(x, key=td.key(0))
    assert y.dtype == dtype
    wide = copy.deepcopy(layer).float()(x.float(), key=td.key(0))
    torch.testing.assert_close(y.float(), wide, atol=0.02, rtol=0.02)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for dtype in (torch.float32, torch.bfloat16):  # what a layer before this one returns under autocast
            assert td.DropConnectLinear(16, 8)(torch.randn(4, 16, dtype=dtype)).dtype == torch.bfloat16


def test_compiled_equals_eager_for_one_key_and_p_may_change():
    torch.compiler.reset()
    layer, x = td.DropConnectLinear(16, 8, p=0.3), torch.randn(4, 16, requires_grad=True)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    for p in (0.3, 0.4, 0.45):
        layer.p = p
        losses = [run(x, key=td.key(0)).square().sum() for run in (layer, compiled)]
        pair = [torch.autograd.grad(loss, (x, layer.weight, layer.bias)) for loss in losses]
        for one, other in zip(*pair, strict=True):
            torch.testing.assert_close(one, other)
    layer.eval()
    torch.testing.assert_close(torch.compile(layer, fullgraph=True, backend="aot_eager")(x), layer(x))


def test_vmap_over_keys_and_over_random_draws():
    layer, x = td.DropConnectLinear(6, 3), torch.randn(4, 6)
    keys = td.split(td.key(0), 5)
    y = torch.func.vmap(lambda key: layer(x, key=key))(keys)
    torch.testing.assert_close(y, torch.stack([layer(x, key=key) for key in keys]))
    drawn = torch.func.vmap(layer, randomness="different")(x.expand(5, 4, 6))
    assert len(drawn.unique(dim=0)) == 5


def test_checkpointing_pickles_and_copies():
    layer, x = td.DropConnectLinear(6, 3), torch.randn(4, 6, requires_grad=True)
    for reentrant in (True, False):
        torch.manual_seed(0)
        (expected,) = torch.autograd.grad(layer(x).square().sum(), x)
        torch.manual_seed(0)
        (found,) = torch.autograd.grad(checkpoint(layer, x, use_reentrant=False).square().sum(), x)
        assert torch.equal(found, expected), reentrant
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(x, key=td.key(1)), layer(x, key=td.key(1)))


def test_state_dicts_load_both_ways_and_weights_survive_conversion():
    plain = nn.Linear(6, 3)
    layer = td.DropConnectLinear.from_linear(plain, p=0.25, inference="scale")
    assert layer.p == 0.25
    assert torch.equal(layer.weight, plain.weight)
    assert layer.weight is not plain.weight
    nn.Linear(6, 3).load_state_dict(layer.state_dict())
    conv = nn.Conv2d(4, 6, (3, 2), stride=2, padding=1, dilation=2, groups=2, bias=False, padding_mode="circular")
    twin = td.DropConnectConv2d.from_conv(conv, p=0.0).train()
    x = torch.randn(2, 4, 9, 9)
    torch.testing.assert_close(twin(x), conv(x))
    assert twin.bias is None


@pytest.mark.parametrize(
    ("dims", "options"),
    [(1, {}), (2, {}), (2, {"groups": 2, "stride": 2, "padding": 1, "padding_mode": "reflect"})],
)
@pytest.mark.parametrize("shared", ["example", "batch"])
def test_a_convolution_is_a_linear_map_with_one_mask_a_kernel(dims, options, shared):
    make = {1: (td.DropConnectConv1d, nn.Conv1d), 2: (td.DropConnectConv2d, nn.Conv2d)}[dims]
    layer = make[0](4, 6, 3, **options, p=0.3, shared=shared, dtype=torch.float64)
    x, key = torch.randn(5, 4, *[7] * dims, dtype=torch.float64), td.key(2)
    n = 1 if shared == "batch" else 5
    m = td.functional.dropout_mask((n, *layer.weight.shape), 0.3, key=td.fold_in(key, 0))
    mb = td.functional.dropout_mask((n, 6), 0.3, key=td.fold_in(key, 1))
    plain = make[1](4, 6, 3, **options, dtype=torch.float64)
    expected = []
    for number, row in enumerate(x):
        one = number if n > 1 else 0
        plain.load_state_dict({"weight": layer.weight * m[one], "bias": layer.bias * mb[one]})
        expected.append(plain(row))
    torch.testing.assert_close(layer(x, key=key), torch.stack(expected))
    torch.testing.assert_close(layer(x[0], key=key), layer(x[:1], key=key)[0])


def test_the_moments_of_a_convolution_are_those_of_many_draws():
    """20,000 masks: 5 standard errors on the mean and 6 % on the deviations of 24 outputs; error rate below 1e-4."""
    layer = td.DropConnectConv2d(3, 6, 2, p=0.375, dtype=torch.float64)
    x = torch.randn(1, 3, 3, 3, dtype=torch.float64)
    draws = layer(x.expand(20_000, 3, 3, 3), key=td.key(0)).detach()
    mean = layer.eval()(x)[0]
    assert ((draws.mean(0) - mean).abs() < 5 * draws.std(0) / 20_000**0.5).all()
    keep = 0.625
    squares = F.conv2d(x**2, layer.weight**2, layer.bias**2)[0] * keep * (1 - keep)
    torch.testing.assert_close(draws.std(0), squares.sqrt(), rtol=0.06, atol=0)
    layer.activation = "relu"
    expected = td.functional.relu_moments(mean, squares).mean
    torch.testing.assert_close(layer(x)[0], expected)
    layer.activation, layer.samples = torch.relu, 4000
    torch.testing.assert_close(layer(x)[0], expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("p", [0.0, 0.5])
def test_without_noise_it_trains_as_a_linear_layer_and_with_noise_it_does_not(p):
    torch.manual_seed(0)
    plain, x, y = nn.Linear(10, 3), torch.randn(32, 10), torch.randn(32, 3)
    losses = []
    for layer in (plain, td.DropConnectLinear.from_linear(plain, p=p)):
        optimizer, curve = torch.optim.SGD(layer.parameters(), lr=0.1), []
        for _ in range(20):
            optimizer.zero_grad()
            loss = F.mse_loss(layer(x), y)
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
        losses.append(torch.tensor(curve))
    apart = (losses[0] - losses[1]).abs().max()
    assert apart < 1e-5 if p == 0 else apart > 1e-2


LINEAR = functools.partial(td.DropConnectLinear, 3, 2)
SIZE = "the input's last axis must have size 3, got (2, 4)."


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LINEAR(p=1.5), "`p` must be in [0, 1], got 1.5."),
        (lambda: LINEAR(shared="row"), "`shared` must be one of 'example', 'batch', got 'row'."),
        (lambda: LINEAR(activation="gelu"), "`activation` must be one of 'identity', 'relu', got 'gelu'."),
        (lambda: LINEAR(inference="mean"), "`inference` must be one of 'moments', 'scale', 'sample', got 'mean'."),
        (lambda: LINEAR(samples=0), "`samples` must be at least 1, got 0."),
        (lambda: LINEAR()(torch.ones(2, 4)), SIZE),
        (lambda: LINEAR().eval()(torch.ones(2, 4)), SIZE),
        (lambda: LINEAR()(torch.ones(2, 3, dtype=torch.int64)), "the input must be floating point, got torch.int64."),
    ],
)
def test_errors(call, message):
    with pytest.raises((ValueError, TypeError)) as caught:
        call()
    assert str(caught.value) == f"DropConnectLinear: {message}"


def test_errors_of_the_function_and_of_convolutions():
    ones = torch.ones(2, 3)
    with pytest.raises(ValueError, match=r"^dropconnect: `p` must be in \[0, 1\], got -1\.$"):
        td.functional.dropconnect(ones, ones, p=-1)
    with pytest.raises(TypeError, match="one dtype, got torch.float64 and torch.float32"):
        td.functional.dropconnect(ones.double(), ones)
    with pytest.raises(
        ValueError, match=r"^DropConnectConv2d: the input must have shape \(N, C, H, W\) or \(C, H, W\), got"
    ):
        td.DropConnectConv2d(3, 2, 3)(ones)
    with pytest.raises(ValueError, match=r"^DropConnectConv1d: `p` must be in \[0, 1\], got 2\.$"):
        td.DropConnectConv1d(3, 2, 3, p=2)
