"""The migration tables: their names exist, and Keras's layers do what the tables say."""

import os
import re
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")

import pytest
import torch

import torchdropout as td
from torchdropout.testing import TwoPointClaim, run_check
from torchdropout.testing.case import Case

keras = pytest.importorskip("keras")
PAGE = (Path(__file__).parent.parent / "docs" / "migration.md").read_text(encoding="utf-8")
KERAS = PAGE.split("## Keras 3")[1].split("## timm")[0]


class Adapted(torch.nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x, training=self.training)


def rows():
    """The second cells of all rows."""
    lines = [line.split("|") for line in PAGE.splitlines() if line.startswith("|")]
    return [cells[2] for cells in lines if "---" not in cells[2]]


def test_every_name_of_ours_exists():
    code = " ".join(re.findall(r"`([^`]+)`", " ".join(rows())))
    functions = set(re.findall(r"functional\.(\w+)", code)) - {"dropout"}
    classes = set(re.findall(r"\b([A-Z]\w+?)\(", code)) | {"DropKeyMultiheadAttention", "FeatureAlphaDropout"}
    assert len(classes) > 10
    assert [name for name in classes if not hasattr(td, name)] == []
    assert [name for name in functions if not hasattr(td.functional, name)] == []


CLAIMS = [
    ("Dropout", {}, td.Dropout, (64, 128), ()),
    ("Dropout", {"noise_shape": (None, 1, 64)}, lambda p: td.LockedDropout(p, batch_first=True), (64, 8, 64), (1,)),
    ("Dropout", {"noise_shape": (None, 1, 1)}, td.DropPath, (2048, 4, 2), (1, 2)),
    ("SpatialDropout1D", {}, lambda p: td.LockedDropout(p, batch_first=True), (64, 8, 64), (1,)),
    ("SpatialDropout2D", {"data_format": "channels_first"}, td.Dropout2d, (32, 64, 4, 4), (2, 3)),
    ("SpatialDropout3D", {"data_format": "channels_first"}, td.Dropout3d, (32, 64, 2, 2, 2), (2, 3, 4)),
]


@pytest.mark.parametrize(("name", "arguments", "ours", "shape", "dims"), CLAIMS)
@pytest.mark.parametrize("check", ["statistics", "sharing", "eval"])
def test_keras_and_ours_share_the_same_draws(name, arguments, ours, shape, dims, check):
    claim = TwoPointClaim(0.75, 0.0, 4 / 3, dims)
    for factory in (lambda: Adapted(getattr(keras.layers, name)(0.25, **arguments)), lambda: ours(0.25)):
        status, detail = run_check(check, Case(factory, torch.randn(shape), claim))
        assert status == "pass", detail


@pytest.mark.parametrize("name", ["GaussianDropout", "AlphaDropout"])
def test_keras_divides_by_zero_at_rate_one(name):
    layer = getattr(keras.layers, name)(1.0)
    with pytest.raises(ZeroDivisionError):
        layer(torch.ones(3), training=True)


def test_rate_one_here():
    with pytest.raises(ValueError, match="1"):
        td.GaussianDropout(1.0)
    assert torch.equal(td.AlphaDropout(1.0)(torch.ones(3)), torch.zeros(3))
    assert torch.equal(td.Dropout(1.0)(torch.ones(3)), torch.zeros(3))
    assert torch.equal(keras.layers.Dropout(1.0)(torch.ones(3), training=True), torch.zeros(3))


def test_keras_ignores_the_mode_of_a_module():
    x = torch.ones(1000)
    assert torch.equal(keras.layers.Dropout(0.5).train()(x), x)
    assert not torch.equal(td.Dropout(0.5).train()(x), x)


def test_what_stands_for_noise_shape_shares_as_keras_does():
    x, key = torch.randn(4, 3, 2), td.key(0)
    noise = td.functional.dropout(torch.ones(1, 3, 1), 0.5, key=key)
    y = x * noise
    assert torch.equal(y == 0, (noise == 0).expand_as(y))


def test_the_seed_of_keras_becomes_a_key():
    x = torch.ones(64)
    keys = [td.fold_in(td.key(3), step) for step in range(2)]
    first, second = (td.Dropout(0.5)(x, key=key) for key in keys)
    assert not torch.equal(first, second)
    assert torch.equal(first, td.Dropout(0.5)(x, key=keys[0]))


def test_keras_has_bounds_for_additive_noise_that_we_have_not():
    with pytest.raises(ValueError, match="between 0 and 1"):
        keras.layers.GaussianNoise(1.5)
    td.GaussianNoise(1.5)


def test_every_layer_of_keras_that_is_named_exists():
    named = set(re.findall(r"^\| `([A-Z]\w+)\(", KERAS, re.M))
    assert len(named) == 9
    assert [name for name in named if not hasattr(keras.layers, name)] == []


def test_kerass_lstm_has_a_mask_for_each_gate_only_with_recurrent_dropout_and_drops_nothing_at_one():
    x = torch.ones(2, 3, 64)
    gates = keras.layers.LSTM(64, dropout=0.5, recurrent_dropout=0.5)
    gates.build(x.shape)
    masks = [*gates.cell.get_dropout_mask(x[:, 0]), *gates.cell.get_recurrent_dropout_mask(x[:, 0])]
    assert len({tuple(mask.flatten().tolist()) for mask in masks}) == 8
    shared = keras.layers.LSTM(64, dropout=0.5)
    shared.build(x.shape)
    assert shared.cell.get_dropout_mask(x[:, 0]).shape == (2, 64)
    whole = keras.layers.LSTM(4, dropout=1.0, recurrent_dropout=1.0)
    torch.testing.assert_close(whole(x, training=True), whole(x, training=False))
