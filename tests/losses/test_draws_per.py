"""What layers say of their draws is so: over the whole catalogue, with every `per` that a layer has."""

import pytest
import torch
from torch import nn

import torchdropout as td
from torchdropout import catalog
from torchdropout.losses._sources import draws_for_batch
from torchdropout.testing.declared import declared

OTHERS = {
    "log-normal, example": lambda: (td.LogNormalDropout(4, per="example"), torch.ones(6, 4)),
    "drop path, batch": lambda: (td.DropPath(0.5, per="batch"), torch.ones(6, 4)),
    "patches, batch": lambda: (td.PatchDropout(0.5, per="batch"), torch.randn(1, 9, 2).repeat(6, 1, 1)),
    "words, sequence": lambda: (td.EmbeddingDropout(nn.Embedding(9, 3), 0.5, per="sequence"), torch.ones(6, 4).long()),
    "gru": lambda: (td.GRU(4, 3, batch_first=True, recurrent=td.WeightDrop(0.5)), torch.ones(6, 2, 4)),
}


def halves_always_agree(layer, x, axis=0):
    """Whether the two halves of a batch of equal halves get the same noise, at every one of several draws."""
    outputs = [layer(torch.cat([x, x], axis)) for _ in range(12)]
    outputs = [y[0] if isinstance(y, tuple) else y for y in outputs]
    assert any(not torch.equal(y, outputs[0]) for y in outputs)
    return all(torch.allclose(*y.chunk(2, axis), rtol=1e-5, atol=1e-6) for y in outputs)


@pytest.mark.parametrize("name", catalog.names())
def test_the_catalogues_layers(name):
    case = declared(name)
    layer = case.factory().train()
    if name == "stochastic-rate":  # its masks are an element's own, but their rate is everyone's
        assert draws_for_batch(layer)
        return
    assert draws_for_batch(layer) == halves_always_agree(layer, case.input, 1 if name == "locked" else 0)  # time first
    if name not in ("rnn-drop", "zoneout"):
        assert not draws_for_batch(layer.eval())


@pytest.mark.parametrize("name", OTHERS)
def test_the_other_choices(name):
    layer, x = OTHERS[name]()
    assert draws_for_batch(layer) == halves_always_agree(layer, x)


def test_a_layer_of_another_library_that_draws_for_a_batch():
    class StochasticDepth(nn.Module):
        """By its attributes, torchvision's."""

        def __init__(self, mode):
            super().__init__()
            self.p, self.mode = 0.5, mode

        def forward(self, x):
            return x * torch.bernoulli(torch.full([len(x) if self.mode == "row" else 1, 1], 0.5))

    for mode in ("row", "batch"):
        layer = StochasticDepth(mode)
        assert draws_for_batch(layer) == halves_always_agree(layer, torch.ones(6, 4)) == (mode == "batch")
