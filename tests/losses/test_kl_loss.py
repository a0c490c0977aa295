"""The divergences of a model: units, counting once, warm-up, wrappers, and errors."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

import torchdropout as td
from torchdropout.losses.kl import divergence

D = torch.float64


def network():
    layers = [td.VariationalLinear(6, 5, per="weight"), nn.ReLU(), td.SparseVariationalLinear(5, 4)]
    return nn.Sequential(*layers, td.LogNormalDropout(4), td.ConcreteDropout(nn.Linear(4, 3))).double()


def by_numpy(model):
    """Every divergence written out in NumPy, summed over weights, channels and units."""
    v, _, s, g, c = model
    alpha = v.log_alpha.detach().exp().numpy()
    cubic = 0.5 * np.log(alpha) + 1.16145124 * alpha - 1.50204118 * alpha**2 + 0.58629921 * alpha**3
    total = ((np.euler_gamma + math.log(2)) / 2 - cubic).sum()

    w2 = s.weight.detach().numpy() ** 2
    x = np.clip(s.log_sigma2.detach().numpy() - np.log(w2 + 1e-8), -8, 8)
    total += (0.5 * np.log1p(np.exp(-x)) - 0.63576 / (1 + np.exp(-(1.8732 + 1.48695 * x))) + 0.63576).sum()

    # numbers of a truncated normal on [-20, 0], by a fine sum
    for mu, log_sigma in zip(g.mu.tolist(), g.log_sigma.tolist(), strict=True):
        t = np.linspace(-20, 0, 4_000_001)
        log_q = -0.5 * ((t - mu) / math.exp(log_sigma)) ** 2
        q = np.exp(log_q)
        q /= np.trapezoid(q, t)
        total += np.trapezoid(q * (np.log(q + 1e-300) + math.log(20)), t)

    p = 1 / (1 + math.exp(-c.p_logit.item()))
    total += 0.5 * c.length_scale**2 * (c.layer.weight.detach().numpy() ** 2).sum() / (1 - p)
    return total + 4 * (p * math.log(p) + (1 - p) * math.log(1 - p))


def test_the_sum_over_everything_in_nats_divided_once_by_the_number_of_examples():
    """An average over layers or weights, which peers have, is off by their number."""
    model = network()
    with torch.no_grad():
        model[3].mu.uniform_(-3, -1)
        model[3].log_sigma.fill_(-1.0)
    assert td.kl_loss(model, 500).item() == pytest.approx(by_numpy(model) / 500, rel=1e-6)
    assert td.kl_loss(model, 1).item() == pytest.approx(500 * td.kl_loss(model, 500).item())


def test_concrete_is_the_papers_regularizer_beside_cross_entropy():
    """The authors' factors beside cross-entropy: l**2 / (2 N) and 1 / N, for the weight alone."""
    layer = td.ConcreteDropout(nn.Linear(7, 3), p=0.3, length_scale=0.5).double()
    entropy = 0.3 * math.log(0.3) + 0.7 * math.log(0.7)
    expected = 0.25 / (2 * 90) * layer.layer.weight.square().sum().item() / 0.7 + 7 / 90 * entropy
    assert td.kl_loss(layer, 90).item() == pytest.approx(expected)


def test_warm_up_multiplies_and_divides_nothing_again():
    model = network()
    full = td.kl_loss(model, 100)
    for warmup in (0.0, 0.25, 1.0):
        assert td.kl_loss(model, 100, warmup).item() == pytest.approx(warmup * full.item())


def test_a_shared_module_counts_once():
    layer = td.VariationalLinear(4, 4)
    torch.testing.assert_close(td.kl_loss(nn.Sequential(layer, nn.ReLU(), layer), 10), layer.kl() / 10)


def test_wrapped_models_count_once(tmp_path):
    """A compiled module passes `kl` on from what it wraps: asked by name, it would count twice."""
    layer = td.VariationalLinear(4, 4)
    compiled = torch.compile(layer, backend="eager")
    assert callable(compiled.kl)
    expected = layer.kl() / 10
    torch.testing.assert_close(td.kl_loss(compiled, 10), expected)
    torch.testing.assert_close(td.kl_loss(nn.Sequential(compiled, nn.ReLU()), 10), expected)
    torch.testing.assert_close(td.kl_loss(nn.DataParallel(layer), 10), expected)
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        torch.testing.assert_close(td.kl_loss(DistributedDataParallel(nn.Sequential(layer)), 10), expected)
    finally:
        torch.distributed.destroy_process_group()


def test_the_gradient_is_that_of_the_negative_evidence_lower_bound():
    """N times the loss of the whole set as one batch is the objective of the paper, so gradients agree too."""
    model, n = nn.Sequential(td.VariationalLinear(5, 3, p=0.2, per="unit")).double(), 40
    x, y = torch.randn(n, 5, dtype=D), torch.randint(3, (n,))
    other = copy.deepcopy(model)
    (F.cross_entropy(model.eval()(x), y) + td.kl_loss(model, n)).backward()
    likelihood = F.log_softmax(other.eval()(x), -1)[torch.arange(n), y].sum()
    (-(likelihood - other[0].kl()) / n).backward()
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)
    assert model[0].log_alpha.grad.abs().sum() > 0


@pytest.mark.parametrize("outputs", [1, 3])
def test_beside_squared_errors_the_factor_of_the_docs_makes_it_the_bound(outputs):
    """The docs' `2 s**2 / D`: the objective is then a multiple of the bound, so gradients are parallel."""
    model, n, s = nn.Sequential(td.VariationalLinear(4, outputs, p=0.2)).double().eval(), 30, 0.7
    x, t = torch.randn(n, 4, dtype=D), torch.randn(n, outputs, dtype=D)
    likelihood = torch.distributions.Normal(model(x), s).log_prob(t).sum()
    bound = (-likelihood + model[0].kl()) / n
    objective = F.mse_loss(model(x), t) + 2 * s**2 / outputs * td.kl_loss(model, n)
    parameters = list(model.parameters())
    for a, b in zip(*(torch.autograd.grad(v, parameters) for v in (objective, bound)), strict=True):
        torch.testing.assert_close(a, 2 * s**2 / outputs * b)


def test_nothing_with_a_prior_costs_nothing():
    assert divergence(nn.Linear(2, 2)) is None
    assert td.kl_loss(nn.Linear(2, 2), 10) == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_single(dtype):
    layer = td.VariationalLinear(300, 300, per="layer").to(dtype)
    value = td.kl_loss(layer, 1)
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert value.item() > 65_504 * 0.5  # near or beyond what float16 holds


class Summing(nn.Module):
    """A network that adds up what its layers already tell."""

    def __init__(self):
        super().__init__()
        self.first = td.VariationalLinear(2, 2)

    def kl(self):
        return self.first.kl()


class Averaging(nn.Linear):
    def kl(self):
        return self.weight.square()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: td.kl_loss(network(), 0), ValueError, "kl_loss: `num_data` must be positive and finite, got 0."),
        (lambda: td.kl_loss(network(), "9"), TypeError, "kl_loss: `num_data` must be a number, got '9'."),
        (lambda: td.kl_loss(network(), 9, 2), ValueError, "kl_loss: `warmup` must be in [0, 1], got 2."),
        (
            lambda: td.kl_loss(Summing(), 9),
            ValueError,
            "kl_loss: a module with `kl` must hold no other one, or its divergence may count twice, got the model with "
            "first in it; give the method of one of them another name.",
        ),
        (
            lambda: td.kl_loss(nn.Sequential(Averaging(2, 2)), 9),
            ValueError,
            "kl_loss: `0.kl()` must be the sum of a divergence, a 0-d tensor, got shape (2, 2).",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message
