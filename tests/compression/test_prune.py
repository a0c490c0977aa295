import copy
import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves

import torchdropout as td
from torchdropout import catalog
from torchdropout.compression._plain import is_ours
from torchdropout.compression.prune import to_plain_
from torchdropout.testing.declared import declared

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(4, 3, 6, 6, generator=GENERATOR)


def set_gates(gate, dead, seed=0):
    """Gates with means between 0.3 and 1, some of them all noise."""
    with torch.no_grad():
        gate.mu.copy_(-torch.rand(gate.num_features, generator=torch.Generator().manual_seed(seed)))
        gate.log_sigma.fill_(-4.0)
        gate.log_sigma[dead] = 5.0


def away_from_zero(model, seed=0):
    """Biases, and running moments, that are none of them trivial."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            for name in ("bias", "running_mean"):
                if isinstance(getattr(module, name, None), torch.Tensor):
                    getattr(module, name).normal_(generator=generator)
            if isinstance(getattr(module, "running_var", None), torch.Tensor):
                module.running_var.uniform_(0.5, 2, generator=generator)
    return model.eval()


def no_noise_left(model):
    return not any(is_ours(module) for module in model.modules()) and "_torchdropout_changes" not in vars(model)


def test_weights_from_the_threshold_on_are_zero():
    layer = td.SparseVariationalLinear(4, 1)
    with torch.no_grad():
        layer.weight.fill_(1.0)
        layer.log_sigma2.copy_(torch.tensor([[2.9, 3.1, -5.0, 1.9]]))
    model = nn.Sequential(layer).eval()
    expected = model(torch.eye(4))
    twin = copy.deepcopy(model)
    report = td.prune_(twin)
    assert type(twin[0]) is nn.Linear
    assert twin[0].weight.tolist() == [[1.0, 0.0, 1.0, 1.0]]
    torch.testing.assert_close(twin(torch.eye(4)), expected)
    assert (report.layers, report.sparsity) == ((td.Pruned("0", "weights", 4, 3),), 0.25)
    report = td.prune_(model, threshold=2.0)
    assert model[0].weight.tolist() == [[0.0, 0.0, 1.0, 1.0]]
    assert str(report) == "0          2 of         4 weights left"


@pytest.mark.parametrize("level", [3.5, 50.0])
def test_one_weight_stays_that_with_the_least_noise(level):
    layer = td.SparseVariationalLinear(3, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.1, 0.2, -0.3], [0.1, 0.0, 0.2]]))
        layer.log_sigma2.fill_(level)
    report = td.prune_(model := nn.Sequential(layer))
    torch.testing.assert_close(model[0].weight.data, torch.tensor([[0.0, 0.0, -0.3], [0.0, 0.0, 0.0]]))
    assert (report.layers[0].kept, report.layers[0].all_noise) == (1, True)
    assert str(report) == "0          1 of         6 weights left, the least noisy: all were to go"


def test_one_channel_stays():
    gate = td.LogNormalDropout(3)
    with torch.no_grad():
        gate.log_sigma.copy_(torch.tensor([5.0, 3.0, 4.0]))
    assert not gate.mask.any()
    report = td.prune_(model := nn.Sequential(nn.Linear(2, 3), gate))
    assert (report.layers[0].kept, report.layers[0].all_noise) == (1, True)
    assert model[0].weight.any(1).tolist() == [False, True, False]


@pytest.mark.parametrize("snr", [None, 0.0, 1.0, 5.0])
def test_channels_up_to_the_ratio_go_and_others_are_scaled_by_the_mean(snr):
    gate = td.LogNormalDropout(6, -1)
    with torch.no_grad():
        gate.log_sigma.copy_(torch.linspace(-4, 2, 6))
    model = nn.Sequential(nn.Linear(3, 6), gate, nn.Tanh()).eval()
    limit = 1.0 if snr is None else snr
    kept = gate.snr() > limit
    expected = torch.tanh(model[0](X[0, 0][:, :3]) * gate.mean() * kept)
    td.prune_(model, snr=snr)
    torch.testing.assert_close(model(X[0, 0][:, :3]), expected)
    assert torch.equal(model[0].weight.any(1), kept)
    assert no_noise_left(model)


class Functional(nn.Module):
    """Gates before and behind, with activations and reshapes as functions."""

    def __init__(self):
        super().__init__()
        self.conv, self.conv2, self.fc = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 5, 3), nn.Linear(80, 2)
        self.gate, self.gate2 = td.LogNormalDropout(4), td.LogNormalDropout(5)

    def forward(self, x):
        x = self.conv2(self.gate(F.silu(self.conv(x))))
        return self.fc(torch.flatten(self.gate2(F.gelu(x)), 1))


def spread(*layers):
    return nn.Sequential(*layers)


PLACES = {
    "behind a linear layer": (lambda: spread(nn.Flatten(), nn.Linear(108, 5), td.LogNormalDropout(5), nn.GELU()), 1),
    "behind a convolution": (lambda: spread(nn.Conv2d(3, 5, 3), td.LogNormalDropout(5), nn.GELU()), 1),
    "behind batch norm": (lambda: spread(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), td.LogNormalDropout(5), nn.GELU()), 1),
    "behind ReLU": (lambda: spread(nn.Conv2d(3, 5, 3), nn.ReLU(), td.LogNormalDropout(5), nn.GELU()), 1),
    "behind dropout": (lambda: spread(nn.Conv2d(3, 5, 3), nn.Dropout(0.5), td.LogNormalDropout(5), nn.GELU()), 1),
    "before a convolution": (lambda: spread(td.LogNormalDropout(3), nn.Conv2d(3, 5, 3)), 0),
    "before flatten, linear": (lambda: spread(nn.GELU(), td.LogNormalDropout(3), nn.Flatten(), nn.Linear(108, 5)), 1),
    "functions": (Functional, None),
    "behind a grouped convolution": (lambda: spread(nn.Conv2d(3, 6, 3, groups=3), td.LogNormalDropout(6)), 1),
    "before batch norm without dead channels": (
        lambda: spread(nn.Conv2d(3, 5, 3), td.LogNormalDropout(5), nn.BatchNorm2d(5)),
        "alive",
    ),
}  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_folded_gates_change_no_output(place):
    make, how = PLACES[place]
    model = away_from_zero(make())
    for gate in [m for m in model.modules() if isinstance(m, td.LogNormalDropout)]:
        set_gates(gate, [] if how == "alive" else [0, gate.num_features - 1])
    expected = model(X)
    td.prune_(model)
    torch.testing.assert_close(model(X), expected, rtol=1e-4, atol=1e-5)
    assert no_noise_left(model)


def chain():
    return away_from_zero(
        nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 6, 3, groups=2), nn.SiLU(), nn.Flatten(),
            nn.Linear(96, 8), nn.ReLU(), nn.Linear(8, 2),
        )
    )  # fmt: skip


def test_inserted_gates_are_folded_into_their_hosts_and_gone():
    model = chain()
    plain = copy.deepcopy(model)
    td.sparsify_(model, "log-normal", gate_inputs=True)
    gates = [m for m in model.modules() if isinstance(m, td.LogNormalDropout)]
    for n, gate in enumerate(gates):
        set_gates(gate, [n % gate.num_features], n)
    expected = model.eval()(X)
    report = td.prune_(model)
    assert [(each.name, each.what, each.kept) for each in report.layers] == [
        ("0", "channels", 3), ("0", "input channels", 2), ("2", "channels", 5), ("5", "channels", 7),
    ]  # fmt: skip
    torch.testing.assert_close(model(X), expected, rtol=1e-4, atol=1e-5)
    assert no_noise_left(model)
    assert str(model) == str(plain)


def test_both_methods_at_once():
    model = chain()
    td.sparsify_(model)
    td.insert_after_(model, "5", lambda *_: td.LogNormalDropout(8, -1), example_inputs=X)
    with torch.no_grad():
        for n in (0, 2, 5, 7):
            model[n].log_sigma2.uniform_(-12, 0)
    set_gates(model[5].noise_after[0], [2])
    expected = model.eval()(X)
    td.prune_(model)
    torch.testing.assert_close(model(X), expected, rtol=1e-4, atol=1e-5)
    assert no_noise_left(model)
    assert type(model[5]) is nn.Linear


def test_dead_channels_stay_dead_behind_batch_norm():
    model = away_from_zero(nn.Sequential(nn.Conv2d(3, 5, 3), td.LogNormalDropout(5), nn.BatchNorm2d(5), nn.ReLU()))
    set_gates(model[1], [1, 3])
    expected = model(X)
    td.prune_(model)
    y = model(X)
    assert not y[:, [1, 3]].any()
    torch.testing.assert_close(y[:, [0, 2, 4]], expected[:, [0, 2, 4]])


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.gate = nn.Linear(6, 6), td.LogNormalDropout(6, -1)

    def forward(self, x):
        return self.gate(self.fc(self.gate(x)))


class Untraceable(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.gate = nn.Linear(6, 6), td.LogNormalDropout(6, -1)

    def forward(self, x):
        return self.gate(self.fc(x)) if x.sum() > 0 else x


REFUSED = {
    "no noise": (lambda: nn.Linear(2, 2), {}, "prune_: the model must have sparse variational layers or log-normal ga"),
    "only other noise": (lambda: nn.Sequential(td.Dropout(0.5)), {}, "gates, got neither"),
    "threshold": (lambda: nn.Sequential(td.SparseVariationalLinear(2, 2)), {"threshold": 9}, "`threshold` must be in"),
    "ratio": (lambda: nn.Sequential(nn.Linear(2, 2), td.LogNormalDropout(2)), {"snr": -1}, "`snr` must be at least 0"),
    "the model itself": (lambda: td.SparseVariationalLinear(2, 2), {}, "the model itself is a SparseVariationalLinear"),
    "called twice": (Twice, {}, "gate must be called once in a forward pass"),
    "not traced": (Untraceable, {}, "must be one that torch.fx can trace"),
    "between activations": (
        lambda: nn.Sequential(nn.Tanh(), td.LogNormalDropout(6, -1), nn.Tanh()), {},
        "1 must have a linear layer or convolution before it",
    ),
    "another axis": (
        lambda: nn.Sequential(nn.Conv2d(3, 6, 3), td.LogNormalDropout(6, 2), nn.Tanh()), {},
        "1 must have a linear layer or convolution before it",
    ),
    "other noise without a plain layer": (
        lambda: nn.Sequential(td.SparseVariationalLinear(6, 6), td.StandoutLinear(6, 2)), {},
        "1 (StandoutLinear) has no plain layer",
    ),
    "wrapped": (lambda: nn.DataParallel(nn.Sequential(td.SparseVariationalLinear(2, 2))), {}, "prune_: "),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused_leaves_the_model_as_it_was(kind):
    make, arguments, message = REFUSED[kind]
    model = make()
    before, state = str(model), {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=re.escape(message)):
        td.prune_(model, **arguments)
    assert str(model) == before
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_a_refusal_after_a_first_fold_undoes_it():
    layers = nn.Linear(6, 6), td.LogNormalDropout(6, -1), nn.Tanh(), td.LogNormalDropout(6, -1), nn.Tanh()
    model = nn.Sequential(*layers).eval()
    td.insert_after_(model, "0", lambda *_: td.LogNormalDropout(6, -1), example_inputs=X)
    for n in (1, 3):
        set_gates(model[n], [0])
    set_gates(model[0].noise_after[0], [1])
    expected, before = model(X), str(model)
    with pytest.raises(ValueError, match="3 must have a linear layer"):
        td.prune_(model, snr=0.5)
    assert torch.equal(model(X), expected)
    assert str(model) == before
    assert model[1].snr_threshold == 1.0
    td.revert_(model)


def test_zeros_stay_when_training_goes_on():
    model = nn.Sequential(td.SparseVariationalLinear(6, 4), nn.ReLU(), td.SparseVariationalLinear(4, 2))
    with torch.no_grad():
        for n in (0, 2):
            model[n].log_sigma2.uniform_(-12, 6)
    td.prune_(model)
    zeros = [model[n].weight == 0 for n in (0, 2)]
    assert all(zero.any() and not zero.all() for zero in zeros)
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    td.constrain_(optimizer, model, td.FixedZeros())
    before = model[0].weight.clone()
    for _ in range(5):
        optimizer.zero_grad()
        model(X).square().sum().backward()
        optimizer.step()
    assert all(torch.equal(model[n].weight == 0, zero) for n, zero in zip((0, 2), zeros, strict=True))
    assert not torch.equal(model[0].weight, before)


@pytest.mark.parametrize("name", catalog.names())
def test_every_method_of_the_catalogue_becomes_plain_or_is_refused_by_name(name):
    case = declared(name)
    layer, x = case.factory(), case.input[:3]
    layer = layer if is_ours(layer) else layer.layer  # of recurrent kinds, whose case has a wrapper
    first = nn.Linear(x.shape[1], x.shape[1]) if isinstance(layer, td.LogNormalDropout) and x.dim() == 2 else None
    if isinstance(layer, td.LogNormalDropout) and x.dim() == 4:
        first = nn.Conv2d(x.shape[1], x.shape[1], 1)
    model = away_from_zero(nn.Sequential(nn.Identity() if first is None else first, layer))
    expected = model(x)
    if name in WITHOUT:
        with pytest.raises(ValueError, match=type(layer).__name__):
            to_plain_("shrink", model)
        assert model[1] is layer
        return
    to_plain_("shrink", model)
    assert no_noise_left(model)
    for found, wanted in zip(tree_leaves(model(x)), tree_leaves(expected), strict=True):
        torch.testing.assert_close(found, wanted)


WITHOUT = {  # what no layer of PyTorch computes in eval
    "standout", "max-pool1d", "max-pool2d", "avg-pool1d", "avg-pool2d", "rnn-drop", "zoneout",
        "dropconnect-conv1d", "dropconnect-conv2d",
}  # fmt: skip
