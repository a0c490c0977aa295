"""Log-normal dropout: moments, divergence and draws against quadrature; extreme parameters; what is removed."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import nn

import torchdropout as td
from torchdropout.layers import _truncated_normal as truncated

NEAR = [
    (mu, s, a, b)
    for mu in (-20.0, -12.0, -0.5, 0.0, 2.0, 5.0)
    for s in (-2.5, -1.0, 0.5, 2.0, 5.0)
    for a, b in ((-20.0, 0.0),)
]
BOUNDS = [*NEAR, (-15.0, 0.0, -5.0, 1.0), (-20.0, 1.5, -3.0, -1.0), (5.0, 0.0, -10.0, 2.0)]


def grid(mu, log_sigma, a, b):
    """Nodes, weights and normalised density of log theta by Gauss-Legendre panels, refined towards the peak."""
    sigma = math.exp(log_sigma)
    peak = min(max(mu, a), b)
    scale = min(sigma, sigma**2 / abs(mu - peak) if mu != peak else sigma)
    steps = [scale * 1.5**k for k in range(-12, 60)]
    cuts = sorted({a, b, peak, *(c for d in steps for c in (peak - d, peak + d) if a < c < b)})
    t, w = np.polynomial.legendre.leggauss(40)
    y = np.concatenate([(hi - lo) / 2 * t + (hi + lo) / 2 for lo, hi in itertools.pairwise(cuts)])
    w = np.concatenate([(hi - lo) / 2 * w for lo, hi in itertools.pairwise(cuts)])
    log_density = -((y - mu) ** 2 - (peak - mu) ** 2) / (2 * sigma**2)
    return y, w, log_density - math.log((w * np.exp(log_density)).sum())


def layer(mu, log_sigma, a=-20.0, b=0.0, n=1, **arguments):
    new = td.LogNormalDropout(n, low=a, high=b, dtype=torch.float64, **arguments)
    with torch.no_grad():
        new.mu.fill_(mu)
        new.log_sigma.fill_(log_sigma)
    return new


@pytest.mark.parametrize(("mu", "log_sigma", "a", "b"), BOUNDS)
def test_log_normal_kl_and_moments_by_quadrature(mu, log_sigma, a, b):
    gate = layer(mu, log_sigma, a, b)
    y, w, log_density = grid(mu, log_sigma, a, b)
    q = w * np.exp(log_density)
    mean, second = (q * np.exp(y)).sum(), (q * np.exp(2 * y)).sum()
    assert gate.kl().item() == pytest.approx((q * log_density).sum() + math.log(b - a), rel=1e-9, abs=1e-9)
    assert gate.mean().item() == pytest.approx(mean, rel=1e-9)
    deviation = math.sqrt((q * (np.exp(y) - mean) ** 2).sum())
    assert gate.snr().item() == pytest.approx(mean / deviation, rel=1e-6)
    assert second > 0


@pytest.mark.parametrize(("mu", "log_sigma"), [(5.0, -20.0), (5.0, -10.0), (0.3, -9.0), (1e-3, -20.0)])
def test_far_outside_the_distribution_is_exponential(mu, log_sigma):
    """At rate mu / sigma**2 down from the bound: KL = ln 20 + ln(rate) - 1, E[theta] = rate / (rate + 1)."""
    gate = layer(mu, log_sigma)
    rate = mu * math.exp(-2 * log_sigma)
    assert gate.kl().item() == pytest.approx(math.log(20) + math.log(rate) - 1, abs=1e-3)
    assert gate.mean().item() == pytest.approx(rate / (rate + 1), rel=1e-6)
    assert gate.snr().item() == pytest.approx(min(rate, 1e7), rel=0.01)
    (gradient,) = torch.autograd.grad(gate.kl(), gate.mu)
    assert gradient.item() == pytest.approx(1 / mu, rel=1e-3)


def test_the_published_closed_forms():
    """Where nothing is extreme the paper's own expressions are accurate."""
    for mu, log_sigma in ((-1.0, 0.0), (-3.0, 0.7), (0.2, 0.1)):
        sigma, gate = math.exp(log_sigma), layer(mu, log_sigma)
        alpha, beta = (-20 - mu) / sigma, (0 - mu) / sigma
        z = stats.norm.cdf(beta) - stats.norm.cdf(alpha)
        edges = alpha * stats.norm.pdf(alpha) - beta * stats.norm.pdf(beta)
        kl = math.log(20) - math.log(math.sqrt(2 * math.pi * math.e) * sigma) - math.log(z) - edges / (2 * z)
        mean = math.exp(mu + sigma**2 / 2) * (stats.norm.cdf(sigma - alpha) - stats.norm.cdf(sigma - beta)) / z
        assert gate.kl().item() == pytest.approx(kl, rel=1e-9)
        assert gate.mean().item() == pytest.approx(mean, rel=1e-9)


def test_kl_vanishes_at_the_prior_and_is_a_sum_over_channels():
    assert layer(-10.0, 5.0).kl().item() == pytest.approx(0.0, abs=1e-4)
    one, many = layer(-1.0, 0.0), layer(-1.0, 0.0, n=50)
    assert many.kl().item() == pytest.approx(50 * one.kl().item())


CORNERS = [
    (mu, s)
    for mu in (-25.0, -20.0, -10.0, -1e-9, 0.0, 1e-9, 0.01, 5.0, 9.0)
    for s in (-30.0, -20.0, -12.0, -5.0, 0.0, 2.0, 5.0, 7.0)
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_log_normal_is_finite_with_its_gradients_for_all_parameters(dtype):
    mu, log_sigma = torch.tensor(CORNERS).T
    gate = td.LogNormalDropout(len(CORNERS), dtype=dtype)
    with torch.no_grad():
        gate.mu.copy_(mu)
        gate.log_sigma.copy_(log_sigma)
    x = torch.ones(3, len(CORNERS), dtype=dtype)
    for per in ("batch", "example"):
        gate.per = per
        values = (gate(x, key=td.key(0)), gate.eval()(x), gate.kl(), gate.mean(), gate.snr())
        for value in values:
            gate.zero_grad()
            value.float().log1p().sum().backward()
            assert value.isfinite().all()
            assert gate.mu.grad.isfinite().all()
            assert gate.log_sigma.grad.isfinite().all()
        gate.train()
    assert gate.kl() >= 0
    assert (gate.mean() > 0).all()
    assert (gate.snr() > 0).all()


def test_a_parameter_beyond_its_clamp_comes_back():
    gate = layer(6.0, -30.0)
    gate.mean().sum().backward()
    optimizer = torch.optim.SGD(gate.parameters(), lr=1.0)
    for _ in range(60):
        optimizer.zero_grad()
        gate.kl().backward()  # the divergence pulls towards a wide gate
        optimizer.step()
    assert gate.log_sigma.item() > -20
    assert gate.mu.item() < 5


@pytest.mark.parametrize(("mu", "log_sigma", "a", "b"), [*BOUNDS, (5.0, -3.0, -20.0, 0.0), (-19.0, -2.0, -3.0, 1.0)])
def test_draws_follow_the_distribution(mu, log_sigma, a, b):
    """The share below each draw is the uniform it came from: the inverse of quadrature, to 1e-6."""
    u = torch.tensor([2**-24, 1e-5, 0.01, 0.3, 0.5, 0.9, 0.999, 1 - 1e-5], dtype=torch.float64)
    settled = torch.tensor(min(max(mu, -20.0), 5.0), dtype=torch.float64), torch.tensor(math.exp(log_sigma)).double()
    y = truncated.draw(*settled, a, b, u).numpy()
    assert ((y >= a) & (y <= b)).all()
    for value, share in zip(y, u.tolist(), strict=True):
        below = _share_below(mu, log_sigma, a, b, value)
        assert below == pytest.approx(share, rel=2e-5, abs=2e-7)


def _share_below(mu, log_sigma, a, b, value):
    if value - a < 1e-12:
        return 0.0
    if b - value < 1e-12:
        return 1.0
    sigma, peak = math.exp(log_sigma), min(max(mu, a), b)

    def integral(lo, hi):
        near = min(max(mu, lo), hi)
        scale = min(sigma, sigma**2 / abs(mu - near) if mu != near else sigma)
        steps = [scale * 1.5**k for k in range(-12, 60)]
        cuts = sorted({lo, hi, near, *(c for d in steps for c in (near - d, near + d) if lo < c < hi)})
        t, w = np.polynomial.legendre.leggauss(40)
        total = 0.0
        for x0, x1 in itertools.pairwise(cuts):
            y = (x1 - x0) / 2 * t + (x1 + x0) / 2
            total += (x1 - x0) / 2 * (w * np.exp(-((y - mu) ** 2 - (peak - mu) ** 2) / (2 * sigma**2))).sum()
        return total

    lower, upper = integral(a, value), integral(value, b)
    return lower / (lower + upper)


def test_one_draw_a_channel_and_batch_or_example():
    x = torch.ones(4000, 3, 2, dtype=torch.float64)
    gate = layer(-1.0, 0.0, n=3)
    y = gate(x, key=td.key(0))
    assert torch.equal(y, y[:1, :, :1].expand_as(y))
    assert y[0, :, 0].unique().numel() == 3
    gate.per = "example"
    y = gate(x, key=td.key(0))
    assert torch.equal(y, y[..., :1].expand_as(y))
    z = (y[..., 0] - gate.mean()) * gate.snr() / gate.mean()
    covariance = (z.T @ z / 4000).detach()
    assert (z.mean(0).abs() < 5.5 / math.sqrt(4000)).all()
    assert (covariance - torch.eye(3)).abs().max() < 0.2


def test_a_channel_is_removed_where_its_snr_is_at_most_the_threshold():
    gate = layer(0.0, -5.0, n=3).eval()
    with torch.no_grad():
        gate.log_sigma[1] = 5.0
        gate.mu[1] = -20.0
    x = torch.ones(2, 3, 4, dtype=torch.float64)
    assert gate.mask.tolist() == [True, False, True]
    y = gate(x)
    assert (y[:, 1] == 0).all()
    torch.testing.assert_close(y[:, 0], gate.mean()[0].expand(2, 4))
    gate.snr_threshold = gate.snr()[0].item()
    assert gate.mask.tolist() == [False, False, False]
    assert gate(torch.full_like(x, float("nan"))).isnan().all()


def test_units_of_the_last_axis():
    gate = td.LogNormalDropout(3, dim=-1)
    x = torch.ones(2, 5, 3)
    y = gate(x, key=td.key(0))
    assert torch.equal(y, y[:1, :1].expand_as(y))
    gate.per = "example"
    y = gate(x, key=td.key(0))
    assert torch.equal(y, y[:, :1].expand_as(y))
    assert not torch.equal(y[0], y[1])


@pytest.mark.parametrize("per", ["batch", "example"])
def test_log_normal_gradcheck(per):
    mu = torch.tensor([-3.0, -0.2, 1.0, 4.0, -19.0], dtype=torch.float64, requires_grad=True)
    log_sigma = torch.tensor([0.3, -1.0, -0.5, -4.0, 1.0], dtype=torch.float64, requires_grad=True)
    x = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)

    def run(x, mu, log_sigma):
        return td.functional.log_normal_dropout(x, mu, log_sigma, per=per, key=td.key(0))

    def divergence(mu, log_sigma):
        return truncated.divergence(mu, log_sigma.exp(), -20.0, 0.0)

    assert torch.autograd.gradcheck(run, (x, mu, log_sigma), atol=1e-4)
    assert torch.autograd.gradcheck(divergence, (mu, log_sigma))
    assert torch.autograd.gradgradcheck(divergence, (mu, log_sigma), atol=1e-4, rtol=1e-2)
    for order in (1.0, 2.0):
        assert torch.autograd.gradcheck(
            lambda m, s, order=order: truncated.log_moment(m, s.exp(), -20.0, 0.0, order), (mu, log_sigma)
        )


def curve(gate):
    torch.manual_seed(0)
    net, x, y = nn.Linear(5, 3).double(), torch.randn(16, 5).double(), torch.randn(16, 3).double()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    losses = []
    for key in td.split(td.key(0), 20):
        optimizer.zero_grad()
        loss = F.mse_loss(net(x) if gate is None else gate(net(x), key=key), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return torch.tensor(losses)


def test_without_noise_training_is_the_plain_networks():
    torch.testing.assert_close(curve(layer(0.0, -16.0, n=3)), curve(None), rtol=1e-5, atol=1e-5)
    assert (curve(layer(0.0, -1.0, n=3)) - curve(None)).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: td.LogNormalDropout(3)(torch.ones(2, 4)),
            "LogNormalDropout: the input's axis 1 must have size 3, got (2, 4).",
        ),
        (
            lambda: td.LogNormalDropout(3)(torch.ones(3)),
            "LogNormalDropout: the input's axis 1 must have size 3, got (3,).",
        ),
        (lambda: td.LogNormalDropout(0), "LogNormalDropout: `num_features` must be at least 1, got 0."),
        (lambda: td.LogNormalDropout(2, low=1.0), "LogNormalDropout: `low` must be in [-100, 0), got 1.0."),
        (lambda: td.LogNormalDropout(2, high=-20.0), "LogNormalDropout: `high` must be in [low + 0.1, 10], got -20.0."),
        (
            lambda: td.LogNormalDropout(2, snr_threshold=-1),
            "LogNormalDropout: `snr_threshold` must be at least 0, got -1.",
        ),
        (
            lambda: td.LogNormalDropout(2, per="unit"),
            "LogNormalDropout: `per` must be one of 'batch', 'example', got 'unit'.",
        ),
        (
            lambda: td.LogNormalDropout(2, dim=-1, per="example")(torch.ones(2)),
            "LogNormalDropout: the input must have a batch axis before its channels, got (2,).",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match="^LogNormalDropout") as caught:
        call()
    assert str(caught.value) == message
