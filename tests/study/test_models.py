import sys

import pytest
import torch
from torch import nn

from torchdropout.study import CompareConfig, StudyError
from torchdropout.study.conditions import Placed
from torchdropout.study.models import build, check

IMAGE = (1, 8, 8)
MODELS = ("linear", "mlp", "cnn")
PLAIN = Placed("none")


def fresh(model, placed, seed=3, shape=IMAGE, **settings):
    torch.manual_seed(seed)
    return build(CompareConfig(model=model, **settings), shape, 10, placed)


@pytest.fixture
def module(tmp_path):
    """Writes a module of factories that the current folder holds, and forgets it."""

    def write(text):
        (tmp_path / "factories.py").write_text("import torch\nfrom torch import nn\n" + text)

    yield write
    sys.modules.pop("factories", None)


@pytest.mark.parametrize("model", MODELS)
def test_same_initial_parameters_for_every_condition(model, conditions):
    plain = fresh(model, PLAIN).state_dict()
    assert sum(value.numel() for value in plain.values()) > 600
    for condition in conditions[1:]:
        state = fresh(model, Placed(condition.method, condition.candidates[0])).state_dict()
        assert list(state) == list(plain)
        assert all(torch.equal(state[name], plain[name]) for name in plain)


@pytest.mark.parametrize("model", MODELS)
def test_another_seed_gives_other_parameters(model):
    assert not torch.equal(fresh(model, PLAIN, seed=4).output.weight, fresh(model, PLAIN).output.weight)


@pytest.mark.parametrize("model", MODELS)
def test_noise_follows_inputs_and_activations_and_is_never_last(model):
    layers = list(fresh(model, Placed("dropout", 0.5)))
    noisy = [hasattr(layer, "p") for layer in layers]
    follows = [isinstance(layer, nn.ReLU) for layer in layers]
    assert sum(noisy) == 1 + sum(follows)
    assert all(noisy[index + 1] for index, active in enumerate(follows) if active)
    assert noisy.index(True) < next(index for index, layer in enumerate(layers) if hasattr(layer, "weight"))
    assert isinstance(layers[-1], nn.Linear)


@pytest.mark.parametrize(
    ("model", "method", "rates"),
    [
        ("linear", "dropout", [0.2]),
        ("mlp", "dropout", [0.2, 0.5, 0.5]),
        ("cnn", "dropout", [0.2, 0.25, 0.25, 0.5]),
        ("cnn", "dropout2d", [0.5, 0.5]),
    ],
)
def test_rates(model, method, rates):
    assert [layer.p for layer in fresh(model, Placed(method, 0.5)) if hasattr(layer, "p")] == rates


def test_widths_and_rates_by_width():
    model = fresh("mlp", Placed("dropout", 0.5), widths=(40, 20, 10), p_by_width=True)
    assert [layer.out_features for layer in model if isinstance(layer, nn.Linear)] == [40, 20, 10, 10]
    assert [layer.p for layer in model if hasattr(layer, "p")] == [0.2, 0.5, 0.25, 0.125]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 9, 5)])
def test_output_has_a_column_per_class(model, shape):
    assert fresh(model, Placed("dropout", 0.5), shape=shape)(torch.randn(4, *shape)).shape == (4, 10)


@pytest.mark.parametrize(
    ("shape", "found"),
    [
        ((1, 8, 3), "images of 1 x 8 x 3"),
        ((2, 3), "sequences of 2 x 3"),
        ((1, 8, 8, 2), "volumes of"),
        ((13,), "exampl"),
    ],
)
def test_examples_that_the_cnn_cannot_take(shape, found):
    with pytest.raises(StudyError, match=f"'cnn' needs .* of at least 4 along each axis, got {found}"):
        fresh("cnn", PLAIN, shape=shape)


def test_a_factory_places_the_noise(module):
    module(
        "def net(shape, outputs, noise):\n"
        "    hidden = [nn.Linear(64, 5), noise('dense')]\n"
        "    return nn.Sequential(nn.Flatten(), noise('input'), *hidden, nn.Linear(5, outputs))"
    )
    model = fresh("factories:net", Placed("dropout", 0.5))
    assert [layer.p for layer in model if hasattr(layer, "p")] == [0.2, 0.5]
    plain = fresh("factories:net", PLAIN).state_dict()
    assert all(torch.equal(value, plain[name]) for name, value in model.state_dict().items())
    check(model, CompareConfig(model="factories:net"), IMAGE, 10)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "def net(shape, outputs, noise): raise KeyError('x')",
            "must return a network for inputs of 1 x 8 x 8, it raised Key",
        ),
        ("def net(shape, outputs, noise): return 3", "must return a torch.nn.Module, got int"),
        (
            "def net(shape, outputs, noise): return noise('hidden')",
            "it raised ValueError: noise: `site` must",
        ),
        ("def other(): pass", "factories:net: 'net' must be a function"),
        ("1 /", "factories:net: module 'factories' must be importable, it raised SyntaxError"),
        ("net = None", "factories:net: 'net' must be a function"),
    ],
)
def test_a_factory_that_fails(module, text, sentence):
    module(text)
    with pytest.raises(StudyError, match=sentence):
        fresh("factories:net", PLAIN)


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (nn.Linear(5, 10), r"must accept inputs of shape \(2, 1 x 8 x 8\), it raised RuntimeError"),
        (nn.Flatten(), r"must return a tensor of shape \(2, 10\) for two examples, got a tensor of shape \(2, 64\)"),
        (nn.Sequential(nn.Flatten(), nn.LSTM(64, 10)), "got tuple"),
    ],
)
def test_a_network_that_does_not_fit(model, sentence):
    with pytest.raises(StudyError, match=f"my:net: the model {sentence}" if "got tuple" not in sentence else sentence):
        check(model, CompareConfig(model="my:net"), IMAGE, 10)


@pytest.mark.parametrize("device", ["cuda:99", "nowhere"])
def test_a_device_that_is_not_there(device):
    with pytest.raises(StudyError, match=f"`device` must be one that torch can use here, got '{device}': it raised "):
        check(nn.Linear(64, 10), CompareConfig(device=device), IMAGE, 10)
