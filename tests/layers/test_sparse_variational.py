"""Sparse variational dropout: moments of the outputs, what is removed, gradients, and training."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import torchdropout as td
from torchdropout import ops
from torchdropout.layers._kl import exact
from torchdropout.layers._sparse import _BOUNDS, weight_variance

CONVS = [(td.SparseVariationalConv1d, nn.Conv1d, (2, 4, 9)), (td.SparseVariationalConv2d, nn.Conv2d, (2, 4, 7, 6))]


def draws(layer, x, n=4000):
    """Outputs under `n` keys, `(n, *y.shape)`."""
    repeated = x.repeat(n, *[1] * (x.dim() - 1))
    y = layer(repeated, key=td.key(5))
    return y.reshape(n, *x.shape[:1], *y.shape[1:])


def make(seed=0):
    torch.manual_seed(seed)
    layer = td.SparseVariationalLinear(6, 3, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.normal_()
        layer.log_sigma2.uniform_(-4, 0)
    return layer, torch.randn(2, 6, dtype=torch.float64)


def test_sparse_variational_eq17_has_the_moments_of_normal_weights():
    """Mean x theta + b, variance (x**2)(sigma**2), and independent outputs and examples: one draw each."""
    layer, x = make()
    n = 40_000
    y = draws(layer, x, n).reshape(n, -1)
    mean = F.linear(x, layer.weight, layer.bias).flatten()
    variance = F.linear(x**2, layer.log_sigma2.exp()).flatten()
    z = (y - mean) / variance.sqrt()
    assert (z.mean(0).abs() < 5.5 / math.sqrt(n)).all()  # each bound fails with probability below 1e-7
    covariance = z.T @ z / n
    assert (covariance.diagonal() - 1).abs().max() < 5.5 * math.sqrt(2 / n)
    assert (covariance - covariance.diagonal().diag()).abs().max() < 5.5 / math.sqrt(n)


def test_a_port_that_adds_the_bias_to_the_variance_gives_nan():
    layer, x = make()
    with torch.no_grad():
        layer.bias.fill_(-1e4)
    y = layer(x, key=td.key(0))
    assert y.isfinite().all()
    torch.testing.assert_close(
        y + 1e4, td.functional.sparse_variational_linear(x, layer.weight, layer.log_sigma2, key=td.key(0))
    )


def test_log_alpha_is_clipped_and_so_is_the_variance():
    weight = torch.tensor([[1.0, 1.0, 0.1, 0.0]], dtype=torch.float64)
    log_sigma2 = torch.tensor([[-20.0, 20.0, -5.0, -10.0]], dtype=torch.float64)
    layer = td.SparseVariationalLinear(4, 1, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.log_sigma2.copy_(log_sigma2)
    expected = [-8.0, 8.0, -5 - math.log(0.01), 8.0]
    assert layer.log_alpha.flatten().tolist() == pytest.approx(expected, abs=1e-5)
    variance = weight_variance(weight, log_sigma2).flatten().tolist()
    assert variance == pytest.approx([math.exp(-8), math.exp(8), math.exp(-5), 0.0])


def test_the_fast_variance_is_the_plain_one_with_its_derivatives():
    torch.manual_seed(0)
    weight = torch.randn(40, 50, dtype=torch.float64, requires_grad=True)
    log_sigma2 = (torch.randn(40, 50, dtype=torch.float64) * 8).requires_grad_()
    grad = torch.randn(40, 50, dtype=torch.float64)
    results = []
    for function in (weight_variance, lambda *t: ops.plain_variance(*t, _BOUNDS)):
        value = function(weight, log_sigma2)
        results.append([value, *torch.autograd.grad(value, (weight, log_sigma2), grad)])
    assert (results[0][2] == 0).any()
    assert (results[0][2] != 0).any()
    for fast, plain in zip(*results, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-12, atol=1e-12)
    value = weight_variance(weight, log_sigma2)
    for retain in (True, False):  # the first pass uses up memory that the second needs
        gradients = torch.autograd.grad(value, (weight, log_sigma2), grad, retain_graph=retain)
        torch.testing.assert_close(list(gradients), results[1][1:], rtol=1e-12, atol=1e-12)


def test_sparse_variational_gradcheck():
    layer, x = make()

    def run(x, weight, log_sigma2, bias):
        return td.functional.sparse_variational_linear(x, weight, log_sigma2, bias, key=td.key(1))

    arguments = (x.requires_grad_(), layer.weight, layer.log_sigma2, layer.bias)
    assert torch.autograd.gradcheck(run, arguments)
    assert torch.autograd.gradgradcheck(run, arguments)


def test_eval_removes_what_is_mostly_noise():
    layer, x = make()
    with torch.no_grad():
        layer.log_sigma2[0, :3] = 9.0
    layer.eval()
    kept = layer.log_alpha < 3.0
    assert torch.equal(layer.mask, kept)
    assert 0 < kept.sum() <= 15
    torch.testing.assert_close(layer(x), F.linear(x, layer.weight * kept, layer.bias))
    assert layer.sparsity() == pytest.approx(1 - kept.double().mean().item())
    other = td.functional.sparse_variational_linear(
        x, layer.weight, layer.log_sigma2, layer.bias, False, threshold=-7.9
    )
    assert torch.equal(other, layer.bias.expand(2, 3))  # not by magnitude: every weight is noisier than that


def test_train_clip_zeroes_means_but_not_variances():
    layer, x = make()
    with torch.no_grad():
        layer.log_sigma2.fill_(9.0)
    y = layer(x, key=td.key(0))
    layer.train_clip = True
    clipped = layer(x, key=td.key(0))
    torch.testing.assert_close(y - clipped, F.linear(x, layer.weight))


def test_kl_is_a_sum_over_weights_of_the_clipped_ratio():
    layer, _ = make()
    with torch.no_grad():
        layer.log_sigma2[0, 0] = 50.0
        layer.weight[1, 1] = 0.0
    expected = sum(exact(v).item() for v in layer.log_alpha.flatten())
    assert layer.kl().item() == pytest.approx(expected, abs=0.0095 * 18)
    assert layer.kl().shape == ()
    layer.kl().backward()
    assert layer.log_sigma2.grad[0, 0] == 0
    assert torch.isfinite(layer.weight.grad).all()
    wider = td.SparseVariationalLinear(600, 3, log_sigma2=-4.0)
    with torch.no_grad():
        wider.weight.fill_(1.0)
    narrow = td.SparseVariationalLinear(6, 3, log_sigma2=-4.0)
    with torch.no_grad():
        narrow.weight.fill_(1.0)
    assert wider.kl().item() == pytest.approx(100 * narrow.kl().item(), rel=1e-5)  # no mean


@pytest.mark.parametrize("value", [-20.0, 20.0, -200.0])
@pytest.mark.parametrize("theta", [0.0, 1e-20, 1e-4, 1.0, 1e4])
def test_extreme_parameters_have_finite_gradients(value, theta):
    layer = td.SparseVariationalLinear(3, 2, log_sigma2=value)
    with torch.no_grad():
        layer.weight.fill_(theta)
    x = torch.tensor([[0.0, 1.0, -2.0], [0.0, 0.0, 0.0]], requires_grad=True)
    y = layer(x, key=td.key(0))
    (y.sum() + layer.kl()).backward()
    for t in (y, x.grad, layer.weight.grad, layer.log_sigma2.grad):
        assert torch.isfinite(t).all()


@pytest.mark.parametrize(("sparse", "plain", "shape"), CONVS)
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"stride": 2, "padding": 1, "dilation": 2},
        {"groups": 2, "bias": False},
        {"padding": 2, "padding_mode": "circular"},
        {"padding": "same", "padding_mode": "reflect"},
    ],
)
def test_convolutions_have_the_moments_of_torchs(sparse, plain, shape, arguments):
    torch.manual_seed(0)
    conv = plain(4, 6, 3, **arguments, dtype=torch.float64)
    with torch.no_grad():
        conv.weight.uniform_(0.3, 1.0)
    layer = sparse.from_conv(conv, log_sigma2=-6.0)
    x = torch.randn(shape, dtype=torch.float64)
    torch.testing.assert_close(layer.eval()(x), conv(x))
    layer.train()
    squares = plain(4, 6, 3, **{**arguments, "bias": False}, dtype=torch.float64)
    with torch.no_grad():
        squares.weight.copy_(torch.full_like(conv.weight, math.exp(-6.0)))
        n = 500
        z = (draws(layer, x, n) - conv(x)) / squares(x**2).sqrt()
    assert abs(z.mean().item()) < 6 / math.sqrt(z.numel())
    assert abs(z.var().item() - 1) < 6 * math.sqrt(2 / z.numel())
    flat = z.reshape(n, -1)
    neighbours = (flat[:, 1:] * flat[:, :-1]).mean()  # one draw an output location
    assert abs(neighbours.item()) < 6 / math.sqrt(flat.numel())


def test_it_trains_as_the_noiseless_layer_in_eval_and_not_in_training():
    """The clip of log alpha at -8 leaves noise of 2 % in training; eval has none, and nothing is removed here."""

    def train(layer, mode):
        layer.train(mode)
        torch.manual_seed(1)
        x, y = torch.randn(32, 6), torch.randn(32, 3)
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        losses = []
        for key in td.split(td.key(0), 20):
            optimizer.zero_grad()
            loss = F.mse_loss(layer(x, key=key) if isinstance(layer, td.SparseVariationalLinear) else layer(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return torch.tensor(losses)

    torch.manual_seed(0)
    linear = nn.Linear(6, 3)
    with torch.no_grad():
        linear.weight.uniform_(0.5, 1.0)
    twin, noisy = (td.SparseVariationalLinear.from_linear(linear) for _ in range(2))
    expected = train(linear, True)
    torch.testing.assert_close(train(twin, False), expected, rtol=1e-5, atol=1e-5)
    gap = (train(noisy, True) - expected).abs()
    assert 1e-5 < gap.max() < 0.3


def test_noise_turns_useless_weights_off():
    """One input of ten carries the target: the others' weights become noise, are removed, and the fit stays."""
    torch.manual_seed(0)
    x = torch.randn(200, 10)
    y = 2.0 * x[:, :1] + torch.randn(200, 1)
    layer = td.SparseVariationalLinear(10, 1)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.02)
    for key in td.split(td.key(0), 2500):
        optimizer.zero_grad()
        (0.5 * F.mse_loss(layer(x, key=key), y) + layer.kl() / 50).backward()
        optimizer.step()
    layer.eval()
    assert layer.mask[0, 0]
    assert layer.sparsity() >= 0.5
    assert layer.weight[0, 0].item() == pytest.approx(2.0, abs=0.3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: td.SparseVariationalLinear(2, 2, threshold=-9.0),
            ValueError,
            "SparseVariationalLinear: `threshold` must be in (-8, 8], got -9.0.",
        ),
        (
            lambda: td.SparseVariationalConv2d(2, 2, 1, log_sigma2=math.inf),
            ValueError,
            "SparseVariationalConv2d: `log_sigma2` must be finite, got inf.",
        ),
        (
            lambda: td.SparseVariationalLinear(2, 2)(torch.ones(2, 3)),
            ValueError,
            "SparseVariationalLinear: the input's last axis must have size 2, got (2, 3).",
        ),
        (
            lambda: td.SparseVariationalConv1d(2, 2, 1)(torch.ones(2)),
            ValueError,
            "SparseVariationalConv1d: the input must have shape (N, C, L) or (C, L), got (2,).",
        ),
        (
            lambda: td.functional.sparse_variational_linear(torch.ones(2), torch.ones(2, 2), torch.ones(2)),
            ValueError,
            "sparse_variational_linear: `log_sigma2` must have the weight's shape (2, 2), got (2,).",
        ),
        (
            lambda: td.SparseVariationalLinear(2, 2)(torch.ones(2, 2, dtype=torch.int64)),
            TypeError,
            "SparseVariationalLinear: the input must be floating point, got torch.int64.",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message
