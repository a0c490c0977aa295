"""Fast dropout: moments against quadrature, enumeration and Monte-Carlo dropout; losses; a net without sampling."""

import copy
import itertools
import math
import pickle

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional as F

import torchdropout as td

POINTS = [(0.5, 1.0), (-1.0, 2.0), (2.0, 0.5), (-6.0, 1.5), (0.0, 0.3), (9.0, 1.0)]
D = torch.float64


def expectation(g, mu, s):
    split = sorted({-mu / s, -1.0, 0.0, 1.0})
    edges = [-12.0, *[e for e in split if -12 < e < 12], 12.0]
    return sum(
        integrate.quad(lambda e: g(mu + s * e) * stats.norm.pdf(e), a, b, epsabs=1e-14)[0]
        for a, b in itertools.pairwise(edges)
    )


def tensors(*values, dtype=D):
    return [torch.tensor([v], dtype=dtype) for v in values]


@pytest.mark.parametrize(("mu", "s"), POINTS)
def test_relu_moments_against_quadrature(mu, s):
    mean, variance = td.functional.relu_moments(*tensors(mu, s * s))
    m1 = expectation(lambda z: max(z, 0.0), mu, s)
    m2 = expectation(lambda z: max(z, 0.0) ** 2, mu, s)
    assert math.isclose(mean.item(), m1, rel_tol=1e-6, abs_tol=1e-10)
    assert math.isclose(variance.item(), m2 - m1**2, rel_tol=1e-5, abs_tol=1e-10)


@pytest.mark.parametrize(
    ("mu", "s", "mean", "variance"),
    [
        (0.5, 1.0, 0.6977965574, 0.5534407045),
        (-1.0, 2.0, 0.3955931148, 0.6820631276),
        (2.0, 0.5, 2.0000035726, 0.2499849369),
    ],
)
def test_relu_moments_worked_values(mu, s, mean, variance):
    got = td.functional.relu_moments(*tensors(mu, s * s))
    torch.testing.assert_close(torch.cat(got), torch.tensor([mean, variance], dtype=D), rtol=0, atol=2e-10)


@pytest.mark.parametrize(
    ("mu", "s", "mean", "second"),
    [(0.5, 1.0, 0.604364, 0.410920), (-1.0, 2.0, 0.348944, 0.224311), (2.0, 0.5, 0.870852, 0.773867)],
)
def test_sigmoid_moments_worked_values(mu, s, mean, second):
    m, v = td.functional.sigmoid_moments(*tensors(mu, s * s))
    assert abs(m.item() - mean) < 1e-6
    assert abs(v.item() + m.item() ** 2 - second) < 1e-6


@pytest.mark.parametrize(("mu", "s"), POINTS)
def test_sigmoid_moments_near_quadrature(mu, s):
    m, v = td.functional.sigmoid_moments(*tensors(mu, s * s))
    m1 = expectation(lambda z: 1 / (1 + math.exp(-z)), mu, s)
    m2 = expectation(lambda z: 1 / (1 + math.exp(-z)) ** 2, mu, s)
    assert abs(m.item() - m1) < 0.02
    assert abs(v.item() + m.item() ** 2 - m2) < 0.02


def test_fast_dropout_moments_by_enumeration_with_random_inputs():
    """Two-point inputs times masks: all 4**3 outcomes give the layer's mean and variance."""
    torch.manual_seed(0)
    w, b = torch.randn(2, 3, dtype=D), torch.randn(2, dtype=D)
    nu, tau, p = torch.randn(3, dtype=D), torch.rand(3, dtype=D), 0.3
    outcomes, probabilities = [], []
    for signs in itertools.product([-1, 1], repeat=3):
        for kept in itertools.product([0, 1], repeat=3):
            x = nu + tau * torch.tensor(signs, dtype=D)
            z = torch.tensor(kept, dtype=D)
            outcomes.append(w @ (x * z / (1 - p)) + b)
            probabilities.append(0.5**3 * math.prod(1 - p if k else p for k in kept))
    s, q = torch.stack(outcomes), torch.tensor(probabilities, dtype=D).unsqueeze(1)
    mean = (q * s).sum(0)
    layer = td.FastDropoutLinear.from_linear(linear(w, b), p=p, mode="moments")
    got = layer(td.Moments(nu, tau**2))
    torch.testing.assert_close(got.mean, mean)
    torch.testing.assert_close(got.variance, (q * (s - mean) ** 2).sum(0))
    layer.propagate_variance = False
    torch.testing.assert_close(layer(td.Moments(nu, tau**2)).variance, layer(nu).variance)


def linear(w, b=None):
    made = nn.Linear(w.shape[1], w.shape[0], bias=b is not None, dtype=w.dtype)
    with torch.no_grad():
        made.weight.copy_(w)
        if b is not None:
            made.bias.copy_(b)
    return made


def test_fast_dropout_rescale_relation_of_the_two_conventions():
    """The paper's unscaled sum with weights W / k has the moments of the scaled one with W."""
    torch.manual_seed(0)
    w, x, k = torch.randn(4, 6, dtype=D), torch.randn(6, dtype=D), 0.7
    layer = td.FastDropoutLinear.from_linear(linear(w), p=0.3, mode="moments")
    mean, variance = layer(x)
    torch.testing.assert_close(mean, k * ((w / k) @ x))
    torch.testing.assert_close(variance, k * (1 - k) * ((w / k) ** 2 @ x**2))


@pytest.mark.parametrize("activation", ["identity", "relu"])
def test_fast_dropout_moments_agree_with_dropout(activation):
    """200 inputs, 200000 masks: means within 1 % of the root mean square, standard deviations within 3 %.

    The standard error of a mean is 0.22 % at most, so chance alone fails one of 64 with probability 4e-4.
    """
    torch.manual_seed(1)
    w, x, p = torch.randn(64, 200, dtype=D) / 200**0.5, torch.randn(200, dtype=D).abs(), 0.5
    layer = td.FastDropoutLinear.from_linear(linear(w), p=p, mode="moments", activation=activation)
    mean, variance = layer(x)
    x = x.expand(40_000, 200).contiguous()
    y = torch.cat([td.functional.dropout(x, p, key=key) @ w.T for key in td.split(td.key(0), 5)])
    y = y.relu() if activation == "relu" else y
    scale = y.std(0)
    live = scale > 0.5 * scale.max()  # of a unit that is rarely on, only the normal's tail is seen
    assert live.sum() >= 16
    assert ((mean - y.mean(0)).abs()[live] < 0.01 * y.square().mean(0).sqrt()[live]).all()
    assert ((variance.sqrt() / scale - 1).abs()[live] < 0.03).all()


def test_fast_dropout_samples_have_the_moments_and_no_covariance():
    """20000 draws; 5 standard errors on 12 means, variances and 66 covariances."""
    torch.manual_seed(0)
    layer, x, n = td.FastDropoutLinear(5, 4, p=0.4, dtype=D), torch.randn(3, 5, dtype=D), 20_000
    y = layer(x.expand(n, 3, 5).contiguous(), key=td.key(0)).detach().flatten(1)
    layer.mode = "moments"
    mean, variance = (m.detach().flatten() for m in layer(x))
    z = (y - mean) / variance.sqrt()
    assert (z.mean(0).abs() < 5 / n**0.5).all()
    assert ((torch.cov(z.T) - torch.eye(12, dtype=D)).abs() < 5 * 2**0.5 / n**0.5).all()


def test_pathwise_gradients_and_gradcheck():
    torch.manual_seed(0)
    x, w, b = (torch.randn(s, dtype=D, requires_grad=True) for s in ((3, 4), (2, 4), (2,)))
    f = td.functional.fast_dropout_linear
    torch.autograd.gradcheck(lambda *a: f(*a, 0.3, key=td.key(1)), (x, w, b))
    torch.autograd.gradgradcheck(lambda *a: f(*a, 0.3, key=td.key(1)), (x, w, b))
    v = torch.rand(3, 4, dtype=D, requires_grad=True)
    torch.autograd.gradcheck(td.functional.relu_moments, (x, v))
    torch.autograd.gradcheck(td.functional.sigmoid_moments, (x, v))


def test_eval_is_the_plain_layer_when_sampling_and_the_moments_otherwise():
    layer, x = td.FastDropoutLinear(5, 4, activation="relu").eval(), torch.randn(3, 5)
    torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias).relu(), rtol=0, atol=0)
    layer.mode = "moments"
    noisy = layer.eval()(x)
    torch.testing.assert_close(noisy, layer.train()(x))
    assert (noisy.variance > 0).any()


def test_no_gradient_is_nan_where_the_variance_is_zero():
    """The square root's slope is infinite at 0."""
    x = torch.zeros(2, 5, requires_grad=True)
    for mode in ("sample", "moments"):
        layer = td.FastDropoutLinear(5, 4, bias=False, mode=mode, activation="relu")
        y = layer(x, key=td.key(0))
        total = y.sum() if mode == "sample" else y.mean.sum() + y.variance.sum()
        grads = torch.autograd.grad(total, [x, layer.weight], create_graph=True)
        assert all(g.isfinite().all() for g in grads)
        assert torch.autograd.grad(sum(g.sum() for g in grads), x)[0].isfinite().all()


@pytest.mark.parametrize("variance", [0.0, 1e-45, 1e-38, 1e-20, 1.0, 1e30])
@pytest.mark.parametrize("mean", [0.0, 1e-30, -1e-30, 3.0, -3.0, 1e10, -1e10])
def test_extreme_moments_are_finite_with_finite_gradients(mean, variance):
    for function in (td.functional.relu_moments, td.functional.sigmoid_moments):
        inputs = [t.requires_grad_() for t in tensors(mean, variance, dtype=torch.float32)]
        out = function(*inputs)
        grads = torch.autograd.grad(out.mean.sum() + out.variance.sum(), inputs)
        assert all(t.isfinite().all() for t in (*out, *grads))
        assert out.variance >= 0
        if variance == 0:
            exact = torch.relu if function is td.functional.relu_moments else torch.sigmoid
            torch.testing.assert_close(out.mean, exact(inputs[0]))
            assert out.variance == 0


def test_relu_variance_keeps_its_accuracy_in_float32():
    """As a difference of moments it would be lost: the mean is a thousand standard deviations."""
    out = td.functional.relu_moments(*tensors(1000.0, 1.0, dtype=torch.float32))
    torch.testing.assert_close(out.variance, torch.ones(1))
    single = td.functional.relu_moments(*tensors(-4.0, 1.0, dtype=torch.float32)).variance
    double = td.functional.relu_moments(*tensors(-4.0, 1.0)).variance
    assert abs(single.item() / double.item() - 1) < 1e-3


def test_nan_is_not_hidden():
    for function in (td.functional.relu_moments, td.functional.sigmoid_moments):
        assert function(*tensors(math.nan, 1.0)).mean.isnan().all()
        assert function(*tensors(1.0, math.nan)).mean.isnan().all()
    x = torch.tensor([math.nan, 1.0])
    assert td.FastDropoutLinear(2, 3)(x, key=td.key(0)).isnan().all()


@pytest.mark.parametrize(("mu", "s"), POINTS[:3])
@pytest.mark.parametrize("target", [0.0, 1.0, 0.3])
def test_fast_dropout_eq8_near_the_expected_logistic_loss(mu, s, target):
    def loss(z):
        return target * math.log1p(math.exp(-z)) + (1 - target) * math.log1p(math.exp(z))

    got = td.functional.fast_dropout_logistic_loss(td.Moments(*tensors(mu, s * s)), *tensors(target))
    c = 1 / math.sqrt(1 + math.pi * s * s / 8)
    by_hand = -sum(
        weight * math.log(1 / (1 + math.exp(-c * y * mu))) / c for weight, y in ((target, 1), (1 - target, -1))
    )
    assert math.isclose(got.item(), by_hand, rel_tol=1e-12)
    assert abs(got.item() / expectation(loss, mu, s) - 1) < 0.08


def test_losses_without_variance_are_pytorchs():
    z, zero = torch.randn(6, 4, dtype=D), torch.zeros(6, 4, dtype=D)
    y, classes = torch.rand(6, 4, dtype=D), torch.arange(6) % 4
    f = td.functional
    for reduction in ("mean", "sum", "none"):
        got = f.fast_dropout_logistic_loss((z, zero), y, reduction=reduction)
        torch.testing.assert_close(got, F.binary_cross_entropy_with_logits(z, y, reduction=reduction))
        for approximation in ("bound", "delta", "sample"):
            got = f.fast_dropout_cross_entropy((z, zero), classes, approximation=approximation, reduction=reduction)
            torch.testing.assert_close(got, F.cross_entropy(z, classes, reduction=reduction))


@pytest.mark.parametrize(("scale", "delta_error"), [(0.2, 2e-3), (1.0, 0.06)])
def test_cross_entropy_against_the_expected_loss(scale, delta_error):
    """200000 samples of the logits; their standard error is below 0.003."""
    torch.manual_seed(0)
    mu, variance, classes = torch.randn(3, 4, dtype=D), scale * torch.rand(3, 4, dtype=D), torch.tensor([0, 2, 3])
    z = mu + variance.sqrt() * td.functional.normal((200_000, 3, 4), key=td.key(0)).double()
    losses = F.cross_entropy(z.flatten(0, 1), classes.repeat(200_000), reduction="none").view(-1, 3)
    f, kw = td.functional.fast_dropout_cross_entropy, {"reduction": "none"}
    moments = td.Moments(mu, variance)
    error = 5 * losses.std(0) / 200_000**0.5
    assert (f(moments, classes, approximation="bound", **kw) >= losses.mean(0) - error).all()
    assert ((f(moments, classes, approximation="delta", **kw) - losses.mean(0)).abs() < error + delta_error).all()
    averaged = -(z.softmax(-1)[:, torch.arange(3), classes].mean(0)).log()
    sampled = f(moments, classes, approximation="sample", num_samples=100_000, key=td.key(1), **kw)
    assert ((sampled - averaged).abs() < 0.01).all()


def test_a_net_trains_without_any_sampling():
    """Digits of scikit-learn: two layers whose moments alone reach the loss."""
    digits = load_digits()
    data = train_test_split(digits.data / 16, digits.target, test_size=0.25, random_state=0, stratify=digits.target)
    x, test_x, y, test_y = (torch.from_numpy(np.asarray(a)) for a in data)
    torch.manual_seed(0)
    hidden = td.FastDropoutLinear(64, 128, p=0.2, mode="moments", activation="relu")
    net = nn.Sequential(hidden, td.FastDropoutLinear(128, 10, p=0.5, mode="moments"))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    state = torch.get_rng_state()
    for _ in range(150):
        optimizer.zero_grad()
        td.functional.fast_dropout_cross_entropy(net(x.float()), y).backward()
        optimizer.step()
    assert torch.equal(state, torch.get_rng_state())
    for layer in net:
        layer.mode = "sample"
    assert (net.eval()(test_x.float()).argmax(1) == test_y).float().mean() > 0.95


def curve(layer, steps=20):
    torch.manual_seed(5)
    x, t = torch.randn(64, 5), torch.randn(64, 4)
    optimizer, losses = torch.optim.SGD(layer.parameters(), lr=0.1), []
    for _ in range(steps):
        optimizer.zero_grad()
        y = layer(x)
        loss = ((y if isinstance(y, torch.Tensor) else y.mean) - t).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return torch.tensor(losses)


@pytest.mark.parametrize("mode", ["sample", "moments"])
def test_zero_noise_limit_is_the_plain_layer_and_noise_leaves_it(mode):
    twin = nn.Linear(5, 4)
    gaps = []
    for p in (0.0, 1e-12, 0.5):
        layer = td.FastDropoutLinear.from_linear(twin, p=p, mode=mode)
        gaps.append((curve(layer) - curve(copy.deepcopy(twin))).abs().max())
    assert gaps[0] < 1e-5
    assert gaps[1] < 1e-5
    assert (gaps[2] > 1e-2) == (mode == "sample")  # the mean of the moments is the plain layer's


def test_copies_checkpoints_and_from_linear():
    layer, x = td.FastDropoutLinear(5, 4, p=0.3), torch.randn(3, 5)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(x, key=td.key(1)), layer(x, key=td.key(1)))
    plain = nn.Linear(5, 4)
    layer.load_state_dict(plain.state_dict())
    plain.load_state_dict(layer.state_dict())
    bare = nn.Linear(5, 4, bias=False).eval()
    made = td.FastDropoutLinear.from_linear(bare)
    assert made.bias is None
    assert not made.training
    assert torch.equal(made(x), bare(x))
    assert "p=0.3, mode='sample', activation='identity'" in repr(layer)


@pytest.mark.parametrize("mode", ["sample", "moments"])
def test_compile_vmap_and_checkpointing(mode):
    layer, x = td.FastDropoutLinear(5, 4, p=0.3, mode=mode, activation="relu"), torch.randn(3, 5)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, key=td.key(1)), layer(x, key=td.key(1)))
    with torch._dynamo.config.patch(error_on_recompile=True):
        for layer.p in (0.2, 0.4):
            torch.testing.assert_close(compiled(x, key=td.key(1)), layer(x, key=td.key(1)))
    if mode == "moments":
        return
    rows = torch.func.vmap(layer, randomness="different")(torch.ones(20, 5))
    assert len(rows.unique(dim=0)) > 1
    torch.manual_seed(1)
    checkpointed = torch.utils.checkpoint.checkpoint(layer, x, use_reentrant=False).sum()
    (grad,) = torch.autograd.grad(checkpointed, layer.weight)
    torch.manual_seed(1)
    assert torch.equal(grad, torch.autograd.grad(layer(x).sum(), layer.weight)[0])


@pytest.mark.parametrize("mode", ["sample", "moments"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_autocast_and_shapes(mode, dtype):
    layer = td.FastDropoutLinear(5, 4, dtype=dtype, mode=mode)
    wide = td.FastDropoutLinear(5, 4, mode=mode)
    with torch.autocast("cpu", dtype):
        cast = wide(torch.full((7, 5), 1e3), key=td.key(0))  # its square is beyond float16
    for y in (cast, layer(torch.ones(5, dtype=dtype)), layer(torch.ones(0, 5, dtype=dtype))):
        mean = y if mode == "sample" else y.mean
        assert mean.dtype == dtype
        assert mean.isfinite().all()
        if mode == "moments":
            assert y.variance.dtype == torch.float32
            assert y.variance.isfinite().all()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: td.FastDropoutLinear(2, 2, p=1.0), ValueError, "FastDropoutLinear: `p` must be in [0, 1), got 1.0."),
        (
            lambda: td.FastDropoutLinear(2, 2, mode="mean"),
            ValueError,
            "FastDropoutLinear: `mode` must be one of 'sample', 'moments', got 'mean'.",
        ),
        (
            lambda: td.FastDropoutLinear(2, 2, activation="tanh"),
            ValueError,
            "FastDropoutLinear: `activation` must be one of 'identity', 'relu', 'sigmoid', got 'tanh'.",
        ),
        (
            lambda: td.FastDropoutLinear(2, 2)(torch.ones(3)),
            ValueError,
            "FastDropoutLinear: the input's last axis must have size 2, got (3,).",
        ),
        (
            lambda: td.FastDropoutLinear(2, 2)((torch.ones(3, 2), torch.ones(2))),
            ValueError,
            "FastDropoutLinear: the variance must have the mean's shape (3, 2), got (2,).",
        ),
        (
            lambda: td.functional.fast_dropout_linear(torch.ones(2, dtype=torch.int64), torch.ones(2, 2)),
            TypeError,
            "fast_dropout_linear: the input must be floating point, got torch.int64.",
        ),
        (
            lambda: td.functional.fast_dropout_logistic_loss((torch.ones(3, 1), torch.ones(3, 1)), torch.ones(3)),
            ValueError,
            "fast_dropout_logistic_loss: `targets` must have the shape (3, 1), got (3,).",
        ),
        (
            lambda: td.functional.fast_dropout_cross_entropy((torch.ones(3), torch.ones(3)), torch.tensor(0)),
            ValueError,
            "fast_dropout_cross_entropy: `moments` and `targets` must have shapes (N, C) and (N,), got (3,) and ().",
        ),
        (
            lambda: td.functional.fast_dropout_cross_entropy(
                (torch.ones(1, 3), torch.ones(1, 3)), torch.tensor([0]), num_samples=0
            ),
            ValueError,
            "fast_dropout_cross_entropy: `num_samples` must be at least 1, got 0.",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message
