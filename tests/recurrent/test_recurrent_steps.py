"""Every kind, cell and direction against a plain loop in float64 with the same masks: values and all gradients."""

import copy
import itertools

import pytest
import torch
from plain import plain, run_packed

import torchdropout as td
from torchdropout import ops
from torchdropout.recurrent import _native, sequence
from torchdropout.recurrent.sequence import StepMasks

D = torch.float64
ANY = {
    "untied": td.Variational(0.25, 0.5),
    "tied": td.Variational(0.5, 0.25, tied=True),
    "input": td.Variational(0.5, 0.0),
    "hidden": td.Variational(0.0, 0.5),
    "zoneout-h": td.Zoneout(hidden=0.5),
    "weights": td.WeightDrop(0.5),
}
GATED = {"update": td.UpdateDropout(0.5), "update-sequence": td.UpdateDropout(0.25, per="sequence")}
LSTM = {
    "cell": td.CellDropout(0.5),
    "zoneout-c": td.Zoneout(cell=0.5),
    "zoneout": td.Zoneout(cell=0.25, hidden=0.5),
    "many": [td.Variational(0.25, 0.25), td.UpdateDropout(0.5), td.Zoneout(cell=0.5, hidden=0.25), td.WeightDrop(0.25)],
    "cell-many": [td.Variational(0.25, 0.25, tied=True), td.CellDropout(0.25), td.Zoneout(cell=0.5, hidden=0.25)],
}
CASES = [("LSTM", name) for name in ANY | GATED | LSTM]
CASES += [("GRU", name) for name in ANY | GATED] + [("RNN", name) for name in ANY]
KINDS = ANY | GATED | LSTM


def make(name, kind, **options):
    torch.manual_seed(0)
    layer = getattr(td, name)(2, 3, dtype=D, recurrent=kind, **options)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    return layer


def data(lengths, layer, seed=1):
    torch.manual_seed(seed)
    xs = [torch.randn(t, 2, dtype=D, requires_grad=True) for t in lengths]
    count = layer.num_layers * (2 if layer.bidirectional else 1)
    sizes = [getattr(layer, "proj_size", 0) or 3, 3][: 2 if isinstance(layer, td.LSTM) else 1]
    state = tuple(torch.randn(count, len(xs), size, dtype=D, requires_grad=True) for size in sizes)
    return xs, state if len(state) > 1 else state[0]


def flat(end):
    return list(end) if isinstance(end, tuple) else [end]


def assert_same(layer, ours, theirs, xs, state):
    """Values, and the gradients of a random linear function of all of them."""
    leaves = [*xs, *flat(state), *layer.parameters()]
    grads = []
    for outputs, end in (ours, theirs):
        torch.manual_seed(2)
        loss = sum((v * torch.randn_like(v)).sum() for v in (*outputs, *flat(end)))
        grads.append(torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True))
    for a, b in itertools.chain(zip(ours[0], theirs[0], strict=True), zip(flat(ours[1]), flat(theirs[1]), strict=True)):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)


def both(layer, lengths, seed=1):
    """The layer's results and the plain loop's for sequences of these lengths."""
    xs, state = data(lengths, layer, seed)
    key = td.key(5)
    if len(set(lengths)) == 1:
        y, end = layer(torch.stack(xs, 1), state, key=key)
        ours = list(y.unbind(1)), end
    else:
        ours = run_packed(layer, xs, key, state)
    assert_same(layer, ours, plain(layer, xs, key, state), xs, state)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_layer_is_the_plain_loop(name, kind, bidirectional, training):
    layer = make(name, KINDS[kind], bidirectional=bidirectional).train(training)
    both(layer, [4, 4, 4])
    both(layer, [2, 5, 1])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_the_kernel_of_float32_has_the_loops_masks_and_numbers(name, kind, training, monkeypatch):
    wide = make(name, KINDS[kind], num_layers=2, bidirectional=True, dropout=0.25).train(training)
    narrow = copy.deepcopy(wide).float()
    xs, state = data([2, 5, 1], wide)
    served = []
    for cell in ("lstm", "gru", "rnn"):
        own = getattr(ops, cell)
        monkeypatch.setattr(ops, cell, lambda *a, own=own, **k: (served.append(1), own(*a, **k))[1])
    results = []
    for layer, dtype in ((wide, D), (narrow, torch.float32)):
        hx = tuple(s.detach().to(dtype) for s in flat(state))
        y, end = run_packed(layer, [x.to(dtype) for x in xs], td.key(5), hx if len(hx) > 1 else hx[0])
        loss = sum(v.square().sum() for v in (*y, *flat(end)))
        results.append([*y, *flat(end), *torch.autograd.grad(loss, list(layer.parameters()))])
    assert len(served) == (4 if training or any(k.live(False) for k in wide.recurrent) else 0)
    for expected, got in zip(*results, strict=True):
        torch.testing.assert_close(got.double(), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("locked", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
def test_dropout_between_layers(name, bidirectional, locked):
    layer = make(name, (), num_layers=3, dropout=0.5, locked=locked, bidirectional=bidirectional)
    both(layer, [4, 4])
    both(layer, [2, 4, 3])
    layer.recurrent = td.Variational(0.25, 0.25)
    both(layer, [2, 4, 3])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", list(ANY | GATED | LSTM))
def test_projections(kind, bias, training):
    layer = make("LSTM", KINDS[kind], num_layers=2, bidirectional=True, proj_size=2, bias=bias).train(training)
    both(layer, [3, 3])
    both(layer, [1, 3])


@pytest.mark.parametrize("kind", ["untied", "zoneout-h"])
def test_relu_and_no_bias(kind):
    both(make("RNN", KINDS[kind], nonlinearity="relu", bias=False), [3, 2])
    both(make("GRU", KINDS[kind], bias=False), [3, 2])


def steps_of(name):
    """`sequence`'s function of a cell for H = 2, of inputs, which are the products themselves, state and masks."""
    torch.manual_seed(3)
    gates = {"lstm": 4, "gru": 3, "rnn": 1}[name]
    zero, b = torch.zeros(gates * 2, dtype=D), torch.randn(gates * 2, dtype=D)
    weights = sequence.Weights(torch.eye(gates * 2, dtype=D), torch.randn(gates * 2, 2, dtype=D), zero, b, None)
    more = ("tanh",) if name == "rnn" else ()

    def run(projected, state, masks):
        return getattr(sequence, name)(projected, state, weights, None, masks, *more)

    return run, gates


@pytest.mark.parametrize("name", ["lstm", "gru", "rnn"])
def test_lengths_and_sequences_of_no_steps(name):
    """Beyond its length a sequence keeps its state and puts out zeros, whatever is there; length 0: all is beyond."""
    run, gates = steps_of(name)
    projected, lengths = torch.randn(4, 3, gates * 2, dtype=D), torch.tensor([0, 2, 4])
    state = tuple(torch.randn(3, 2, dtype=D) for _ in range(2 if name == "lstm" else 1))
    y, end = run(projected, state, StepMasks(lengths=lengths))
    garbage = projected.clone()
    for n, length in enumerate(lengths.tolist()):
        garbage[length:, n] = float("nan")
        assert (y[length:, n] == 0).all()
        alone, own = (
            run(projected[:length, n : n + 1], tuple(s[n : n + 1] for s in state), StepMasks())
            if length
            else (y[:0, :1], tuple(s[n : n + 1] for s in state))
        )
        torch.testing.assert_close(y[:length, n : n + 1], alone)
        for a, b in zip(end, own, strict=True):
            torch.testing.assert_close(a[n : n + 1], b)
    again, last = run(garbage, state, StepMasks(lengths=lengths))
    assert torch.equal(again, y)
    assert all(torch.equal(a, b) for a, b in zip(last, end, strict=True))


@pytest.mark.parametrize("name", ["lstm", "gru", "rnn"])
def test_one_gate_mask_for_all_and_one_update_mask_for_all_steps_are_their_copies(name):
    run, gates = steps_of(name)
    projected = torch.randn(4, 3, gates * 2, dtype=D)
    state = tuple(torch.randn(3, 2, dtype=D) for _ in range(2 if name == "lstm" else 1))
    hidden, update = torch.rand(3, 1, 2, dtype=D), torch.rand(1, 3, 2, dtype=D)
    small = run(projected, state, StepMasks(hidden=hidden, update=update))
    large = run(projected, state, StepMasks(hidden=hidden.expand(3, gates, 2), update=update.expand(4, 3, 2)))
    torch.testing.assert_close(small, large)


@pytest.mark.parametrize("kind", ["none", "weights", "input, tied", "zoneout-h"])
@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
def test_where_only_weights_or_inputs_are_masked_pytorchs_recurrence_serves(name, kind, monkeypatch):
    """As on a GPU, where that is cuDNN; what is masked inside goes step by step."""
    kinds = {"none": (), "weights": td.WeightDrop(0.5), "input, tied": td.Variational(0.5, 0.0, tied=True)}
    served, run = [], _native.run
    monkeypatch.setattr(_native, "_is_fastest", lambda x: True)
    monkeypatch.setattr(_native, "run", lambda *a: (served.append(1), run(*a))[1])
    for options in ({"bias": False}, {"proj_size": 2} if name == "LSTM" else {}):
        own = make(name, kinds.get(kind, ANY["zoneout-h"]), num_layers=2, bidirectional=True, dropout=0.5, **options)
        both(own, [4, 4, 4])
        both(own, [2, 5, 1])
    assert len(served) == (0 if kind == "zoneout-h" else 16)


@pytest.mark.parametrize(
    ("name", "kind"), [("LSTM", "cell-many"), ("LSTM", "update"), ("GRU", "untied"), ("RNN", "tied")]
)
def test_compiled_steps_are_the_plain_ones(name, kind, monkeypatch):
    """As on a GPU, where a step is one kernel."""
    monkeypatch.setattr(sequence, "_compiles", lambda x: True)
    monkeypatch.setattr(sequence, "_compiled", lambda step: torch.compile(step, backend="aot_eager", fullgraph=True))
    layer = make(name, KINDS[kind], bidirectional=True)
    both(layer, [4, 4, 4])
    both(layer, [2, 5, 1])
