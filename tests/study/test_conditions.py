import pytest

from torchdropout import catalog
from torchdropout.study import CompareConfig, StudyError
from torchdropout.study.conditions import Condition, Placed
from torchdropout.study.expansion import expand

SITES = ("input", "conv", "dense")


def labels(**settings):
    return [condition.label for condition in expand(CompareConfig(**settings))]


def test_each_method_at_its_default_strength():
    found = expand(CompareConfig(methods=("none", "dropout", "gaussian-noise")))
    assert found == (Condition("none"), Condition("dropout", (0.5,)), Condition("gaussian-noise", (0.2,)))
    assert [condition.label for condition in found] == ["none", "dropout p=0.5", "gaussian-noise std=0.2"]


def test_several_p_are_candidates_of_one_condition():
    found = labels(methods=("none", "dropout", "gaussian-noise"), p=(0.1, 0.5))
    assert found == ["none", "dropout p from 0.1, 0.5", "gaussian-noise std=0.2"]


@pytest.mark.parametrize("model", ["linear", "mlp", "cnn"])
def test_all_methods_that_fit(model):
    assert labels(methods=("all",), model=model)[0] == "none"
    found = {condition.method for condition in expand(CompareConfig(methods=("all",), model=model))}
    assert found == {"none"} | {row.name for row in catalog.METHODS if model in row.models and not row.needs_selu}


@pytest.mark.parametrize(
    ("placed", "strengths"),
    [
        (Placed("none"), (None, None, None)),
        (Placed("dropout", 0.5), (0.2, 0.25, 0.5)),
        (Placed("dropout", 0.1), (0.1, 0.1, 0.1)),
        (Placed("gaussian-noise", 0.7), (0.7, 0.7, 0.7)),
        (Placed("dropout2d", 0.4), (None, 0.4, None)),
    ],
)
def test_strength_by_site(placed, strengths):
    assert tuple(placed.strength_at(site) for site in SITES) == strengths


def test_a_narrower_layer_may_have_less():
    assert Placed("dropout", 0.5).strength_at("dense", 0.25) == 0.125
    assert Placed("gaussian-noise", 0.5).strength_at("dense", 0.25) == 0.5


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"methods": ("dropuot",)}, "no method is called 'dropuot'. Did you mean 'dropout'"),
        ({"methods": ("dropout2d",)}, "'dropout2d' cannot be placed in model 'mlp': it fits cnn"),
        ({"methods": ("dropout3d",)}, "'dropout3d' cannot be placed in model 'mlp': it fits cnn"),
        ({"methods": ("locked",)}, "'locked' cannot be placed in model 'mlp': it fits transformer"),
        ({"methods": ("none", "gaussian-noise"), "p": (0.5,)}, "no method of none, gaussian-noise takes a drop"),
        ({"methods": ("all", "none")}, "`methods` must name nothing besides 'all', got all, none"),
    ],
)
def test_what_cannot_be_compared(settings, sentence):
    with pytest.raises(StudyError, match=f"compare: .*{sentence}"):
        expand(CompareConfig(**settings))
