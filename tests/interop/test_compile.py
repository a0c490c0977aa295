"""`torch.compile(fullgraph=True)` with the aot_eager backend over the whole catalogue; inductor has its own file."""

import warnings

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import torchdropout as td
from torchdropout import catalog
from torchdropout.layers._rate import Rate
from torchdropout.testing.declared import declared

CASES = {name: declared(name) for name in catalog.names()}
# Bit for bit holds where the output is the input times noise; the conformance suite compiles every row.
ELEMENTWISE = [name for name, case in CASES.items() if case.elementwise and case.is_floating]
RATES = [name for name, case in CASES.items() if isinstance(case.factory(), Rate) and name != "patch-dropout"]


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def compiled(function, backend="aot_eager"):
    return torch.compile(function, fullgraph=True, backend=backend)


def layer_and_input(name):
    return CASES[name].factory(), CASES[name].input


def output_and_gradient(function, x, *args):
    """The gradient is of a weighted sum, so that each element's counts."""
    x = x.clone().requires_grad_()
    y = function(x, *args)
    (y * torch.arange(y.numel()).view(y.shape)).sum().backward()
    return y.detach(), x.grad


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_with_an_explicit_key_both_passes_equal_eager_bit_for_bit(name):
    layer, x = layer_and_input(name)
    function = lambda x, key: layer(x, key=key)  # noqa: E731
    fast = compiled(function)
    for seed in (1, 2):
        got = output_and_gradient(fast, x, td.key(seed))
        expected = output_and_gradient(function, x, td.key(seed))
        assert torch.equal(got[0], expected[0])
        assert torch.equal(got[1], expected[1])


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_drawn_masks_and_the_generator_after_them_equal_eagers(name):
    layer, x = layer_and_input(name)
    model = nn.Sequential(layer, nn.Tanh(), layer)
    fast = compiled(model)
    for seed in (1, 2):
        results = []
        for function in (fast, model):
            torch.manual_seed(seed)
            results.append([*output_and_gradient(function, x), torch.get_rng_state()])
        for got, expected in zip(*results, strict=True):
            assert torch.equal(got, expected)


def test_two_layers_and_two_calls_draw_different_keys_in_one_graph():
    first, second = td.Dropout(0.5), td.Dropout(0.5)
    fast = compiled(lambda x: (first(x), second(x), first(x), td.functional.dropout(x), td.functional.dropout(x)))
    for _ in range(2):
        masks = torch.stack(fast(torch.ones(64)))
        assert len(masks.unique(dim=0)) == 5


@pytest.mark.parametrize("name", RATES)
def test_changing_p_recompiles_only_to_reach_zero_or_one(name):
    layer, x = layer_and_input(name)
    fast = compiled(lambda x, key: layer(x, key=key))

    def check(*rates):
        for p in rates:
            layer.p = p
            torch.testing.assert_close(fast(x, td.key(1)), layer(x, key=td.key(1)), rtol=tolerance, atol=tolerance)

    tolerance = 0.0 if name in ELEMENTWISE else 1e-5
    settled = (0.0,) if name in ("gaussian", "fast-dropout") else (0.0, 1.0)
    check(0.1)
    with torch.compiler.set_stance("fail_on_recompile"):
        check(0.2, 0.25, 0.5, 0.7, 0.3, 0.31, 0.33, 0.35, 0.37, 0.39, 1e-5)
    check(*settled)
    with torch.compiler.set_stance("fail_on_recompile"):
        check(0.6, *settled)


def test_the_gradient_follows_a_changed_p():
    layer = td.Dropout(0.5)
    fast = compiled(lambda x, key: layer(x, key=key))
    for p in (0.5, 0.1, 0.8):
        layer.p = p
        _, grad = output_and_gradient(fast, torch.ones(2000), td.key(1))
        assert torch.equal(grad, output_and_gradient(lambda x, key: layer(x, key=key), torch.ones(2000), td.key(1))[1])


def test_training_and_eval():
    layer, x = td.Dropout(0.5), torch.randn(100)
    fast = compiled(layer)
    assert (fast(x) == 0).any()
    layer.eval()
    assert torch.equal(fast(x), x)


@pytest.mark.parametrize("inplace", [False, True])
def test_in_place(inplace):
    fast = compiled(lambda x, key: td.functional.dropout(x * 1, 0.5, inplace=inplace, key=key) + 1)
    x = torch.randn(100)
    assert torch.equal(fast(x, td.key(1)), td.functional.dropout(x, 0.5, key=td.key(1)) + 1)


@pytest.mark.parametrize("reentrant", [False, True])
def test_compiled_checkpointing_gives_eagers_gradients(reentrant):
    linear, noise = nn.Linear(32, 32), td.Dropout(0.3)

    def block(x):
        return noise(torch.relu(linear(noise(x))))

    def with_checkpoint(x):
        return checkpoint(block, x, use_reentrant=reentrant) + block(x)

    x, results = torch.randn(16, 32), []
    for function in (compiled(with_checkpoint), with_checkpoint, lambda x: block(x) + block(x)):
        torch.manual_seed(5)
        linear.zero_grad()
        results.append([*output_and_gradient(function, x), linear.weight.grad, torch.get_rng_state()])
    for result in results[1:]:
        for got, expected in zip(results[0], result, strict=True):
            torch.testing.assert_close(got, expected)


def test_the_graph_saves_the_key_for_backward_and_no_mask():
    packed = []
    fast = compiled(lambda x: td.functional.dropout(x, 0.3))
    with torch.autograd.graph.saved_tensors_hooks(lambda t: packed.append(t.nbytes) or t, lambda t: t):
        y = fast(torch.ones(10_000, requires_grad=True))
    assert 0 < sum(packed) <= 64
    y.sum().backward()


def test_batched_keys_and_dynamic_shapes():
    fast = torch.compile(
        lambda x, key: td.functional.dropout(x, 0.3, key=key), fullgraph=True, backend="aot_eager", dynamic=True
    )
    for rows, columns in ((3, 40), (7, 1001)):
        x, keys = torch.randn(rows, columns), td.split(td.key(1), rows)
        assert torch.equal(fast(x, keys), td.functional.dropout(x, 0.3, key=keys))


@pytest.mark.parametrize("function", ["dropout", "gaussian_dropout"])
def test_vmap_inside_a_compiled_function(function):
    noise = getattr(td.functional, function)
    x, keys = torch.randn(5, 9), td.split(td.key(1), 5)
    fast = compiled(torch.func.vmap(lambda x, key: noise(x, 0.3, key=key)))
    torch.testing.assert_close(fast(x, keys), noise(x, 0.3, key=keys), rtol=1e-5, atol=1e-5)
    for randomness, rows in (("same", 1), ("different", 5)):
        drawn = compiled(torch.func.vmap(lambda x: noise(x, 0.3), randomness=randomness))
        assert len(drawn(torch.ones(5, 64)).unique(dim=0)) == rows


def test_a_gradient_of_torch_func_inside_a_compiled_function():
    function = torch.func.grad(lambda x, key: td.functional.dropout(x.sin(), 0.3, key=key).sum())
    x = torch.randn(50)
    torch.testing.assert_close(compiled(function)(x, td.key(1)), function(x, td.key(1)))
    second = torch.func.grad(lambda x, key: function(x, key).sum())
    torch.testing.assert_close(compiled(second)(x, td.key(1)), second(x, td.key(1)))


def test_eager_and_compiled_functions_share_explicit_keys_under_autocast():
    layer, x = nn.Sequential(nn.Linear(16, 16), td.Dropout(0.5)), torch.randn(4, 16)
    fast = compiled(layer)
    with torch.autocast("cpu", dtype=torch.bfloat16), warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        torch.manual_seed(1)
        y = fast(x)
        torch.manual_seed(1)
        assert torch.equal(y, layer(x))
    assert y.dtype == torch.bfloat16
