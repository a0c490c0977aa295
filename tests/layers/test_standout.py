"""Standout: the keep probabilities' two readings, who gets which gradient, and the sign."""

import copy
import math
import pickle

import pytest
import torch
from torch import nn

import torchdropout as td

BELIEFS = ["tied", "elementwise", "untied"]


def make(belief="tied", dtype=torch.float64, **arguments):
    torch.manual_seed(0)
    return td.StandoutLinear(5, 4, dtype=dtype, belief=belief, **arguments)


def masks(layer, x, count):
    """The masks of `count` forwards, read from an activation that is never zero."""
    return torch.stack([layer(x, key=key) for key in td.split(td.key(1), count)]) / layer.activation(
        nn.functional.linear(x, layer.weight, layer.bias)
    )


@pytest.mark.parametrize("belief", BELIEFS)
def test_standout_keep_probability_by_hand(belief):
    layer, x = make(belief, alpha=0.7, beta=0.3), torch.randn(5, dtype=torch.float64)
    pi = layer.keep_probability(x)
    for j in range(4):
        w, b = layer.weight[j].tolist(), layer.bias[j].item()
        z = sum(wi * xi for wi, xi in zip(w, x.tolist(), strict=True)) + b
        if belief == "tied":
            logit = 0.7 * z + 0.3
        elif belief == "elementwise":
            logit = sum(xi * (0.7 * wi + 0.3) for wi, xi in zip(w, x.tolist(), strict=True))
        else:
            logit = (layer.belief_weight[j] @ x + layer.belief_bias[j]).item()
        assert math.isclose(pi[j].item(), 1 / (1 + math.exp(-logit)), rel_tol=1e-12)


@pytest.mark.parametrize("belief", BELIEFS)
def test_standout_mean_variance_and_covariance_of_the_masks(belief):
    """20000 draws: 5 standard errors on each of 8 means, and on all 28 pairs' covariances; error rate below 1e-4."""
    layer, x, n = make(belief, activation=torch.exp, beta=0.4), torch.randn(2, 5, dtype=torch.float64), 20_000
    m = masks(layer, x, n).detach().round(decimals=6).flatten(1)
    assert set(m.unique().tolist()) == {0.0, 1.0}  # no division by pi
    pi = layer.keep_probability(x).detach().flatten()
    std = (pi * (1 - pi)).sqrt()
    assert ((m.mean(0) - pi).abs() < 5 * std / n**0.5).all()
    covariance = torch.cov(m.T)
    expected = torch.diag(std**2)
    assert ((covariance - expected).abs() < 5 * torch.outer(std, std).clamp(min=0.05) * 1.5 / n**0.5).all()


@pytest.mark.parametrize("belief", BELIEFS)
def test_standout_test_rule_is_pi_times_h(belief):
    layer, x = make(belief, beta=-0.5).eval(), torch.randn(3, 5, dtype=torch.float64)
    h = torch.relu(nn.functional.linear(x, layer.weight, layer.bias))
    torch.testing.assert_close(layer(x), layer.keep_probability(x) * h, rtol=1e-12, atol=0)


def test_a_larger_preactivation_is_kept_more_often():
    """The opposite stands in a widely copied survey."""
    layer = td.StandoutLinear(1, 2, bias=False, activation=torch.exp)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[2.0], [-2.0]]))
    kept = (layer(torch.ones(4000, 1), key=td.key(0)) > 0).double().mean(0)
    # sigmoid(2) = 0.881, sigmoid(-2) = 0.119; 5 standard errors are 0.026
    assert abs(kept[0] - 0.8808) < 0.026
    assert abs(kept[1] - 0.1192) < 0.026


def test_alpha_zero_beta_zero_is_dropout_of_one_half_and_beta_one_half_is_not():
    x = torch.randn(50, 5)
    assert (make(dtype=torch.float32, alpha=0.0).keep_probability(x) == 0.5).all()
    torch.testing.assert_close(
        make(dtype=torch.float32, alpha=0.0, beta=0.5).keep_probability(x), torch.full((50, 4), 0.62245935)
    )


def test_gradient_of_the_main_net_is_masked_and_pi_is_constant():
    layer, x = make(beta=0.2), torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda x: layer(x, key=td.key(3)), x)
    z = nn.functional.linear(x, layer.weight, layer.bias)
    y = layer(x, key=td.key(3))
    kept = (y != 0).double()
    (grad,) = torch.autograd.grad(y.sum(), layer.weight)
    torch.testing.assert_close(grad, torch.autograd.grad((kept * z.relu()).sum(), layer.weight)[0])


@pytest.mark.parametrize("belief", BELIEFS)
def test_local_expectation_reaches_the_belief_net(belief):
    """The gradient at `pi` is that at `y` times `h`, averaged over masks the gradient of the expected output."""
    layer, x = make(belief, through=True, beta=0.2), torch.randn(3, 5, dtype=torch.float64)
    r = torch.randn(3, 4, dtype=torch.float64)
    h = torch.relu(nn.functional.linear(x, layer.weight, layer.bias))
    y = layer(x, key=td.key(3))
    mask = (y != 0).double()
    expected = (r * (mask * h + h.detach() * layer.keep_probability(x))).sum()
    grads = torch.autograd.grad((r * y).sum(), list(layer.parameters()))
    for got, want in zip(grads, torch.autograd.grad(expected, list(layer.parameters())), strict=True):
        torch.testing.assert_close(got, want)


def test_a_tied_belief_net_passes_no_gradient_unless_asked():
    x = torch.randn(3, 5, dtype=torch.float64)
    plain, through = make(), make(through=True)
    grads = [torch.autograd.grad(m(x, key=td.key(3)).sum(), m.weight)[0] for m in (plain, through)]
    assert torch.equal(plain(x, key=td.key(3)), through(x, key=td.key(3)))
    assert not torch.allclose(*grads)


def test_the_untied_belief_net_learns_which_units_to_keep():
    """Half the units only harm: their keep probability falls, the others' rises."""
    layer = make("untied", activation=torch.exp)
    target = torch.tensor([3.0, 0.0, 3.0, 0.0], dtype=torch.float64)
    optimizer = torch.optim.Adam([layer.belief_weight, layer.belief_bias], lr=0.1)
    for key in td.split(td.key(0), 200):
        optimizer.zero_grad()
        x = 0.1 * td.functional.normal((16, 5), key=key).double()
        ((layer(x, key=key) - target) ** 2).mean().backward()
        optimizer.step()
    pi = layer.keep_probability(torch.zeros(5, dtype=torch.float64))
    assert (pi[[0, 2]] > 0.9).all()
    assert (pi[[1, 3]] < 0.1).all()


def test_standout_function_masks_by_given_probabilities_and_passes_gradients():
    x = torch.randn(6, dtype=torch.float64, requires_grad=True)
    keep = torch.tensor([0.0, 0.2, 0.5, 0.5, 0.9, 1.0], dtype=torch.float64, requires_grad=True)
    y = td.functional.standout(x, keep, key=td.key(2))
    assert y[0] == 0
    assert y[5] == x[5]
    gx, gk = torch.autograd.grad(y.sum(), (x, keep))
    assert torch.equal(gx, (y != 0).double())
    assert torch.equal(gk, x.detach())
    torch.testing.assert_close(td.functional.standout(x, keep, False), x * keep)
    assert torch.equal(td.functional.standout(x.detach(), keep.detach(), key=td.key(2)), y)


def curve(layer, activation, steps=20):
    """The losses of a regression by SGD."""
    torch.manual_seed(5)
    x, t = torch.randn(64, 5), torch.randn(64, 4)
    optimizer, losses = torch.optim.SGD(layer.parameters(), lr=0.1), []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = ((activation(layer(x)) - t) ** 2).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return torch.tensor(losses)


@pytest.mark.parametrize(("beta", "noisy"), [(40.0, False), (3.0, True)])
def test_zero_noise_limit_is_the_plain_layer_and_noise_leaves_it(beta, noisy):
    """beta = 40 keeps everything, so 20 steps of SGD follow nn.Linear and ReLU."""
    layer = td.StandoutLinear(5, 4, alpha=0.0, beta=beta)
    twin = nn.Linear(5, 4)
    twin.load_state_dict(layer.state_dict())
    gap = (curve(layer, nn.Identity()) - curve(twin, torch.relu)).abs().max()
    assert gap > 1e-3 if noisy else gap < 1e-5


@pytest.mark.parametrize("belief", BELIEFS)
def test_checkpoints_copies_and_from_linear(belief):
    layer, x = make(belief), torch.randn(3, 5, dtype=torch.float64)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), make(belief)):
        twin.load_state_dict(layer.state_dict())
        assert torch.equal(twin(x, key=td.key(1)), layer(x, key=td.key(1)))
    linear = nn.Linear(5, 4, bias=False, dtype=torch.float64)
    made = td.StandoutLinear.from_linear(linear, belief=belief)
    assert torch.equal(made.weight, linear.weight)
    assert made.weight is not linear.weight
    assert made.bias is None
    if belief != "untied":
        made.load_state_dict(linear.state_dict())
    before = {name: p.clone() for name, p in layer.named_parameters()}
    layer.reset_parameters()
    assert all(not torch.equal(p, before[name]) for name, p in layer.named_parameters())


@pytest.mark.parametrize("belief", BELIEFS)
def test_compile_vmap_and_checkpointing(belief):
    layer, x = make(belief, torch.float32), torch.randn(3, 5)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, key=td.key(1)), layer(x, key=td.key(1)))
    with td.keyed(3):
        first = compiled(x)
    with td.keyed(3):
        torch.testing.assert_close(first, layer(x))  # without a key given, the draw is part of the graph
    rows = torch.func.vmap(layer, randomness="different")(torch.ones(200, 5))
    assert len(rows.unique(dim=0)) > 1
    torch.manual_seed(1)
    checkpointed = torch.autograd.grad(
        torch.utils.checkpoint.checkpoint(layer, x, use_reentrant=False).sum(), layer.weight
    )
    torch.manual_seed(1)
    assert torch.equal(checkpointed[0], torch.autograd.grad(layer(x).sum(), layer.weight)[0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_autocast_and_shapes(dtype):
    layer = make(dtype=dtype)
    assert layer(torch.ones(0, 5, dtype=dtype)).shape == (0, 4)
    assert layer(torch.ones(5, dtype=dtype)).dtype == dtype
    wide = make(dtype=torch.float32)
    with torch.autocast("cpu", dtype):
        y = wide(torch.ones(7, 5))
    assert y.dtype == dtype
    assert y.isfinite().all()


@pytest.mark.parametrize("beta", [-1e4, 1e4])
@pytest.mark.parametrize("belief", BELIEFS)
def test_extreme_probabilities_have_finite_gradients(belief, beta):
    layer = make(belief, torch.float32, beta=beta, through=True)
    for model in (layer, layer.eval()):
        model(torch.randn(3, 5)).sum().backward()
    assert all(p.grad.isfinite().all() for p in layer.parameters())


def test_nan_is_not_hidden():
    x = torch.ones(2, 5)
    x[0, 0] = math.nan
    y = make(dtype=torch.float32)(x, key=td.key(0))
    assert y[0].isnan().all()
    assert not y[1].isnan().any()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: td.StandoutLinear(2, 2, belief="own"),
            ValueError,
            "StandoutLinear: `belief` must be one of 'tied', 'elementwise', 'untied', got 'own'.",
        ),
        (
            lambda: td.StandoutLinear(2, 2, activation="gelu"),
            ValueError,
            "StandoutLinear: `activation` must be one of 'relu', 'sigmoid', 'tanh', got 'gelu'.",
        ),
        (
            lambda: td.StandoutLinear(2, 2, beta=math.inf),
            ValueError,
            "StandoutLinear: `beta` must be finite, got inf.",
        ),
        (
            lambda: td.StandoutLinear(2, 2, alpha="1"),
            TypeError,
            "StandoutLinear: `alpha` must be a number, got '1'.",
        ),
        (
            lambda: td.StandoutLinear(2, 2)(torch.ones(3, 3)),
            ValueError,
            "StandoutLinear: the input's last axis must have size 2, got (3, 3).",
        ),
        (
            lambda: td.StandoutLinear(2, 2)(torch.ones(3, 2, dtype=torch.int64)),
            TypeError,
            "StandoutLinear: the input must be floating point, got torch.int64.",
        ),
        (
            lambda: td.functional.standout(torch.ones(3, 2), torch.ones(2)),
            ValueError,
            "standout: `keep` must have the input's shape (3, 2), got (2,).",
        ),
        (
            lambda: td.functional.standout(torch.ones(2), torch.tensor([0.5, 1.5])),
            ValueError,
            "standout: `keep` must be in [0, 1], got a value outside.",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message
