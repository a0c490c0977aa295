"""LayerDrop: a layer runs or it does not run, on one rank and on two."""

import copy
import os
import pickle

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import torchdropout as td


class Counted(nn.Module):
    """Adds its parameter, and counts how often it ran."""

    def __init__(self, size=3):
        super().__init__()
        self.weight = nn.Parameter(torch.arange(1.0, size + 1))
        self.calls = 0

    def forward(self, x, factor=1.0):
        self.calls += 1
        return x + factor * self.weight


def test_layer_drop_section3_runs_with_the_keep_probability_and_saves_the_rest():
    """Binomial(2000, 0.75) leaves 1400 to 1600 with probability below 1e-6; no rescale."""
    inner, x = Counted(), torch.zeros(5, 3)
    layer = td.LayerDrop(inner, 0.25)
    outputs = [layer(x, key=key) for key in td.split(td.key(0), 2000)]
    ran = [not torch.equal(y, x) for y in outputs]
    assert 1400 < sum(ran) < 1600
    assert inner.calls == sum(ran)
    for y, r in zip(outputs, ran, strict=True):
        assert torch.equal(y, x + inner.weight if r else x)  # the whole batch together
    expected = [bool(td.functional.dropout_mask((), 0.25, key=key)) for key in td.split(td.key(0), 2000)]
    assert ran == expected


def test_successive_layers_are_skipped_independently():
    net = nn.Sequential(*(td.LayerDrop(Counted(1), 0.5) for _ in range(2)))
    counts = torch.zeros(3)
    for key in range(1000):
        with td.keyed(key):
            counts[int(net(torch.zeros(1)).item())] += 1
    # quarter, half, quarter of 1000; 5 standard errors
    assert ((counts - torch.tensor([250.0, 500.0, 250.0])).abs() < 80).all()


def test_eval_always_runs_and_settled_rates_draw_nothing():
    layer, x = td.LayerDrop(Counted(), 1.0), torch.zeros(2, 3)
    assert layer(x) is x
    assert torch.equal(layer.eval()(x), x + layer.layer.weight)
    layer.p = 0.0
    assert torch.equal(layer.train()(x), x + layer.layer.weight)


def test_further_arguments_reach_the_layer():
    layer = td.LayerDrop(Counted(), 0.0)
    assert torch.equal(layer(torch.zeros(3), 2.0), 2 * layer.layer.weight)
    assert torch.equal(layer(torch.zeros(3), factor=3.0), 3 * layer.layer.weight)
    encoder = td.LayerDrop(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 0.5)
    padding = torch.zeros(2, 4, dtype=torch.bool)
    assert encoder(torch.ones(2, 4, 8), src_key_padding_mask=padding, key=td.key(1)).shape == (2, 4, 8)


def test_a_skipped_layer_has_no_gradient_on_one_process():
    layer, x = td.LayerDrop(Counted(), 1.0), torch.zeros(3, requires_grad=True)
    (grad,) = torch.autograd.grad(layer(x).sum(), x)
    assert torch.equal(grad, torch.ones(3))
    assert layer.layer.weight.grad is None


def train_on_a_rank(rank, path):
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.distributed.init_process_group("gloo", init_method=f"file://{path}/store", rank=rank, world_size=2)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 4), *(td.LayerDrop(nn.Linear(4, 4), 0.5) for _ in range(3)), nn.Linear(4, 1))
    model = DistributedDataParallel(net)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    ran, hooks = [], [m.layer.register_forward_hook(lambda m, i, o: ran.append(1)) for m in net[1:4]]
    patterns = []
    for step in range(8):
        optimizer.zero_grad(set_to_none=True)
        ran.clear()
        x = torch.full((2, 4), float(rank + step + 1) / 8)
        model(x).square().sum().backward()
        optimizer.step()
        patterns.append(len(ran))
    assert len(hooks) == 3
    flat = torch.cat([p.detach().flatten() for p in net.parameters()])
    torch.save((flat, patterns), f"{path}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_ranks_skip_different_layers_and_stay_equal(tmp_path):
    """Without the zero gradients DistributedDataParallel raises at the second step."""
    torch.multiprocessing.spawn(train_on_a_rank, (str(tmp_path),), nprocs=2)
    (first, ran_first), (second, ran_second) = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert torch.equal(first, second)
    assert first.isfinite().all()
    assert ran_first != ran_second
    assert min(ran_first + ran_second) < 3


def test_zero_noise_limit_and_noise():
    gaps = []
    for p in (0.0, 1e-9, 0.5):
        torch.manual_seed(0)
        plain = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        noisy = nn.Sequential(copy.deepcopy(plain[0]), td.LayerDrop(copy.deepcopy(plain[1]), p))
        x, t, curves = torch.randn(32, 4), torch.randn(32, 4), []
        for net in (plain, noisy):
            optimizer, losses = torch.optim.SGD(net.parameters(), lr=0.1), []
            for _ in range(20):
                optimizer.zero_grad()
                loss = (net(x) - t).square().mean()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
            curves.append(torch.tensor(losses))
        gaps.append((curves[0] - curves[1]).abs().max())
    assert gaps[0] < 1e-5
    assert gaps[1] < 1e-5
    assert gaps[2] > 1e-3


def test_compile_vmap_checkpoint_and_copies():
    layer, x = td.LayerDrop(nn.Linear(3, 3), 0.5), torch.randn(4, 3, requires_grad=True)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    for n in range(4):
        torch.testing.assert_close(compiled(x, key=td.key(n)), layer(x, key=td.key(n)))
    with torch._dynamo.config.patch(error_on_recompile=True):
        for layer.p in (0.2, 0.4, 0.5):
            torch.testing.assert_close(compiled(x, key=td.key(0)), layer(x, key=td.key(0)))
    rows = torch.func.vmap(layer, randomness="different")(torch.ones(64, 3))
    assert len(rows.unique(dim=0)) == 2
    for seed in range(4):
        grads = []
        for run in (layer, lambda x: torch.utils.checkpoint.checkpoint(layer, x, use_reentrant=False)):
            torch.manual_seed(seed)
            grads.append(torch.autograd.grad(run(x).square().sum(), x)[0])
        assert torch.equal(*grads)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        twin.load_state_dict(layer.state_dict())
        assert torch.equal(twin(x, key=td.key(0)), layer(x, key=td.key(0)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_dtypes_and_shapes(dtype, shape):
    layer = td.LayerDrop(nn.ReLU(), 0.5)
    x = torch.full(shape, -1.0, dtype=dtype)
    for n in range(2):
        y = layer(x, key=td.key(n))
        assert y.dtype == dtype
        assert torch.equal(y, x.relu() if td.functional.dropout_mask((), 0.5, key=td.key(n)) else x)


def test_gradcheck():
    layer = td.LayerDrop(nn.Tanh(), 0.5)
    for n in range(2):
        torch.autograd.gradcheck(
            lambda x, n=n: layer(x, key=td.key(n)), torch.randn(3, dtype=torch.float64, requires_grad=True)
        )


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: td.LayerDrop(nn.ReLU(), 1.5), ValueError, "LayerDrop: `p` must be in [0, 1], got 1.5."),
        (
            lambda: td.LayerDrop(torch.relu, 0.5),
            TypeError,
            "LayerDrop: `layer` must be a torch.nn.Module, got builtin_function_or_method.",
        ),
        (
            lambda: td.LayerDrop(nn.Linear(2, 3), 0.0)(torch.ones(4, 2)),
            ValueError,
            "LayerDrop: the layer's output must have the input's shape (4, 2), got (4, 3).",
        ),
        (
            lambda: td.functional.layer_drop(lambda x: (x, x), torch.ones(2), 0.0),
            TypeError,
            "layer_drop: the layer's output must be a tensor, got tuple.",
        ),
        (
            lambda: td.functional.layer_drop(torch.neg, torch.ones(2), -0.5),
            ValueError,
            "layer_drop: `p` must be in [0, 1], got -0.5.",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message
