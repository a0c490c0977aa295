"""Penalties on weights: against NumPy and scikit-learn, which weights they are for, their parts, and errors."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import ElasticNet
from torch import nn

import torchdropout as td

D = torch.float64


def network():
    layers = [nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 3), nn.LayerNorm((1, 3))]
    return nn.Sequential(*layers, td.SparseVariationalLinear(3, 2)).double()


def by_numpy(model, l1=0.0, l2=0.0, group=0.0):
    total = 0.0
    for name in ("0.weight", "3.weight", "5.weight"):
        w = model.get_parameter(name).detach().numpy()
        w = w.reshape(len(w), -1)
        total += l1 * np.abs(w).sum() + l2 / 2 * (w**2).sum()
        total += group * math.sqrt(w.shape[1]) * np.sqrt((w**2).sum(1)).sum()
    return total


def test_each_penalty_is_its_formula_over_matrices_and_filters_alone():
    """No biases, no norms (one of them with two axes), and not the noise level of a layer with a prior."""
    model = network()
    with torch.no_grad():
        for p in model.parameters():
            p.normal_()
    assert td.penalty(model, l1=0.3).item() == pytest.approx(by_numpy(model, l1=0.3))
    assert td.penalty(model, l2=0.3).item() == pytest.approx(by_numpy(model, l2=0.3))
    assert td.penalty(model, group=0.3).item() == pytest.approx(by_numpy(model, group=0.3))
    assert td.penalty(model, elastic=(0.5, 0.2)).item() == pytest.approx(by_numpy(model, l1=0.1, l2=0.4))
    together = td.penalty(model, l1=0.1, l2=0.2, group=0.3, elastic=(0.4, 0.5))
    assert together.item() == pytest.approx(by_numpy(model, l1=0.3, l2=0.4, group=0.3))


def test_elastic_is_scikit_learns_objective():
    """At its solution the subgradient of 1/2 MSE + penalty vanishes: where weights are zero it is within bounds."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 5))
    y = x @ np.array([2.0, -1.0, 0.0, 0.0, 0.3]) + 0.1 * rng.normal(size=60)
    fitted = ElasticNet(alpha=0.2, l1_ratio=0.7, tol=1e-12, max_iter=10**6).fit(x, y)
    assert (fitted.coef_ == 0).any()
    layer = nn.Linear(5, 1).double()
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(fitted.coef_)[None])
        layer.bias.fill_(float(fitted.intercept_))
    error = (layer(torch.from_numpy(x))[:, 0] - torch.from_numpy(y)).square().mean() / 2
    (error + td.penalty(layer, elastic=(0.2, 0.7))).backward()
    free = fitted.coef_ != 0
    np.testing.assert_allclose(layer.weight.grad[0].numpy()[free], 0, atol=1e-9)
    assert (np.abs(layer.weight.grad[0].numpy()[~free]) <= 0.2 * 0.7).all()


def test_l2_has_the_gradient_of_sgds_weight_decay():
    layer = nn.Linear(3, 2, bias=False).double()
    td.penalty(layer, l2=0.3).backward()
    torch.testing.assert_close(layer.weight.grad, 0.3 * layer.weight.detach())


@pytest.mark.parametrize("groups", [1, 2])
def test_groups_of_a_transposed_convolution_lead_into_an_output_map(groups):
    """Moving one map's incoming weights to zero removes exactly that map, and its term."""
    layer = nn.ConvTranspose2d(4, 6, 3, groups=groups, bias=False).double()
    before = td.penalty(layer, group=1.0)
    unit = 4
    with torch.no_grad():
        size = 6 // groups
        block = layer.weight[unit // size * (4 // groups) : (unit // size + 1) * (4 // groups), unit % size]
        term = math.sqrt(block.numel()) * block.norm()
        block.zero_()
    assert (before - td.penalty(layer, group=1.0)).item() == pytest.approx(term.item())
    y = layer(torch.ones(1, 4, 5, 5, dtype=D))
    assert (y.abs().sum((0, 2, 3)) == 0).tolist() == [u == unit for u in range(6)]


def test_gradients():
    layer = nn.Linear(3, 2).double()

    def of(weight, **strengths):
        twin = nn.Linear(3, 2).double()
        del twin.weight
        twin.weight = nn.Parameter(weight)
        return torch.func.functional_call(_Penalty(twin, strengths), {"layer.weight": weight}, ())

    for strengths in ({"l1": 0.3}, {"l2": 0.3}, {"group": 0.3}, {"elastic": (0.3, 0.5)}):
        assert torch.autograd.gradcheck(lambda w, s=strengths: of(w, **s), layer.weight)
    with torch.no_grad():
        layer.weight[0] = 0.0  # a unit that is removed already
    td.penalty(layer, group=1.0).backward()
    assert (layer.weight.grad[0] == 0).all()


class _Penalty(nn.Module):
    def __init__(self, layer, strengths):
        super().__init__()
        self.layer, self.strengths = layer, strengths

    def forward(self):
        return td.penalty(self.layer, **self.strengths)


def test_tied_frozen_and_wrapped_weights():
    table = nn.Embedding(5, 3)
    output = nn.Linear(3, 5, bias=False)
    output.weight = table.weight
    tied = nn.Sequential(table, output, nn.Linear(5, 2))
    expected = table.weight.abs().sum() + tied[2].weight.abs().sum()
    torch.testing.assert_close(td.penalty(tied, l1=1.0), expected)
    for wrapped in (nn.DataParallel(tied), torch.compile(tied, backend="eager")):
        torch.testing.assert_close(td.penalty(wrapped, l1=1.0), expected)
        torch.testing.assert_close(td.penalty(wrapped, l1=1.0, filter_fn="2.weight"), tied[2].weight.abs().sum())
    tied[2].weight.requires_grad_(False)
    torch.testing.assert_close(td.penalty(tied, l1=1.0), table.weight.abs().sum())


def test_half_precision_is_summed_in_single():
    layer = nn.Linear(400, 400).half()
    torch.nn.init.constant_(layer.weight, 1.0)
    assert td.penalty(layer, l1=1.0).item() == 160_000
    assert td.penalty(layer, l2=1.0).item() == 80_000


def test_filters_see_the_weight_and_its_name():
    model, seen = network(), []
    chosen = td.penalty(model, l1=1.0, filter_fn=lambda p, name: seen.append((name, p.dim())) or name == "3.weight")
    torch.testing.assert_close(chosen, model[3].weight.abs().sum())
    assert seen == [("0.weight", 4), ("3.weight", 2), ("5.weight", 2)]


def test_regularization_is_both_and_its_parts_add_up():
    model = nn.Sequential(network(), td.VariationalLinear(2, 2).double())
    settings = {"l1": 0.1, "elastic": (0.2, 0.5), "group": 0.3}
    added = td.regularization_loss(model, 50, warmup=0.5, filter_fn="0.*", **settings)
    expected = td.kl_loss(model, 50, 0.5) + td.penalty(model, filter_fn="0.*", **settings)
    torch.testing.assert_close(added.total, expected)
    parts = added.breakdown()
    assert set(parts) == {"kl", "l1", "elastic", "group"}
    assert set(parts["kl"]) == {"0.5", "1"}
    assert set(parts["l1"]) == {"0.0.weight", "0.3.weight", "0.5.weight"}
    assert sum(v for term in parts.values() for v in term.values()) == pytest.approx(expected.item())
    assert parts["kl"]["1"] == pytest.approx(model[1].kl().item() / 100)
    assert parts["l1"]["0.3.weight"] == pytest.approx(0.1 * model[0][3].weight.abs().sum().item())
    loss = torch.tensor(2.0, dtype=D)
    for summed in (loss + added, added + loss):
        torch.testing.assert_close(summed, expected + 2)
    (loss + added).backward()
    assert model[1].log_alpha.grad.isfinite().all()
    assert float(td.regularization_loss(nn.Linear(2, 2), 50)) == 0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: td.penalty(network()),
            ValueError,
            "penalty: one of `l1`, `l2`, `elastic`, `group` must be given, got none.",
        ),
        (
            lambda: td.penalty(network(), l1=-1),
            ValueError,
            "penalty: `l1` must be finite and not negative, got -1.",
        ),
        (lambda: td.penalty(network(), group="a"), TypeError, "penalty: `group` must be a number, got 'a'."),
        (
            lambda: td.penalty(network(), elastic=0.3),
            ValueError,
            "penalty: `elastic` must be (alpha, l1_ratio), got 0.3.",
        ),
        (
            lambda: td.penalty(network(), elastic=(0.3, 2)),
            ValueError,
            "penalty: `elastic[1]` must be in [0, 1], got 2.",
        ),
        (
            lambda: td.penalty(nn.BatchNorm1d(3), l1=1),
            ValueError,
            "penalty: `model` must have matrices or filters that are trained, found none.",
        ),
        (
            lambda: td.regularization_loss(nn.Sequential(network()), 9, l1=1, filter_fn="0.3.wieght"),
            ValueError,
            "regularization_loss: `filter_fn` must choose a weight, got '0.3.wieght'; the closest names are "
            "0.3.weight, 0.5.weight, 0.0.weight.",
        ),
        (
            lambda: td.penalty(network(), l1=1, filter_fn=lambda p, name: False),
            ValueError,
            "penalty: `filter_fn` must choose a weight, it chose none of 0.weight, 3.weight, 5.weight.",
        ),
        (
            lambda: td.penalty(network(), l1=1, filter_fn=3),
            TypeError,
            "penalty: `filter_fn` must be a function or a pattern of names, got 3.",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message
