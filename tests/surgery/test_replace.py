"""Layers replaced: what they have learned, ties, hooks, parametrizations and optimizers stay, and undoing restores."""

import pytest
import torch
from models import ResNet, Transformer, mlp
from test_insert import graph
from torch import nn
from torch.nn.utils.parametrizations import orthogonal, spectral_norm, weight_norm

import torchdropout as td

CONVERSIONS = {
    "dropconnect": {
        nn.Linear: lambda m, name: td.DropConnectLinear.from_linear(m, p=0.5),
        nn.Conv2d: lambda m, name: td.DropConnectConv2d.from_conv(m, p=0.5),
    },
    "variational": {
        nn.Linear: lambda m, name: td.VariationalLinear.from_linear(m),
        nn.Conv2d: lambda m, name: td.VariationalConv2d.from_conv(m),
    },
    "sparse": {
        nn.Linear: lambda m, name: td.SparseVariationalLinear.from_linear(m),
        nn.Conv2d: lambda m, name: td.SparseVariationalConv2d.from_conv(m),
    },
    "concrete": {
        nn.Linear: lambda m, name: td.ConcreteDropout(m),
        nn.Conv2d: lambda m, name: td.ConcreteDropout2d(m),
    },
}


@pytest.mark.parametrize("method", list(CONVERSIONS))
def test_weight_layers_keep_what_they_learned_and_how_they_look_at_images(method):
    torch.manual_seed(0)
    model = ResNet().double().eval()
    before, x = graph(model), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    expected, weights = model(x), {name: p.clone() for name, p in model.named_parameters()}
    names = td.replace_(model, CONVERSIONS[method])
    assert set(names) >= {"stem", "blocks.0.conv1", "blocks.1.short", "head"}
    assert next(model.parameters()).dtype == torch.float64
    if method == "variational":  # the test rule is the mean weights
        torch.testing.assert_close(model(x), expected)
    now = {name.replace(".layer.", "."): p for name, p in model.named_parameters()}
    for name, p in weights.items():
        assert torch.equal(now[name], p), name
    for module in model.modules():
        module.train(not isinstance(module, nn.BatchNorm2d))  # whose buffers training would move
    assert not torch.equal(model(x), model(x))
    td.revert_(model.eval())
    assert graph(model) == before
    torch.testing.assert_close(model(x), expected, rtol=0, atol=0)


def test_parameters_ties_optimizer_and_names_stay():
    torch.manual_seed(0)
    model = Transformer()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    parameters, keys = {name: id(p) for name, p in model.named_parameters()}, list(model.state_dict())
    td.replace_(model, {nn.Linear: lambda m, name: td.DropConnectLinear.from_linear(m, p=0.25)}, optimizer=optimizer)
    assert model.head.weight is model.embed.weight
    assert {name: id(p) for name, p in model.named_parameters()} == parameters
    assert list(model.state_dict()) == keys
    before = model.head.weight.detach().clone()
    model(torch.randint(0, 11, (2, 5))).square().mean().backward()
    optimizer.step()
    assert not torch.equal(model.head.weight, before)


def test_an_optimizer_that_would_miss_parameters_is_said_and_nothing_changes():
    model = mlp()
    before, optimizer = graph(model), torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="`optimizer` must be made after this, it misses 0.log_sigma2 that"):
        td.replace_(model, {"0": lambda m, name: td.SparseVariationalLinear.from_linear(m)}, optimizer=optimizer)
    with pytest.raises(ValueError, match=r"it holds 0\.weight, 0\.bias that the model would lose and it misses"):
        td.replace_(model, {"0": lambda m, name: nn.Linear(6, 8)}, optimizer=optimizer)
    assert graph(model) == before


@pytest.mark.parametrize("parametrization", [weight_norm, spectral_norm, orthogonal])
def test_parametrizations_stay(parametrization):
    torch.manual_seed(0)
    model = nn.Sequential(parametrization(nn.Linear(4, 4)), nn.ReLU()).eval()
    x, originals = torch.randn(3, 4), {name: id(p) for name, p in model.named_parameters()}
    expected = model(x)
    td.replace_(model, {nn.Linear: lambda m, name: td.DropConnectLinear.from_linear(m, p=0.0)})
    assert isinstance(model[0], td.DropConnectLinear)
    assert {name: id(p) for name, p in model.named_parameters()} == originals
    torch.testing.assert_close(model(x), expected)
    torch.testing.assert_close(td.revert_(model)(x), expected, rtol=0, atol=0)


def test_hooks_the_mode_and_inserted_noise_stay():
    model, seen = mlp(), []
    model[0].register_forward_hook(lambda module, args, y: seen.append(type(module).__name__))
    td.insert_after_(model, "0", lambda module, name: nn.Hardtanh(0.0, 0.1))
    model[0].eval()
    td.replace_(model, {"0": lambda m, name: td.VariationalLinear.from_linear(m)})
    assert not model[0].training
    assert model[3].training
    assert model[0](torch.randn(4, 6)).max() <= 0.1
    assert seen == ["VariationalLinear"]
    td.revert_(model)
    assert type(model[0]) is nn.Linear
    assert "noise_after" not in model[0]._modules


def test_a_layer_that_is_wrapped_keeps_its_hooks_to_itself():
    model, seen = mlp(), []
    model[0].register_forward_hook(lambda module, args, y: seen.append(type(module).__name__))
    td.replace_(model, {"0": lambda m, name: td.ConcreteDropout(m)})
    model(torch.randn(4, 6))
    assert seen == ["Linear"]
    assert type(td.revert_(model)[0]) is nn.Linear


@pytest.mark.parametrize("cls", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_and_dropout(cls):
    torch.manual_seed(0)
    model = nn.ModuleDict(
        {"rnn": cls(3, 4, 2, batch_first=True, bidirectional=True, dropout=0.1), "drop": nn.Dropout(0.3)}
    )
    x = torch.randn(2, 5, 3)
    expected = model["rnn"].eval()(x)[0]
    td.replace_(
        model,
        {
            cls: lambda m, name: getattr(td, cls.__name__).from_rnn(m, recurrent=td.WeightDrop(0.5)),
            (nn.Dropout, nn.Dropout2d): lambda m, name: td.GaussianDropout(m.p),
        },
    )
    assert model["drop"].p == 0.3
    assert model["rnn"].dropout == 0.1
    assert torch.equal(model["rnn"](x)[0], expected)
    model.train()
    assert not torch.equal(model["rnn"](x)[0], model["rnn"](x)[0])
    with pytest.raises(TypeError, match="LSTM: `rnn` must be a torch.nn.LSTM, got Linear"):
        td.LSTM.from_rnn(nn.Linear(1, 1))


def test_a_shared_module_is_replaced_under_all_of_its_names():
    shared = nn.Linear(4, 4)
    model = nn.Sequential(shared, nn.ReLU(), shared)
    assert td.replace_(model, {nn.Linear: lambda m, name: td.FastDropoutLinear.from_linear(m, p=0.5)}) == ["0"]
    assert model[0] is model[2]
    assert isinstance(model[0], td.FastDropoutLinear)
    td.revert_(model)
    assert model[0] is model[2] is shared


@pytest.mark.parametrize(
    ("replacements", "error", "message"),
    [
        ({}, ValueError, "replace_: `replacements` must hold a choice of modules, it is empty."),
        ({nn.Conv2d: None}, ValueError, "replace_: the type Conv2d must match a module, it matches none."),
        (
            {"0": lambda m, name: nn.Linear(6, 8), nn.Linear: lambda m, name: nn.Linear(6, 8)},
            ValueError,
            "replace_: `replacements` must not overlap, two of them match 0.",
        ),
        (
            {"2": lambda m, name: nn.Identity(), "2.*": lambda m, name: nn.Identity()},
            ValueError,
            "replace_: `replacements` must not overlap, 2.0 lies in 2.",
        ),
        ({"": None}, ValueError, "replace_: modules inside the model must be meant, got the model itself."),
        ({"1": lambda m, name: 3}, TypeError, "replace_: `factory` must return a torch.nn.Module, got int for 1."),
    ],
)
def test_errors_leave_the_model_as_it_was(replacements, error, message):
    model = mlp()
    before = graph(model)
    with pytest.raises(error) as caught:
        td.replace_(model, replacements)
    assert str(caught.value) == message
    assert graph(model) == before


def test_converting_twice_says_what_is_there_already():
    model = mlp()
    convert = {nn.Linear: lambda m, name: td.DropConnectLinear.from_linear(m, p=0.5)}
    td.replace_(model, convert)
    with pytest.raises(
        ValueError, match="it matches none of exactly that type; 0 is a DropConnectLinear, 2.0 is a Drop"
    ):
        td.replace_(model, convert)
    with pytest.raises(ValueError, match="must be changed before it is wrapped"):
        td.replace_(torch.compile(model), convert)
