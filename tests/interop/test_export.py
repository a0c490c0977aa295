import io

import pytest
import torch
from torch import nn

import torchdropout as td
from torchdropout import catalog
from torchdropout.testing.declared import declared

CASES = {name: declared(name) for name in catalog.names()}
ELEMENTWISE = [name for name, case in CASES.items() if case.elementwise and case.is_floating]


def layer_and_input(name):
    return CASES[name].factory(), CASES[name].input


class Keyed(nn.Module):
    """The key is an input of the program."""

    def __init__(self, layer):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.layer = layer

    def forward(self, x, key):
        return self.layer(x, key=key).relu()


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_eval_exports_without_noise(name):
    layer, x = layer_and_input(name)
    program = torch.export.export(layer.eval(), (x,))
    assert torch.equal(program.module()(x), layer(x))
    operations = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert not [name for name in operations if "torchdropout" in name or "rand" in name]
    if catalog.get(name).test_time == "identity":
        assert operations == []


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_train_exports_with_the_key_as_an_input(name):
    layer, x = layer_and_input(name)
    model = Keyed(layer.train())
    program = torch.export.export(model, (x, td.key(0)))
    results = [program.module()(x, td.key(seed)) for seed in (1, 2)]
    for seed, result in zip((1, 2), results, strict=True):
        assert torch.equal(result, model(x, td.key(seed)))
    assert not torch.equal(*results)


def test_an_exported_program_is_stored_loaded_and_takes_other_batch_sizes():
    model = Keyed(td.Dropout(0.3))
    batch = torch.export.Dim("batch", min=2)
    program = torch.export.export(model, (torch.ones(8, 5), td.key(0)), dynamic_shapes=({0: batch}, None))
    stored = io.BytesIO()
    torch.export.save(program, stored)
    stored.seek(0)
    loaded = torch.export.load(stored).module()
    for rows in (8, 33):
        x = torch.randn(rows, 5)
        assert torch.equal(loaded(x, td.key(4)), model(x, td.key(4)))
