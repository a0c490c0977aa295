"""torchdropout uncertainty: measures against computations of their own, the table, the page, and what is refused."""

import base64
import io
import json
import math
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from rich.console import Console
from scipy import stats
from sklearn import metrics

import torchdropout as td
from torchdropout.study import StudyError, assess, compare, comparison, load_model
from torchdropout.study.display import measures_table
from torchdropout.study.uncertainty import page, wall, write

SMALL = {"folds": 2, "seeds": 1, "epochs": 3, "jobs": 1, "widths": [16]}


@pytest.fixture(scope="module")
def of_digits(digits, tmp_path_factory):
    """A folder with a study of 400 digits, others of them, and noise in their shape."""
    folder = tmp_path_factory.mktemp("digits")
    np.savez(folder / "old.npz", inputs=digits.inputs[:400], targets=digits.targets[:400])
    np.savez(folder / "new.npz", inputs=digits.inputs[400:700], targets=digits.targets[400:700])
    noise = np.random.default_rng(0).integers(0, 17, size=(90, 1, 8, 8))
    np.savez(folder / "far.npz", inputs=noise)
    settings = SMALL | {"widths": [64], "epochs": 12}
    compare(data=str(folder / "old.npz"), methods=["dropout"], out=folder / "run", **settings)
    return folder


@pytest.fixture(scope="module")
def found(of_digits):
    return assess(of_digits / "run", str(of_digits / "new.npz"), ood=str(of_digits / "far.npz"), samples=20)


@pytest.fixture(scope="module")
def of_a_plane(tmp_path_factory):
    """A folder with a study of a noisy plane, new points of it, and points far away."""
    folder, rng = tmp_path_factory.mktemp("plane"), np.random.default_rng(7)
    for name, count, scale in (("old", 200, 1.0), ("new", 100, 1.0), ("far", 50, 6.0)):
        x = scale * rng.normal(size=(count, 3))
        y = 50 + 20 * x @ [1.0, -2.0, 0.5] + 5 * rng.normal(size=count)
        frame = pd.DataFrame(x, columns=list("abc")).assign(kind=np.where(x[:, 0] > 0, "up", "down"), y=y)
        frame.to_csv(folder / f"{name}.csv", index=False)
    settings = SMALL | {"widths": [64], "epochs": 30, "lr": 0.01}
    compare(data=str(folder / "old.csv"), target="y", methods=["dropout"], p=[0.1], out=folder / "run", **settings)
    return folder


def by_name(assessment):
    return {each.name: each for each in assessment.measures}


def test_measures_with_the_noise_off_are_scikit_learns(found, of_digits, digits):
    network, _ = load_model(of_digits / "run")
    x, y = network.preparation.inputs(digits.inputs[400:700]), digits.targets[400:700]
    with torch.no_grad():
        p = network.model.eval()(x).double().softmax(1).numpy()
    rows = by_name(found)
    assert rows["accuracy"].off == pytest.approx((p.argmax(1) == y).mean())
    assert rows["negative log-likelihood, nats"].off == pytest.approx(metrics.log_loss(y, p, labels=range(10)))
    brier = metrics.brier_score_loss(y, p, labels=range(10), scale_by_half=False)
    assert rows["Brier score"].off == pytest.approx(brier)
    assert rows["ECE, bins of equal width"].off == pytest.approx(td.calibration.expected_calibration_error(p, y))
    order = np.argsort(-p.max(1), kind="stable")
    wrong = (p.argmax(1) != y)[order]
    assert rows["AURC, by maximal probability"].off == pytest.approx(np.mean(np.cumsum(wrong) / np.arange(1, 301)))


def test_measures_of_the_passes_are_those_of_a_loop_in_sampling_mode(found, of_digits, digits):
    """2,000 passes in a loop against 20: the accuracy and the likelihood agree to what 20 passes leave open."""
    network, _ = load_model(of_digits / "run")
    x, y = network.preparation.inputs(digits.inputs[400:700]), digits.targets[400:700]
    with torch.no_grad(), td.sampling(network.model), td.keyed(3):
        p = torch.stack([network.model(x).double().softmax(1) for _ in range(2000)]).mean(0).numpy()
    rows = by_name(found)
    assert rows["negative log-likelihood, nats"].on == pytest.approx(metrics.log_loss(y, p), abs=0.03)
    assert rows["accuracy"].on == pytest.approx((p.argmax(1) == y).mean(), abs=0.03)
    assert abs(rows["negative log-likelihood, nats"].on - rows["negative log-likelihood, nats"].off) > 0.06


def test_entropies_are_the_predictions_of_mc_predict(found):
    part = found.inside
    network = found.network
    prediction = td.mc_predict(network.model, part.examples.inputs, 3000, key=5)
    entropy = -(part.found.on.exp() * part.found.on).sum(1)
    assert (entropy - prediction.predictive_entropy.double()).abs().mean() < 0.05
    assert (part.found.mutual_information - prediction.mutual_information.double()).abs().mean() < 0.05
    assert float(part.found.mutual_information.mean()) > 0.02


def test_detection_by_each_score(found):
    inside, outside, rows = found.inside.found, found.outside.found, by_name(found)
    y = np.repeat([0, 1], [300, 90])
    both = torch.cat([inside.off, outside.off]).exp()
    expected = metrics.roc_auc_score(y, -both.amax(1))
    assert rows["AUROC, by maximal probability"].off == pytest.approx(expected)
    entropy = -(both * both.log()).sum(1)
    assert rows["AUPR, by predictive entropy"].off == pytest.approx(metrics.average_precision_score(y, entropy))
    information = torch.cat([inside.mutual_information, outside.mutual_information])
    assert rows["AUROC, by mutual information"].on == pytest.approx(metrics.roc_auc_score(y, information))
    assert math.isnan(rows["AUROC, by mutual information"].off)


def test_the_difference_is_scipys_paired_interval(found, digits):
    y = digits.targets[400:700]
    nll = [-each[np.arange(300), y].numpy() for each in (found.inside.found.off, found.inside.found.on)]
    interval = stats.ttest_rel(nll[1], nll[0]).confidence_interval(0.95)
    difference = by_name(found)["negative log-likelihood, nats"].difference
    assert difference == pytest.approx((np.mean(nll[1] - nll[0]), interval.low, interval.high))


def test_a_regression_has_intervals_and_mixtures(of_a_plane):
    found = assess(of_a_plane / "run", str(of_a_plane / "new.csv"), ood=str(of_a_plane / "far.csv"), samples=30)
    rows = by_name(found)
    y, network = pd.read_csv(of_a_plane / "new.csv")["y"].to_numpy(), found.network
    about = json.loads((of_a_plane / "run" / "model.json").read_text())
    scale, center = network.preparation.target_scale, network.preparation.target_center
    samples = found.inside.found.samples.numpy() * scale + center
    sigma = scale * math.sqrt(about["variance"])
    assert rows["RMSE"].on == pytest.approx(np.sqrt(np.mean((samples.mean(0) - y) ** 2)), rel=1e-6)
    density = stats.norm(samples, sigma).pdf(y).mean(0)
    assert rows["negative log-likelihood, nats"].on == pytest.approx(-np.log(density).mean(), rel=1e-5)
    off = found.inside.found.off.numpy() * scale + center
    assert rows["negative log-likelihood, nats"].off == pytest.approx(
        -stats.norm(off, sigma).logpdf(y).mean(), rel=1e-5
    )
    for level in (0.5, 0.9, 0.95):
        low, high = stats.norm.interval(level, samples.mean(0), np.sqrt(samples.var(0) + sigma**2))
        assert rows[f"{100 * level:g} % intervals: coverage"].on == pytest.approx(((low <= y) & (y <= high)).mean())
        assert rows[f"{100 * level:g} % intervals: mean width"].on == pytest.approx((high - low).mean())
    assert rows["AUROC, by deviation of the passes"].on > 0.8
    text = page.render(found)
    assert "and 1 more" not in text
    assert "<dt>kind</dt><dd>" in text
    assert "<dt>y</dt>" not in text


def test_the_same_again_and_with_another_seed(of_digits, found):
    again = assess(of_digits / "run", str(of_digits / "new.npz"), samples=20)
    first = by_name(found)
    assert {each.name: each.on for each in again.measures}.items() <= {n: each.on for n, each in first.items()}.items()
    other = assess(of_digits / "run", str(of_digits / "new.npz"), samples=20, seed=1)
    assert by_name(other)["Brier score"].on != first["Brier score"].on
    assert by_name(other)["Brier score"].off == first["Brier score"].off


def test_classes_of_another_numbering_and_fewer_of_them(of_digits, digits):
    """A file that has the digits 3 and 7 alone: its classes 0 and 1 are the model's 3 and 7."""
    kept = np.isin(digits.targets[400:700], [3, 7])
    inputs, targets = digits.inputs[400:700][kept], digits.targets[400:700][kept]
    np.savez(of_digits / "two.npz", inputs=inputs, targets=targets)
    found = assess(of_digits / "run", str(of_digits / "two.npz"), samples=5)
    assert (found.inside.examples.targets == targets).all()
    assert by_name(found)["accuracy"].off > 0.6


def test_a_named_set_has_its_test_split_and_its_classes(few, of_digits, monkeypatch):
    from torchdropout.study.datasets import examples  # noqa: PLC0415

    given = replace(few, classes=few.classes[::-1], targets=9 - few.targets)  # the same digits, numbered from the end
    monkeypatch.setattr(examples, "load", lambda name, **settings: given)
    whole = assess(of_digits / "run", "digits", samples=5)
    assert (whole.inside.examples.targets == few.targets).all()
    split = replace(given, test_inputs=given.inputs[:50], test_targets=given.targets[:50])
    monkeypatch.setattr(examples, "load", lambda name, **settings: split)
    found = assess(of_digits / "run", "digits", samples=5)
    assert len(found.inside.examples) == 50
    assert found.inside.examples.is_test_split
    assert not found.seen


def test_examples_that_were_learned_from_are_told(of_digits, found):
    learned = assess(of_digits / "run", str(of_digits / "run" / ".." / "old.npz"), samples=5)
    assert learned.seen
    assert 'id="seen"' in page.render(learned)
    assert not found.seen
    assert 'id="seen"' not in page.render(found)


def test_the_table_fits_80_columns(found):
    console = Console(file=io.StringIO(), width=80)
    console.print(measures_table(found))
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    row = by_name(found)["accuracy"]
    assert f"{100 * row.off:.2f} %" in text
    assert f"{100 * row.on:.2f} %" in text


def test_the_page_has_every_measure_chart_and_example(found, tmp_path):
    text = write(found, tmp_path / "page.html").read_text(encoding="utf-8")
    assert text.count("data-figure=") == 2 + 1 + 3
    figures = json.loads(re.search(r'id="figures">(.*?)</script>', text, re.S)[1])
    assert len(figures) == 6
    for row in found.measures:
        assert f'<th scope="row">{row.name}</th>' in text
    assert text.count("<img ") == 3 * 12
    assert "Out of distribution, and yet most certain" in text
    histogram = figures[3]["data"]
    assert [trace["name"] for trace in histogram] == ["in distribution (300)", "out of distribution (90)"]
    assert all(sum(trace["y"][:-1]) == pytest.approx(1.0) for trace in histogram)


def test_the_wall_has_the_most_and_the_least_certain(found):
    entropy = -(found.inside.found.on.exp() * found.inside.found.on).sum(1).numpy()
    walls = dict(page._walls(found))
    spans = wall.span(found.inside.examples.raw)
    pictures = [wall.picture(image, spans) for image in found.inside.examples.raw]
    order = np.argsort(entropy, kind="stable")
    certain, uncertain = (walls[title] for title in list(walls)[:2])
    assert [each.content for each in certain] == [pictures[n] for n in order[:12]]
    assert [each.content for each in uncertain] == [pictures[n] for n in order[::-1][:12]]
    guess = found.inside.found.on.argmax(1).numpy()
    assert [each.wrong for each in uncertain] == [
        guess[n] != found.inside.examples.targets[n] for n in order[::-1][:12]
    ]


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_pictures_hold_the_pixels(channels):
    image = np.random.default_rng(1).integers(0, 256, size=(channels, 5, 7))
    address = wall.picture(image, (0.0, 255.0))
    read = np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))))
    expected = image.transpose(1, 2, 0) if channels == 3 else image.astype(np.uint8).mean(0).round()
    np.testing.assert_array_equal(read, expected)


def test_texts_sequences_volumes_and_rows_on_the_wall():
    texts = np.array(["short", "x" * 500], object)
    assert [wall.shown(texts, n, ("a",), None, (0, 1)).content for n in (0, 1)] == ["short", "x" * 240 + " …"]
    line = wall.shown(np.arange(8.0).reshape(1, 2, 4), 0, (), None, (0.0, 7.0))
    assert (line.kind, len(line.content)) == ("line", 2)
    assert line.content[0].split()[0] == "1.0,49.0"
    volume = wall.shown(np.zeros((1, 1, 3, 4, 4)), 0, (), None, (0.0, 1.0))
    assert volume.kind == "image"
    table = pd.DataFrame({"n": [1.5, np.nan], "c": ["red", None]})
    assert wall.shown(table, 0, (), None, (0, 1)).content == [("n", "1.5"), ("c", "red")]
    assert wall.shown(table, 1, (), None, (0, 1)).content == [("n", "missing"), ("c", "missing")]
    assert wall.shown(np.zeros((1, 13)), 0, (), None, (0, 1)).content[-1] == ("…", "3 more")


def test_letters_of_the_data_are_letters(of_a_plane, tmp_path):
    frame = pd.read_csv(of_a_plane / "new.csv")
    frame["kind"] = "<b>bold</b>"
    frame.to_csv(tmp_path / "new.csv", index=False)
    text = page.render(assess(of_a_plane / "run", str(tmp_path / "new.csv"), samples=5))
    assert "&lt;b&gt;bold&lt;/b&gt;" in text
    assert "<b>bold" not in text


def test_a_target_of_another_name(of_a_plane, tmp_path):
    pd.read_csv(of_a_plane / "new.csv").rename(columns={"y": "price"}).to_csv(tmp_path / "new.csv", index=False)
    with pytest.raises(StudyError, match="--target: .* has no column 'y'"):
        assess(of_a_plane / "run", str(tmp_path / "new.csv"), samples=5)
    found = assess(of_a_plane / "run", str(tmp_path / "new.csv"), target="price", samples=5)
    first = assess(of_a_plane / "run", str(of_a_plane / "new.csv"), samples=5)
    assert found.measures == first.measures or str(found.measures) == str(first.measures)


FUNCTIONS = """
import numpy as np

def numbers():  # whole numbers, which would be taken for classes
    x = np.random.default_rng(3).normal(size=(40, 3))
    return x, np.round(x.sum(1))

def names():  # targets that no regression has
    x = 9 + np.random.default_rng(4).normal(size=(40, 3))
    return x, np.where(x[:, 0] > 9, "a", "b")
"""


def test_functions_give_examples_of_the_task_that_was_learned(tmp_path, monkeypatch):
    (tmp_path / "made_here.py").write_text(FUNCTIONS)
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(5).normal(size=(120, 3))
    np.savez("old.npz", inputs=x, targets=x.sum(1))
    compare(data="old.npz", methods=["dropout"], out=tmp_path / "run", **SMALL)
    found = assess(tmp_path / "run", "made_here:numbers", ood="made_here:names", samples=4)
    assert by_name(found)["RMSE"].on > 0
    assert len(found.outside.examples) == 40


def test_texts_are_assessed(tmp_path):
    rng = np.random.default_rng(2)
    words = {"fruit": ["apple", "pear", "plum"], "metal": ["iron", "zinc", "gold"]}
    rows = [(" ".join(rng.choice(words[name], 4)), name) for name in words for _ in range(40)]
    pd.DataFrame(rows, columns=["said", "topic"]).to_csv(tmp_path / "old.csv", index=False)
    pd.DataFrame(rows[20:60], columns=["said", "topic"]).to_csv(tmp_path / "new.csv", index=False)
    (tmp_path / "far.txt").write_text("\n".join(["the sky is blue today"] * 12))
    settings = {"folds": 2, "seeds": 1, "epochs": 2, "jobs": 1, "model": "lstm", "methods": ["dropout"]}
    compare(data=str(tmp_path / "old.csv"), text="said", target="topic", out=tmp_path / "run", **settings)
    found = assess(tmp_path / "run", str(tmp_path / "new.csv"), ood=str(tmp_path / "far.txt"), samples=4)
    assert "<q>the sky is blue today</q>" in page.render(found)


def change(folder, name, **arrays):
    np.savez(folder / name, **arrays)
    return str(folder / name)


REFUSED = {
    "few": ({"inputs": (5, 1, 8, 8), "targets": 5}, "there must be at least 10 examples, found 5"),
    "size": (
        {"inputs": (20, 1, 9, 9), "targets": 20},
        r"must be an array of shape \(examples, 1, 8, 8\) as in training",
    ),
    "none": ({"inputs": (20, 1, 8, 8)}, "there must be an array targets, found inputs"),
    "less": ({"inputs": (20, 1, 8, 8), "targets": 15}, "a target for each of 20 inputs, found 15"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_examples(of_digits, tmp_path, name):
    sizes, sentence = REFUSED[name]
    arrays = {key: np.zeros(size, np.int64) for key, size in sizes.items()}
    with pytest.raises(StudyError, match=rf"{name}\.npz: .*{sentence}"):
        assess(of_digits / "run", change(tmp_path, f"{name}.npz", **arrays))


def test_bad_classes_foreign_examples_and_passes(of_digits, of_a_plane, tmp_path):
    run, new = of_digits / "run", str(of_digits / "new.npz")
    strange = change(tmp_path, "strange.npz", inputs=np.zeros((20, 1, 8, 8)), targets=np.full(20, 11))
    with pytest.raises(StudyError, match=r"strange\.npz \(targets\): targets must be classes .*, found '11'"):
        assess(run, strange)
    holes = change(tmp_path, "holes.npz", inputs=np.full((20, 1, 8, 8), np.nan), targets=np.zeros(20))
    with pytest.raises(StudyError, match=r"holes\.npz: inputs must be finite numbers"):
        assess(run, holes)
    small = change(tmp_path, "small.npz", inputs=np.zeros((3, 1, 8, 8)))
    with pytest.raises(StudyError, match=r"small\.npz: there must be at least 10 examples, found 3"):
        assess(run, new, ood=small)
    with pytest.raises(StudyError, match=r"`samples` must be an integer from 2, got 1\.$"):
        assess(run, new, samples=1)
    with pytest.raises(StudyError, match="wine: classes must be those of training, 0, .*found 'class_0'"):
        assess(run, "wine")
    with pytest.raises(StudyError, match="digits: its targets must be those of a regression, as in training"):
        assess(of_a_plane / "run", "digits")
    pd.read_csv(of_a_plane / "new.csv").drop(columns="b").to_csv(tmp_path / "less.csv", index=False)
    with pytest.raises(StudyError, match=r"less\.csv: there must be a column 'b', as in training"):
        assess(of_a_plane / "run", str(tmp_path / "less.csv"))


@pytest.mark.parametrize("method", ["none", "early-dropout"])
def test_a_run_without_noise(few, of_digits, tmp_path, monkeypatch, method):
    monkeypatch.setattr(comparison.datasets, "load", lambda name, **settings: few)
    compare(methods=[method], out=tmp_path / "run", **SMALL)
    with pytest.raises(StudyError, match="the model must have noise that is live when its training ends, found none"):
        assess(tmp_path / "run", str(of_digits / "new.npz"))


def test_a_folder_without_a_model(of_digits, tmp_path):
    with pytest.raises(StudyError, match="the model of a study must be here, found none"):
        assess(tmp_path, str(of_digits / "new.npz"))


def test_a_model_that_was_kept_without_its_variance(of_a_plane, tmp_path):
    for path in (of_a_plane / "run").glob("model.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    about = json.loads((tmp_path / "model.json").read_text())
    del about["variance"], about["learned"]
    (tmp_path / "model.json").write_text(json.dumps(about))
    with pytest.raises(
        StudyError, match=r"model\.json: `variance` must be there.*--resume --out RUN` writes the model"
    ):
        assess(tmp_path, str(of_a_plane / "new.csv"))
