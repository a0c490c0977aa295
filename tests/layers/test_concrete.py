"""Concrete dropout: the relaxed noise, its mean by quadrature, the objective, and the mistakes of ports."""

import copy
import itertools
import math
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import integrate, special
from torch import nn

import torchdropout as td
from torchdropout.layers._relaxed import expected_keep

LAYERS = [
    lambda **a: td.ConcreteDropout(nn.Linear(6, 4), **a),
    lambda **a: td.ConcreteDropout1d(nn.Conv1d(6, 4, 2), **a),
    lambda **a: td.ConcreteDropout2d(nn.Conv2d(6, 4, 2), **a),
]


def logit(p):
    return torch.tensor(math.log(p) - math.log1p(-p), dtype=torch.float64)


@pytest.mark.parametrize("p", [0.01, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("t", [0.1, 2 / 3, 2.0])
def test_concrete_eq5_noise_has_the_relaxed_distribution(p, t):
    """The share of 1 - z below c is that of u above sigmoid(t * logit(1 - c) - logit p)."""
    n = 40_000
    y = td.functional.concrete_dropout(torch.ones(n, dtype=torch.float64), logit(p), temperature=t, key=td.key(1))
    kept = y * (1 - p)
    assert ((kept >= 0) & (kept <= 1)).all()
    for c in (0.001, 0.3, 0.5, 0.9, 0.999):
        expected = 1 - special.expit(t * special.logit(1 - c) - special.logit(p))
        bound = 5.5 * math.sqrt(expected * (1 - expected) / n) + 1e-4
        assert abs((kept < c).double().mean().item() - expected) < bound


def mean_by_quadrature(p, t):
    """E[1 - z] = the integral over u of sigmoid(-(logit p + logit u) / t)."""

    def integrand(v):  # v = logit u
        return special.expit(-(special.logit(p) + v) / t) * special.expit(v) * special.expit(-v)

    centre = -special.logit(p)
    cuts = sorted(
        {-45.0, 0.0, centre, 45.0, *(centre + d * t for d in (-30, -8, -2, 2, 8, 30) if abs(centre + d * t) < 45)}
    )
    return sum(integrate.quad(integrand, a, b, epsabs=1e-15, epsrel=1e-12)[0] for a, b in itertools.pairwise(cuts))


@pytest.mark.parametrize("p", [1e-6, 0.01, 0.1, 0.5, 0.9, 1 - 1e-6])
@pytest.mark.parametrize("t", [0.01, 0.1, 2 / 3, 0.99, 1.0, 1.5, 10.0])
def test_expected_keep_is_exact(p, t):
    value = expected_keep(logit(p), t).item() * (1 - p)
    assert value == pytest.approx(mean_by_quadrature(p, t), rel=1e-6)


def test_the_relaxation_moves_the_mean():
    assert 0.9 * expected_keep(logit(0.1), 0.1).item() == pytest.approx(0.8988, abs=5e-5)
    assert 0.9 * expected_keep(logit(0.1), 2 / 3).item() == pytest.approx(0.8547, abs=5e-5)


@pytest.mark.parametrize("make", LAYERS)
def test_eval_rules(make):
    torch.manual_seed(0)
    layer = make(p=0.3, temperature=2 / 3).double()
    x = torch.randn({2: (3, 6), 3: (3, 6, 5), 4: (3, 6, 5, 4)}[layer.layer.weight.dim()], dtype=torch.float64)
    mean = mean_by_quadrature(0.3, 2 / 3) / 0.7
    layer.eval()
    torch.testing.assert_close(layer(x), layer.layer(x * mean), rtol=1e-6, atol=1e-6)
    layer.inference = "scale"
    assert torch.equal(layer(x), layer.layer(x))
    layer.inference = "sample"
    noisy = layer(x, key=td.key(1))
    assert torch.equal(noisy, layer.train()(x, key=td.key(1)))
    n = 3000
    repeated = x.repeat(n, *[1] * (x.dim() - 1))
    average = layer(repeated, key=td.key(2)).reshape(n, 3, *noisy.shape[1:])
    z = (average.mean(0) - layer.layer(x * mean)) / average.std(0) * math.sqrt(n)
    assert z.abs().max() < 5.5  # the linear layer's mean is exact


def test_one_draw_an_example_and_unit_or_channel():
    ones = torch.ones(2000, 3, 4, dtype=torch.float64)
    y = td.functional.concrete_dropout(ones, logit(0.5), key=td.key(0)).flatten(1)
    z = (y - y.mean(0)) / y.std(0)
    assert (z.T @ z / 2000 - torch.eye(12)).abs().max() < 5.5 / math.sqrt(2000)
    conv = nn.Conv1d(3, 3, 1, groups=3, bias=False)
    nn.init.ones_(conv.weight)
    y = td.ConcreteDropout1d(conv, 0.5)(ones.float(), key=td.key(0))
    assert torch.equal(y, y[..., :1].expand_as(y))
    z = (y[..., 0] - y[..., 0].mean(0)) / y[..., 0].std(0)
    assert (z.T @ z / 2000 - torch.eye(3)).abs().max() < 5.5 / math.sqrt(2000)
    y = td.ConcreteDropout2d(nn.Conv2d(3, 3, 1, groups=3), 0.5)(torch.ones(3, 4, 5), key=td.key(0))
    assert torch.equal(y, y[:, :1, :1].expand_as(y))


def divergence_of_authors(weight, p, weight_factor, dropout_factor):
    inputs = weight.shape[1]
    entropy = p * math.log(p) + (1 - p) * math.log(1 - p)
    return weight_factor * (weight**2).sum() / (1 - p) + dropout_factor * inputs * entropy


@pytest.mark.parametrize("make", LAYERS)
@pytest.mark.parametrize("p", [0.05, 0.4])
def test_concrete_eq3_is_the_authors_objective_for_cross_entropy(make, p):
    layer = make(p=p, length_scale=0.3).double()
    n, scale = 500, 0.3
    expected = divergence_of_authors(layer.layer.weight, p, scale**2 / (2 * n), 1 / n)
    assert (layer.kl() / n).item() == pytest.approx(expected.item(), rel=1e-6)


def test_concrete_eq3_is_the_authors_objective_for_squared_errors():
    """Theirs: mean square, factors l**2 / (tau N) and 2 / (tau N); the likelihood is half tau times that."""
    torch.manual_seed(0)
    tau, n, scale, p = 4.0, 500, 0.3, 0.2
    layer = td.ConcreteDropout(nn.Linear(6, 1), p, length_scale=scale).double()
    prediction, y = torch.randn(20, dtype=torch.float64), torch.randn(20, dtype=torch.float64)
    theirs = F.mse_loss(prediction, y) + divergence_of_authors(
        layer.layer.weight, p, scale**2 / (tau * n), 2 / (tau * n)
    )
    constant = 0.5 * math.log(2 * math.pi / tau)
    ours = F.gaussian_nll_loss(prediction, y, torch.full_like(y, 1 / tau), full=True) + layer.kl() / n
    assert (ours - constant).item() * 2 / tau == pytest.approx(theirs.item(), rel=1e-6)


def test_the_bias_is_not_regularised():
    layer = LAYERS[0]()
    before = layer.kl().item()
    with torch.no_grad():
        layer.layer.bias.fill_(100.0)
    assert layer.kl().item() == before


def test_the_divergence_depends_on_no_size_of_the_input():
    layer = td.ConcreteDropout(nn.Linear(6, 4))
    values = []
    for shape in ((1, 6), (50, 6), (2, 7, 6), (2, 90, 6)):
        layer(torch.ones(shape))
        values.append(layer.kl().item())
    assert len(set(values)) == 1
    with torch.no_grad():
        layer.layer.weight.zero_()
    assert layer.kl().item() == pytest.approx(6 * (0.1 * math.log(0.1) + 0.9 * math.log(0.9)), rel=1e-5)


@pytest.mark.parametrize("make", LAYERS)
def test_copies_are_independent_and_the_input_stays(make):
    layer = make(p=0.5)
    x = torch.sigmoid(
        torch.randn({2: (3, 6), 3: (3, 6, 5), 4: (3, 6, 5, 4)}[layer.layer.weight.dim()], requires_grad=True)
    )
    kept = x.detach().clone()
    twin = copy.deepcopy(layer)
    with torch.no_grad():
        twin.p_logit.add_(3.0)
        twin.layer.weight.zero_()
    assert layer.p.item() == pytest.approx(0.5)
    assert layer.layer.weight.abs().sum() > 0
    y = layer(x, key=td.key(0))
    assert torch.equal(pickle.loads(pickle.dumps(layer))(x, key=td.key(0)), y)
    y.sum().backward()  # an input scaled in place would make sigmoid's backward fail
    assert torch.equal(x, kept)


@pytest.mark.parametrize("value", [-60.0, -16.0, -13.8, 13.8, 16.0, 60.0])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_extreme_probabilities_have_finite_gradients(value, dtype):
    for make in LAYERS:
        layer = make().to(dtype)
        with torch.no_grad():
            layer.p_logit.fill_(value)
        x = torch.ones({2: (3, 6), 3: (3, 6, 5), 4: (3, 6, 5, 4)}[layer.layer.weight.dim()], dtype=dtype)
        for mode in (True, False):
            layer.train(mode).zero_grad()
            y = layer(x, key=td.key(0)).double()
            (y.clamp(-1e4, 1e4).sum() * 1e-4 + layer.kl() * 1e-6).backward()
            if dtype != torch.float16 or value < 10:  # 1 / (1 - p) is beyond that format
                assert y.isfinite().all()
                assert layer.p_logit.grad.isfinite()


def test_a_probability_at_its_bound_comes_back():
    layer = td.ConcreteDropout(nn.Linear(6, 4))
    for value, moves in ((60.0, -1), (-60.0, 1)):
        with torch.no_grad():
            layer.p_logit.fill_(value)
        layer.zero_grad()
        layer.kl().backward()
        assert layer.p_logit.grad * moves < 0


def test_concrete_gradcheck():
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    p_logit = torch.tensor(-0.7, dtype=torch.float64, requires_grad=True)
    for noisy in (True, False):

        def run(x, p_logit, noisy=noisy):
            return td.functional.concrete_dropout(x, p_logit, noisy, temperature=0.5, shared_dims=(1,), key=td.key(0))

        assert torch.autograd.gradcheck(run, (x, p_logit))
        assert torch.autograd.gradgradcheck(run, (x, p_logit))
    layer = td.ConcreteDropout(nn.Linear(4, 2)).double()
    assert torch.autograd.gradcheck(
        lambda w: torch.func.functional_call(_Kl(layer), {"layer.p_logit": w}, ()), (p_logit,)
    )


class _Kl(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self):
        return self.layer.kl()


def curve(layer, linear):
    torch.manual_seed(0)
    x, y = torch.randn(16, 6), torch.randn(16, 4)
    optimizer = torch.optim.SGD(linear.parameters(), lr=0.1)
    losses = []
    for key in td.split(td.key(0), 20):
        optimizer.zero_grad()
        loss = F.mse_loss(linear(x) if layer is None else layer(x, key=key), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return torch.tensor(losses)


def test_without_noise_training_is_the_plain_networks():
    torch.manual_seed(3)
    linear = nn.Linear(6, 4)
    a, b, c = (copy.deepcopy(linear) for _ in range(3))
    expected = curve(None, a)
    torch.testing.assert_close(curve(td.ConcreteDropout(b, 1e-7, temperature=0.1), b), expected, rtol=1e-5, atol=1e-5)
    assert (curve(td.ConcreteDropout(c, 0.3), c) - expected).abs().max() > 1e-3


def learned(n):
    torch.manual_seed(0)
    x = torch.randn(n, 10)
    y = x.sum(1, keepdim=True) + 0.3 * torch.randn(n, 1)
    layer = td.ConcreteDropout(nn.Linear(10, 1), 0.2, length_scale=1e-2)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.02)
    for key in td.split(td.key(0), 500):
        optimizer.zero_grad()
        (F.mse_loss(layer(x, key=key), y) / (2 * 0.3**2) + layer.kl() / n).backward()
        optimizer.step()
    return layer.p.item()


def test_more_data_learn_a_smaller_probability():
    few, many = learned(10), learned(1000)
    assert many < 0.02
    assert few > 2 * many


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: td.ConcreteDropout(nn.ReLU()),
            TypeError,
            "ConcreteDropout: `layer` must be a torch.nn.Linear or a convolution, got ReLU.",
        ),
        (
            lambda: td.ConcreteDropout1d(nn.Linear(2, 2)),
            TypeError,
            "ConcreteDropout1d: `layer` must be a torch.nn.Conv1d, got Linear.",
        ),
        (
            lambda: td.ConcreteDropout(nn.Linear(2, 2), 1.0),
            ValueError,
            "ConcreteDropout: `p` must be in (0, 1), got 1.0.",
        ),
        (
            lambda: td.ConcreteDropout(nn.Linear(2, 2), temperature=0.0),
            ValueError,
            "ConcreteDropout: `temperature` must be positive and finite, got 0.0.",
        ),
        (
            lambda: td.ConcreteDropout(nn.Linear(2, 2), inference="mean"),
            ValueError,
            "ConcreteDropout: `inference` must be one of 'moments', 'scale', 'sample', got 'mean'.",
        ),
        (
            lambda: td.ConcreteDropout2d(nn.Conv2d(2, 2, 1))(torch.ones(2, 2)),
            ValueError,
            "ConcreteDropout2d: the input must have shape (N, C, H, W) or (C, H, W), got (2, 2).",
        ),
        (
            lambda: td.functional.concrete_dropout(torch.ones(2), torch.ones(2)),
            ValueError,
            "concrete_dropout: `p_logit` must have shape (), got (2,).",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message


def test_any_convolution_may_be_wrapped():
    for layer, shape in ((nn.Conv3d(2, 3, 1), (2, 2, 3, 3, 3)), (nn.ConvTranspose1d(2, 3, 1), (2, 2, 4))):
        wrapped = td.ConcreteDropout(layer)
        assert wrapped(torch.ones(shape)).shape == layer(torch.ones(shape)).shape
        squares = np.square(layer.weight.detach().numpy()).sum()
        expected = 0.5e-4 * squares / 0.9 + 2 * (0.1 * math.log(0.1) + 0.9 * math.log(0.9))
        assert wrapped.kl().item() == pytest.approx(expected, rel=1e-5)
