"""What the convolutional and input methods have in common: training, dtypes, layouts, copies, compilation."""

import copy
import functools
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

import torchdropout as td

MAP, LINE = (3, 4, 8, 8), (3, 4, 16)
LAYERS = {
    "max pool 1d": (functools.partial(td.MaxPoolDropout1d, 2, p=0.3), LINE),
    "max pool 2d": (functools.partial(td.MaxPoolDropout2d, 3, 2, 1, p=0.3), MAP),
    "max pool 2d, scaled": (functools.partial(td.MaxPoolDropout2d, 2, p=0.3, inference="scaled"), MAP),
    "max pool 2d, large": (functools.partial(td.MaxPoolDropout2d, 5, p=0.3), MAP),
    "average pool 1d": (functools.partial(td.AvgPoolDropout1d, 3, 2, 1, p=0.3), LINE),
    "average pool 2d": (functools.partial(td.AvgPoolDropout2d, 2, p=0.3), MAP),
    "average pool 2d, inverted": (functools.partial(td.AvgPoolDropout2d, 2, p=0.3, rule="inverted"), MAP),
    "average pool 1d, survivors": (functools.partial(td.AvgPoolDropout1d, 2, p=0.3, rule="survivors"), LINE),
    "average pool 2d, survivors": (functools.partial(td.AvgPoolDropout2d, 3, 2, 1, p=0.3, rule="survivors"), MAP),
    "cutout": (functools.partial(td.Cutout, 4), MAP),
    "cutout, inside": (functools.partial(td.Cutout, 0.5, inside=True, probability=0.5, value=0.25, per="map"), MAP),
    "cutout, rectangles": (functools.partial(td.Cutout, 4, shape="rectangle", holes=2), MAP),
    "cutout, discs": (functools.partial(td.Cutout, 4, shape="disc"), MAP),
    "cutout transform": (functools.partial(td.CutoutTransform, 4), MAP),
    "max-drop": (functools.partial(td.MaxDrop, 0.3, window=3), MAP),
    "max-drop, channels": (functools.partial(td.MaxDrop, 0.3, mode="channel"), MAP),
    "random rate": (td.StochasticRateDropout, MAP),
    "random rate, normal": (functools.partial(td.StochasticRateDropout, distribution="normal"), MAP),
    "drop block 1d": (functools.partial(td.DropBlock1d, 0.3, 3), LINE),
    "drop block 2d": (functools.partial(td.DropBlock2d, 0.3, 4), MAP),
    "drop block 2d, paper": (functools.partial(td.DropBlock2d, 0.3, 3, gamma="paper", shared_channels=True), MAP),
}
every_layer = pytest.mark.parametrize("name", LAYERS)
POOLS = [name for name in LAYERS if "pool" in name]


def layer_and_input(name, dtype=torch.float32):
    """Input that no layer refuses: not negative, without ties."""
    make, shape = LAYERS[name]
    torch.manual_seed(0)
    return make(), torch.rand(shape, dtype=torch.float64).add(0.5).to(dtype)


@every_layer
def test_compiled_equals_eager_for_a_key(name):
    torch._dynamo.reset()
    layer, x = layer_and_input(name)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    for training in (True, False):
        layer.train(training)
        mine, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
        y, z = layer(mine, key=td.key(3)), compiled(theirs, key=td.key(3))
        torch.testing.assert_close(z, y)
        y.square().sum().backward()
        z.square().sum().backward()
        torch.testing.assert_close(theirs.grad, mine.grad)
    if name != "cutout transform":
        layer.train()
    assert not torch.equal(compiled(x), compiled(x))


def test_a_schedule_of_p_does_not_recompile():
    torch._dynamo.reset()
    layer, counter = td.DropBlock2d(0.05, 3), torch._dynamo.testing.CompileCounter()
    compiled = torch.compile(layer, fullgraph=True, backend=counter)
    for p in (0.05, 0.1, 0.15, 0.2):
        layer.p = p
        compiled(torch.ones(2, 3, 8, 8))
    assert counter.frame_count == 1


def test_functions_compile_with_a_number_for_p():
    torch._dynamo.reset()
    x = torch.rand(2, 3, 8, 8)
    for call in (td.functional.drop_block2d, td.functional.max_drop):
        compiled = torch.compile(functools.partial(call, p=0.2, key=td.key(0)), fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(x), call(x, p=0.2, key=td.key(0)))


@every_layer
def test_vmap_differs_by_example_and_per_example_keys_are_their_own(name):
    layer, x = layer_and_input(name)
    same = x[:1].expand(6, *x.shape[1:])
    y = torch.func.vmap(layer, randomness="different")(same)
    assert len(y.flatten(1).unique(dim=0)) > 1
    keys = td.split(td.key(0), 3)
    mapped = torch.func.vmap(lambda row, key: layer(row, key=key), randomness="different")(x, keys)
    if "rate" not in name:  # a rate that cannot be read makes its mask from other bits
        torch.testing.assert_close(mapped, torch.stack([layer(x[i], key=keys[i]) for i in range(3)]))
    torch.testing.assert_close(layer(x, key=keys), torch.stack([layer(x[i], key=keys[i]) for i in range(3)]))


@every_layer
def test_checkpointing_replays_the_noise(name):
    layer, x = layer_and_input(name)
    weight = torch.ones_like(x, requires_grad=True)
    gradients = []
    for run in (lambda v: layer(v).square(), lambda v: checkpoint(lambda u: layer(u).square(), v, use_reentrant=False)):
        torch.manual_seed(5)
        gradients += torch.autograd.grad(run(x * weight).sum(), weight)
    assert torch.equal(*gradients)


@every_layer
@pytest.mark.parametrize("training", [True, False])
def test_gradcheck(name, training):
    layer, x = layer_and_input(name, torch.float64)
    layer.train(training)
    x = x[:1].requires_grad_()
    assert torch.autograd.gradcheck(lambda v: layer(v, key=td.key(1)), (x,))
    assert torch.autograd.gradgradcheck(lambda v: layer(v, key=td.key(1)), (x,))


@every_layer
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes_have_the_noise_of_float32(name, dtype):
    layer, x = layer_and_input(name, dtype)
    for training in (True, False):
        y = layer.train(training)(x, key=td.key(2))
        assert y.dtype == dtype
        expected = layer(x.float(), key=td.key(2))
        tolerance = 2 * torch.finfo(dtype).eps + 1e-6
        torch.testing.assert_close(y.float(), expected, rtol=tolerance, atol=tolerance)


@every_layer
def test_layouts_and_gaps_do_not_change_the_noise(name):
    layer, x = layer_and_input(name)
    expected = layer(x, key=td.key(4))
    gaps = torch.stack([x, x + 1], dim=-1)[..., 0]
    assert torch.equal(layer(gaps, key=td.key(4)), expected)
    if x.dim() == 4:
        last = x.contiguous(memory_format=torch.channels_last)
        y = layer(last, key=td.key(4))
        torch.testing.assert_close(y, expected)
        assert y.is_contiguous(memory_format=torch.channels_last)


@every_layer
def test_copies_empty_inputs_autocast_and_the_input_itself(name):
    layer, x = layer_and_input(name)
    expected, before = layer(x, key=td.key(0)), x.clone()
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(x, key=td.key(0)), expected)
        twin.load_state_dict(layer.state_dict(), strict=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer(x, key=td.key(0)), expected)
    for training in (True, False):
        layer.train(training)
        assert layer(x[:0]).shape == (0, *expected.shape[1:])
        layer(x)
        assert torch.equal(x, before)


@every_layer
def test_nan_is_not_hidden(name):
    layer, x = layer_and_input(name)
    y = layer(torch.full_like(x, torch.nan), key=td.key(0))
    assert y.isnan().all()


@every_layer
def test_without_a_batch_axis(name):
    """One example alone, or as a batch of one."""
    layer, x = layer_and_input(name)
    if "random rate" in name:
        return
    for training in (True, False):
        layer.train(training)
        assert torch.equal(layer(x[0], key=td.key(0)), layer(x[:1], key=td.key(0))[0])


def training_curve(make, key=0):
    """Losses of 20 steps of a small convolutional net with a layer in it."""
    torch.manual_seed(1)
    x, target = torch.rand(16, 1, 8, 8), torch.randint(3, (16,))
    layer = make()
    head = 4 * layer.eval()(torch.ones(1, 4, 8, 8)).shape[-1] ** 2
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), layer, nn.Flatten(), nn.Linear(head, 3))
    optimizer, losses = torch.optim.SGD(net.parameters(), 0.5), []
    net.train()
    with td.keyed(key):
        for _ in range(20):
            loss = F.cross_entropy(net(x), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return torch.tensor(losses)


@pytest.mark.parametrize(
    ("noisy", "silent", "twin"),
    [
        (lambda: td.MaxPoolDropout2d(2), lambda: td.MaxPoolDropout2d(2, p=0.0), lambda: nn.MaxPool2d(2)),
        (lambda: td.AvgPoolDropout2d(2), lambda: td.AvgPoolDropout2d(2, p=0.0), lambda: nn.AvgPool2d(2)),
        (
            lambda: td.AvgPoolDropout2d(2, rule="survivors"),
            lambda: td.AvgPoolDropout2d(2, p=0.0, rule="survivors"),
            lambda: nn.AvgPool2d(2),
        ),
        (lambda: td.Cutout(4), lambda: td.Cutout(4, probability=1e-9), nn.Identity),
        (lambda: td.MaxDrop(0.5), lambda: td.MaxDrop(1e-9), nn.Identity),
        (td.StochasticRateDropout, lambda: td.StochasticRateDropout(0.0, 1e-9), nn.Identity),
        (lambda: td.DropBlock2d(0.3, 3), lambda: td.DropBlock2d(1e-9, 3), nn.Identity),
    ],
    ids=["max pool", "average pool", "survivors", "cutout", "max-drop", "random rate", "drop block"],
)
def test_without_noise_training_is_the_twins(noisy, silent, twin):
    expected = training_curve(twin)
    torch.testing.assert_close(training_curve(silent), expected, rtol=0, atol=1e-5)
    assert (training_curve(noisy) - expected).abs().max() > 0.01


@pytest.mark.parametrize("name", POOLS)
def test_pooling_gives_torchs_shapes(name):
    make, _ = LAYERS[name]
    layer = make()
    pool = {"max": {1: F.max_pool1d, 2: F.max_pool2d}, "average": {1: F.avg_pool1d, 2: F.avg_pool2d}}[name.split()[0]]
    one_axis = isinstance(layer, (td.MaxPoolDropout1d, td.AvgPoolDropout1d))
    for length in range(5, 12):
        x = torch.rand(2, 3, length) if one_axis else torch.rand(2, 3, length, length + 2)
        expected = pool[1 if one_axis else 2](x, layer.kernel_size, layer.stride, layer.padding).shape
        for training in (True, False):
            assert layer.train(training)(x).shape == expected
