"""Where a network's head is, in networks of the user's."""

import pytest
import torch
from torch import nn

import torchdropout as td
from torchdropout.study import CompareConfig, StudyError, compare
from torchdropout.study.conditions import Placed
from torchdropout.study.heads import sample_
from torchdropout.study.models import build

SAMPLES = Placed("dropout", 0.4, (("multisample", 5.0),))


class Net(nn.Module):
    """A head that is not defined last, behind dropout or not, or called otherwise."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.head, self.body = kind, nn.Linear(6, 3), nn.Linear(4, 6)
        self.noise = td.Dropout(0.25)
        self.parts = nn.Sequential(self.body, nn.Tanh())

    def forward(self, x):
        x = self.parts(x)
        if self.kind == "twice":
            return self.head(x) + self.head(self.noise(x))
        if self.kind == "functional":
            return nn.functional.linear(self.noise(x), self.head.weight)
        return self.head(self.noise(x) if self.kind == "noise" else x)


def sampled(kind):
    model = Net(kind)
    sample_(model, torch.zeros(2, 4), 5, 0.4, "mine:net")
    return model


@pytest.mark.parametrize(("kind", "p", "left"), [("noise", 0.25, nn.Identity), ("bare", 0.4, td.Dropout)])
def test_the_head_is_the_layer_that_makes_the_output(kind, p, left):
    model = sampled(kind)
    assert isinstance(model.head, td.MultiSampleDropout)
    assert (model.head.p, model.head.num_samples) == (p, 5)
    assert isinstance(model.noise, left)
    assert model(torch.ones(7, 4)).shape == (5, 7, 3)
    assert model.eval()(torch.ones(7, 4)).shape == (7, 3)


def test_modes_and_hooks_are_as_they_were():
    model = Net("bare")
    model.body.eval()
    sample_(model, torch.zeros(2, 4), 5, 0.4, "mine:net")
    assert not model.body.training
    assert model.head.training
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("kind", ["twice", "functional"])
def test_a_network_without_a_head(kind):
    with pytest.raises(StudyError, match=r"multisample needs a head in model 'mine:net', a layer with weights whose"):
        sampled(kind)


FACTORIES = """
from torch import nn
def plain(shape, outputs, noise):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.ReLU(), nn.Linear(20, outputs))
def wide(shape, outputs, noise):
    units = noise.width(20)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, units), nn.ReLU(), noise('dense'), nn.Linear(units, outputs))
def narrow(shape, outputs, noise):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.ReLU(), noise('dense'), nn.Linear(20, outputs))
def broken(shape, outputs, noise):
    return nn.Sequential(nn.Flatten(), nn.Linear(63, outputs))
"""


@pytest.fixture
def _factories(tmp_path):
    (tmp_path / "heads_of_mine.py").write_text(FACTORIES)


@pytest.mark.usefixtures("_factories")
class TestFactories:
    def test_samples_before_a_head_without_dropout(self):
        model = build(CompareConfig(model="heads_of_mine:plain"), (1, 8, 8), 10, SAMPLES)
        assert isinstance(model[3], td.MultiSampleDropout)
        assert model[3].p == 0.4

    def test_the_recipe_asks_how_wide_a_layer_is(self):
        recipe = Placed("dropout", 0.5, (("recipe", 10.0),))
        assert build(CompareConfig(model="heads_of_mine:wide"), (1, 8, 8), 10, recipe)[1].out_features == 40
        with pytest.raises(StudyError, match=r"heads_of_mine:narrow: for the recipe the factory must ask `noise.width"):
            build(CompareConfig(model="heads_of_mine:narrow"), (1, 8, 8), 10, recipe)

    def test_a_factory_of_another_shape(self):
        with pytest.raises(StudyError, match=r"heads_of_mine:broken: the model must accept inputs of shape \(2, 1 x 8"):
            build(CompareConfig(model="heads_of_mine:broken"), (1, 8, 8), 10, SAMPLES)

    def test_everything_trains_a_network_of_ones_own(self, tmp_path):
        methods = ["none", "l1", "l2", "elastic", "maxnorm", "rdrop", "multisample", "early-dropout", "curriculum"]
        settings = {"folds": 2, "seeds": 1, "epochs": 1, "jobs": 1, "max_examples": 200}
        stored = compare(methods=[*methods, "recipe"], model="heads_of_mine:wide", out=tmp_path / "out", **settings)
        assert (stored.results["status"] == "ok").all(), stored.results["reason"].tolist()
