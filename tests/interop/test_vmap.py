"""`torch.func`: each `randomness` as PyTorch's own dropout behaves, and derivatives of functions with dropout."""

import pytest
import torch
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

import torchdropout as td

F = td.functional
PAIRS = {
    "dropout": (lambda x: F.dropout(x, 0.5), lambda x: torch.dropout(x, 0.5, True)),
    "dropout2d": (
        lambda x: F.dropout2d(x.view(1, 32, 2, 1), 0.5).view(64),
        lambda x: torch.feature_dropout(x.view(1, 32, 2, 1), 0.5, True).view(64),
    ),
    "alpha": (lambda x: F.alpha_dropout(x, 0.5, True), lambda x: torch.alpha_dropout(x, 0.5, True)),
    "gaussian": (lambda x: F.gaussian_dropout(x, 0.5), lambda x: x * torch.randn(64)),
    "drop_path": (
        lambda x: F.drop_path(x.view(32, 2), 0.5).view(64),
        lambda x: (x.view(32, 2) * (torch.rand(32, 1) < 0.5)).view(64),
    ),
}
both = pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS.keys())


def sharing(function, randomness, in_dims=0):
    """Which of the rows of a result are equal, as a matrix."""
    x = torch.ones(6, 64) if in_dims == 0 else torch.ones(64, 6)
    y = vmap(function, in_dims, randomness=randomness)(x)
    return (y[:, None] == y).all(-1)


@both
@pytest.mark.parametrize("in_dims", [0, 1])
@pytest.mark.parametrize("randomness", ["same", "different"])
def test_rows_share_masks_as_with_torch(pair, randomness, in_dims):
    ours, theirs = (sharing(function, randomness, in_dims) for function in pair)
    assert torch.equal(ours, theirs)
    assert torch.equal(ours, torch.ones(6, 6).bool() if randomness == "same" else torch.eye(6).bool())


@both
def test_error_is_the_default_and_in_torchs_words(pair):
    messages = []
    for function in pair:
        with pytest.raises(RuntimeError, match="called random operation while in randomness error mode") as caught:
            vmap(function)(torch.ones(6, 64))
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


@pytest.mark.parametrize("outer", ["same", "different"])
@pytest.mark.parametrize("inner", ["same", "different"])
@both
def test_nested(pair, outer, inner):
    patterns = []
    for function in pair:
        y = vmap(vmap(function, randomness=inner), randomness=outer)(torch.ones(3, 4, 64)).flatten(0, 1)
        patterns.append((y[:, None] == y).all(-1))
    assert torch.equal(*patterns)


def test_what_is_not_batched_is_drawn_by_the_rule_too():
    """The noise of a tensor from outside the map."""
    outside, x = torch.ones(64), torch.zeros(6, 64)
    for randomness, rows in (("different", 6), ("same", 1)):
        y = vmap(lambda x: F.dropout(outside, 0.5) + x, randomness=randomness)(x)
        assert len(y.unique(dim=0)) == rows


@pytest.mark.parametrize("in_dims", [(0, 0), (1, 0), (None, 0), (0, None), (1, None)])
@pytest.mark.parametrize("randomness", ["error", "same", "different"])
def test_explicit_keys_give_what_they_give_one_by_one(in_dims, randomness):
    keys = td.split(td.key(1), 5)
    x = torch.randn(5, 9) if in_dims[0] == 0 else torch.randn(9, 5) if in_dims[0] == 1 else torch.randn(9)
    key = keys if in_dims[1] == 0 else keys[0]
    y = vmap(lambda x, key: F.dropout(x, 0.3, key=key), in_dims, randomness=randomness)(x, key)
    rows = x if in_dims[0] == 0 else x.t() if in_dims[0] == 1 else x.expand(5, 9)
    each = keys if in_dims[1] == 0 else keys[:1].expand(5, 2)
    assert torch.equal(y, torch.stack([F.dropout(row, 0.3, key=k) for row, k in zip(rows, each, strict=True)]))


def test_nested_maps_over_keys():
    keys, x = td.split(td.key(1), 12).view(3, 4, 2), torch.randn(4, 7)
    y = vmap(vmap(lambda key, x: F.dropout(x, 0.3, key=key)), (0, None))(keys, x)
    assert torch.equal(y, F.dropout(x.expand(3, 4, 7), 0.3, key=keys))


@pytest.fixture
def noisy():
    """A nonlinear function of a vector, with dropout inside, and the same with its mask written out."""
    mask = F.dropout(torch.ones(5, dtype=torch.float64), 0.4, key=td.key(3))
    normal = F.gaussian_dropout(torch.ones(5, dtype=torch.float64), 0.3, key=td.key(4))
    w = torch.randn(5, 5, dtype=torch.float64)

    def ours(x):
        return torch.tanh(F.gaussian_dropout(w @ F.dropout(x.sin(), 0.4, key=td.key(3)), 0.3, key=td.key(4)))

    return ours, lambda x: torch.tanh((w @ (x.sin() * mask)) * normal)


@pytest.mark.parametrize(
    "derive",
    [
        lambda f, x: grad(lambda x: f(x).sum())(x),
        lambda f, x: grad(lambda x: grad(lambda x: f(x).sum())(x).pow(2).sum())(x),
        lambda f, x: jvp(f, (x,), (x.cos(),))[1],
        lambda f, x: vjp(f, x)[1](x.cos())[0],
        lambda f, x: jacfwd(f)(x),
        lambda f, x: jacrev(f)(x),
        lambda f, x: hessian(lambda x: f(x).sum())(x),
        lambda f, x: jacrev(jacrev(lambda x: f(x).sum()))(x),
        lambda f, x: jacfwd(jacfwd(f))(x),
    ],
    ids=["grad", "grad of grad", "jvp", "vjp", "jacfwd", "jacrev", "hessian", "jacrev twice", "jacfwd twice"],
)
def test_derivatives(noisy, derive):
    x = torch.randn(5, dtype=torch.float64)
    ours, plain = noisy
    torch.testing.assert_close(derive(ours, x), derive(plain, x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("randomness", ["same", "different"])
def test_per_sample_gradients(randomness):
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), td.Dropout(0.5), torch.nn.Linear(16, 1, bias=False))
    params = dict(model.named_parameters())

    def loss(params, x):
        return functional_call(model, params, (x,)).sum()

    gradients = vmap(grad(loss), (None, 0), randomness=randomness)(params, torch.ones(6, 8))
    dropped = gradients["0.bias"] == 0
    assert gradients["0.weight"].shape == (6, 16, 8)
    assert len(dropped.unique(dim=0)) == (1 if randomness == "same" else 6)
    assert torch.equal(dropped, gradients["2.weight"].squeeze(1) == 0)


def test_per_sample_gradients_equal_a_loop_with_keys():
    model = torch.nn.Linear(8, 3)
    params, keys, x = dict(model.named_parameters()), td.split(td.key(1), 4), torch.randn(4, 8)

    def loss(params, x, key):
        return F.dropout(functional_call(model, params, (x,)), 0.5, key=key).pow(2).sum()

    together = vmap(grad(loss), (None, 0, 0))(params, x, keys)
    for i in range(4):
        alone = grad(loss)(params, x[i], keys[i])
        torch.testing.assert_close({name: value[i] for name, value in together.items()}, alone)


def test_functional_call_uses_the_given_parameters_and_the_layers_noise():
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), td.Dropout(0.5))
    params = {name: value.detach() * 2 for name, value in model.named_parameters()}
    x = torch.randn(3, 8)
    with td.keyed(1):
        expected = model(x) * 2
    with td.keyed(1):
        assert torch.equal(functional_call(model, params, (x,)), expected)
