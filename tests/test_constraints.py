"""Constraints after the optimizer's steps, against NumPy, and only after steps that were taken."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

import torchdropout as td

RULES = {
    "max": (td.MaxNorm(0.7), lambda w: w * min(1.0, 0.7 / np.linalg.norm(w)) if w.any() else w),
    "unit": (td.UnitNorm(), lambda w: w / np.linalg.norm(w) if w.any() else w),
    "non-negative": (td.NonNegative(), lambda w: np.maximum(w, 0)),
}


def units(layer):
    """A view of every unit's incoming weights as a list of arrays, by the definition of the layer."""
    weight = layer.weight.detach().double().numpy() if hasattr(layer, "weight") else None
    if isinstance(layer, nn.ConvTranspose2d):  # (in, out / groups, h, w): input channels of a group lead to its outputs
        per = weight.shape[0] // layer.groups
        return [weight[g * per : (g + 1) * per, o].ravel() for g in range(layer.groups) for o in range(weight.shape[1])]
    if isinstance(layer, nn.RNNBase):
        return [row for name in layer._flat_weights_names if "weight" in name
                for row in getattr(layer, name).detach().double().numpy()]  # fmt: skip
    if isinstance(layer, nn.MultiheadAttention):
        return [*layer.in_proj_weight.detach().double().numpy(), *layer.out_proj.weight.detach().double().numpy()]
    return [row.ravel() for row in weight]


LAYERS = {
    "linear": lambda: nn.Linear(5, 4),
    "bilinear": lambda: nn.Bilinear(3, 2, 4),
    "conv": lambda: nn.Conv2d(4, 6, 3, groups=2),
    "transposed": lambda: nn.ConvTranspose2d(4, 6, 3, groups=2),
    "lstm": lambda: td.LSTM(3, 4, 2, bidirectional=True),
    "attention": lambda: nn.MultiheadAttention(6, 2),
    "ours": lambda: td.DropConnectLinear(5, 4),
}


@pytest.mark.parametrize("rule", list(RULES))
@pytest.mark.parametrize("name", list(LAYERS))
def test_each_units_incoming_weights(name, rule):
    torch.manual_seed(0)
    layer = LAYERS[name]()
    with torch.no_grad():
        for p in layer.parameters():
            p.normal_()
            if p.dim() > 1:
                p[0].zero_()
    biases = {n: p.clone() for n, p in layer.named_parameters() if p.dim() == 1}
    constraint, expected = RULES[rule]
    before = units(layer)
    td.constrain_(torch.optim.SGD(layer.parameters(), lr=0.1), layer, constraint)
    for old, new in zip(before, units(layer), strict=True):
        np.testing.assert_allclose(new, expected(old), rtol=1e-6, atol=1e-7)
    assert all(torch.equal(dict(layer.named_parameters())[n], p) for n, p in biases.items())


def test_the_noise_of_variational_layers_is_no_weight():
    layer = td.SparseVariationalLinear(3, 2)
    before = layer.log_sigma2.detach().clone()
    td.constrain_(torch.optim.SGD(layer.parameters(), lr=0.1), layer, td.NonNegative())
    assert torch.equal(layer.log_sigma2, before)
    assert (layer.weight >= 0).all()


def test_it_holds_after_every_step_and_no_longer_once_removed():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9)
    handle = td.constrain_(optimizer, model, td.MaxNorm(0.5), lambda p, name: name.startswith("0"))
    lengths = []
    for step in range(12):
        if step == 6:
            handle.remove()
        optimizer.zero_grad()
        (-model(torch.ones(3, 6)).sum()).backward()
        optimizer.step()
        lengths.append([layer.weight.norm(dim=1).max().item() for layer in (model[0], model[2])])
    assert all(first <= 0.5 * (1 + 1e-6) for first, _ in lengths[:6])
    assert lengths[5][1] > 0.5
    assert lengths[-1][0] > 0.5


def test_skipped_steps_and_accumulation_change_nothing():
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    td.constrain_(optimizer, model, td.MaxNorm(0.5))
    calls = []
    td.constrain_(optimizer, model, lambda weight, dims: calls.append(dims))
    scaler = torch.amp.GradScaler("cpu")
    before = model.weight.detach().clone()
    scaler.scale((model(torch.ones(1, 3)) * math.inf).sum()).backward()  # accumulated
    assert len(calls) == 1
    scaler.step(optimizer)  # not finite: skipped
    scaler.update()
    assert len(calls) == 1
    assert torch.equal(model.weight, before)
    optimizer.zero_grad()
    scaler.scale(model(torch.ones(1, 3)).sum()).backward()
    scaler.step(optimizer)
    assert calls == [(1,), (1,)]


def test_tied_and_wrapped_weights_are_constrained_once():
    shared = nn.Linear(4, 4)
    model = nn.Sequential(shared, nn.ReLU(), shared)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    seen = []
    td.constrain_(optimizer, torch.compile(model), lambda weight, dims: seen.append(weight.shape))
    assert seen == [(4, 4)]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtypes(dtype):
    layer = nn.Linear(300, 3, dtype=dtype)
    with torch.no_grad():
        layer.weight.fill_(100.0)
    td.constrain_(torch.optim.SGD(layer.parameters(), lr=0.1), layer, td.MaxNorm(2.0))
    assert layer.weight.dtype == dtype
    torch.testing.assert_close(layer.weight.double().norm(dim=1), torch.full((3,), 2.0).double(), rtol=1e-2, atol=0)


def test_the_layers_gradients_are_untouched_and_nan_is_not_hidden():
    weight = torch.tensor([[math.nan, 1.0], [3.0, 4.0]])
    td.MaxNorm(1.0)(weight, (1,))
    assert weight[0].isnan().any()
    torch.testing.assert_close(weight[1], torch.tensor([0.6, 0.8]))


def parametrized():
    model = weight_norm(nn.Linear(2, 2))
    td.constrain_(torch.optim.SGD(model.parameters(), lr=0.1), model, td.MaxNorm())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: td.MaxNorm(0.0), ValueError, "MaxNorm: `c` must be positive and finite, got 0.0."),
        (lambda: td.MaxNorm("3"), TypeError, "MaxNorm: `c` must be a number, got '3'."),
        (
            lambda: td.constrain_(torch.optim.SGD([torch.ones(1, requires_grad=True)]), nn.Linear(1, 1), td.UnitNorm()),
            ValueError,
            "constrain_: `model` must have weights that `optimizer` updates, found none.",
        ),
        (
            lambda: td.constrain_(
                torch.optim.SGD((m := nn.Sequential(nn.Linear(1, 1))).parameters()),
                torch.compile(m),
                td.UnitNorm(),
                lambda p, name: False,
            ),
            ValueError,
            "constrain_: `filter_fn` must choose a weight, it chose none of 0.weight.",
        ),
        (
            parametrized,
            ValueError,
            "constrain_: weights must be parameters, the model has them parametrized: what a constraint makes of them "
            "cannot be stored.",
        ),
    ],
)  # fmt: skip
def test_errors(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message
