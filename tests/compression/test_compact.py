import json
import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

import torchdropout as td
from torchdropout.compression import compact

DTYPES = (
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int8, torch.uint8,
    torch.bool, torch.complex64,
)  # fmt: skip
ODD = (0.0, -0.0, float("nan"), float("inf"), float("-inf"), 1e-30, -1.0)


class Holder(nn.Module):
    """A model of any tensors."""

    def __init__(self, **tensors):
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)


def blank(model):
    return Holder(**{name: torch.zeros_like(tensor) for name, tensor in model.state_dict().items()})


def bits(tensor):
    return tensor.contiguous().view(torch.uint8) if tensor.dim() else tensor.reshape(1).view(torch.uint8)


def codings(path):
    with safe_open(path, "pt") as file:
        return {name: each.get("coding", "as") for name, each in json.loads(file.metadata()["tensors"]).items()}


@st.composite
def tensors(draw):
    shape = draw(st.lists(st.integers(0, 6), max_size=3))
    dtype, seed, part = (
        draw(st.sampled_from(DTYPES)),
        draw(st.integers(0, 99)),
        draw(st.sampled_from((0, 0.02, 0.5, 1))),
    )
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(shape, generator=generator) * 3
    values = torch.where(torch.rand(shape, generator=generator) < part, values, 0.0).to(dtype)
    if values.is_floating_point() and values.numel():
        places = torch.randint(values.numel(), (3,), generator=generator)
        odd = torch.tensor(ODD)[torch.randint(len(ODD), (3,), generator=generator)].to(dtype)
        values.view(-1)[places] = odd
    return values


@settings(max_examples=120)
@given(st.lists(tensors(), min_size=1, max_size=4))
def test_every_bit_of_every_tensor_comes_back(tmp_path_factory, each):
    model, path = Holder(**{f"t{n}": t for n, t in enumerate(each)}), tmp_path_factory.mktemp("compact") / "m"
    size = td.save_compact(model, path)
    assert size == path.stat().st_size
    other = td.load_compact_(blank(model), path).state_dict()
    for name, tensor in model.state_dict().items():
        assert other[name].dtype == tensor.dtype
        assert other[name].shape == tensor.shape
        assert torch.equal(bits(other[name]), bits(tensor))


@pytest.mark.parametrize(
    ("part", "count", "coding"), [(1.0, 4000, "dense"), (0.3, 4000, "bitmap"), (0.001, 40_000, "index")]
)
def test_the_coding_is_the_smallest_of_the_three(tmp_path, part, count, coding):
    values = torch.randn(count, generator=torch.Generator().manual_seed(1))
    kept = int(part * count)
    values[kept:] = 0.0
    values = values[torch.randperm(count, generator=torch.Generator().manual_seed(2))]
    size = td.save_compact(Holder(w=values), tmp_path / "m")
    assert codings(tmp_path / "m") == {"w": coding}
    gaps = values.nonzero().flatten().diff(prepend=torch.tensor([-1]))
    narrow = 5 * int((1 + (gaps - 1) // 255).sum())  # a value and a byte each, zeros for what a byte cannot say
    ways = {"dense": 4 * count, "bitmap": 4 * kept + count // 8, "index": min(narrow, 6 * kept)}
    assert ways[coding] == min(ways.values())
    assert ways[coding] <= size <= ways[coding] + 450  # a header of names and shapes


@pytest.mark.parametrize("far", [200, 256, 300, 40_000, 100_000])
def test_gaps_of_all_widths_come_back(tmp_path, far):
    values = torch.zeros(3 * far + 1)
    values[[0, far, far + 1, 3 * far]] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    td.save_compact(Holder(w=values), tmp_path / "m")
    assert codings(tmp_path / "m") == {"w": "index"}
    assert torch.equal(td.load_compact_(Holder(w=torch.zeros_like(values)), tmp_path / "m").w, values)


def test_a_tied_tensor_is_stored_once(tmp_path):
    model = nn.Sequential(nn.Embedding(50, 8), nn.Linear(8, 50, bias=False))
    model[1].weight = model[0].weight
    size = td.save_compact(model, tmp_path / "m")
    assert codings(tmp_path / "m") == {"0.weight": "dense", "1.weight": "as"}
    assert size < 4 * 400 + 500
    twin = nn.Sequential(nn.Embedding(50, 8), nn.Linear(8, 50, bias=False))
    td.load_compact_(twin, tmp_path / "m")
    assert torch.equal(twin[0].weight, model[0].weight)
    assert torch.equal(twin[1].weight, model[0].weight)


def test_views_of_one_storage_are_not_taken_for_each_other(tmp_path):
    square = torch.arange(9.0).reshape(3, 3)
    model = Holder(a=square, b=square.t(), c=square.view(torch.int32))
    td.save_compact(model, tmp_path / "m")
    found = td.load_compact_(blank(model), tmp_path / "m")
    assert torch.equal(found.a, square)
    assert torch.equal(found.b, square.t())
    assert torch.equal(found.c, square.view(torch.int32))


def test_a_sparse_model_is_small_and_safetensors_reads_its_file(tmp_path):
    model = nn.Linear(1000, 100)
    with torch.no_grad():
        model.weight[torch.rand(100, 1000) < 0.99] = 0.0
    size = td.save_compact(model, tmp_path / "m")
    nonzero = int(model.weight.count_nonzero())
    assert size < 6 * nonzero + 4 * 100 + 600
    with safe_open(tmp_path / "m", "pt") as file:
        values = file.get_tensor("weight/values")
    assert torch.equal(values[values != 0], model.weight[model.weight != 0])


@pytest.fixture
def stored(tmp_path):
    model = nn.Sequential(nn.Linear(40, 20), nn.BatchNorm1d(20), nn.Linear(20, 3))
    with torch.no_grad():
        model[0].weight[:, 4:] = 0.0
        model[2].weight[:, 4:] = 0.0
    td.save_compact(model, tmp_path / "m")
    return model, tmp_path / "m"


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 60, 400, "header", "header+1", -20, -1])
def test_a_truncated_file_is_refused_and_the_model_stays(stored, length):
    model, path = stored
    data = path.read_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    places = {"header": header, "header+1": header + 1}
    path.write_bytes(data[: places.get(length, length)])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"load_compact_: .* must be a whole file of save_compact; found "):
        td.load_compact_(model, path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def plain_safetensors(path):
    save_file({"weight": torch.ones(2)}, path)


FOREIGN = {
    "a pickle": lambda path: torch.save({"weight": torch.ones(2)}, path),
    "safetensors of someone else": plain_safetensors,
    "text": lambda path: path.write_text("hello, this is no model at all, but a line of text"),
    "a lying length": lambda path: path.write_bytes((2**62).to_bytes(8, "little") + b"{}"),
    "JSON that is no object": lambda path: path.write_bytes((2).to_bytes(8, "little") + b"[]"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_file_is_refused_and_nothing_is_unpickled(tmp_path, monkeypatch, kind):
    FOREIGN[kind](tmp_path / "m")
    monkeypatch.setattr("pickle.Unpickler", None)
    monkeypatch.setattr(torch, "load", None)
    with pytest.raises(ValueError, match="must be a whole file of save_compact"):
        td.load_compact_(nn.Linear(2, 2), tmp_path / "m")


def test_a_model_of_other_shapes_or_names_is_refused(stored):
    _, path = stored
    with pytest.raises(ValueError, match=r"must hold the model's tensors, got others: 0.bias"):
        td.load_compact_(nn.Linear(40, 20), path)
    wider = nn.Sequential(nn.Linear(40, 21), nn.BatchNorm1d(21), nn.Linear(21, 3))
    with pytest.raises(ValueError, match=r"0.weight of .* must have shape \(21, 40\), got \(20, 40\)"):
        td.load_compact_(wider, path)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        td.load_compact_(nn.Linear(2, 2), tmp_path / "none")


def test_a_full_disk_leaves_what_was_there(stored, monkeypatch):
    model, path = stored
    before = path.read_bytes()
    real = os.fdopen

    class Full:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, data):
            self.file.write(data[: len(data) // 2])
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(compact.os, "fdopen", lambda *each: Full(real(*each)))
    with pytest.raises(OSError, match="No space left"):
        td.save_compact(nn.Linear(40, 20), path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]
    td.load_compact_(model, path)


def test_a_file_is_as_readable_as_any_other(stored):
    _, path = stored
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask
