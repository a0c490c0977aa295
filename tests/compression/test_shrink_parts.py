"""What Torch-Pruning's graph does not do: constants, attention heads, recurrent units."""

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import Block, Standard, Tokens, lively, parameters
from torch import nn
from torch.nn import functional as F

import torchdropout as td
from torchdropout.compression.heads import FewerHeads

X = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
WORDS = torch.randn(3, 7, 5, generator=torch.Generator().manual_seed(1))


def same(a, b, *inputs):
    found, expected = a(*inputs), b(*inputs)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.detach().abs().max()))


@torch.no_grad()
def constant(layer, units):
    layer.weight[units] = 0.0


ACTIVATIONS = (nn.ReLU, nn.GELU, nn.Tanh, nn.Sigmoid, nn.SiLU, nn.Softplus, nn.Identity, nn.Dropout)


@settings(max_examples=20)
@given(st.sampled_from(ACTIVATIONS), st.sets(st.integers(0, 7), min_size=1), st.booleans(), st.integers(0, 99))
def test_constant_units_join_the_biases_behind(activation, units, bias, seed):
    model = lively(nn.Sequential(nn.Linear(5, 8), activation(), nn.Linear(8, 3, bias=bias)), seed)
    constant(model[0], sorted(units))
    small = td.shrink(model, WORDS)
    same(small, model, WORDS)
    assert small[0].out_features == max(1, 8 - len(units)) == small[2].in_features


def test_constant_channels_through_batch_norm_pools_and_flattening():
    layers = (
        nn.Conv2d(3, 6, 3),
        nn.BatchNorm2d(6),
        nn.Tanh(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 5, 2),
        nn.ReLU(),
        nn.Flatten(),
    )
    model = lively(nn.Sequential(*layers, nn.Linear(20, 4)), 0)
    constant(model[0], [1, 4])
    constant(model[4], [0, 2, 3])
    small = td.shrink(model, X)
    same(small, model, X)
    assert (small[0].out_channels, small[4].out_channels, small[7].in_features) == (4, 2, 8)


class Functional(nn.Module):
    def __init__(self, padding=0):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 3, padding=padding)
        self.c, self.d = nn.Linear(6, 2), nn.Linear(4 * (16 if not padding else 36), 2)

    def forward(self, x):
        y = F.relu(self.a(x))
        return self.d(torch.flatten(self.b(y), 1)) + self.c(y.amax((2, 3)))


class Only(Functional):
    def forward(self, x):
        return self.d(torch.relu(self.b(F.silu(self.a(x)))).flatten(1)) + 0 * self.c(x.flatten(1)[:, :6])


def test_a_constant_that_something_else_reads_stays():
    model = lively(Functional(), 0)
    constant(model.a, [0, 1])
    small = td.shrink(model, X)
    same(small, model, X)
    assert small.a.out_channels == 6


@pytest.mark.parametrize(("padding", "left"), [(0, 4), (1, 6)])
def test_a_constant_before_padding_is_none(padding, left):
    model = lively(Only(padding), 0)
    constant(model.a, [0, 1])
    with torch.no_grad():
        model.a.bias[:2] = 1.0
    small = td.shrink(model, X)
    same(small, model, X)
    assert small.a.out_channels == left


@torch.no_grad()
def silence(attention, heads, how):
    size = attention.head_dim
    for head in heads:
        rows = slice(head * size, (head + 1) * size)
        if how == "values":
            if attention.in_proj_weight is not None:
                attention.in_proj_weight[2 * attention.embed_dim :][rows] = 0.0
            else:
                attention.v_proj_weight[rows] = 0.0
            if attention.in_proj_bias is not None:
                attention.in_proj_bias[2 * attention.embed_dim :][rows] = 0.0
        else:
            attention.out_proj.weight[:, rows] = 0.0


@settings(max_examples=12)
@given(
    st.sets(st.integers(0, 3), min_size=1), st.sampled_from(("values", "outputs")), st.booleans(), st.booleans(),
    st.integers(0, 99),
)  # fmt: skip
def test_silent_heads_go(heads, how, bias, batch_first, seed):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(16, 4, bias=bias, batch_first=batch_first)
            self.out = nn.Linear(16, 2)

        def forward(self, x, padding=None, mask=None):
            y, _ = self.attention(x, x, x, key_padding_mask=padding, attn_mask=mask, need_weights=False)
            return self.out(y)

    model, x = lively(Net(), seed), torch.randn(6, 6, 16)
    silence(model.attention, heads, how)
    small = td.shrink(model, x)
    assert isinstance(small.attention, FewerHeads)
    assert small.attention.num_heads == max(1, 4 - len(heads))
    assert parameters(small) < parameters(model)
    same(small, model, x)
    same(small, model, x[0])
    padding = torch.zeros(6, 6, dtype=torch.bool)
    padding[:, 4:] = True
    causal = torch.triu(torch.ones(6, 6, dtype=torch.bool), 1)
    same(small, model, x, padding)
    same(small, model, x, None, causal)
    same(small, model, x, padding, torch.zeros(6, 6).masked_fill(causal, -1e9))
    same(small, model, x, None, torch.randn(24, 6, 6))


@pytest.mark.parametrize("norm_first", [False, True])
def test_heads_of_pytorch_s_transformer_go(norm_first):
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, norm_first=norm_first)
    model = nn.Sequential(
        nn.Linear(5, 16), nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(16, 2)
    )
    model = lively(model, 0)
    for each, heads in zip(model[1].layers, ([0, 2], [1, 2, 3]), strict=True):
        silence(each.self_attn, heads, "values")
    with torch.no_grad():
        model[1].layers[0].linear1.weight[:9] = 0.0
        model[1].layers[0].linear1.bias[:9] = 0.0
    small = td.shrink(model, WORDS)
    same(small, model, WORDS)
    assert [each.self_attn.num_heads for each in small[1].layers] == [2, 1]
    assert small[1].layers[0].linear1.out_features == 23


class Weights(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)

    def forward(self, x):
        y, weights = self.attention(x, x, x)
        return y + weights.sum()


def test_attention_whose_weights_are_used_stays():
    model, x = lively(Weights(), 0), torch.randn(2, 5, 16)
    silence(model.attention, [0], "values")
    small = td.shrink(model, x)
    same(small, model, x)
    assert type(small.attention) is nn.MultiheadAttention


def test_attention_of_other_widths_and_one_alive():
    class Cross(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(16, 4, batch_first=True, kdim=6, vdim=5)

        def forward(self, q, k, v):
            return self.attention(q, k, v, need_weights=False)[0]

    model = lively(Cross(), 0)
    inputs = torch.randn(2, 3, 16), torch.randn(2, 7, 6), torch.randn(2, 7, 5)
    silence(model.attention, [1], "outputs")
    small = td.shrink(model, inputs)
    same(small, model, *inputs)
    assert small.attention.num_heads == 3


@pytest.mark.parametrize("kind", [Block, Standard])
def test_attention_without_dead_heads_stays(kind):
    model = lively(Tokens([kind()]), 0)
    small = td.shrink(model, WORDS)
    same(small, model, WORDS)
    assert parameters(small) == parameters(model)


class Recurrent(nn.Module):
    def __init__(self, kind, layers, both, bias=True, last=True, **more):
        super().__init__()
        self.rnn = kind(5, 8, layers, bias=bias, batch_first=True, bidirectional=both, **more)
        self.out, self.last = nn.Linear(16 if both else 8, 3), last

    def forward(self, x):
        y, _ = self.rnn(x)
        return self.out(y[:, -1] if self.last else y.mean(1))


GATES = {nn.LSTM: (4, 2), nn.GRU: (3, 2), nn.RNN: (1, 0)}


@torch.no_grad()
def stop(rnn, units):
    """The candidate values of units are zero, so that they stay so."""
    gates, candidate = GATES[type(rnn)]
    for name, tensor in rnn.named_parameters():
        chosen = units[name.partition("_l")[2]]
        tensor.view(gates, 8, -1)[candidate, chosen] = 0.0


@settings(max_examples=20)
@given(
    st.sampled_from((nn.LSTM, nn.GRU, nn.RNN)), st.integers(1, 2), st.booleans(), st.booleans(), st.booleans(),
    st.integers(0, 999),
)  # fmt: skip
def test_units_that_stay_zero_go_from_every_layer_and_direction(kind, layers, both, bias, last, seed):
    model = lively(Recurrent(kind, layers, both, bias, last), seed)
    draw = torch.Generator().manual_seed(seed)
    places = [f"{n}{side}" for n in range(layers) for side in ("", "_reverse")[: 1 + both]]
    units = {
        place: torch.randperm(8, generator=draw)[: int(torch.randint(1, 9, (), generator=draw))] for place in places
    }
    stop(model.rnn, units)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of two directions Torch-Pruning has no graph
        small = td.shrink(model, WORDS)
    same(small, model, WORDS)
    same(small, model, torch.randn(2, 11, 5))
    removed = min(len(each) for each in units.values())
    assert small.rnn.hidden_size == max(1, 8 - removed)
    assert small.out.in_features == small.rnn.hidden_size * (1 + both)


@pytest.mark.parametrize("kind", GATES)
def test_units_that_nothing_reads_go(kind):
    model = lively(Recurrent(kind, 2, False), 0)
    with torch.no_grad():
        for unit, columns in ((3, (model.rnn.weight_hh_l0, model.rnn.weight_ih_l1)),
                              (5, (model.rnn.weight_hh_l1, model.out.weight))):  # fmt: skip
            for weight in columns:
                weight[:, unit] = 0.0
    small = td.shrink(model, WORDS)
    same(small, model, WORDS)
    assert small.rnn.hidden_size == 7


def test_what_is_left_alone_is_said():
    model = lively(Recurrent(nn.LSTM, 1, True, last=False), 0)
    stop(model.rnn, {"0": [1], "0_reverse": [2]})
    with pytest.warns(UserWarning, match="shrink: channels are left as they are beside recurrent layers; `model` must"):
        assert td.shrink(model, WORDS).rnn.hidden_size == 7


def test_a_stack_of_modules_and_what_is_given_a_state():
    class Stack(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.out = nn.LSTM(5, 8), nn.GRU(8, 8), nn.Linear(8, 2)

        def forward(self, x):
            y, _ = self.b(self.a(x)[0], torch.ones(1, x.shape[1], 8))
            return self.out(y)

    model = lively(Stack(), 0)
    stop(model.a, {"0": [1, 2]})
    stop(model.b, {"0": [1, 2]})
    small = td.shrink(model, WORDS)
    same(small, model, WORDS)
    assert (small.a.hidden_size, small.b.input_size, small.b.hidden_size) == (8, 8, 8)  # widths alike: left alone


def test_our_own_lstm_becomes_a_smaller_plain_one():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.out = td.LSTM(5, 8, batch_first=True, recurrent=td.Variational(0.2, 0.3)), nn.Linear(8, 2)

        def forward(self, x):
            return self.out(self.rnn(x)[0][:, -1])

    model = lively(Net(), 0)
    with torch.no_grad():
        for name, tensor in model.rnn.named_parameters():
            if "_l0" in name:
                tensor.view(4, 8, -1)[2, [0, 7]] = 0.0
    small = td.shrink(model, WORDS)
    same(small, model, WORDS)
    assert type(small.rnn) is nn.LSTM
    assert small.rnn.hidden_size == 6
