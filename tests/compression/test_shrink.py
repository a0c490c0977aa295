import copy
import re
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import PIECES, Block, ConvNet, Residual, Standard, Tokens, kill, lively, parameters
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune

import torchdropout as td

X = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
WORDS = torch.randn(3, 7, 5, generator=torch.Generator().manual_seed(1))


def same(a, b, x):
    found, expected = a(x), b(x)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.detach().abs().max()))


plans = st.lists(st.sampled_from(PIECES), min_size=1, max_size=5)


@settings(max_examples=25)
@given(plans, st.booleans(), st.sampled_from((0.3, 0.6, 0.9)), st.integers(0, 999))
def test_any_convolutional_network_computes_the_same_with_less(plan, flatten, part, seed):
    model = lively(ConvNet(plan, flatten), seed)
    dead = kill(model, part, seed)
    before, state = str(model), {name: value.clone() for name, value in model.state_dict().items()}
    small = td.shrink(model, X)
    for x in (X, 3 * torch.rand(5, 3, 8, 8) - 1):
        same(small, model, x)
    assert str(model) == before
    assert all(torch.equal(v, state[n]) for n, v in model.state_dict().items())
    assert parameters(small) <= parameters(model)
    gone = int(dead["hidden"].sum())
    assert small.hidden.out_features == max(1, 10 - gone)
    assert small.out.in_features == small.hidden.out_features
    assert small.out.out_features == 3
    assert small.body[0].in_channels == 3


@settings(max_examples=8)
@given(st.lists(st.sampled_from((Block, Standard)), min_size=1, max_size=2), st.integers(0, 99))
def test_any_network_with_attention_computes_the_same_with_less(kinds, seed):
    model = lively(Tokens([kind() for kind in kinds]), seed)
    dead = kill(model, 0.5, seed, {f"blocks.{n}.up" for n in range(len(kinds))})
    small = td.shrink(model, WORDS)
    for x in (WORDS, torch.randn(2, 4, 5)):
        same(small, model, x)
    for n, block in enumerate(small.blocks):
        assert block.up.out_features == 32 - int(dead[f"blocks.{n}.up"].sum())


@pytest.mark.parametrize("norm", [False, True])
def test_every_dead_channel_of_a_chain_goes(norm):
    layers = [nn.Conv2d(3, 6, 3), *[nn.BatchNorm2d(6)] * norm, nn.ReLU(), nn.Conv2d(6, 8, 3), nn.SiLU(), nn.Flatten()]
    model = lively(nn.Sequential(*layers, nn.Linear(128, 9), nn.Tanh(), nn.Linear(9, 2)), 0)
    kill(model, 0.0, 0)
    convs = [m for m in model if isinstance(m, nn.Conv2d)]
    linear = model[-3]
    with torch.no_grad():
        for module, gone in ((convs[0], [0, 5]), (convs[1], [1, 2, 3]), (linear, [8])):
            module.weight[gone] = 0.0
            module.bias[gone] = 0.0
        if norm:
            for name in ("weight", "bias"):
                getattr(model[1], name)[[0, 5]] = 0.0
    small = td.shrink(model, X)
    same(small, model, X)
    convs, linear = [m for m in small if isinstance(m, nn.Conv2d)], small[-3]
    assert [(m.in_channels, m.out_channels) for m in convs] == [(3, 4), (4, 5)]
    assert (linear.in_features, linear.out_features, small[-1].in_features) == (5 * 16, 8, 8)


def test_every_dead_channel_of_residual_blocks_goes():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), Residual(8), Residual(8), nn.Flatten(), nn.Linear(8 * 36, 2))
    model = lively(model, 0)
    with torch.no_grad():
        for block in model[2:4]:
            for layer in (block.conv1, block.bn1):  # inside a block
                layer.weight[:3] = 0.0
            block.bn1.bias[:3] = 0.0
            for layer in (block.conv2, block.bn2):  # of the sum
                layer.weight[4:6] = 0.0
            block.bn2.bias[4:6] = 0.0
        model[0].weight[4:6] = 0.0
        model[0].bias[4:6] = 0.0
    small = td.shrink(model, X)
    same(small, model, X)
    assert [block.conv1.out_channels for block in small[2:4]] == [5, 5]
    assert [block.conv2.out_channels for block in small[2:4]] == [6, 6] == [small[0].out_channels] * 2
    with torch.no_grad():
        model[0].bias[4] = 1.0  # the sum is not zero there any more
    small = td.shrink(model, X)
    same(small, model, X)
    assert small[0].out_channels == 7


def test_what_nothing_reads_goes():
    model = lively(nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 4), nn.Sigmoid(), nn.Linear(4, 2)), 0)
    with torch.no_grad():
        model[2].weight[:, :3] = 0.0
        model[4].weight[:, 1] = 0.0
    small = td.shrink(model, WORDS)
    same(small, model, WORDS)
    assert [small[n].out_features for n in (0, 2)] == [3, 3]


def test_a_layer_that_is_all_dead_keeps_a_unit():
    model = lively(nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 2)), 0)
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].bias.zero_()
    small = td.shrink(model, WORDS)
    same(small, model, WORDS)
    assert small[0].out_features == 1


def test_torch_s_own_masks_are_made_permanent():
    model = lively(nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 2)), 0)
    prune.ln_structured(model[0], "weight", 0.5, 2, 0)
    with torch.no_grad():
        model[0].bias[~model[0].weight_mask.any(1)] = 0.0
    small = td.shrink(model, WORDS)
    same(small, model, WORDS)
    assert small[0].out_features == 3
    assert dict(small[0].named_buffers()) == {}
    assert hasattr(model[0], "weight_mask")


def test_noise_layers_become_plain_ones():
    model = nn.Sequential(nn.Conv2d(3, 6, 3), td.LogNormalDropout(6), nn.ReLU(), nn.Flatten(), td.Dropout(0.5))
    model = lively(nn.Sequential(*model, td.SparseVariationalLinear(216, 4)), 0)
    with torch.no_grad():
        model[1].mu.fill_(-0.5)
        model[1].log_sigma.copy_(torch.tensor([-4.0, 5.0, -4.0, 5.0, 5.0, -4.0]))
        model[5].log_sigma2.uniform_(-12, 2)
    small = td.shrink(model, X)
    same(small, model, X)
    assert small[0].out_channels == 3
    assert type(small[5]) is nn.Linear
    assert small[5].in_features == 108
    assert isinstance(model[1], td.LogNormalDropout)


class Branch(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.flag = nn.Linear(5, 4), nn.Linear(5, 4), False

    def forward(self, x):
        return (self.b if self.flag else self.a)(x)


class Numpy(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(5, 4)

    def forward(self, x):
        if not x.requires_grad and torch.is_grad_enabled():
            raise RuntimeError("aten::spline has no derivative")
        return self.a(x)


class Fixed(nn.Module):
    """Its forward has a width in it, which Torch-Pruning's graph does not see."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(5, 6), nn.Linear(6, 2)

    def forward(self, x):
        return self.b(F.relu(self.a(x)).reshape(-1, 6))


def dead_half(model):
    with torch.no_grad():
        model.a.weight[:3] = 0.0
        model.a.bias[:3] = 0.0
    return model


def test_a_forward_with_a_width_in_it_is_left_as_it_is():
    model = dead_half(lively(Fixed(), 0))
    small = td.shrink(model, WORDS)
    same(small, model, WORDS)
    assert small.a.out_features == 6


REFUSED = {
    "a layer that is not reached": (Branch, WORDS, "`example_inputs` must reach every layer, b was not called"),
    "a model that cannot be traced": (Numpy, WORDS, "can trace; found: aten::spline has no derivative"),
    "noise without a plain layer": (
        lambda: nn.Sequential(nn.Linear(5, 6), td.StandoutLinear(6, 2)), WORDS,
        "shrink: 1 (StandoutLinear) has no plain layer",
    ),
    "inputs that do not fit": (lambda: nn.Linear(4, 2), WORDS, "`example_inputs` must be what the model takes"),
    "no gradient": (lambda: nn.Sequential(nn.Linear(5, 2)), {"input": 3}, "`example_inputs` must be what the model"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused(kind):
    make, x, message = REFUSED[kind]
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        td.shrink(make(), x)
    assert str(error.value).startswith("shrink: ")
    assert "\n" not in str(error.value)


def test_a_plain_model_that_disagrees_is_refused_with_the_difference():
    gates = nn.Conv2d(3, 5, 3), td.LogNormalDropout(5), nn.BatchNorm2d(5), nn.ReLU()
    model = lively(nn.Sequential(*gates, nn.Conv2d(5, 2, 1)), 0)
    with torch.no_grad():
        model[2].bias.fill_(2.0)
        model[1].log_sigma.fill_(-4.0)
        model[1].log_sigma[:2] = 5.0  # batch norm makes something of the zeros, which prune_ takes away
    with pytest.raises(ValueError, match=r"must give the model's outputs, they differ by [\d.]+ of the largest"):
        td.shrink(model, X)
    td.prune_(model)
    assert td.shrink(model, X)[0].out_channels == 3


def test_without_torch_pruning(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(ImportError, match=r"shrink: it needs Torch-Pruning: pip install 'torchdropout\[compress\]'"):
        td.shrink(nn.Sequential(nn.Linear(5, 2)), WORDS)


class Several(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.out = nn.Linear(5, 6), nn.Linear(5, 6), nn.Linear(6, 2)

    def forward(self, x, other=None, *, scale=1.0):
        return {"y": self.out(F.relu(self.a(x)) + F.relu(self.b(other))) * scale, "n": 3}


@pytest.mark.parametrize("inputs", [(WORDS, -WORDS), {"x": WORDS, "other": -WORDS, "scale": 2.0}])
def test_several_arguments_and_outputs_of_any_kind(inputs):
    model = lively(Several(), 0)
    with torch.no_grad():
        for layer in (model.a, model.b):
            layer.weight[:2] = 0.0
            layer.bias[:2] = 0.0
    small = td.shrink(model, inputs)
    assert small.out.in_features == 4
    torch.testing.assert_close(small(WORDS, -WORDS)["y"], model(WORDS, -WORDS)["y"])


def test_random_state_modes_and_gradients_are_left_alone():
    model = dead_half(Fixed()).train()
    model.b.eval()
    state = torch.get_rng_state()
    small = td.shrink(model, WORDS)
    assert torch.equal(torch.get_rng_state(), state)
    assert (model.training, model.a.training, model.b.training) == (True, True, False)
    assert all(p.grad is None for p in model.parameters())
    assert not small.training
    assert all(p.requires_grad for p in small.parameters())
    assert copy.deepcopy(small) is not small
