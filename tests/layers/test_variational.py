"""Variational dropout: what each type correlates, the divergence, the bound of alpha, and the mistakes of copies."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import torchdropout as td
from torchdropout.layers._kl import FORMS, exact

LINEAR = {"type A": lambda **a: td.VariationalDropout(6, **a), "type B": lambda **a: td.VariationalLinear(6, 3, **a)}
CONVS = [(td.VariationalConv1d, nn.Conv1d, (2, 4, 9)), (td.VariationalConv2d, nn.Conv2d, (2, 4, 7, 6))]


def scores(y, mean, covariance):
    """Draws `(n, k)` against their mean and covariance: the largest deviation in standard errors."""
    n = y.shape[0]
    z = torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), (y - mean).T, upper=False).T
    off = z.T @ z / n - torch.eye(z.shape[1])
    return max((z.mean(0).abs() * math.sqrt(n)).max().item(), (off.abs() * math.sqrt(n / 2)).max().item())


@pytest.mark.parametrize("p", [0.1, 0.5])
@pytest.mark.parametrize("per", ["layer", "unit"])
def test_variational_eq10_type_a_correlates_the_outputs_of_an_example(p, per):
    """b = (x * xi) theta with xi ~ N(1, alpha): covariance theta^T diag(alpha x**2) theta, examples independent."""
    torch.manual_seed(0)
    n, theta, x = 40_000, torch.randn(4, 3).double(), torch.randn(2, 4).double()
    layer = td.VariationalDropout(4, p, per=per).double()
    y = layer(x.repeat(n, 1, 1), key=td.key(0)) @ theta
    alpha = p / (1 - p)
    assert layer.alpha.detach().max().item() == pytest.approx(alpha)
    blocks = [theta.T @ torch.diag(alpha * row**2) @ theta for row in x]
    assert scores(y.detach().reshape(n, 6), (x @ theta).flatten(), torch.block_diag(*blocks)) < 5.5


@pytest.mark.parametrize("per", ["layer", "unit", "weight"])
def test_variational_eq6_type_b_has_independent_outputs(per):
    """w ~ N(theta, alpha theta**2): variance (alpha x**2)(theta**2), every output and example on its own."""
    torch.manual_seed(0)
    n, x = 40_000, torch.randn(2, 4).double()
    layer = td.VariationalLinear(4, 3, per=per, p=0.3).double()
    with torch.no_grad():
        layer.log_alpha.add_(-torch.rand_like(layer.log_alpha))
        alpha = layer.log_alpha.exp().expand(3, 4)
        variance = F.linear(x**2, alpha * layer.weight**2)
        y = layer(x.repeat(n, 1, 1), key=td.key(0)).reshape(n, 6)
        assert scores(y, F.linear(x, layer.weight, layer.bias).flatten(), variance.flatten().diag()) < 5.5


def test_sampled_outputs_are_those_of_sampled_weights():
    """The local reparameterization changes how a layer is sampled, not its distribution for an example."""
    torch.manual_seed(0)
    n, x = 40_000, torch.randn(4).double()
    layer = td.VariationalLinear(4, 3, p=0.3).double()
    with torch.no_grad():
        e = td.functional.normal((n, 3, 4), key=td.key(9)).double()
        w = layer.weight * (1 + layer.alpha.sqrt() * e)
        by_weights = w @ x + layer.bias
        y = layer(x.expand(n, 4), key=td.key(0))
        for moment in (by_weights.mean(0) - y.mean(0), (by_weights.T.cov() - y.T.cov())):
            assert moment.abs().max() < 7 * by_weights.var(0).max() / math.sqrt(n)


@pytest.mark.parametrize("p", [0.05, 0.2, 0.5])
def test_the_noise_has_mean_one_and_alpha_is_its_variance(p):
    """Copies draw noise of mean 0, or take alpha for the standard deviation."""
    n, alpha = 100_000, p / (1 - p)
    z = (td.VariationalDropout(n, p, dtype=torch.float64)(torch.ones(n).double(), key=td.key(0)) - 1).detach()
    assert abs(z.mean()) < 5.5 * math.sqrt(alpha / n)
    assert abs(z.var() - alpha) < 5.5 * alpha * math.sqrt(2 / n)


@pytest.mark.parametrize("make", LINEAR.values())
def test_eval_stays_eval(make):
    """Copies ask `if self.train()`, which is always true and turns training on."""
    layer = make(p=0.5).eval()
    x = torch.randn(5, 6)
    expected = F.linear(x, layer.weight, layer.bias) if hasattr(layer, "weight") else x
    for _ in range(2):
        assert torch.equal(layer(x), expected)
    assert not layer.training


@pytest.mark.parametrize("form", FORMS)
def test_the_divergence_is_a_sum(form):
    def one(p):
        return FORMS[form](torch.tensor(math.log(p / (1 - p)))).item()

    for per in ("layer", "unit"):
        assert td.VariationalDropout(7, 0.2, per=per, kl=form).kl().item() == pytest.approx(7 * one(0.2), rel=1e-5)
    for per in ("layer", "unit", "weight"):
        assert td.VariationalLinear(7, 5, p=0.2, per=per, kl=form).kl().item() == pytest.approx(35 * one(0.2), rel=1e-5)
        conv = td.VariationalConv2d(4, 6, (2, 3), groups=2, p=0.2, per=per, kl=form)
        assert conv.kl().item() == pytest.approx(72 * one(0.2), rel=1e-5)
    assert td.VariationalConv1d(4, 6, 3, p=0.2, kl=form).kl().item() == pytest.approx(72 * one(0.2), rel=1e-5)


def test_each_alpha_weighs_as_many_weights_as_it_has():
    layer = td.VariationalLinear(2, 5, per="unit", kl="exact").double()
    with torch.no_grad():
        layer.log_alpha.copy_(torch.tensor([-1.0, -3.0]))
    expected = 5 * sum(exact(torch.tensor(v, dtype=torch.float64)).item() for v in (-1.0, -3.0))
    assert layer.kl().item() == pytest.approx(expected)
    layer.kl().backward()
    assert layer.log_alpha.grad.abs().min() > 0


def test_the_divergence_draws_alpha_up_to_one_and_no_further():
    layer = td.VariationalDropout(3, 0.2)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    for _ in range(200):
        optimizer.zero_grad()
        layer.kl().backward()
        optimizer.step()
    assert layer.alpha.item() == 1.0
    with torch.no_grad():
        layer.log_alpha.fill_(3.0)  # as far as momentum or a checkpoint may have carried it
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    before = layer.kl().item()
    assert before == pytest.approx(3 * FORMS["polynomial"](torch.tensor(0.0)).item())
    for key in td.split(td.key(0), 100):
        optimizer.zero_grad()
        loss = F.mse_loss(layer(torch.ones(1000, 3), key=key), torch.ones(1000, 3))
        (loss + layer.kl() * 1e-3).backward()
        optimizer.step()
    assert layer.alpha.item() < 1.0  # the data call it back


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("value", [-60.0, -20.0, 0.0, 1e-3, 20.0])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_extreme_parameters_have_finite_gradients(form, value, dtype):
    x = torch.tensor([[0.0] * 6, [1.0, -2.0, 0.0, 3.0, 1e-4, 0.5]], dtype=dtype)
    for make in LINEAR.values():
        layer = make(kl=form, dtype=dtype)
        with torch.no_grad():
            layer.log_alpha.fill_(value)
            if hasattr(layer, "weight"):
                layer.weight[0].zero_()
        leaf = x.clone().requires_grad_()
        y = layer(leaf, key=td.key(0))
        (y.float().sum() + layer.kl()).backward()
        assert y.isfinite().all()
        assert all(g.isfinite().all() for g in [leaf.grad, *(p.grad for p in layer.parameters())])


def test_variational_gradcheck():
    torch.manual_seed(0)
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    for shape in ((), (4,), (2, 4)):
        log_alpha = (-1 - torch.rand(shape, dtype=torch.float64)).requires_grad_()

        def type_b(x, weight, log_alpha):
            return td.functional.variational_linear(x, weight, log_alpha, key=td.key(0))

        assert torch.autograd.gradcheck(type_b, (x, weight, log_alpha))
        assert torch.autograd.gradgradcheck(type_b, (x, weight, log_alpha))
        if len(shape) < 2:

            def type_a(x, log_alpha):
                return td.functional.variational_dropout(x, log_alpha, key=td.key(0))

            assert torch.autograd.gradcheck(type_a, (x, log_alpha))
            assert torch.autograd.gradgradcheck(type_a, (x, log_alpha))


@pytest.mark.parametrize(("variational", "plain", "shape"), CONVS)
@pytest.mark.parametrize("per", ["layer", "unit", "weight"])
@pytest.mark.parametrize(
    "arguments",
    [
        {"stride": 2, "padding": 1, "dilation": 2},
        {"groups": 2, "bias": False},
        {"padding": 2, "padding_mode": "circular"},
    ],
)
def test_convolutions_have_the_moments_of_torchs(variational, plain, shape, per, arguments):
    torch.manual_seed(0)
    conv = plain(4, 6, 3, **arguments, dtype=torch.float64)
    layer = variational.from_conv(conv, p=0.3, per=per)
    x, n = torch.randn(shape, dtype=torch.float64), 400
    with torch.no_grad():
        layer.log_alpha.add_(-torch.rand_like(layer.log_alpha))
        torch.testing.assert_close(layer.eval()(x), conv(x))
        squares = plain(4, 6, 3, **{**arguments, "bias": False}, dtype=torch.float64)
        ones = [1] * (x.dim() - 2)
        alpha = layer.alpha if per != "unit" else layer.alpha.view(1, -1, *ones)
        if per == "unit" and "groups" in arguments:  # channel c of the weight is input channel c + 2 * group
            alpha = layer.alpha.view(2, 1, 2, *ones).expand(2, 3, 2, *ones).reshape(6, 2, *ones)
        squares.weight.copy_(alpha * conv.weight**2)
        y = layer.train()(x.repeat(n, *[1] * (x.dim() - 1)), key=td.key(0))
        z = ((y.reshape(n, 2, *y.shape[1:]) - conv(x)) / squares(x**2).sqrt()).flatten(1)
    assert abs(z.mean().item()) < 6 / math.sqrt(z.numel())
    assert abs(z.var().item() - 1) < 6 * math.sqrt(2 / z.numel())
    assert z.var(0).max() < 1 + 6 * math.sqrt(2 / n)
    assert z.var(0).min() > 1 - 6 * math.sqrt(2 / n)
    assert abs((z[:, 1:] * z[:, :-1]).mean().item()) < 6 / math.sqrt(z.numel())


def test_units_of_another_axis():
    layer = td.VariationalDropout(3, 0.5, per="unit", dim=1)
    with torch.no_grad():
        layer.log_alpha.copy_(torch.tensor([-60.0, 0.0, -60.0]))
    x = torch.randn(2, 3, 4)
    y = layer(x, key=td.key(0))
    torch.testing.assert_close(y[:, ::2], x[:, ::2])
    assert (y[:, 1] != x[:, 1]).all()
    assert (y[:, 1] / x[:, 1]).unique().numel() == 8  # one draw an element


def curve(layer):
    torch.manual_seed(0)
    net, x, y = nn.Linear(6, 3), torch.randn(16, 6), torch.randn(16, 3)
    if isinstance(layer, td.VariationalDropout):
        run = lambda key: net(layer(x, key=key))  # noqa: E731
    elif layer is not None:
        net = layer.from_linear(net)
        net.log_alpha.data.copy_(layer.log_alpha)
        run = lambda key: net(x, key=key)  # noqa: E731
    else:
        run = lambda key: net(x)  # noqa: E731
    optimizer = torch.optim.SGD([net.weight, net.bias], lr=0.1)
    losses = []
    for key in td.split(td.key(0), 20):
        optimizer.zero_grad()
        loss = F.mse_loss(run(key), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return torch.tensor(losses)


@pytest.mark.parametrize("make", LINEAR.values())
def test_without_noise_training_is_the_plain_networks(make):
    layer = make(p=0.3)
    noisy = curve(copy.deepcopy(layer))
    with torch.no_grad():
        layer.log_alpha.fill_(-40.0)
    expected = curve(None)
    torch.testing.assert_close(curve(layer), expected, rtol=1e-5, atol=1e-5)
    assert (noisy - expected).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: td.VariationalDropout(3, 0.6), ValueError, "VariationalDropout: `p` must be in (0, 0.5], got 0.6."),
        (lambda: td.VariationalLinear(3, 2, p=0.0), ValueError, "VariationalLinear: `p` must be in (0, 0.5], got 0.0."),
        (lambda: td.VariationalLinear(3, 2, p=None), TypeError, "VariationalLinear: `p` must be a number, got None."),
        (
            lambda: td.VariationalDropout(3, per="weight"),
            ValueError,
            "VariationalDropout: `per` must be one of 'layer', 'unit', got 'weight'.",
        ),
        (
            lambda: td.VariationalConv2d(3, 2, 1, per="map"),
            ValueError,
            "VariationalConv2d: `per` must be one of 'layer', 'unit', 'weight', got 'map'.",
        ),
        (
            lambda: td.VariationalConv1d(3, 2, 1, kl="cubic"),
            ValueError,
            "VariationalConv1d: `kl` must be one of 'polynomial', 'fitted', 'exact', got 'cubic'.",
        ),
        (
            lambda: td.VariationalDropout(3)(torch.ones(2, 4)),
            ValueError,
            "VariationalDropout: the input's axis -1 must have size 3, got (2, 4).",
        ),
        (
            lambda: td.VariationalLinear(3, 2)(torch.ones(2, 4)),
            ValueError,
            "VariationalLinear: the input's last axis must have size 3, got (2, 4).",
        ),
        (
            lambda: td.VariationalConv2d(3, 2, 1)(torch.ones(2, 3)),
            ValueError,
            "VariationalConv2d: the input must have shape (N, C, H, W) or (C, H, W), got (2, 3).",
        ),
        (
            lambda: td.functional.variational_linear(torch.ones(4), torch.ones(2, 4), torch.ones(2)),
            ValueError,
            "variational_linear: `log_alpha` must have shape (), (4,) or (2, 4), got (2,).",
        ),
        (
            lambda: td.functional.variational_dropout(torch.ones(4), torch.ones(2, 4)),
            ValueError,
            "variational_dropout: `log_alpha` must have shape () or one axis, got (2, 4).",
        ),
        (
            lambda: td.VariationalDropout(3)(torch.ones(3, dtype=torch.int64)),
            TypeError,
            "VariationalDropout: the input must be floating point, got torch.int64.",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message
