import pytest

import torchdropout
from torchdropout import catalog
from torchdropout.study import CompareConfig, StudyError
from torchdropout.study.conditions import Condition, expand, noise_at, strength_at


def test_each_method_at_its_default_strength():
    found = expand(CompareConfig(methods=("none", "dropout", "gaussian-noise")))
    assert found == (Condition("none"), Condition("dropout", 0.5), Condition("gaussian-noise", 0.2))
    assert [condition.label for condition in found] == ["none", "dropout p=0.5", "gaussian-noise std=0.2"]


def test_every_p_in_each_method_that_takes_one():
    found = expand(CompareConfig(methods=("none", "dropout", "gaussian-noise"), p=(0.1, 0.5)))
    assert [condition.label for condition in found] == [
        "none",
        "dropout p=0.1",
        "dropout p=0.5",
        "gaussian-noise std=0.2",
    ]


@pytest.mark.parametrize(
    ("condition", "strengths"),
    [
        (Condition("none"), (None, None, None)),
        (Condition("dropout", 0.5), (0.2, 0.25, 0.5)),
        (Condition("dropout", 0.1), (0.1, 0.1, 0.1)),
        (Condition("gaussian-noise", 0.7), (0.7, 0.7, 0.7)),
        (Condition("dropout2d", 0.4), (None, 0.4, None)),
    ],
)
def test_strength_by_site(condition, strengths):
    assert tuple(strength_at(condition, site) for site in ("input", "conv", "dense")) == strengths


@pytest.mark.parametrize("method", [row.name for row in catalog.METHODS if row.models])
def test_layer_is_the_catalogues(method):
    row = catalog.get(method)
    layer = noise_at(Condition(method, row.default), "conv")
    assert type(layer) is getattr(torchdropout, row.layer)
    assert getattr(layer, row.argument) == strength_at(Condition(method, row.default), "conv")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"methods": ("dropuot",)}, "no method is called 'dropuot'. Did you mean 'dropout'"),
        ({"methods": ("dropout2d",)}, "'dropout2d' cannot be placed in model 'mlp': it fits cnn"),
        ({"methods": ("locked",)}, "'locked' cannot be placed in model 'mlp': none of the built-in models"),
        ({"methods": ("none", "gaussian-noise"), "p": (0.5,)}, "no method of none, gaussian-noise takes a drop"),
    ],
)
def test_what_cannot_be_compared(settings, sentence):
    with pytest.raises(StudyError, match=f"compare: .*{sentence}"):
        expand(CompareConfig(**settings))


def test_strength_that_the_layer_refuses(monkeypatch):
    def refuse(p):
        raise ValueError(f"Dropout: no such `p`: {p}")

    monkeypatch.setattr(torchdropout, "Dropout", refuse)
    with pytest.raises(StudyError, match=r"dropout p=0.5 is refused by its layer: Dropout: no such `p`: 0\.25"):
        expand(CompareConfig(methods=("dropout",)))
