"""`moment_predict` against exact moments and against samples."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import torchdropout as td


def test_a_dropped_linear_layer_has_its_exact_moments():
    """Independent noise: mean `W x + b`, variance `W^2 x^2 a`."""
    torch.manual_seed(0)
    linear, x = nn.Linear(20, 3).double(), torch.randn(4, 20, dtype=torch.float64)
    mean = linear(x)
    spread = x.square() @ linear.weight.square().T
    for noise, scale, a in (
        (td.Dropout(0.25), 1.0, 1 / 3),
        (nn.Dropout(0.25), 1.0, 1 / 3),
        (td.Dropout(0.25, rule="paper"), 0.75, 0.75 * 0.25),
        (td.GaussianDropout(0.5), 1.0, 1.0),
    ):
        for correlated in (False, True):
            found = td.moment_predict(nn.Sequential(noise, linear), x, correlated=correlated)
            assert torch.allclose(found.mean, (mean - linear.bias) * scale + linear.bias)
            assert torch.allclose(found.variance, spread * a)
    added = td.moment_predict(nn.Sequential(td.GaussianNoise(0.3), linear), x)
    assert torch.allclose(added.variance, 0.09 * linear.weight.square().sum(1).expand(4, 3))


def test_covariances_of_linear_layers_are_exact_where_units_share_noise():
    """Two linear layers are one: the variance is that of their product, which independent units miss."""
    torch.manual_seed(0)
    first, second = nn.Linear(10, 8).double(), nn.Linear(8, 2).double()
    x = torch.randn(5, 10, dtype=torch.float64)
    model = nn.Sequential(td.Dropout(0.5), first, second)
    exact = x.square() @ (second.weight @ first.weight).square().T
    assert torch.allclose(td.moment_predict(model, x, correlated=True).variance, exact)
    assert not torch.allclose(td.moment_predict(model, x).variance, exact, rtol=0.02)


@pytest.mark.parametrize("act", [nn.ReLU, nn.Sigmoid])
@pytest.mark.parametrize(("noise_on_input", "correlated"), [(False, False), (True, True)])
def test_one_hidden_layer_agrees_with_ten_thousand_samples(act, noise_on_input, correlated):
    """A trained network of 100 hidden units: means within 2 % of their scale, deviations within 10 %."""
    torch.manual_seed(0)
    x = torch.randn(512, 30)
    y = (x[:, :3].prod(1) + x[:, 3]).unsqueeze(1)
    layers = [td.Dropout(0.1)] if noise_on_input else []
    model = nn.Sequential(*layers, nn.Linear(30, 100), act(), td.Dropout(0.5), nn.Linear(100, 1))
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(300):
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()
    test = torch.randn(50, 30)
    sampled = td.mc_predict(model, test, 10_000, output="values", key=1)
    found = td.moment_predict(model, test, correlated=correlated)
    assert float((found.mean - sampled.mean).abs().mean()) < 0.02 * float(sampled.mean.abs().mean())
    ratio = found.variance.sqrt() / sampled.std
    assert 0.9 < float(ratio.mean()) < 1.1
    assert float((ratio - 1).abs().quantile(0.9)) < 0.1


def test_fast_dropout_layers_integrate_by_themselves():
    torch.manual_seed(0)
    fast = td.FastDropoutLinear(30, 5, p=0.5, activation="relu")
    plain = nn.Sequential(td.Dropout(0.5), nn.Linear(30, 5), nn.ReLU())
    plain[1].load_state_dict(fast.state_dict())
    x = torch.randn(4, 30)
    a, b = td.moment_predict(nn.Sequential(fast), x), td.moment_predict(plain, x)
    assert torch.allclose(a.mean, b.mean, atol=1e-6)
    assert torch.allclose(a.variance, b.variance, atol=1e-5)
    assert fast.mode == "sample"


def test_no_noise_gives_the_plain_output_and_no_variance():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 9), nn.ReLU(), nn.Sequential(nn.Linear(9, 2), nn.Sigmoid()))
    x = torch.randn(3, 3, 4)
    for correlated in (False, True):
        found = td.moment_predict(model, x, correlated=correlated)
        assert torch.allclose(found.mean, model(x), atol=1e-6)
        assert float(found.variance.max()) < 1e-12
    assert math.isclose(float(td.moment_predict(nn.Dropout(1.0), torch.ones(1, 1)).variance), 0.0)


def test_other_layers_are_named():
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Tanh()))
    with pytest.raises(TypeError, match=r"moment_predict: `model` must be made of .*, got 1.0 \(Tanh\); mc_predict"):
        td.moment_predict(model, torch.randn(2, 2))
    with pytest.raises(TypeError, match="FastDropoutLinear"):
        td.moment_predict(td.FastDropoutLinear(2, 2), torch.randn(2, 2), correlated=True)
