"""Faults, extreme rates and sizes, dtypes, and what transforms a layer."""

import copy
import os
import pickle

import pytest
import torch
from torch.multiprocessing import get_context
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils.checkpoint import checkpoint

import torchdropout as td

D = torch.float64
LSTM_KINDS = {
    "variational": td.Variational(0.5, 0.25),
    "tied": td.Variational(0.5, 0.25, tied=True),
    "cell": td.CellDropout(0.5),
    "update": td.UpdateDropout(0.5),
    "update-sequence": td.UpdateDropout(0.5, per="sequence"),
    "zoneout": td.Zoneout(cell=0.5, hidden=0.25),
    "zoneout-hidden": td.Zoneout(hidden=0.25),
    "weights": td.WeightDrop(0.5),
    "between": (),
}
CASES = [("LSTM", kind) for kind in LSTM_KINDS]
CASES += [
    ("GRU", kind)
    for kind in ("variational", "tied", "update", "update-sequence", "zoneout-hidden", "weights", "between")
]
CASES += [("RNN", kind) for kind in ("variational", "tied", "zoneout-hidden", "weights", "between")]
each = pytest.mark.parametrize(("name", "kind"), CASES)


def make(name, kind, **options):
    torch.manual_seed(0)
    options = {"num_layers": 2, "dropout": 0.5, "bidirectional": True} | options
    return getattr(td, name)(3, 4, recurrent=LSTM_KINDS[kind], **options)


def flat(result):
    y, end = result
    return [y, *(end if isinstance(end, tuple) else (end,))]


@pytest.mark.parametrize("training", [True, False])
@each
def test_gradcheck(name, kind, training):
    layer = getattr(td, name)(2, 2, recurrent=LSTM_KINDS[kind], bidirectional=True, dtype=D).train(training)
    x, lengths = torch.randn(3, 2, 2, dtype=D, requires_grad=True), torch.tensor([3, 2])
    names, values = zip(*layer.named_parameters(), strict=True)
    state = [torch.randn(2, 2, 2, dtype=D, requires_grad=True) for _ in range(2 if name == "LSTM" else 1)]

    def run(x, *given):
        own = given[: len(state)]
        hx = own if len(own) > 1 else own[0]
        parameters = dict(zip(names, given[len(state) :], strict=True))
        packed = pack_padded_sequence(x, lengths)
        y, end = torch.func.functional_call(layer, parameters, (packed, hx), {"key": td.key(0)})
        return flat((y.data, end))[: 1 + len(state)]

    torch.autograd.gradcheck(run, (x, *state, *values), fast_mode=True)


def test_double_backward():
    layer = td.LSTM(2, 2, recurrent=[td.Variational(0.5, 0.5), td.Zoneout(cell=0.5)], dtype=D)
    x = torch.randn(2, 2, 2, dtype=D, requires_grad=True)
    torch.autograd.gradgradcheck(lambda x: layer(x, key=td.key(0))[0], x, fast_mode=True)


@pytest.mark.parametrize("p", [0.0, 1.0])
@pytest.mark.parametrize("training", [True, False])
def test_settled_rates_are_finite(p, training):
    """At 1 nothing is new (zeros or the old state); at 0 it is PyTorch's layer. Gradients are finite at both."""
    kinds = [
        td.Variational(p, p), td.CellDropout(p), td.UpdateDropout(p), td.UpdateDropout(p, per="sequence"),
        td.Zoneout(cell=p, hidden=p), td.WeightDrop(p),
    ]  # fmt: skip
    for kind in kinds:
        layer = td.LSTM(3, 4, 2, dropout=p, recurrent=kind).train(training)
        x = torch.randn(5, 2, 3, requires_grad=True)
        y, (h, c) = layer(x)
        (y.square().sum() + h.sum() + c.sum()).backward()
        assert all(torch.isfinite(t).all() for t in (y, h, c, x.grad, *(w.grad for w in layer.parameters())))
        if p == 0:
            theirs = torch.nn.LSTM(3, 4, 2)
            theirs.load_state_dict(layer.state_dict())
            assert torch.equal(theirs(x)[0], y)
        elif isinstance(kind, (td.CellDropout, td.Zoneout)) or (training and isinstance(kind, td.UpdateDropout)):
            assert (y == 0).all()


@pytest.mark.parametrize("p", [1e-6, 1 - 1e-6])
def test_rates_next_to_settled_ones_are_finite(p):
    for kind in (td.Variational(p, p), td.CellDropout(p), td.UpdateDropout(p), td.Zoneout(cell=p), td.WeightDrop(p)):
        layer, x = td.LSTM(3, 4, 2, dropout=p, recurrent=kind), torch.randn(5, 2, 3)
        layer(x, key=td.key(0))[0].sum().backward()
        assert all(torch.isfinite(w.grad).all() for w in layer.parameters())


@each
def test_sizes_of_one_and_none(name, kind):
    layer = make(name, kind)
    for shape in ((1, 2, 3), (5, 0, 3), (1, 0, 3), (5, 1, 3)):
        got, expected = flat(layer(torch.randn(shape))), flat(layer.eval()(torch.randn(shape)))
        layer.train()
        assert [t.shape for t in got] == [t.shape for t in expected]
    alone, batch = layer(torch.ones(5, 3), key=td.key(0)), layer(torch.ones(5, 1, 3), key=td.key(0))
    assert torch.equal(alone[0], batch[0][:, 0])
    assert [t.dim() for t in flat(alone)] == [2] * len(flat(alone))


@pytest.mark.parametrize("packed", [False, True])
@each
def test_nan_reaches_only_its_own_sequence(name, kind, packed):
    layer, x = make(name, kind), torch.randn(5, 3, 3)
    bad = x.clone()
    bad[1, 1] = float("nan")
    bad[2, 1] = float("inf")

    def run(x):
        x = x.clone().requires_grad_()
        given = pack_padded_sequence(x, torch.tensor([5, 4, 2])) if packed else x
        y = layer(given, key=td.key(0))[0]
        y = pad_packed_sequence(y)[0] if packed else y
        return y, torch.autograd.grad(y.sum(), x)[0]

    for clean, dirty in zip(run(x), run(bad), strict=True):
        assert torch.equal(clean[:, [0, 2]], dirty[:, [0, 2]])
    assert run(bad)[0][:, 1].isnan().any()


@each
def test_bfloat16_autocast(name, kind):
    """Dtypes are those of PyTorch's layer, numbers close to those of float32."""
    layer, x = make(name, kind), torch.randn(5, 2, 3)
    plain = getattr(torch.nn, name)(3, 4, 2, bidirectional=True)
    wide = flat(layer(x, key=td.key(0)))
    with torch.autocast("cpu", torch.bfloat16):
        narrow, expected = flat(layer(x, key=td.key(0))), flat(plain(x))
        narrow[0].float().sum().backward()
    assert [t.dtype for t in narrow] == [t.dtype for t in expected]
    for a, b in zip(narrow, wide, strict=True):
        assert (a.float() - b).abs().max() < 0.05
    assert all(torch.isfinite(p.grad).all() for p in layer.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@each
def test_half_precision(name, kind, dtype):
    layer, x = make(name, kind).to(dtype), torch.randn(5, 2, 3).to(dtype)
    got, wide = flat(layer(x, key=td.key(0))), flat(copy.deepcopy(layer).float()(x.float(), key=td.key(0)))
    for a, b in zip(got, wide, strict=True):
        assert a.dtype == dtype
        assert (a.float() - b).abs().max() < 0.05


@each
def test_copies_and_checkpointing(name, kind):
    layer, x = make(name, kind), torch.randn(5, 2, 3)
    y = layer(x, key=td.key(0))[0]
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(x, key=td.key(0))[0], y)
    grads = []
    for run in (layer, lambda x: checkpoint(layer, x, use_reentrant=False)):
        torch.manual_seed(0)
        grads.append(torch.autograd.grad(run(x)[0].square().sum(), layer.weight_hh_l0)[0])
    assert torch.equal(*grads)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
def test_compiled_layers_have_the_same_numbers(name):
    """A layer within a compiled network: graph breaks are fine, other numbers are not."""
    kinds = [td.Variational(0.5, 0.25), td.Zoneout(hidden=0.5), td.WeightDrop(0.25)]
    layer = getattr(td, name)(3, 4, recurrent=kinds)

    def network(x, key):
        return (layer(2.0 * x, key=key)[0] + 1.0).relu()

    compiled = torch.compile(network, backend="aot_eager")
    for seed in (0, 1):
        x = torch.randn(3, 2, 3)
        results = []
        for run in (network, compiled):
            loss = run(x, td.key(seed)).square().sum()
            results.append([loss, *torch.autograd.grad(loss, list(layer.parameters()))])
        torch.testing.assert_close(*results)
    layer.eval()
    torch.testing.assert_close(compiled(x, td.key(0)), network(x, td.key(0)))


@each
def test_vmap_over_inputs_and_over_keys(name, kind):
    layer, x = make(name, kind), torch.randn(3, 5, 2, 3)
    y = torch.func.vmap(lambda x: layer(x)[0], randomness="different")(x[:1].expand(3, 5, 2, 3))
    assert not torch.equal(y[0], y[1])
    keys = td.split(td.key(0), 3)
    y = torch.func.vmap(lambda x, key: layer(x, key=key)[0])(x, keys)
    torch.testing.assert_close(y, torch.stack([layer(a, key=k)[0] for a, k in zip(x, keys, strict=True)]))


def test_the_input_and_the_state_stay_as_they_are():
    layer = make("LSTM", "zoneout")
    x, state = torch.randn(5, 2, 3), (torch.randn(4, 2, 4), torch.randn(4, 2, 4))
    before = [t.clone() for t in (x, *state)]
    layer(x, state)
    assert all(torch.equal(a, b) for a, b in zip(before, (x, *state), strict=True))


def test_non_contiguous_inputs():
    layer, x = make("LSTM", "variational"), torch.randn(3, 2, 5).transpose(0, 2)
    assert torch.equal(layer(x, key=td.key(0))[0], layer(x.contiguous(), key=td.key(0))[0])


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
def test_a_whole_graph_where_dynamo_is_told_to_take_recurrent_layers(name):
    layer = getattr(td, name)(3, 4, recurrent=[td.Variational(0.5, 0.25), td.Zoneout(hidden=0.5)])
    with torch._dynamo.config.patch(allow_rnn=True):
        compiled = torch.compile(lambda x, key: layer(x, key=key)[0], fullgraph=True, backend="aot_eager")
        x = torch.randn(3, 2, 3)
        torch.testing.assert_close(compiled(x, td.key(0)), layer(x, key=td.key(0))[0])
        assert not torch.equal(compiled(x, td.key(1)), compiled(x, td.key(0)))


def outputs_of(layer, x, queue):
    torch.set_num_threads(1)
    queue.put(layer(x, key=td.key(0))[0].detach().numpy())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
def test_a_forked_worker_has_the_same_numbers(name):
    """The parent has run the kernels on threads of its own before."""
    layer, x = make(name, "variational"), torch.randn(5, 40, 3)
    y = layer(x, key=td.key(0))[0].detach()
    context = get_context("fork")
    queue = context.SimpleQueue()
    worker = context.Process(target=outputs_of, args=(layer, x, queue))
    worker.start()
    found = torch.from_numpy(queue.get())
    worker.join(60)
    assert worker.exitcode == 0
    assert torch.equal(found, y)
