"""The kinds: the papers' test rules against enumeration, what weight drop must not do, and errors."""

import copy
import itertools
import pickle

import pytest
import torch

import torchdropout as td
from torchdropout.recurrent import sequence
from torchdropout.recurrent.sequence import StepMasks

D = torch.float64


def tiny(kind, hidden=2, **options):
    torch.manual_seed(0)
    layer = td.LSTM(2, hidden, recurrent=kind, dtype=D, **options)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    return layer


def through(layer, x, state, masks):
    """One layer's loop with given masks, unscaled outputs."""
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "weight_hr_l0")
    weights = sequence.Weights(*(getattr(layer, name, None) for name in names))
    return sequence.lstm(x, state, weights, None, masks)


def enumerated(shape, p_of_one):
    """All masks of a shape with their probabilities."""
    size = torch.Size(shape).numel()
    for bits in itertools.product((0.0, 1.0), repeat=size):
        ones = int(sum(bits))
        yield p_of_one**ones * (1 - p_of_one) ** (size - ones), torch.tensor(bits, dtype=D).view(shape)


def given(batch=1, hidden=2):
    torch.manual_seed(1)
    return torch.randn(batch, hidden, dtype=D), torch.randn(batch, hidden, dtype=D)


def with_batch(state):
    return tuple(s.unsqueeze(0) for s in state)


def test_zoneout_section3_test_rule_of_one_step_is_the_expectation():
    """All 2**2 x 2**2 masks of a step with two units, for a state that is given."""
    layer, state, x = tiny(td.Zoneout(cell=0.25, hidden=0.5)).eval(), given(), torch.randn(1, 1, 2, dtype=D)
    mean = [torch.zeros(1, 2, dtype=D) for _ in range(2)]
    for (p, d_c), (q, d_h) in itertools.product(enumerated((1, 1, 2), 0.25), enumerated((1, 1, 2), 0.5)):
        _, end = through(layer, x, state, StepMasks(zone_cell=d_c, zone_hidden=d_h))
        mean = [m + p * q * e for m, e in zip(mean, end, strict=True)]
    y, (h, c) = layer(x, with_batch(state))
    torch.testing.assert_close(h[0], mean[0])
    torch.testing.assert_close(c[0], mean[1])
    torch.testing.assert_close(y[0], mean[0])


def test_zoneout_section3_test_rule_of_a_sequence_where_it_is_linear():
    """Without recurrent weights the hidden state is linear in its masks: all 2**6 of three steps."""
    layer, state, x = tiny(td.Zoneout(hidden=0.25)).eval(), given(), torch.randn(3, 1, 2, dtype=D)
    torch.nn.init.zeros_(layer.weight_hh_l0)
    mean = sum(p * through(layer, x, state, StepMasks(zone_hidden=d))[0] for p, d in enumerated((3, 1, 2), 0.25))
    torch.testing.assert_close(layer(x, with_batch(state))[0], mean)


@pytest.mark.parametrize("proj_size", [0, 1])
def test_cell_dropout_test_rule_is_the_expectation_of_a_linear_read_out(proj_size):
    """For given gates, all 2**3 masks of three units at every step: any linear function of the outputs."""
    layer, x = tiny(td.CellDropout(0.25), 3, proj_size=proj_size).eval(), torch.randn(6, 1, 2, dtype=D)
    torch.nn.init.zeros_(layer.weight_hh_l0)
    state = (torch.randn(1, proj_size or 3, dtype=D), torch.randn(1, 3, dtype=D))
    mean = sum(p * through(layer, x, state, StepMasks(cell=m))[0] for p, m in enumerated((1, 3), 0.75))
    torch.testing.assert_close(layer(x, with_batch(state))[0], mean)


def test_cell_dropout_test_rule_reaches_the_gates_of_the_next_step():
    """The second step's pre-activations are a linear read-out of the first step's state: their mean over all masks."""
    layer, state, x = tiny(td.CellDropout(0.25)).eval(), given(), torch.randn(2, 1, 2, dtype=D)
    u = layer.weight_hh_l0
    mean = sum(p * (through(layer, x[:1], state, StepMasks(cell=m))[0][0] @ u.T) for p, m in enumerated((1, 2), 0.75))
    y, (_, c) = layer(x, with_batch(state))
    torch.testing.assert_close(y[0] @ u.T, mean)
    _, c_first = layer(x[:1], with_batch(state))[1]
    a = torch.nn.functional.linear(x[1], layer.weight_ih_l0, layer.bias_ih_l0 + layer.bias_hh_l0) + mean
    i, f, g, o = a.chunk(4, -1)
    new = torch.sigmoid(f) * c_first[0] + torch.sigmoid(i) * torch.tanh(g)
    torch.testing.assert_close(c[0], new)
    torch.testing.assert_close(y[1], 0.75 * torch.sigmoid(o) * torch.tanh(new))


def test_cell_dropout_neither_decays_nor_grows_over_1000_steps():
    """A memory that holds 1: its outputs at test time are `k tanh(1)` for ever, and in training 0 or `tanh(1)`."""
    layer = td.LSTM(1, 64, bias=True, recurrent=td.CellDropout(0.5), dtype=D)
    for parameter in layer.parameters():
        torch.nn.init.zeros_(parameter)
    layer.bias_ih_l0.data = torch.tensor([-50.0, 50.0, 0.0, 50.0], dtype=D).repeat_interleave(64)
    x, ones, zeros = torch.zeros(1000, 1, 1, dtype=D), torch.ones(1, 1, 64, dtype=D), torch.zeros(1, 1, 64, dtype=D)
    held = torch.tanh(torch.ones(1, dtype=D))
    y, _ = layer(x, (zeros, ones), key=td.key(0))
    assert torch.equal(y[-1], y[0])
    assert set(y.unique().tolist()) <= {0.0, *torch.unique(y[0]).tolist()}
    torch.testing.assert_close(y.amax(), held[0])
    torch.testing.assert_close(layer.eval()(x, (zeros, ones))[0], (0.5 * held).expand(1000, 1, 64))


@pytest.mark.parametrize("kind", [td.UpdateDropout(0.25), td.UpdateDropout(0.25, per="sequence")])
def test_update_dropout_keeps_the_mean_and_a_bounded_variance_over_1000_steps(kind):
    """`c[t] = f c[t-1] + (1 - f) m[t] / k` at f = 0.9: mean 1, variance `p/k (1-f)/(1+f)`, or `p/k` if shared."""
    layer, p, f, n = td.LSTM(1, 1, recurrent=kind, dtype=D), 0.25, 0.9, 2000
    for parameter in layer.parameters():
        torch.nn.init.zeros_(parameter)
    logit = torch.logit(torch.tensor([1 - f, f], dtype=D))
    layer.bias_ih_l0.data = torch.stack([logit[0], logit[1], torch.tensor(50.0, dtype=D), torch.tensor(0.0, dtype=D)])
    _, (_, c) = layer(torch.zeros(1000, n, 1, dtype=D), key=td.key(0))
    variance = p / (1 - p) * (1.0 if kind.per == "sequence" else (1 - f) / (1 + f))
    assert abs(c.mean() - 1) < 5 * (variance / n) ** 0.5
    assert abs(c.var() / variance - 1) < 5 * (4 / n) ** 0.5  # the kurtosis of both is below 5


def test_zoneout_holds_a_state_for_ever():
    layer, state = tiny(td.Zoneout(cell=1.0, hidden=1.0)), with_batch(given())
    for mode in (True, False):
        y, end = layer.train(mode)(torch.randn(1000, 1, 2, dtype=D), state)
        assert torch.equal(end[0], state[0])
        assert torch.equal(end[1], state[1])
        assert torch.equal(y, state[0].expand(1000, 1, 2))


# --------------------------------------------------------------------------------------------------------------------
# Weight drop.


def dropping(cls=td.LSTM):
    torch.manual_seed(0)
    return cls(3, 4, 2, bidirectional=True, recurrent=td.WeightDrop(0.2))


@pytest.mark.parametrize("cls", [td.LSTM, td.GRU, td.RNN])
def test_a_deep_copy_is_its_own(cls):
    """A copy whose parameters are zero outputs what such a network outputs, and the original is as before."""
    layer, x = dropping(cls), torch.randn(5, 2, 3)
    before, twin = layer(x, key=td.key(0))[0], copy.deepcopy(layer)
    for parameter in twin.parameters():
        torch.nn.init.zeros_(parameter)
    assert (twin(x, key=td.key(0))[0] == 0).all()
    assert torch.equal(layer(x, key=td.key(0))[0], before)
    restored = pickle.loads(pickle.dumps(layer))
    assert torch.equal(restored(x, key=td.key(0))[0], before)
    assert restored.recurrent == layer.recurrent


@pytest.mark.parametrize("cls", [td.LSTM, td.GRU, td.RNN])
def test_twenty_forwards_and_modes_leave_the_parameters_alone(cls):
    layer, x = dropping(cls), torch.randn(5, 2, 3)
    before = copy.deepcopy(layer.state_dict())
    for number in range(20):
        layer.train(number % 3 > 0)(x)
    assert list(before) == list(layer.state_dict())
    assert all(torch.equal(before[name], value) for name, value in layer.state_dict().items())


def test_it_follows_the_layer_to_another_dtype_and_trains():
    layer, x = dropping(), torch.randn(5, 2, 3)
    wide = copy.deepcopy(layer).to(D)
    torch.testing.assert_close(wide(x.to(D), key=td.key(0))[0].float(), layer(x, key=td.key(0))[0])
    optimizer = torch.optim.SGD(wide.parameters(), lr=0.1)
    first = wide(x.to(D), key=td.key(0))[0]
    first.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in wide.parameters())
    optimizer.step()
    assert not torch.allclose(wide(x.to(D), key=td.key(0))[0], first)
    other = {name: torch.zeros_like(p) for name, p in wide.named_parameters()}
    y, _ = torch.func.functional_call(wide, other, (x.to(D),), {"key": td.key(0)})
    assert (y == 0).all()


def test_eval_uses_raw_weights():
    layer, x = dropping().eval(), torch.randn(5, 2, 3)
    theirs = torch.nn.LSTM(3, 4, 2, bidirectional=True)
    theirs.load_state_dict(layer.state_dict())
    assert torch.equal(layer(x)[0], theirs(x)[0])


# --------------------------------------------------------------------------------------------------------------------
# Errors.


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: td.Variational(1.5), ValueError, "Variational: `input` must be in [0, 1], got 1.5."),
        (lambda: td.Variational(0.5, -1), ValueError, "Variational: `hidden` must be in [0, 1], got -1."),
        (lambda: td.CellDropout("a"), TypeError, "CellDropout: `p` must be a number, got 'a'."),
        (lambda: td.WeightDrop(float("nan")), ValueError, "WeightDrop: `p` must be in [0, 1], got nan."),
        (lambda: td.UpdateDropout(True), TypeError, "UpdateDropout: `p` must be a number, got True."),
        (
            lambda: td.UpdateDropout(per="batch"),
            ValueError,
            "UpdateDropout: `per` must be one of 'step', 'sequence', got 'batch'.",
        ),
        (lambda: td.Zoneout(cell=2), ValueError, "Zoneout: `cell` must be in [0, 1], got 2."),
        (
            lambda: td.LSTM(2, 3, recurrent=0.5),
            TypeError,
            "LSTM: `recurrent` must be made of Variational, CellDropout, UpdateDropout, Zoneout, WeightDrop, got 0.5.",
        ),
        (
            lambda: td.LSTM(2, 3, recurrent=[td.WeightDrop(0.1), td.WeightDrop(0.2)]),
            ValueError,
            "LSTM: `recurrent` must name a kind once, got WeightDrop twice.",
        ),
        (
            lambda: td.LSTM(2, 3, recurrent=[td.UpdateDropout(), td.CellDropout()]),
            ValueError,
            "LSTM: UpdateDropout keeps the memory whole, which is what CellDropout drops: `recurrent` must have only "
            "one of them.",
        ),
        (
            lambda: td.RNN(2, 3, recurrent=td.UpdateDropout()),
            ValueError,
            "RNN: UpdateDropout drops what a gate adds to the state; a plain RNN has no gate and replaces its whole "
            "state, so that dropping the update would be dropping the memory.",
        ),
        (
            lambda: td.GRUCell(2, 3, recurrent=td.CellDropout()),
            ValueError,
            "GRUCell: CellDropout drops units of the cell state, which only an LSTM has.",
        ),
        (
            lambda: td.GRU(2, 3, recurrent=td.Zoneout(cell=0.5)),
            ValueError,
            "GRU: Zoneout's `cell` must be 0 where there is no cell state, got 0.5.",
        ),
        (lambda: td.LSTM(2, 3, locked=1), TypeError, "LSTM: `locked` must be a bool, got 1."),
        (
            lambda: td.LSTM(2, 3, recurrent=td.WeightDrop())(torch.ones(1, 1, 2), key=td.split(td.key(0))),
            ValueError,
            "LSTM: `key` must be one key of shape (2,), got (2, 2).",
        ),
        (
            lambda: td.LSTM(2, 3, recurrent=td.WeightDrop())(torch.ones(1, 1, 2), (torch.ones(1, 1, 3).double(),) * 2),
            ValueError,
            "LSTM: `hx` must have the input's dtype, torch.float32, got torch.float64 and torch.float64.",
        ),
        (
            lambda: td.LSTMCell(2, 3, recurrent=td.WeightDrop())(torch.ones(1, 2)),
            ValueError,
            "LSTMCell: `masks` must be given in training: call `draw_masks` once a sequence.",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message


def test_what_a_layer_masks_can_be_replaced_and_is_printed():
    layer = td.GRU(2, 3, recurrent=td.WeightDrop(0.5))
    assert repr(layer) == "GRU(2, 3, recurrent=(WeightDrop(p=0.5),))"
    layer.recurrent = [td.Zoneout(hidden=0.5)]
    assert layer.recurrent == (td.Zoneout(hidden=0.5),)
    with pytest.raises(ValueError, match="^GRU: CellDropout"):
        layer.recurrent = td.CellDropout()
    assert repr(td.LSTM(2, 3, 2, dropout=0.5, locked=True)) == "LSTM(2, 3, num_layers=2, dropout=0.5, locked=True)"
