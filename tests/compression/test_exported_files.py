import os
import re
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from networks import ConvNet, lively
from torch import nn

import torchdropout as td
from torchdropout.compression import export as module

X = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def net():
    return lively(ConvNet(("norm", "relu", "residual", "dropout"), True), 0)


def run_onnx(path, *arrays):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    return session.run(None, dict(zip(names, (a.numpy() for a in arrays), strict=True)))


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
@pytest.mark.parametrize("mode", [True, False])
def test_the_file_computes_what_the_model_computes_in_eval(tmp_path, suffix, mode):
    model = net().train(mode)
    path = td.export(model, tmp_path / f"model{suffix}", X)
    assert model.training == mode
    assert os.listdir(tmp_path) == [path.name]
    model.eval()
    for count in (1, 4, 7):
        x = torch.randn(count, 3, 8, 8)
        expected = model(x)
        y = run_onnx(path, x)[0] if suffix == ".onnx" else torch.export.load(path).module()(x).detach().numpy()
        np.testing.assert_allclose(y, expected.detach().numpy(), rtol=1e-3, atol=1e-4)


def test_a_file_has_no_one_s_examples_in_it(tmp_path):
    many = torch.full((40_000, 5), 1234.5)
    model = nn.Sequential(nn.Linear(5, 2))
    path = td.export(model, tmp_path / "m.pt2", many[:4])
    assert path.stat().st_size < 100_000
    assert not any(bool((x == 1234.5).any()) for x in torch.export.load(path).example_inputs[0])


def test_an_onnx_file_is_valid_and_whole(tmp_path):
    path = td.export(net(), tmp_path / "model.onnx", X)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    dims = onnx.load(path).graph.input[0].type.tensor_type.shape.dim
    assert dims[0].dim_param
    assert [d.dim_value for d in dims[1:]] == [3, 8, 8]


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(5, 4), nn.Linear(6, 4)

    def forward(self, x, y):
        return self.a(x) * self.b(y), {"sum": x.sum(1)}


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_several_inputs_and_outputs(tmp_path, suffix):
    x, y = torch.randn(3, 5), torch.randn(3, 6)
    path = td.export(model := Two(), tmp_path / f"m{suffix}", (x, y))
    if suffix == ".onnx":
        first, second = run_onnx(path, x, y)
        np.testing.assert_allclose(first, model(x, y)[0].detach().numpy(), atol=1e-5)
        np.testing.assert_allclose(second, x.sum(1).numpy(), atol=1e-5)


def test_noise_layers_are_exported_as_eval(tmp_path):
    model = nn.Sequential(nn.Linear(5, 4), td.Dropout(0.5), td.GaussianDropout(0.5), td.SparseVariationalLinear(4, 2))
    x = torch.randn(3, 5)
    path = td.export(model, tmp_path / "m.onnx", x)
    np.testing.assert_allclose(run_onnx(path, x)[0], model.eval()(x).detach().numpy(), atol=1e-5)


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_a_file_that_disagrees_is_refused_and_what_was_there_stays(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"m{suffix}"
    path.write_text("before")
    kind = "_onnx" if suffix == ".onnx" else "_pt2"
    real = getattr(module, kind)
    monkeypatch.setattr(module, kind, lambda *each: [y + 0.1 * y.abs().max() for y in real(*each)])
    with pytest.raises(ValueError, match=r"export: the file must give the model's outputs, they differ by 0\.1 of the"):
        td.export(net(), path, X)
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == [path.name]


class Shifting(nn.Module):
    """What it computes depends on how often it was called, as no file does."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return x * self.calls


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


REFUSED = {
    "the ending": (nn.Linear(5, 2), "m.pt", torch.randn(3, 5), "`path` must end in .onnx or .pt2, got m.pt"),
    "one example": (nn.Linear(5, 2), "m.pt2", torch.randn(1, 5), "must be tensors of at least two examples"),
    "no tensor": (nn.Linear(5, 2), "m.pt2", 3, "must be tensors of at least two examples"),
    "a branch": (Branching(), "m.pt2", torch.randn(3, 5), "`model` must be one that torch.export takes; found: "),
    "a branch in onnx": (Branching(), "m.onnx", torch.randn(3, 5), "`model` must be one that torch.export takes; "),
    "a model that changes": (Shifting(), "m.onnx", torch.randn(3, 5), "the file must give the model's outputs"),
    "inputs that do not fit": (nn.Linear(4, 2), "m.onnx", torch.randn(3, 5), "`example_inputs` must be what the model"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused_leaves_no_file(tmp_path, kind):
    model, name, x, message = REFUSED[kind]
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        td.export(model, tmp_path / name, x)
    assert str(error.value).startswith("export: ")
    assert "\n" not in str(error.value)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"export: `path` must lie in a folder that exists, got .*nowhere"):
        td.export(nn.Linear(5, 2), tmp_path / "nowhere" / "m.pt2", torch.randn(3, 5))


def test_without_onnxruntime(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match="export: it needs onnxscript, onnxruntime"):
        td.export(nn.Linear(5, 2), tmp_path / "m.onnx", torch.randn(3, 5))
    assert os.listdir(tmp_path) == []
