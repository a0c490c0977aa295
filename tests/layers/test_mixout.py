"""Mixout: the paper's equation over all masks, its penalty, what shares a draw, and where the target comes from.

Rates are multiples of 1/256, which masks have exactly.
"""

import copy
import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import torchdropout as td
from torchdropout.losses import _sources

W = torch.tensor([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75]], dtype=torch.float64)
U = torch.tensor([[-0.5, 1.0, 0.25], [0.75, 2.0, -1.5]], dtype=torch.float64)
X = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def every_mask(p, shape):
    """All masks and their probabilities."""
    for bits in itertools.product((0.0, 1.0), repeat=math.prod(shape)):
        chance = math.prod(1 - p if bit else p for bit in bits)
        yield torch.tensor(bits, dtype=torch.float64).view(shape), chance


def as_in_the_paper(w, u, m, p):
    return (m * w + (1 - m) * u - p * u) / (1 - p)


@pytest.mark.parametrize(("per", "shape"), [("input", (1, 3)), ("weight", (2, 3))])
@pytest.mark.parametrize("p", [0.25, 0.5, 0.875])
def test_mixout_section3_what_is_drawn_is_the_papers_equation_for_some_mask(per, shape, p):
    expected = [as_in_the_paper(W, U, m, p) for m, _ in every_mask(p, shape)]
    torch.testing.assert_close(sum(c * e for e, (_, c) in zip(expected, every_mask(p, shape), strict=True)), W)
    seen = set()
    for seed in range(60):
        found = td.functional.mixout(W, U, p, per=per, key=td.key(seed))
        fits = [n for n, e in enumerate(expected) if torch.allclose(found, e, rtol=1e-12, atol=1e-12)]
        assert len(fits) == 1
        seen |= set(fits)
    assert len(seen) > 3


def test_the_mask_is_that_of_dropout_mask_for_the_key():
    key, p = td.key(4), 0.25
    for per, shape in (("input", (1, 3)), ("weight", (2, 3))):
        m = td.functional.dropout_mask(shape, p, key=key).double()
        torch.testing.assert_close(td.functional.mixout(W, U, p, per=per, key=key), as_in_the_paper(W, U, m, p))


def test_mixout_corollary_the_mean_squared_error_gains_an_exact_penalty_towards_the_target():
    """Over all masks: `p / (1 - p) * sum over inputs of x**2 * norm(w - u)**2` for each example."""
    p, t = 0.75, torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def loss(w):
        return (F.linear(X, w) - t).square().sum()

    mean = sum(chance * loss(as_in_the_paper(W, U, m, p)) for m, chance in every_mask(p, (1, 3)))
    penalty = p / (1 - p) * (X.square() * (W - U).square().sum(0)).sum()
    torch.testing.assert_close(mean, loss(W) + penalty)
    draws = [loss(td.functional.mixout(W, U, p, key=td.key(seed))) for seed in range(4000)]
    values = torch.stack(draws)
    assert abs(values.mean() - mean) < 5 * values.std() / 4000**0.5  # error rate below 1e-6


def test_steps_settle_where_that_penalty_says_between_the_data_and_the_target():
    """Gradient descent on the mean over all masks ends in the closed form of ridge towards the target."""
    p, t = 0.75, F.linear(X, torch.ones(2, 3, dtype=torch.float64))
    gram = X.T @ X
    pull = p / (1 - p) * torch.diag(gram.diag())
    expected = torch.linalg.solve(gram + pull, X.T @ t + pull @ U.T).T
    layer = layer_of(p, bias=False)
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=200, tolerance_grad=1e-12)
    masks = {tuple(td.functional.dropout_mask((1, 3), p, key=key)[0].tolist()): key for key in map(td.key, range(999))}
    every = [(masks[tuple(m[0].bool().tolist())], chance) for m, chance in every_mask(p, (1, 3))]

    def mean():
        optimizer.zero_grad()
        loss = sum(chance * (layer(X, key=key) - t).square().sum() for key, chance in every)
        loss.backward()
        return loss

    optimizer.step(mean)
    torch.testing.assert_close(layer.weight.detach(), expected, rtol=1e-5, atol=1e-6)


def layer_of(p, bias=True, **options):
    layer = td.MixoutLinear(3, 2, bias, p=p, dtype=torch.float64, **options)
    with torch.no_grad():
        layer.weight.copy_(W)
        layer.target.copy_(U)
    return layer


@pytest.mark.parametrize("p", [0.25, 0.875])
def test_gradients_are_those_of_the_papers_equation(p):
    layer, key = layer_of(p), td.key(2)
    x = X.clone().requires_grad_()
    m = td.functional.dropout_mask((1, 3), p, key=key).double()
    expected = F.linear(x, as_in_the_paper(layer.weight, U, m, p), layer.bias)
    grad = torch.randn(5, 2, dtype=torch.float64)
    pair = [torch.autograd.grad(y, (x, layer.weight, layer.bias), grad) for y in (layer(x, key=key), expected)]
    for one, other in zip(*pair, strict=True):
        torch.testing.assert_close(one, other)


def test_with_target_zero_it_is_dropout_of_the_inputs():
    key, p = td.key(3), 0.375
    m = td.functional.dropout_mask((1, 3), p, key=key)
    found = td.functional.mixout(W, torch.zeros_like(W), p, key=key)
    torch.testing.assert_close(F.linear(X, found), F.linear(X * m / (1 - p), W))


@pytest.mark.parametrize("per", ["input", "weight"])
def test_mean_variance_and_what_shares_a_draw(per):
    """20,000 draws of 6 weights: 5 standard errors, the largest of about 40 correlations 0.05; error below 1e-5."""
    p, n = 0.75, 20_000
    draws = torch.stack([td.functional.mixout(W, U, p, per=per, key=td.key(seed)) for seed in range(n)])
    variance = p / (1 - p) * (W - U) ** 2
    assert ((draws.mean(0) - W).abs() < 5 * (variance / n).sqrt()).all()
    torch.testing.assert_close(draws.var(0), variance, rtol=0.06, atol=0)
    correlation = torch.corrcoef((draws * torch.sign(W - U)).flatten(1).T).view(2, 3, 2, 3)
    for (o, i), (q, j) in itertools.product(itertools.product(range(2), range(3)), repeat=2):
        together = i == j and (per == "input" or o == q)
        assert abs(correlation[o, i, q, j] - float(together)) < 0.05


def test_the_batch_shares_a_draw_and_losses_of_several_passes_are_told():
    layer = layer_of(0.5)
    y = layer(X[:1].expand(64, 3), key=td.key(0))
    assert len(y.unique(dim=0)) == 1
    assert _sources.draws_for_batch(nn.Sequential(layer))
    targets = torch.tensor([0, 1, 0, 1, 0])
    with td.keyed(0):
        found = td.r_drop(layer, X, targets, alpha=100.0, share=False)
    with td.keyed(0):
        first, second = layer(X), layer(X)
    assert not torch.equal(first, second)
    torch.testing.assert_close(found, td.RDropLoss(100.0)(first, second, targets))


def test_filters_of_a_convolution_share_a_draw_for_each_of_their_inputs():
    w, u = torch.randn(4, 3, 2, 2), torch.randn(4, 3, 2, 2)
    m = td.functional.dropout_mask((1, 3, 1, 1), 0.5, key=td.key(1)).float()
    torch.testing.assert_close(td.functional.mixout(w, u, key=td.key(1)), as_in_the_paper(w, u, m, 0.5))
    bias = td.functional.mixout(w[:, 0, 0, 0], u[:, 0, 0, 0], key=td.key(1))
    m = td.functional.dropout_mask((4,), 0.5, key=td.key(1)).float()
    torch.testing.assert_close(bias, as_in_the_paper(w[:, 0, 0, 0], u[:, 0, 0, 0], m, 0.5))


@pytest.mark.parametrize("training", [True, False])
def test_settled_cases(training):
    layer = layer_of(0.0).train(training)
    assert torch.equal(layer(X), F.linear(X, W, layer.bias))
    layer.p = 1.0
    expected = F.linear(X, U if training else W, layer.bias)
    torch.testing.assert_close(layer(X), expected)
    (grad,) = torch.autograd.grad(layer(X).sum(), layer.weight)
    assert torch.isfinite(grad).all()
    assert bool((grad == 0).all()) == training
    assert td.functional.mixout(W, U, 0.5, training=False) is W


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_rounds_the_mixed_weights_once(dtype):
    w, u = W.to(dtype), U.to(dtype)
    found = td.functional.mixout(w, u, 0.3, key=td.key(1))
    expected = td.functional.mixout(w.double(), u.double(), 0.3, key=td.key(1))
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), expected, rtol=torch.finfo(dtype).eps, atol=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert td.MixoutLinear(3, 2)(torch.randn(4, 3)).dtype == torch.bfloat16


def test_compiled_equals_eager_for_one_key_and_p_may_change():
    torch.compiler.reset()
    layer = layer_of(0.3)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    with torch._dynamo.config.patch(error_on_recompile=False):
        for p in (0.3, 0.6, 0.9):
            layer.p = p
            torch.testing.assert_close(compiled(X, key=td.key(0)), layer(X, key=td.key(0)))


def test_vmap_over_keys():
    layer = layer_of(0.5)
    keys = td.split(td.key(0), 6)
    y = torch.func.vmap(lambda key: layer(X, key=key))(keys)
    torch.testing.assert_close(y, torch.stack([layer(X, key=key) for key in keys]))


def test_the_target_is_the_layer_that_it_was_made_of_and_stays():
    plain = nn.Linear(6, 3)
    layer = td.MixoutLinear.from_linear(plain, p=0.9, per="weight")
    assert (layer.p, layer.per, layer.training) == (0.9, "weight", True)
    start = plain.weight.detach().clone()
    assert torch.equal(layer.target, start)
    with torch.no_grad():
        layer.weight.add_(1.0)
        plain.weight.mul_(2.0)
    assert torch.equal(layer.target, start)
    assert torch.equal(layer.weight, start + 1)
    assert not td.MixoutLinear.from_linear(nn.Linear(6, 3, bias=False).eval()).training


def test_checkpoints_have_the_target_and_those_of_plain_layers_are_one():
    layer = layer_of(0.5)
    twin = td.MixoutLinear(3, 2, p=0.5, dtype=torch.float64)
    twin.load_state_dict(copy.deepcopy(layer.state_dict()))
    assert torch.equal(twin.target, U)
    assert torch.equal(twin.weight, W)
    plain = nn.Sequential(nn.Linear(3, 2))
    for assign in (False, True):
        fresh = nn.Sequential(td.MixoutLinear(3, 2))
        fresh.load_state_dict(plain.state_dict(), assign=assign)
        assert torch.equal(fresh[0].target, plain[0].weight)
        assert fresh[0].target.data_ptr() != fresh[0].weight.data_ptr()
    assert list(plain.state_dict()) == ["0.weight", "0.bias"]
    with pytest.raises(RuntimeError, match="Missing key"):
        td.MixoutLinear(3, 2).load_state_dict({"bias": torch.zeros(2)})


def test_put_into_a_model_and_taken_out_again_what_was_learned_stays():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    before = copy.deepcopy(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    convert = {nn.Linear: lambda module, name: td.MixoutLinear.from_linear(module, p=0.9)}
    assert td.replace_(model, convert, optimizer=optimizer) == ["0", "2"]
    x = X.float()
    torch.testing.assert_close(model(x), before(x))  # at the target, mixing changes nothing
    for _ in range(3):
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()
    assert torch.equal(model[0].target, before[0].weight)
    assert not torch.equal(model[0].weight, before[0].weight)
    expected = model.eval()(x)
    td.revert_(model)
    assert type(model[0]) is nn.Linear
    assert torch.equal(model(x), expected)


SHAPE = "`target` must have the weights' shape (2, 3), got (3, 2)."


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: td.MixoutLinear(3, 2, p=1.5), "MixoutLinear: `p` must be in [0, 1], got 1.5."),
        (lambda: td.MixoutLinear(3, 2, per="row"), "MixoutLinear: `per` must be one of 'input', 'weight', got 'row'."),
        (lambda: td.MixoutLinear(3, 2)(torch.ones(2, 4)), "MixoutLinear: the input's last axis must have size 3"),
        (lambda: td.MixoutLinear(3, 2)(torch.ones(2, 3, dtype=torch.int64)), "must be floating point"),
        (lambda: td.functional.mixout(W, U, p=-0.1), "mixout: `p` must be in [0, 1], got -0.1."),
        (lambda: td.functional.mixout(W, U.T), f"mixout: {SHAPE}"),
        (lambda: td.functional.mixout(W.long(), U), "mixout: the input must be floating point, got torch.int64."),
    ],
)
def test_wrong_arguments_are_refused_in_one_sentence(call, message):
    with pytest.raises((ValueError, TypeError)) as raised:
        call()
    assert message in str(raised.value)
    assert str(raised.value).count("\n") == 0
