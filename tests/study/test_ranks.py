"""Sequences, images and volumes: which methods act on which, and a study of each."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import torchdropout as td
from torchdropout import catalog
from torchdropout.study import CompareConfig, StudyError, compare, datasets, predict
from torchdropout.study.conditions import Placed
from torchdropout.study.datasets import Dataset
from torchdropout.study.expansion import expand, fitting
from torchdropout.study.models import build
from torchdropout.study.reporting.protocol_text import paragraphs

SMALL = {"folds": 2, "seeds": 1, "epochs": 1, "jobs": 1, "model": "cnn"}


def cubes(count=40):
    """Solid cubes and hollow ones, anywhere in a volume of noise."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(0, 0.3, (count, 1, 8, 8, 8)), np.arange(count) % 2
    for volume, hollow in zip(x[:, 0], y, strict=True):
        a, b, c = rng.integers(0, 4, 3)
        volume[a : a + 5, b : b + 5, c : c + 5] += 1
        if hollow:
            volume[a + 1 : a + 4, b + 1 : b + 4, c + 1 : c + 4] -= 1
    return x.astype(np.float32), y


@pytest.fixture
def by_dims(few):
    """The digits as sequences of rows and as images, the cubes as volumes, and numbers."""
    x, y = cubes()
    volumes = Dataset("cubes", "classification", x, y, ("solid", "hollow"), "")
    rows, numbers = (replace(few, inputs=few.inputs.reshape(len(few.inputs), *s)) for s in ((8, 8), (64,)))
    return {0: numbers, 1: rows, 2: few, 3: volumes}


def chosen(data, *methods, model="cnn", **settings):
    config = CompareConfig(model=model, methods=methods, **settings)
    return [condition.method for condition in fitting(expand(config), config, data)]


class TestWhichMethodsFit:
    @pytest.mark.parametrize("dims", [1, 2, 3])
    def test_all_are_those_of_the_rank(self, by_dims, dims):
        found = {catalog.get(name) for name in chosen(by_dims[dims], "all") if name != "none"}
        assert {row.dims for row in found} == {None, dims}
        assert {row for row in catalog.METHODS if row.dims == dims and "cnn" in row.models} <= found
        both = {"concrete", "variational", "sparse-variational"}  # there are no such convolutions over volumes
        assert both & {row.name for row in found} == (both if dims < 3 else set())
        assert {"dropout", "log-normal", "dropconnect"} <= {row.name for row in found}

    def test_all_of_numbers_leave_out_cutout(self, by_dims):
        assert "cutout" not in chosen(by_dims[0], "all", model="mlp")
        assert "cutout" in chosen(by_dims[2], "all", model="mlp")

    @pytest.mark.parametrize(
        ("method", "dims", "sentence"),
        [
            ("dropout1d", 2, "acts on sequences, got images of 1 × 8 × 8; did you mean 'dropout2d'?"),
            ("drop-block2d", 1, "acts on images, got sequences of 8 × 8; did you mean 'drop-block1d'?"),
            ("dropout2d", 3, "acts on images, got volumes of 1 × 8 × 8 × 8; did you mean 'dropout3d'?"),
            ("max-pool1d", 3, "acts on sequences, got volumes of 1 × 8 × 8 × 8; it has no form for volumes."),
            ("max-drop", 1, "acts on images, got sequences of 8 × 8; it has no form for sequences."),
            ("cutout", 0, "acts on images, got 64 numbers."),
        ],
    )
    def test_another_rank_is_one_sentence(self, by_dims, method, dims, sentence):
        with pytest.raises(StudyError) as caught:
            chosen(by_dims[dims], "none", method, model="cnn" if dims else "mlp")
        assert str(caught.value) == f"compare: method {method!r} {sentence}"

    def test_a_network_of_ones_own_may_make_images_of_numbers(self, by_dims):
        assert chosen(by_dims[0], "dropout2d", model="own:net") == ["dropout2d"]
        with pytest.raises(StudyError, match="'dropout2d' acts on images, got sequences"):
            chosen(by_dims[1], "dropout2d", model="own:net")

    def test_no_convolutions_over_volumes(self):
        with pytest.raises(
            StudyError, match="'concrete' has convolutions over sequences and images only, none over vo"
        ):
            build(CompareConfig(model="cnn"), (1, 8, 8, 8), 2, Placed("concrete", 0.1))

    def test_the_transformer_reads_images(self):
        with pytest.raises(StudyError, match="'transformer' needs images of at least 4 x 4, got sequences of 8 x 8"):
            build(CompareConfig(model="transformer"), (8, 8), 2, Placed("none"))


@pytest.mark.parametrize(
    ("shape", "convolution", "pool", "features"),
    [
        ((3, 128), nn.Conv1d, nn.MaxPool1d, 32 * 32),
        ((3, 9, 12), nn.Conv2d, nn.MaxPool2d, 32 * 2 * 3),
        ((1, 16, 8, 4), nn.Conv3d, nn.MaxPool3d, 32 * 4 * 2 * 1),
    ],
)
def test_the_same_network_over_more_axes(shape, convolution, pool, features):
    network = build(CompareConfig(model="cnn"), shape, 5, Placed("none"))
    kinds = [type(layer) for layer in network]
    block = [convolution, nn.ReLU, pool]
    assert kinds == [*block, *block, nn.Flatten, nn.Linear, nn.ReLU, nn.Linear]
    assert (network.linear1.in_features, network(torch.zeros(2, *shape)).shape) == (features, (2, 5))


@pytest.mark.parametrize("dims", [1, 3])
def test_scaled_like_images_and_told_apart_by_the_fingerprint(by_dims, dims):
    data = by_dims[dims]
    part = np.arange(0, len(data.targets), 2)
    prepared = datasets.fit(data, part).inputs(data.inputs[part])
    values = data.inputs[part].astype(np.float64)
    np.testing.assert_allclose(prepared.numpy(), (values - values.mean()) / values.std(), atol=1e-5)
    assert replace(data, inputs=data.inputs.swapaxes(1, 2)).fingerprint != data.fingerprint
    assert data.dims == dims


@pytest.mark.parametrize(("dims", "method"), [(1, "drop-block1d"), (3, "dropout3d")])
def test_a_study_of_a_file_its_report_and_predictions(by_dims, tmp_path, dims, method):
    data = by_dims[dims]
    np.savez(tmp_path / "given.npz", inputs=data.inputs, targets=data.targets)
    np.savez(tmp_path / "new.npz", inputs=data.inputs[:5])
    stored = compare(data="given.npz", methods=["none", method], out=tmp_path / "out", **SMALL)
    assert (stored.results["status"] == "ok").all()
    told = " ".join(paragraphs(stored.study))
    assert data.description in told
    assert f"kernels of {' × '.join('3' * dims)}, each rectified" in told
    assert data.description in (tmp_path / "out" / "report.html").read_text()
    assert len(predict(tmp_path / "out", tmp_path / "new.npz")) == 5
    np.savez(tmp_path / "new.npz", inputs=data.inputs[:5, ..., :4])
    with pytest.raises(StudyError, match="as in training, found shape"):
        predict(tmp_path / "out", tmp_path / "new.npz")


def test_a_function_gives_sequences(tmp_path):
    (tmp_path / "waves.py").write_text(
        "import numpy as np\n"
        "def waves():\n"
        "    t, n = np.arange(32), np.arange(60)[:, None]\n"
        "    x = np.sin(2 * np.pi * t * (2 + 3 * (n % 2)) / 32 + n)\n"
        "    return np.stack([x, -x], 1), n[:, 0] % 2\n"
    )
    settings = SMALL | {"epochs": 25, "lr": 0.01}
    stored = compare(data="waves:waves", methods=["none", "max-pool1d"], out=tmp_path / "out", **settings)
    assert stored.study["data"]["description"] == "sequences of 2 × 32"
    assert (stored.results["val_accuracy"] > 0.9).all()


def test_a_network_of_ones_own_has_the_datas_axes(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "def net(shape, outputs, noise):\n"
        "    layers = [noise.conv(shape[0], 4, 3, padding=1), nn.ReLU(), noise('conv'), noise.pool(2), nn.Flatten()]\n"
        "    return nn.Sequential(*layers, noise.linear(4 * shape[1] // 2, outputs, last=True))\n"
    )
    network = build(CompareConfig(model="mine:net"), (2, 16), 3, Placed("dropconnect1d", 0.5))
    assert type(network[0]) is td.DropConnectConv1d
    assert network(torch.zeros(2, 2, 16)).shape == (2, 3)
