import json
import math
import os
from dataclasses import asdict, replace

import numpy as np
import onnxruntime
import pytest
import torch
from scipy import stats
from torch import nn

import torchdropout as td
from torchdropout.study import StudyError, compare, comparison, compress, compressing, load_model, predict, sparsifying
from torchdropout.study.choosing import Wanted, changed, choose
from torchdropout.study.reporting import compressed
from torchdropout.study.sparsifying import Point

SMALL = {"folds": 2, "seeds": 1, "epochs": 8, "jobs": 1, "widths": [24]}


@pytest.fixture
def folder(few, tmp_path, monkeypatch):
    for module in (comparison, compressing):
        monkeypatch.setattr(module.datasets, "load", lambda name, **settings: few)
    return compare(methods=["dropout"], out=tmp_path / "out", **SMALL).folder


@pytest.mark.parametrize("method", ["sparse-vd", "lognormal"])
def test_a_study_s_model_becomes_smaller_and_runs_elsewhere(folder, few, tmp_path, method):
    ticks = []
    done = compress(
        folder, tmp_path / "small", method=method, wanted=Wanted(loss=20.0), epochs=30, retrain=2,
        tick=lambda what, total: ticks.append((what, total)),
    )  # fmt: skip
    assert sorted(os.listdir(done.folder)) == [
        "model.json", "model.onnx", "model.pt2", "report.html", "report.json", "weights.safetensors",
    ]  # fmt: skip
    about = json.loads((done.folder / "report.json").read_text())
    assert about == done.about
    network, _ = load_model(folder)
    total = sum(p.numel() for p in network.model.parameters())
    assert (about["before"]["parameters"], about["before"]["nonzero"]) == (total, total)
    assert about["after"]["nonzero"] < total / 2
    assert (
        about["bytes"]["after"] == (done.folder / "weights.safetensors").stat().st_size < about["bytes"]["before"] / 2
    )
    assert about["layers"][0]["units_left"] <= 24
    assert about["layers"][0]["weights_left"] < about["layers"][0]["weights"]
    x = network.preparation.inputs(few.inputs[:9])
    session = onnxruntime.InferenceSession(str(done.folder / "model.onnx"), providers=["CPUExecutionProvider"])
    y = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]
    program = torch.export.load(done.folder / "model.pt2").module()
    np.testing.assert_allclose(y, program(x).detach().numpy(), atol=1e-4)
    np.savez(tmp_path / "new.npz", inputs=few.inputs[:9])
    table = predict(done.folder, tmp_path / "new.npz")
    assert table["prediction"].tolist() == [str(n) for n in y.argmax(1)]
    assert {total for _, total in ticks} == {len(ticks)} or len(ticks) <= ticks[0][1]
    assert next(iter(dict.fromkeys(what for what, _ in ticks))) == "training on a part"


def test_the_page_says_what_the_numbers_are():
    about = {
        "study": {"data": "</script><b>set", "model": "mlp", "condition": "none"}, "method": "sparse-vd", "epochs": 60,
        "retrain": 2, "wanted": {"size": None, "loss": None}, "share": 0.8, "threshold": 3.0,
        "accuracy_on_choosing_part": 0.96, "curve": [asdict(each) for each in POINTS] + [asdict(CHOSEN)],
        "judged": changed(torch.tensor([True] * 8), torch.tensor([True] * 7 + [False])),
        "sizes": {"learn": 70, "choose": 15, "judge": 8}, "before": COST, "after": COST | {"parameters": 40},
        "layers": [{"name": "linear1", "kind": "Linear", "units": 24, "units_left": 7, "weights": 1536,
                    "weights_left": 90, "weights_stored": 448}],
        "pixels": [[0, 2], [1, 0]], "files": {"model.onnx": 900}, "bytes": {"before": 1000, "after": 250},
    }  # fmt: skip
    page = compressed.render(about)
    for text in (
        "4.0 times smaller",
        "100.00 % before",
        "87.50 % after",
        "2 of 4 pixels",
        "80% of 60 epochs",
        "5.86 %",
    ):
        assert text in page
    assert "</script><b>set" not in page
    assert page.count("data-figure=") == 3 == len(json.loads(page.split('id="figures">')[1].split("</script>")[0]))
    assert "What is still read" not in compressed.render(about | {"pixels": None})


def test_the_same_again(folder, tmp_path):
    wanted = Wanted(loss=100.0)
    first, second = (compress(folder, tmp_path / name, wanted=wanted, epochs=8).about for name in "ab")
    keys = ("curve", "judged", "threshold", "share", "layers", "pixels")
    assert {key: first[key] for key in keys} == {key: second[key] for key in keys}


def test_the_parts_are_disjoint_and_the_twin_never_saw_what_judges(folder, few, monkeypatch):
    seen = {}
    real = compressing.Job.train

    def train(self, placed, part, curve):
        seen["learn"] = part
        return real(self, placed, part, curve)

    monkeypatch.setattr(compressing.Job, "train", train)
    _, learn, choosing, judging = compressing._twin(compressing._load(folder), lambda what: None)
    assert len(learn) == len(seen["learn"])
    assert len(learn) + len(choosing) + len(judging) == len(few.targets)
    rows = [tuple(x.flatten().tolist()) for part in (learn, choosing, judging) for x in part.inputs]
    assert abs(len(set(rows)) - len(few.targets)) <= len(rows) - len(set(rows))


def test_pixels_are_counted_at_their_place():
    plain = nn.Sequential(nn.Flatten(), nn.Linear(6, 2))
    with torch.no_grad():
        plain[1].weight.copy_(torch.tensor([[1.0, 0, 0, 0, 2, 0], [1.0, 0, 0, 3, 0, 0]]))
    assert compressing._pixels((1, 2, 3), plain, plain) == [[2, 0, 0], [1, 1, 0]]
    assert compressing._pixels((2, 1, 3), plain, plain) == [[3, 1, 0]]
    assert compressing._pixels((6,), plain, plain) is None
    conv = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(6, 2))
    assert compressing._pixels((1, 4, 5), conv, conv) is None


COST = {"parameters": 300, "nonzero": 300, "bytes": 1200, "flops": 600, "latency_1": 0.1, "latency_64": 1.0}
CHOSEN = Point(0.8, 3.0, 50, 40, 200, 0.94)


POINTS = [
    Point(0.5, 3.0, 100, 90, 400, 0.95),
    Point(0.5, 1.0, 100, 50, 250, 0.93),
    Point(1.0, 3.0, 50, 40, 200, 0.94),
    Point(1.0, 1.0, 20, 10, 90, 0.50),
]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(), 200),  # 2 points of 96 %
        (Wanted(loss=1.0), 400),
        (Wanted(loss=50.0), 90),
        (Wanted(size=250), 200),  # the most accurate of those that fit
        (Wanted(size=0.1), 90),  # a tenth of 1000
        (Wanted(size=300, loss=2.0), 200),
    ],
)
def test_the_choice(wanted, expected):
    assert choose(POINTS, wanted, 1000, 0.96).bytes == expected


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (Wanted(size=50), "no threshold leaves 50 bytes or less, the smallest 90, 11.1 times less than before"),
        (Wanted(loss=0.5), "no threshold loses at most 0.5 points of accuracy, the best 1.00"),
        (Wanted(size=100, loss=3), "no threshold that leaves 100 bytes or less loses at most 3 points of accuracy"),
    ],
)
def test_what_cannot_be_had(wanted, message):
    with pytest.raises(StudyError, match=message):
        choose(POINTS, wanted, 1000, 0.96)


@pytest.mark.parametrize(
    ("text", "size"),
    [("20000", 20000), ("20k", 20000), ("20kB", 20000), ("1.5M", 1.5e6), ("0.05", 0.05), ("20x", 0.05)],
)
def test_sizes_as_people_write_them(text, size):
    assert Wanted.parsed(text, None).size == pytest.approx(size)


@pytest.mark.parametrize("text", ["", "x", "0x", "-5", "big", "0", "inf", "nan"])
def test_what_is_no_size(text):
    with pytest.raises(StudyError, match="`target-size` must be bytes, 20k, a part such as 0.05, or 20x, got "):
        Wanted.parsed(text, None)


def test_the_interval_of_a_paired_difference_covers():
    """Exact coverage, over all tables of 60 pairs, at a true difference of -0.05: near 95 %."""
    count, lost, won = 60, 0.1, 0.05
    covered = 0.0
    for b in range(count + 1):
        for c in range(count + 1 - b):
            weight = stats.multinomial.pmf([b, c, count - b - c], count, [lost, won, 1 - lost - won])
            before = torch.zeros(count, dtype=torch.bool)
            after = before.clone()
            before[:b] = True
            after[b : b + c] = True
            if weight > 1e-9:
                low, high = changed(before, after)["interval"]
                covered += weight * (low <= won - lost <= high)
    assert 0.94 < covered < 0.98


def test_a_difference_counts_examples():
    before = torch.tensor([True] * 6 + [False] * 4)
    after = torch.tensor([True] * 5 + [False] * 4 + [True])
    found = changed(before, after)
    assert (found["before"], found["after"], found["difference"], found["examples"]) == (0.6, 0.6, 0.0, 10)
    assert found["interval"][0] == pytest.approx(-found["interval"][1])


def test_what_is_refused(folder, few, line, tmp_path, monkeypatch):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    for arguments, message in (
        ({"out": tmp_path / "full"}, "--out must name a new or an empty folder, found something there"),
        ({"out": "/dev/null/x"}, "--out must name a folder that can be written"),
        ({"method": "magnitude"}, "`method` must be sparse-vd or lognormal, got 'magnitude'"),
        ({"epochs": 0}, "`epochs` must be at least 1"),
        ({"folder": tmp_path}, "model.json: the model of a study must be here, found none"),
    ):
        with pytest.raises(StudyError, match=message):
            compress(arguments.pop("folder", folder), arguments.pop("out", tmp_path / "new"), **arguments)
    changed_data = replace(few, inputs=few.inputs + 1)
    monkeypatch.setattr(compressing.datasets, "load", lambda name, **settings: changed_data)
    with pytest.raises(StudyError, match="the data must be those of the study"):
        compress(folder, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_regression_is_refused(line, tmp_path, monkeypatch):
    monkeypatch.setattr(comparison.datasets, "load", lambda name, **settings: line)
    folder = compare(methods=["none"], out=tmp_path / "out", **SMALL).folder
    with pytest.raises(StudyError, match="the study must be of a classification, .* is of a regression"):
        compress(folder, tmp_path / "small")


def test_nothing_is_left_of_a_compression_that_fails(folder, tmp_path, monkeypatch):
    def refuse(model, path, example):
        raise ValueError("export: the file must give the model's outputs, they differ by 1 of the largest.")

    monkeypatch.setattr(td, "export", refuse)
    with pytest.raises(StudyError, match="they differ by 1 of the largest"):
        compress(folder, tmp_path / "small", wanted=Wanted(loss=100.0), epochs=3)
    assert sorted(os.listdir(tmp_path)) == ["out"]


def test_a_loss_that_is_not_finite_is_said(few):
    split = sparsifying.Split(torch.full((4, 3), math.nan), torch.zeros(4, dtype=torch.int64))
    how = sparsifying.Training("sparse-vd", 2, 0.1, 2, 0)
    with pytest.raises(StudyError, match="the loss was not finite in epoch 1 of 2"):
        sparsifying.sparsify(nn.Sequential(nn.Linear(3, 2)), split, how, lambda what: None)


def test_retraining_keeps_the_zeros():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 3))
    with torch.no_grad():
        model[0].weight[:, :4] = 0.0
    before = model[0].weight.clone()
    split = sparsifying.Split(torch.randn(40, 6), torch.randint(3, (40,)))
    sparsifying.retrain(model, split, sparsifying.Training("sparse-vd", 3, 0.1, 8, 0), lambda what: None)
    assert not model[0].weight[:, :4].any()
    assert not torch.equal(model[0].weight, before)
    assert not model.training
