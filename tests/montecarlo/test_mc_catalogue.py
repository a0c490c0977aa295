"""Every method of the catalogue under `mc_predict`: the same key gives an example the same samples everywhere."""

import warnings

import pytest
import torch
from torch import nn

import torchdropout as td
from torchdropout import catalog
from torchdropout.testing.declared import DECLARATIONS, declared

BY_BATCH = ("drop-block1d", "drop-block2d")  # what is kept is divided by the part that is kept of the whole batch


class Wrapped(nn.Module):
    """A layer whose output is flattened, so that it may have any shape."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        y = self.layer(x)
        y = y if torch.is_tensor(y) else y[0]
        return y.float().flatten(1)


def case_of(name):
    case = declared(name)
    layer = td.LockedDropout(0.25, batch_first=True) if name == "locked" else case.factory()
    x = case.input[:3]
    return Wrapped(layer).eval(), x


@pytest.mark.parametrize("name", [row.name for row in catalog.METHODS])
def test_an_example_has_the_same_samples_in_any_batch_and_however_many_are_computed_at_once(name):
    assert name in DECLARATIONS
    model, x = case_of(name)
    settings = {"output": "values", "keep_samples": True, "key": 5}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        together = td.mc_predict(model, x, 7, memory=2**30, **settings)
        apart = td.mc_predict(model, x, 7, memory=1, **settings)
        first = td.mc_predict(model, x[:2], 7, **settings)
        loader = [x[:1], x[1:3]]
        loaded = td.mc_predict_loader(model, loader, 7, **settings)
        other = td.mc_predict(model, x, 7, output="values", keep_samples=True, key=6)
    assert together.foreign == ()
    assert together.sources == ("layer",) or all(source.startswith("layer") for source in together.sources)
    assert float(together.std.sum()) > 0
    assert torch.allclose(together.samples, apart.samples, atol=1e-5)
    assert together.reproducible == ("same batch" if name in BY_BATCH else "any batch")
    if name in BY_BATCH:
        return
    assert torch.allclose(together.samples[:, :2], first.samples, atol=1e-5)
    assert torch.allclose(together.samples, loaded.samples, atol=1e-5)
    assert not torch.allclose(together.samples, other.samples)
    assert not any(module.training for module in model.modules())
