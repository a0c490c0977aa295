"""What every Bayesian layer owes to PyTorch: dtypes, autocast, copies, compilers, transforms, checkpoints."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import torchdropout as td

CASES = {
    "variational": (lambda: td.VariationalDropout(6, 0.3, per="unit"), (5, 6)),
    "variational linear": (lambda: td.VariationalLinear(6, 4, p=0.3), (5, 6)),
    "variational1d": (lambda: td.VariationalConv1d(3, 4, 2, p=0.3, per="unit"), (2, 3, 5)),
    "variational2d": (lambda: td.VariationalConv2d(3, 4, 2, p=0.3, per="weight", kl="exact"), (2, 3, 4, 5)),
    "sparse": (lambda: td.SparseVariationalLinear(6, 4), (5, 6)),
    "sparse1d": (lambda: td.SparseVariationalConv1d(3, 4, 2), (2, 3, 5)),
    "sparse2d": (lambda: td.SparseVariationalConv2d(3, 4, 2), (2, 3, 4, 5)),
    "log_normal": (lambda: td.LogNormalDropout(3), (2, 3, 4, 5)),
    "log_normal per example": (lambda: td.LogNormalDropout(4, dim=-1, per="example"), (2, 3, 4)),
    "concrete": (lambda: td.ConcreteDropout(nn.Linear(6, 4)), (5, 6)),
    "concrete1d": (lambda: td.ConcreteDropout1d(nn.Conv1d(3, 4, 2)), (2, 3, 5)),
    "concrete2d": (lambda: td.ConcreteDropout2d(nn.Conv2d(3, 4, 2)), (2, 3, 4, 5)),
}
EVERY = pytest.mark.parametrize("name", CASES)


def build(name):
    torch.manual_seed(0)
    make, shape = CASES[name]
    return make(), torch.randn(shape)


def gradients(layer):
    return [p.grad for p in layer.parameters()]


@EVERY
def test_noisy_in_training_only_and_the_key_decides(name):
    layer, x = build(name)
    assert torch.equal(layer(x, key=td.key(1)), layer(x, key=td.key(1)))
    assert not torch.equal(layer(x, key=td.key(1)), layer(x, key=td.key(2)))
    assert not torch.equal(layer(x), layer(x))
    torch.manual_seed(3)
    first = layer(x)
    torch.manual_seed(3)
    assert torch.equal(first, layer(x))
    layer.eval()
    assert torch.equal(layer(x), layer(x))
    assert not layer.training  # a copy asks `self.train()`, which turns training on


@EVERY
def test_the_input_is_left_alone(name):
    layer, x = build(name)
    kept = x.clone()
    y = torch.sigmoid(x.requires_grad_())
    layer(y, key=td.key(0)).sum().backward()  # sigmoid's backward needs its output unchanged
    layer.eval()(x)
    assert torch.equal(x, kept)
    assert x.grad.isfinite().all()


@EVERY
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_dtypes(name, dtype):
    layer, x = build(name)
    expected = layer(x, key=td.key(0))
    layer, x = layer.to(dtype), x.to(dtype)
    y = layer(x, key=td.key(0))
    assert y.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float64 else 0.06
    torch.testing.assert_close(y.float(), expected, rtol=tolerance, atol=tolerance)
    (y.float().sum() + layer.kl()).backward()
    assert all(g is not None and g.isfinite().all() for g in gradients(layer))
    assert layer.kl().dtype == torch.promote_types(dtype, torch.float32)


@EVERY
def test_autocast(name):
    layer, x = build(name)
    expected = layer(x, key=td.key(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x, key=td.key(0))
        (y.float().sum() + layer.kl()).backward()
    torch.testing.assert_close(y.float(), expected, rtol=0.05, atol=0.05)
    assert all(g.isfinite().all() for g in gradients(layer))


@EVERY
def test_copies_and_the_state_dict(name):
    layer, x = build(name)
    fresh, _ = build(name)
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(0.01)
    fresh.load_state_dict(layer.state_dict(), strict=True)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), fresh):
        assert torch.equal(other(x, key=td.key(0)), layer(x, key=td.key(0)))
        assert other.kl().item() == layer.kl().item()
    twin = copy.deepcopy(layer)
    with torch.no_grad():
        for p in twin.parameters():
            p.zero_()
    assert not torch.equal(twin(x, key=td.key(0)), layer(x, key=td.key(0)))


@EVERY
def test_empty_and_other_layouts(name):
    layer, x = build(name)
    assert layer(x[:0]).shape == layer(x)[:0].shape
    apart = torch.stack([x, x], dim=-1)[..., 0]
    assert not apart.is_contiguous()
    torch.testing.assert_close(layer(apart, key=td.key(0)), layer(x, key=td.key(0)))
    if x.dim() == 4:
        last = layer(x.to(memory_format=torch.channels_last), key=td.key(0))
        torch.testing.assert_close(last, layer(x, key=td.key(0)), rtol=1e-5, atol=1e-5)


@EVERY
def test_nan_is_not_hidden(name):
    layer, x = build(name)
    x[0] = float("nan")
    assert layer(x)[0].isnan().all()
    assert layer.eval()(x)[0].isnan().all()


@EVERY
def test_compile(name):
    layer, x = build(name)
    y = layer(x, key=td.key(0))
    (y.square().sum() + layer.kl()).backward()
    expected = [g.clone() for g in gradients(layer)]
    layer.zero_grad()

    def step(x, key):
        return layer(x, key=key), layer.kl()

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    other, kl = compiled(x, td.key(0))
    (other.square().sum() + kl).backward()
    torch.testing.assert_close(other, y)
    torch.testing.assert_close(gradients(layer), expected, rtol=1e-4, atol=1e-5)
    layer.eval()
    torch.testing.assert_close(torch.compile(layer, fullgraph=True, backend="aot_eager")(x), layer(x))
    torch._dynamo.reset()


@EVERY
def test_vmap(name):
    layer, x = build(name)
    xs = torch.stack([x, x, x])
    y = torch.func.vmap(layer, randomness="different")(xs)
    assert not torch.equal(y[0], y[1])
    same = torch.func.vmap(layer, randomness="same")(xs)
    torch.testing.assert_close(same[0], same[1])
    parameters = dict(layer.named_parameters())

    def loss(parameters, x):
        return torch.func.functional_call(layer, parameters, (x,)).square().sum()

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0), randomness="different")(parameters, xs)
    assert all(g.isfinite().all() for g in each.values())


@EVERY
def test_checkpoint_replays_the_noise(name):
    layer, x = build(name)
    results = []
    for run in (layer, lambda x: checkpoint(layer, x, use_reentrant=False)):
        layer.zero_grad()
        torch.manual_seed(5)
        run(x).square().sum().backward()
        results.append([g.clone() if g is not None else None for g in gradients(layer)])
    torch.testing.assert_close(*results)


@EVERY
def test_kl_has_gradients_in_nats_and_ignores_the_batch(name):
    layer, x = build(name)
    before = layer.kl()
    layer(x.repeat(3, *[1] * (x.dim() - 1)))
    assert before.shape == ()
    assert layer.kl().item() == before.item()
    before.backward()
    assert any(g is not None and g.abs().sum() > 0 for g in gradients(layer))
    assert nn.Sequential(layer, nn.Identity()).state_dict().keys()
