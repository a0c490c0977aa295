import pytest
import torch
from torch import nn

from torchdropout.study import StudyError
from torchdropout.study.conditions import Condition
from torchdropout.study.models import build

IMAGE = (1, 8, 8)
MODELS = ("mlp", "cnn")


def fresh(model, condition):
    torch.manual_seed(3)
    return build(model, IMAGE, 10, condition)


@pytest.mark.parametrize("model", MODELS)
def test_same_initial_parameters_for_every_condition(model, conditions):
    plain = fresh(model, Condition("none")).state_dict()
    assert sum(value.numel() for value in plain.values()) > 1000
    for condition in conditions[1:]:
        state = fresh(model, condition).state_dict()
        assert list(state) == list(plain)
        assert all(torch.equal(state[name], plain[name]) for name in plain)


@pytest.mark.parametrize("model", MODELS)
def test_another_seed_gives_other_parameters(model):
    torch.manual_seed(4)
    other = build(model, IMAGE, 10, Condition("none"))
    assert not torch.equal(other.output.weight, fresh(model, Condition("none")).output.weight)


@pytest.mark.parametrize("model", MODELS)
def test_noise_follows_inputs_and_activations_and_is_never_last(model):
    layers = list(fresh(model, Condition("dropout", 0.5)))
    noisy = [hasattr(layer, "p") for layer in layers]
    follows = [isinstance(layer, nn.ReLU) for layer in layers]
    assert sum(noisy) == 1 + sum(follows)
    assert all(noisy[index + 1] for index, active in enumerate(follows) if active)
    assert noisy.index(True) < next(index for index, layer in enumerate(layers) if hasattr(layer, "weight"))
    assert isinstance(layers[-1], nn.Linear)


@pytest.mark.parametrize(
    ("model", "method", "rates"),
    [
        ("mlp", "dropout", [0.2, 0.5, 0.5]),
        ("cnn", "dropout", [0.2, 0.25, 0.25, 0.5]),
        ("cnn", "dropout2d", [0.5, 0.5]),
    ],
)
def test_rates(model, method, rates):
    assert [layer.p for layer in fresh(model, Condition(method, 0.5)) if hasattr(layer, "p")] == rates


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 9, 5)])
def test_output_has_a_column_per_class(model, shape):
    outputs = build(model, shape, 7, Condition("dropout", 0.5))(torch.randn(4, *shape))
    assert outputs.shape == (4, 7)


def test_images_too_small_for_the_cnn():
    with pytest.raises(StudyError, match="'cnn' needs images of at least 4 x 4, got 8 x 3"):
        build("cnn", (1, 8, 3), 10, Condition("none"))
