"""SELU in place of ReLU: initial values, the methods that are for it, and those that average after an activation."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import torchdropout as td
from torchdropout import catalog
from torchdropout.study import CompareConfig, StudyError, compare, comparison
from torchdropout.study.conditions import Placed
from torchdropout.study.expansion import expand
from torchdropout.study.models import build
from torchdropout.study.refit import load
from torchdropout.study.reporting.protocol_text import paragraphs

SHAPES = {1: (2, 16), 2: (1, 8, 8), 3: (1, 8, 8, 8)}


def made(method="none", strength=None, model="mlp", shape=SHAPES[2], activation="selu", seed=3):
    torch.manual_seed(seed)
    return build(CompareConfig(model=model, activation=activation), shape, 10, Placed(method, strength))


def kinds(network):
    return [type(layer) for layer in network]


def weighted(network):
    return [layer for layer in network if isinstance(layer, (nn.Linear, nn.modules.conv._ConvNd))]


@pytest.mark.parametrize(("model", "dims"), [("mlp", 2), ("cnn", 1), ("cnn", 2), ("cnn", 3)])
def test_hidden_layers_begin_with_lecuns_normal_weights_and_no_biases(model, dims):
    plain, *_, output = made(model=model, shape=SHAPES[dims]), made(activation="relu", model=model, shape=SHAPES[dims])
    *hidden, last = weighted(plain)
    for layer in hidden:
        scaled = layer.weight.detach().flatten() * layer.weight[0].numel() ** 0.5  # standard normal
        count = len(scaled)
        assert abs(scaled.mean()) < 5 / count**0.5
        assert abs(scaled.square().mean() - 1) < 5 * (2 / count) ** 0.5
        assert abs((scaled.abs() > 1.959964).double().mean() - 0.05) < 5 * (0.05 * 0.95 / count) ** 0.5
        assert not layer.bias.any()
    assert last.weight.abs().max() <= last.in_features**-0.5  # PyTorch's uniform
    assert weighted(output)[0].bias.any()


def test_activations_keep_mean_0_and_variance_1():
    x = torch.randn(4000, *SHAPES[2], generator=torch.Generator().manual_seed(0))
    seen = {}
    for activation in ("selu", "relu"):
        network = made(activation=activation)
        with torch.no_grad():
            seen[activation] = network[:5](x)
    assert type(made()[4]) is nn.SELU
    assert abs(seen["selu"].mean()) < 0.1
    assert abs(seen["selu"].var() - 1) < 0.15
    assert seen["relu"].var() < 0.1


class TestAlphaDropout:
    @pytest.mark.parametrize(
        ("method", "model", "layers"),
        [
            ("alpha", "mlp", [nn.SELU, td.AlphaDropout] * 2),
            ("alpha", "cnn", [nn.SELU, td.AlphaDropout] * 3),
            ("feature-alpha", "cnn", [nn.SELU, td.FeatureAlphaDropout] * 2 + [nn.SELU]),
        ],
    )
    def test_acts_on_selu_alone(self, method, model, layers):
        found = kinds(made(method, 0.1, model))
        assert [kind for kind in found if kind in (nn.SELU, td.AlphaDropout, td.FeatureAlphaDropout)] == layers
        assert nn.ReLU not in found
        after = [
            found[place - 1] for place, kind in enumerate(found) if kind in (td.AlphaDropout, td.FeatureAlphaDropout)
        ]
        assert set(after) == {nn.SELU}

    @pytest.mark.parametrize("dims", [1, 2, 3])
    def test_whole_maps_change(self, dims):
        network = made("feature-alpha", 0.5, "cnn", SHAPES[dims]).train()
        y = network.conv1(torch.randn(4, 16, *[4] * dims)).flatten(2)
        dropped = (y == y[..., :1]).all(2)
        assert 10 < dropped.sum() < 54  # of 64, half on average: 5.5 deviations
        assert y[dropped].unique().numel() == 1

    def test_strengths_and_limits(self):
        network = made("alpha", 0.5, "cnn")
        assert [layer.p for layer in network if isinstance(layer, td.AlphaDropout)] == [0.25, 0.25, 0.5]
        maps = made("feature-alpha", 0.5, "cnn")
        assert [layer.p for layer in maps if isinstance(layer, td.FeatureAlphaDropout)] == [0.5, 0.5]

    @pytest.mark.parametrize("method", ["alpha", "feature-alpha"])
    def test_relu_is_refused(self, method):
        with pytest.raises(StudyError, match=f"'{method}' acts on SELU activations; give --activation selu, got relu"):
            expand(CompareConfig(model="cnn", methods=(method,)))

    @pytest.mark.parametrize("model", ["mlp", "cnn", "own:net"])
    def test_all_have_them_with_selu_only(self, model):
        relu, selu = (
            {c.method for c in expand(CompareConfig(model=model, methods=("all",), activation=name))}
            for name in ("relu", "selu")
        )
        maps = {"feature-alpha"} if model == "cnn" else set()
        assert selu - relu == {"alpha"} | maps
        assert relu - selu == ({"max-pool1d", "max-pool2d"} if model == "cnn" else set())


def test_pooling_of_what_must_not_be_negative_is_refused():
    with pytest.raises(
        StudyError, match="'max-pool2d' needs activations that are not negative; give --activation relu"
    ):
        expand(CompareConfig(model="cnn", methods=("max-pool2d",), activation="selu"))


@pytest.mark.parametrize("model", ["linear", "transformer", "lstm"])
def test_other_models_have_no_selu(model):
    with pytest.raises(StudyError, match=f"`activation` must be relu for model '{model}', got 'selu'"):
        CompareConfig(model=model, activation="selu")


def test_an_unknown_activation():
    with pytest.raises(StudyError, match="`activation` must be one of relu, selu, got 'gelu'"):
        CompareConfig(activation="gelu")


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_every_method_begins_as_the_plain_network_and_is_trained(model):
    plain = made(model=model).state_dict()
    x = torch.randn(8, *SHAPES[2])
    for condition in expand(CompareConfig(model=model, methods=("all",), activation="selu")):
        if condition.method == "none" or catalog.get(condition.method).dims in (1, 3):
            continue
        network = made(condition.method, condition.placed[0].strength, model).train()
        found = {name.replace(".layer.", "."): value for name, value in network.state_dict().items()}
        assert all(torch.equal(found[name], value) for name, value in plain.items()), condition.method
        network(x).square().mean().backward()
        shared = [p for name, p in network.named_parameters() if name.replace(".layer.", ".") in plain]
        assert all(p.grad.isfinite().all() and p.grad.any() for p in shared), condition.method


class TestLayersThatApplyTheActivation:
    @pytest.mark.parametrize(("method", "strength"), [("dropconnect", 0.5), ("standout", 0.0)])
    def test_selu_is_applied_once(self, method, strength):
        network, x = made(method, strength), torch.randn(5, *SHAPES[2])
        assert nn.SELU not in kinds(network)
        assert kinds(made(method, strength, "cnn")).count(nn.SELU) == 2  # after the convolutions, which are plain
        layer, plain = network.linear1.eval(), made().linear1
        z = plain(x.flatten(1))
        if method == "standout":
            expected = torch.sigmoid(z) * functional.selu(z)
        else:
            layer.p, expected = 0.0, functional.selu(z)
        torch.testing.assert_close(layer(x.flatten(1)), expected)

    @pytest.mark.parametrize(("model", "name"), [("mlp", "linear1"), ("cnn", "convolution2")])
    def test_dropconnects_test_rule_is_the_mean_of_a_normals_selu(self, model, name):
        """Against 200,000 draws of the pre-activation; 32 quantiles leave an error of 0.005 of its deviations."""
        method = "dropconnect" if model == "mlp" else "dropconnect2d"
        layer = getattr(made(method, 0.5, model), name).eval()
        layer.p = 0.5
        x = torch.randn(2, *(SHAPES[2] if model == "mlp" else (16, 3, 3)))
        x = x.flatten(1) if model == "mlp" else x
        affine = functional.linear if model == "mlp" else functional.conv2d
        options = {} if model == "mlp" else {"padding": 1}
        with torch.no_grad():
            mean = affine(x, layer.weight, layer.bias, **options) / 2
            std = (affine(x * x, layer.weight**2, layer.bias**2, **options) / 4).sqrt()
            found, mean, std = (value.flatten()[:40] for value in (layer(x), mean, std))
            expected = functional.selu(mean + std * torch.randn(200_000, 40)).mean(0)
        assert ((found - expected).abs() < 0.02 * std).all()


def test_a_network_of_ones_own_is_given_the_activation(tmp_path):
    (tmp_path / "selfish.py").write_text(
        "from torch import nn\n"
        "def net(shape, outputs, noise):\n"
        "    hidden = noise.linear(64, 20)\n"
        "    layers = [hidden, noise.activation(hidden), noise('dense'), noise.linear(20, outputs, last=True)]\n"
        "    return nn.Sequential(nn.Flatten(), *layers)\n"
    )
    network = made("alpha", 0.1, "selfish:net")
    assert kinds(network)[1:4] == [nn.Linear, nn.SELU, td.AlphaDropout]
    assert kinds(made("dropconnect", 0.5, "selfish:net"))[1:3] == [td.DropConnectLinear, nn.Identity]
    assert kinds(made("dropout", 0.5, "selfish:net", activation="relu"))[1:4] == [nn.Linear, nn.ReLU, td.Dropout]


def test_a_study_with_selu_is_told_and_its_model_loads_again(few, tmp_path, monkeypatch):
    monkeypatch.setattr(comparison.datasets, "load", lambda name, **settings: few)
    methods = ["none", "alpha", "feature-alpha"]
    settings = {"model": "cnn", "activation": "selu", "folds": 2, "seeds": 1, "epochs": 2, "jobs": 1}
    stored = compare(methods=methods, out=tmp_path / "out", **settings)
    assert (stored.results["status"] == "ok").all()
    assert "--activation selu" in stored.study["command"]
    told = " ".join(paragraphs(stored.study))
    assert "kernels of 3 × 3, each passed through SELU and max-pooled, then a hidden layer of SELU units" in told
    assert "LeCun's normal weights and biases of zero (Klambauer et al." in told
    assert "alpha p=0.1: after convolutions 0.1, after hidden layers 0.1;" in told
    assert "feature-alpha p=0.1: after convolutions 0.1." in told
    assert nn.SELU in kinds(load(tmp_path / "out")[0].model)
