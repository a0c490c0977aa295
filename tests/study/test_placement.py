"""Where each method goes in the built-in networks, and what it leaves as it is."""

import pytest
import torch
from torch import nn

import torchdropout as td
from torchdropout import catalog
from torchdropout.losses.kl import divergence
from torchdropout.study import CompareConfig, StudyError, compare
from torchdropout.study.conditions import Placed, lacks_convolution
from torchdropout.study.hooks import of
from torchdropout.study.models import build, check
from torchdropout.study.placement import Placement
from torchdropout.study.recipe import Hooks

IMAGE = (1, 8, 8)
WORDS, VOCABULARY = (12,), 40
SHAPES = {0: WORDS, 1: (2, 16), 2: IMAGE, 3: (1, 4, 6, 8)}  # of a text, a sequence, an image and a volume


def ranks(row, model):
    """Of the data that a method is tried on: its own, and in a convolutional network all that it has a form for."""
    if model == "lstm" or row.place == "words":
        return (0,)
    if model == "transformer":
        return (2,) if row.dims or row.place == "patches" else (0, 2)
    if row.dims or model != "cnn":
        return (row.dims or 2,)
    return tuple(dims for dims in (1, 2, 3) if not lacks_convolution(row, dims))


EVERY = [(row.name, model, dims) for row in catalog.METHODS for model in row.models for dims in ranks(row, model)]


def made(method, model="mlp", seed=3, shape=IMAGE, **settings):
    torch.manual_seed(seed)
    vocabulary = VOCABULARY if shape == WORDS else 0
    strength = None if method == "none" or not catalog.get(method).argument else catalog.get(method).default
    return build(CompareConfig(model=model, **settings), shape, 10, Placed(method, strength), vocabulary=vocabulary)


def pair(method, model, dims):
    """The plain network and the method's, on data of a rank, with the activation that the method is for."""
    activation = "selu" if catalog.get(method).needs_selu else "relu"
    return (made(name, model, shape=SHAPES[dims], activation=activation) for name in ("none", method))


def examples(count, dims):
    return torch.rand(count, *SHAPES[dims]) if dims else torch.randint(1, VOCABULARY, (count, *WORDS))


def values(model):
    """The initial values that a network shares with the plain one, whatever wraps its layers."""
    wrapped = (".layer.", "embedding.embedding.")
    return {
        name.replace(wrapped[0], ".").replace(wrapped[1], "embedding."): v for name, v in model.state_dict().items()
    }


def parts(network):
    """Its layers, and the kinds that are given to recurrent ones."""
    layers = list(network.modules())
    return [*layers, *(kind for layer in layers for kind in getattr(layer, "recurrent", ()))]


@pytest.mark.parametrize(("method", "model", "dims"), EVERY)
def test_the_method_is_in_the_network_and_initial_values_are_the_plain_networks(method, model, dims):
    plain, network = pair(method, model, dims)
    kind = getattr(td, catalog.get(method).layer)
    if method == "drop-key":
        kind = td.DropKeyMultiheadAttention
    assert any(isinstance(part, kind) for part in parts(network))
    found = values(network)
    for name, value in values(plain).items():
        assert torch.equal(found[name], value), name
    check(network, CompareConfig(model=model), SHAPES[dims], 10, vocabulary=0 if dims else VOCABULARY)


@pytest.mark.parametrize(("method", "model", "dims"), EVERY)
def test_the_method_makes_noise_in_training_only(method, model, dims):
    (_, network), x = pair(method, model, dims), examples(6, dims)
    torch.manual_seed(0)
    if method == "mixout":  # which has nothing to mix before the first step
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(1.5)
    one, other = network.train()(x), network(x)
    assert one.shape == (6, 10)
    if method not in (
        "layer-drop",
        "sparse-variational",
        "sparse-variational1d",
        "sparse-variational2d",
    ):  # drawn for all at once; log s2 = -10
        assert not torch.allclose(one, other, rtol=1e-6)
    assert torch.equal(network.eval()(x), network(x))


@pytest.mark.parametrize(("method", "model", "dims"), EVERY)
def test_every_parameter_is_trained(method, model, dims):
    (_, network), x = pair(method, model, dims), examples(16, dims)
    network.train()
    total = sum(network(x).square().mean() for _ in range(4))
    kl = divergence(network)
    (total if kl is None else total + kl / 100).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize(("method", "model", "dims"), EVERY)
def test_two_steps_change_the_network_otherwise_than_the_plain_one(method, model, dims):
    x, y = examples(16, dims), torch.arange(16) % 10
    ends = []
    for network in pair(method, model, dims):
        torch.manual_seed(4)
        step = torch.optim.SGD(network.train().parameters(), lr=0.1)
        for _ in range(2):
            loss = nn.functional.cross_entropy(network(x), y)
            kl = divergence(network)
            (loss if kl is None else loss + kl / 1000).backward()
            step.step()
            step.zero_grad()
        ends.append(values(network))
    assert all(torch.isfinite(value).all() for value in ends[1].values())
    assert any(not torch.equal(ends[1][name], value) for name, value in ends[0].items())


def test_every_row_of_the_catalogue_has_a_place_in_a_model():
    assert {row.name for row in catalog.METHODS} == {method for method, _, _ in EVERY}
    assert all(row.dims in (None, *SHAPES) for row in catalog.METHODS)


def test_methods_for_all_weights_and_for_hidden_ones():
    every, hidden = made("sparse-variational"), made("dropconnect")
    assert all(isinstance(layer, td.SparseVariationalLinear) for layer in every if isinstance(layer, nn.Linear))
    assert type(hidden.output) is nn.Linear
    assert type(hidden.linear1) is td.DropConnectLinear
    convolutions = made("variational", "cnn")
    assert isinstance(convolutions.convolution1, td.VariationalConv2d)
    assert isinstance(convolutions.linear1, td.VariationalLinear)
    assert isinstance(made("concrete", "cnn", shape=SHAPES[1]).convolution1, td.ConcreteDropout1d)
    kernels = made("dropconnect2d", "cnn")
    assert type(kernels.convolution2) is td.DropConnectConv2d
    assert type(kernels.linear1) is nn.Linear


def test_the_transformer_tells_where_a_patch_is():
    """Four images of one bright patch each, at different places: their mean over patches is the same."""
    network, x = made("none", "transformer"), torch.zeros(4, *IMAGE)
    for number, (row, column) in enumerate([(0, 0), (0, 6), (6, 0), (4, 4)]):
        x[number, 0, row : row + 2, column : column + 2] = 1.0
    optimizer = torch.optim.Adam(network.parameters(), lr=0.003)
    for _ in range(60):
        loss = nn.functional.cross_entropy(network(x), torch.arange(4))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1


def test_blocks_fit_the_maps():
    sizes = [m.block_size for m in made("drop-block2d", "cnn").modules() if isinstance(m, td.DropBlock2d)]
    assert sizes == [4, 2]
    sizes = [
        m.block_size for m in made("drop-block2d", "cnn", shape=(1, 28, 28)).modules() if isinstance(m, td.DropBlock2d)
    ]
    assert sizes == [7, 7]
    runs = [m.block_size for m in made("drop-block1d", "cnn", shape=(3, 8)).modules() if isinstance(m, td.DropBlock1d)]
    assert runs == [4, 2]


def test_divergence_is_that_of_every_layer_once_and_joins_the_loss_in_nats_per_example():
    network = made("sparse-variational")
    total = divergence(network)
    layers = [network.linear1, network.linear2, network.output]
    torch.testing.assert_close(total, sum(layer.kl() for layer in layers))
    config = CompareConfig(epochs=4, batch_size=50)
    for task, factor in (("classification", 1.0), ("regression", 2.0)):
        (term,) = of(network, Placed("sparse-variational"), 200, config, task).terms  # 4 epochs of 4 steps
        weights = [float(term(network) / total) * 200 / factor for _ in range(18)]
        assert weights == pytest.approx([*(step / 16 for step in range(1, 17)), 1.0, 1.0])
    assert of(made("dropout"), Placed("dropout", 0.5), 200, config, "classification") == Hooks()


def test_a_network_of_ones_own_places_layers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(
        "from torch import nn\n"
        "def net(shape, outputs, noise):\n"
        "    layers = [noise.linear(64, 20), nn.ReLU(), noise.linear(20, outputs, last=True)]\n"
        "    return nn.Sequential(nn.Flatten(), *layers)\n"
        "def deaf(shape, outputs, noise):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, outputs))\n"
    )
    assert isinstance(made("concrete", "own:net")[1], td.ConcreteDropout)
    with pytest.raises(StudyError, match="method 'dropout' has no place in model 'own:deaf'"):
        made("dropout", "own:deaf")


def test_a_strength_that_the_layer_refuses():
    with pytest.raises(StudyError, match=r"gaussian p=1 is refused by its layer: GaussianDropout: `p` must be in \[0"):
        compare(data="digits", methods=("gaussian",), p=(1.0,))


def test_noise_needs_a_site_and_sometimes_the_number_of_features():
    place = Placement(Placed("dropout", 0.5))
    with pytest.raises(ValueError, match="`site` must be one of input, conv, dense, got 'hidden'"):
        place("hidden")
    with pytest.raises(StudyError, match="method 'log-normal' needs `features`"):
        Placement(Placed("log-normal"))("dense")
