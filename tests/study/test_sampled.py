"""--mc: the mean over noisy passes, against enumeration and SciPy, and through the store, the tables and the report."""

import io
import itertools
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console
from scipy import stats
from torch import nn

import torchdropout as td
from torchdropout.study import StudyError, Watcher, compare, comparison, sampled
from torchdropout.study.config import CompareConfig
from torchdropout.study.datasets import Dataset, prepare
from torchdropout.study.display import sampled_table
from torchdropout.study.expansion import expand
from torchdropout.study.fitting import Job
from torchdropout.study.metrics import Split
from torchdropout.study.protocol import divide, random_state
from torchdropout.study.sampled import Passes

SMALL = {"folds": 2, "seeds": 1, "epochs": 2, "jobs": 1, "widths": [16]}
TIMES = ["seconds", "seconds_per_epoch", "val_mc_seconds"]


@pytest.fixture
def on_few(few, monkeypatch):
    monkeypatch.setattr(comparison.datasets, "load", lambda name, **settings: few)


def small_network():
    return nn.Sequential(nn.Linear(3, 6), nn.ReLU(), td.Dropout(0.5), nn.Linear(6, 3))


def of_all_masks(model, x):
    """The logits of every one of 64 masks of six units, `(64, N, 3)`."""
    with torch.no_grad():
        hidden = model[1](model[0](x))
        masks = torch.tensor(list(itertools.product([0.0, 2.0], repeat=6)))
        return torch.stack([model[3](hidden * mask) for mask in masks])


def collected(model, x, passes):
    return torch.cat([found.samples for found in sampled.predictions(model, x, passes)], 1)


def test_the_mean_probabilities_are_those_over_all_masks():
    """40,000 passes: four deviations of a mean of values in [0, 1] are below 0.01."""
    model, x = small_network(), torch.randn(5, 3)
    exact = of_all_masks(model, x).softmax(2).mean(0)
    found = sampled.log_probabilities(collected(model, x, Passes(40_000, 3))).exp()
    torch.testing.assert_close(found, exact.double(), atol=0.01, rtol=0)
    assert (exact - model.eval()(x).softmax(1)).abs().max() > 0.012  # the noise off is something else


def test_no_probability_rounds_to_zero():
    logits = torch.tensor([[[0.0, 800.0]], [[0.0, 900.0]]])
    expected = np.log((np.exp(-800, dtype=np.longdouble) + np.exp(-900, dtype=np.longdouble)) / 2)
    assert sampled.log_probabilities(logits)[0, 0] == pytest.approx(float(expected))


def test_figures_of_a_classification_are_those_of_the_mean_probabilities(few):
    part = np.arange(100)
    preparation = prepare.fit(few, part)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), td.Dropout(0.5), nn.Linear(16, 10))
    split = Split(preparation.inputs(few.inputs), preparation.targets(few.targets))
    found = sampled.measure(model, preparation, split, Passes(30, 1))
    p = collected(model, split.inputs, Passes(30, 1)).softmax(2).mean(0)
    assert found.accuracy == float((p.argmax(1) == split.targets).double().mean())
    assert found.nll == pytest.approx(td.calibration.negative_log_likelihood(p, split.targets), rel=1e-5)
    assert found.ece == pytest.approx(td.calibration.expected_calibration_error(p, split.targets), rel=1e-4)
    assert (found.passes, found.rmse) == (30, None)
    assert found.seconds > 0


@pytest.mark.parametrize("log_target", [False, True])
def test_figures_of_a_regression_are_those_of_a_mixture(line, log_target):
    data = replace(line, targets=np.exp(line.targets / 5))
    preparation = prepare.fit(data, np.arange(40), log_target=log_target)
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), td.GaussianDropout(0.5), nn.Linear(8, 1))
    split = Split(preparation.inputs(data.inputs), preparation.targets(data.targets))
    found = sampled.measure(model, preparation, split, Passes(20, 2), 0.3)
    samples = collected(model, split.inputs, Passes(20, 2)).double().numpy()[:, :, 0]
    units = preparation.in_units(torch.from_numpy(samples.mean(0))[:, None]).numpy()
    assert found.rmse == pytest.approx(np.sqrt(np.mean((units - data.targets) ** 2)), rel=1e-5)
    y, scale, center = data.targets, preparation.target_scale, preparation.target_center
    y = np.log(y) if log_target else y
    density = stats.norm(samples * scale + center, scale * np.sqrt(0.3)).pdf(y).mean(0)
    assert found.nll == pytest.approx(-np.log(density).mean(), rel=1e-4)
    assert sampled.measure(model, preparation, split, Passes(3, 2), 0.0).nll is None


def test_a_part_is_sampled_alike_in_pieces_and_anew(monkeypatch):
    model, x = small_network(), torch.randn(40, 3)
    first = collected(model, x, Passes(7, 5))
    assert torch.equal(first, collected(model, x, Passes(7, 5)))
    assert not torch.equal(first, collected(model, x, Passes(7, 6)))
    monkeypatch.setattr(sampled.metrics, "rows_at_once", lambda inputs: 16)
    pieces = collected(model, x, Passes(7, 5))
    assert pieces.shape == (7, 40, 3)
    assert torch.equal(pieces[:, :16], first[:, :16])
    assert not torch.equal(pieces[0, 16:32], pieces[0, :16])


def test_noise_that_gives_no_number_is_said():
    class Broken(nn.Module):
        def forward(self, x):
            return torch.where(td.functional.dropout(torch.ones_like(x), 0.5, training=self.training) > 0, x, x / 0)

    with pytest.raises(FloatingPointError, match="A noisy pass of the trained network gave NaN or an infinity"):
        list(sampled.predictions(nn.Sequential(Broken(), nn.Linear(3, 2)), torch.randn(20, 3), Passes(5, 0)))


@pytest.mark.usefixtures("on_few")
def test_columns_beside_those_without_noise_and_nothing_else_changes(tmp_path):
    methods = ["none", "dropout", "early-dropout", "l2"]
    stored = compare(methods=methods, mc=9, out=tmp_path / "with", **SMALL)
    without = compare(methods=methods, out=tmp_path / "without", **SMALL).results
    results = stored.results
    added = [name for name in results if "_mc_" in name]
    assert without[added].isna().all().all()
    assert without.drop(columns=[*TIMES, *added]).equals(results.drop(columns=[*TIMES, *added]))
    for name in ("accuracy", "nll", "ece"):
        quiet = results["method"] != "dropout"  # early dropout is over at the end
        assert (results[f"val_mc_{name}"][quiet] == results[f"val_{name}"][quiet]).all()
    noisy = results[results["method"] == "dropout"]
    assert (noisy["val_mc_nll"] != noisy["val_nll"]).all()
    assert (noisy["val_mc_seconds"] > 0).all()
    assert results["val_mc_rmse"].isna().all()
    assert pd.read_parquet(tmp_path / "with" / "results.parquet").equals(results)
    assert stored.study["config"]["mc"] == 9
    assert "--mc 9" in stored.study["command"]


@pytest.mark.usefixtures("on_few")
def test_a_study_that_goes_on_and_one_on_processes_have_the_same_numbers(tmp_path):
    settings = SMALL | {"methods": ["none", "dropout"], "mc": 5}
    whole = compare(out=tmp_path / "whole", **settings).results.drop(columns=TIMES)

    def stop(outcome):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(out=tmp_path / "cut", watcher=Watcher(on_outcome=stop), **settings)
    with pytest.raises(StudyError, match="`mc` must be that of the study, 5, got 6"):
        compare(out=tmp_path / "cut", resume=True, mc=6)
    went_on = compare(out=tmp_path / "cut", resume=True, jobs=2).results.drop(columns=TIMES)
    assert went_on.equals(whole)


@pytest.mark.usefixtures("on_few")
def test_the_table_and_the_report_have_both(tmp_path):
    stored = compare(methods=["none", "dropout"], mc=5, out=tmp_path, **SMALL)
    console = Console(file=io.StringIO(), width=80)
    console.print(sampled_table(stored))
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    means = stored.results.groupby("method")[["val_accuracy", "val_mc_accuracy", "val_mc_nll"]].mean()
    for method in ("none", "dropout"):
        assert f"{100 * means.loc[method, 'val_mc_accuracy']:.2f}" in text
        assert f"{means.loc[method, 'val_mc_nll']:.3f}" in text
    page = (tmp_path / "report.html").read_text()
    assert 'id="sampled"' in page
    assert "the mean over 5 passes with the noise on" in " ".join(page.split())
    assert "measured with the noise on, too, by the mean of 5 passes" in page
    assert f"{means.loc['dropout', 'val_mc_nll']:.3f}" in page


def test_the_model_that_is_kept_is_sampled_on_the_test_split_and_a_regression_keeps_its_variance(line, tmp_path):
    frame = pd.DataFrame(line.inputs, columns=list("abc")).assign(y=line.targets)
    frame.to_csv(tmp_path / "line.csv", index=False)
    settings = SMALL | {"epochs": 5, "methods": ["none", "dropout"], "mc": 4}
    stored = compare(data=str(tmp_path / "line.csv"), target="y", out=tmp_path / "out", **settings)
    assert stored.results[["val_mc_rmse", "val_mc_nll"]].notna().all().all()
    assert stored.results["val_mc_accuracy"].isna().all()
    about = json.loads((tmp_path / "out" / "model.json").read_text())
    assert about["config"]["mc"] == 4
    assert about["variance"] == stored.study["refit"]["measured"]["train"]["loss"]


def test_a_given_test_split_is_sampled(few, tmp_path, monkeypatch):
    given = replace(few, test_inputs=few.inputs[:30], test_targets=few.targets[:30])
    monkeypatch.setattr(comparison.datasets, "load", lambda name, **settings: given)
    stored = compare(methods=["dropout"], mc=4, out=tmp_path, **SMALL | {"folds": 1})
    assert stored.results["test_mc_nll"].notna().all()
    assert stored.study["refit"]["measured"]["test"]["sampled"]["passes"] == 4


COUNTING = """
import torch
from torch import nn

class Counts(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))
    def forward(self, x):
        if self.training:
            self.seen += 1
        return x

def net(shape, outputs, noise):
    return nn.Sequential(nn.Flatten(), noise("input"), Counts(), nn.Linear(64, outputs))
"""


@pytest.mark.usefixtures("on_few")
def test_a_network_whose_train_mode_does_more_than_draw_is_refused_at_once(tmp_path, monkeypatch):
    (tmp_path / "counting.py").write_text(COUNTING)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StudyError, match=r"compare: `mc` needs a network that can be sampled, got: .*Counts"):
        compare(methods=["dropout"], model="counting:net", mc=4, out=tmp_path / "out", **SMALL)
    assert not (tmp_path / "out").exists()


def of_one_run(data, config):
    """What is measured of the part that judges."""
    (condition,) = expand(config)
    job = Job(config, data, divide(config, data)[0, 0], random_state(0, 0, 0))
    return job.measure(job.train(condition.placed[0], job.part, []))["val"]


NOISY = {
    "mlp": ("dropout", "dropconnect", "concrete", "variational", "standout", "multisample", "curriculum"),
    "cnn": ("dropout2d", "drop-block2d", "max-pool2d", "log-normal", "dropconnect2d", "cutout"),
    "transformer": ("drop-path", "drop-key", "layer-drop", "patch-dropout", "dropout"),
}


TEXTS = [f"{word} {other}" for word in ("red", "green", "blue", "dark") for other in ("sky", "sea", "sun") * 4]


@pytest.mark.parametrize("model", ["lstm", "transformer"])
@pytest.mark.parametrize("method", ["dropout", "embedding-dropout", "word-dropout"])
def test_texts_are_sampled(model, method):
    data = Dataset("colours", "classification", np.array(TEXTS, object), np.repeat([0, 1], 24), ("warm", "cold"), "")
    found = of_one_run(data, CompareConfig(model=model, methods=(method,), folds=2, epochs=1, jobs=1, mc=3))
    assert found.sampled.seconds > 0
    assert found.sampled.nll != found.nll


@pytest.mark.parametrize("method", ["variational-rnn", "zoneout", "weight-drop", "locked"])
def test_the_recurrent_kinds_are_sampled(method):
    data = Dataset("colours", "classification", np.array(TEXTS, object), np.repeat([0, 1], 24), ("warm", "cold"), "")
    found = of_one_run(data, CompareConfig(model="lstm", methods=(method,), folds=2, epochs=1, jobs=1, mc=3))
    assert found.sampled.nll != found.nll


@pytest.mark.parametrize(("model", "method"), [(model, each) for model in NOISY for each in NOISY[model]])
def test_noise_of_every_place_is_sampled(few, model, method):
    config = CompareConfig(model=model, methods=(method,), folds=2, epochs=1, jobs=1, mc=3, widths=(16,))
    found = of_one_run(few, config)
    assert found.sampled.passes == 3
    assert found.sampled.seconds > 0
    assert found.sampled.nll != found.nll
