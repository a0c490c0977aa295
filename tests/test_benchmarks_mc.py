"""The Monte-Carlo benchmarks: nets side by side are nets alone, stopped runs go on, and scores are what they say."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import torchdropout as td

PAPERS = Path(__file__).parents[1] / "benchmarks" / "papers"


@pytest.fixture
def papers(monkeypatch):
    """Imports a script of benchmarks/papers as its folder would."""
    monkeypatch.syspath_prepend(str(PAPERS))
    return importlib.import_module


@pytest.fixture
def few(papers):
    """Three nets of 150 rows, so that the last batch of an epoch is a small one."""
    nets = papers("_uci_nets")
    generator = torch.Generator().manual_seed(3)
    x, y = torch.randn(3, 150, 4, generator=generator), torch.randn(3, 150, generator=generator)
    keys, decay = td.split(td.key(5), 3), torch.tensor([0.0, 1e-3, 1e-1])
    return nets, x, y, lambda numbers: nets.begin(4, 0.1, keys[numbers], decay[numbers])


def test_the_splits_are_those_of_numpys_first_generator(papers):
    data, rows = papers("_uci_data"), np.arange(308.0).reshape(-1, 1)
    np.random.seed(1)  # noqa: NPY002 - the global state, which the published splits were drawn from
    for number in range(3):
        order = np.random.choice(range(308), 308, replace=False)  # noqa: NPY002
        train, test = data.split(rows, number)
        assert train[:, 0].tolist() == order[:277].tolist()
        assert test[:, 0].tolist() == order[277:].tolist()


def test_parts_are_scaled_by_the_rows_that_train(papers):
    data = papers("_uci_data")
    rows = np.random.default_rng(0).normal(3.0, 2.0, (100, 4))
    rows[:, 1] = 7.0  # a column that never changes
    choosing, test = data.for_choosing(rows, 2), data.for_test(rows, 2)
    assert choosing.x.shape == (2, 72, 3)
    assert choosing.held_x.shape == (2, 18, 3)
    assert test.x.shape == (2, 90, 3)
    assert test.held_y.shape == (2, 10)
    assert test.x.isfinite().all()
    torch.testing.assert_close(test.x[:, :, [0, 2]].mean(1), torch.zeros(2, 2), atol=1e-6, rtol=0)
    torch.testing.assert_close(test.y.std(1, correction=0), torch.ones(2))
    assert test.held_y[1].numpy() == pytest.approx(data.split(rows, 1)[1][:, -1])
    assert choosing.held_y[0].numpy() == pytest.approx(data.split(rows, 0)[0][72:, -1])


def test_a_net_beside_others_learns_what_an_ordinary_model_learns_alone(few):
    nets, x, y, begin = few
    together, alone, model = begin([0, 1, 2]), begin([1]), nets.module(begin([1]), 0)
    for _ in range(5):
        nets.epoch(together, x, y)
        nets.epoch(alone, x[1:2], y[1:2])
    ordinary(nets, model, x[1], y[1], together.keys[1], 1e-3)
    for of in (nets.module(together, 1), nets.module(alone, 0)):
        for ours, theirs in zip(of.parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def ordinary(nets, model, x, y, key, decay):
    """Five epochs by autograd and PyTorch's loop, with the masks and the order of one of the nets."""
    first, linear, relu, second, last, _ = model
    optimizer, step = torch.optim.Adam(model.parameters(), lr=0.001, eps=1e-7), 0
    for epoch in range(1, 6):
        order = torch.randperm(len(x), generator=nets._generator(key, epoch))
        for rows in order.split(nets.BATCH):
            keys = nets.mask_keys(key, step)
            h = second(relu(linear(first(x[rows], key=keys[0]))), key=keys[1])
            loss = F.mse_loss(last(h)[:, 0], y[rows])
            loss = loss + decay * (linear.weight.square().sum() + last.weight.square().sum())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1


def test_no_two_masks_have_one_key(few):
    nets, _, _, begin = few
    keys = torch.cat([key for step in range(50) for key in nets.mask_keys(begin([0, 1, 2]).keys, step)])
    assert len(set(map(tuple, keys.tolist()))) == 50 * 2 * 3


def test_a_stopped_training_goes_on_as_if_it_had_not_stopped(few, tmp_path):
    nets, x, y, begin = few
    whole, part, rest = begin([0, 1, 2]), begin([0, 1, 2]), begin([0, 1, 2])
    nets.train(whole, x, y, 6, tmp_path / "whole.pt")
    nets.train(part, x, y, 2, tmp_path / "part.pt")
    nets.train(rest, x, y, 6, tmp_path / "part.pt")
    assert rest.epoch == 6
    for ours, theirs in zip(rest.weights, whole.weights, strict=True):
        assert torch.equal(ours, theirs)


def test_passes_of_one_key_have_the_likelihood_that_mc_predict_has(few):
    nets, x, y, begin = few
    trained = begin([0])
    for _ in range(3):
        nets.epoch(trained, x[:1], y[:1])
    model, tau, samples = nets.module(trained, 0, mean=2.0, std=3.0), 0.5, 4000
    targets = y[0, :20] * 3.0 + 2.0
    prediction = td.mc_predict(model, x[0, :20], samples, output="values", key=1, keep_samples=True)
    ours = nets.log_likelihood(model, x[0, :20], targets, tau, samples, td.key(2))
    theirs = prediction.log_likelihood(targets.unsqueeze(1), tau)[:, 0]
    density = (-0.5 * tau * (targets - prediction.samples[..., 0]).square()).exp()
    error = (2.0 / samples) ** 0.5 * density.std(0) / density.mean(0)  # of the difference of two log means
    assert ((ours - theirs).abs() < 5.0 * error + 1e-5).all()  # 20 normal bounds: wrong once in 90,000 keys


@pytest.fixture
def script(papers, monkeypatch, tmp_path):
    """The whole experiment, on 60 rows of its own, with four epochs and two splits."""
    module = papers("mc_dropout_uci")
    generator = np.random.default_rng(1)
    inputs = generator.normal(size=(60, 6))
    (tmp_path / "uci").mkdir()
    np.savetxt(tmp_path / "uci" / "yacht.txt", np.c_[inputs, inputs.sum(1)])
    monkeypatch.setenv("TORCHDROPOUT_DATA", str(tmp_path))
    monkeypatch.setitem(module.SCHEDULES, "short", (4, 20))

    def run(folder):
        monkeypatch.setattr(sys, "argv", ["x", "--sets", "yacht", "--splits", "2", "--out", str(tmp_path / folder)])
        module.main()
        return json.loads((tmp_path / folder / "yacht-short-2-0" / "measured.json").read_text())

    return module, run


def test_the_experiment_stopped_at_any_stage_ends_as_without_the_stop(script, monkeypatch, capsys):
    module, run = script
    whole, epoch = run("whole"), module.nets.epoch
    printed = capsys.readouterr().out
    assert len(whole) == 2
    assert "| yacht | 0.666 ± 0.049 |" in printed
    assert "miss" in printed
    for stop in (2, 9, 17):
        left = iter(range(stop))

        def until(*arguments, left=left):
            if next(left, None) is None:
                raise KeyboardInterrupt
            epoch(*arguments)

        monkeypatch.setattr(module.nets, "epoch", until)
        with pytest.raises(KeyboardInterrupt):
            run(f"stopped-{stop}")
        monkeypatch.setattr(module.nets, "epoch", epoch)
        assert run(f"stopped-{stop}") == whole


def test_an_unknown_set_is_refused_in_one_sentence(script, monkeypatch, capsys):
    module, _ = script
    monkeypatch.setattr(sys, "argv", ["x", "--sets", "yacht,boston"])
    with pytest.raises(SystemExit):
        module.main()
    assert "--sets must be of yacht, energy, concrete, wine, power-plant, got boston." in capsys.readouterr().err


def test_a_missing_folder_of_data_is_named_in_one_sentence(script, monkeypatch):
    _, run = script
    monkeypatch.delenv("TORCHDROPOUT_DATA")
    with pytest.raises(SystemExit, match="must name a folder with a file uci/yacht.txt, got None"):
        run("nowhere")


def test_each_split_gets_the_point_of_the_grid_with_the_highest_likelihood(script, tmp_path):
    module, _ = script
    grid = {str(rate): [[-3.0, -3.0], [-3.0, -3.0]] for rate in module.RATES}
    grid["0.01"][0][1], grid["0.1"][1][0] = -2.0, -1.0
    (tmp_path / "validation.json").write_text(json.dumps(grid))
    plan = module.Plan(1, 1, 2, 0, tmp_path)
    assert module.choose(plan, None, (0.25, 0.75)) == [(0.01, 0.75), (0.1, 0.25)]


def test_a_pass_is_at_most_two_published_standard_errors_worse(script):
    module, _ = script
    at = dict.fromkeys(("p", "tau", "other", "single", "scaled"), 1.0)
    good = module.row("yacht", [at | {"rmse": 0.763, "ll": -1.279}])
    bad = module.row("yacht", [at | {"rmse": 0.765, "ll": -1.281}])
    assert (good[2], good[4]) == ("0.763, pass", "-1.279, pass")
    assert (bad[2], bad[4]) == ("0.765, miss", "-1.281, miss")


def test_auroc_is_the_share_of_pairs_in_order(papers):
    module = papers("out_of_distribution")
    inside, outside = torch.tensor([0.1, 0.4, 0.4, 0.9]), torch.tensor([0.4, 0.8, 1.0])
    pairs = (outside[:, None] > inside).double() + 0.5 * (outside[:, None] == inside).double()
    assert module.auroc(inside, outside) == pytest.approx(float(pairs.mean()))


def test_sampling_and_no_sampling_are_measured_on_a_small_problem(papers):
    """Inputs of no class lie between two classes: uncertainty shows them."""
    module, sets = papers("out_of_distribution"), papers("_ood_sets")
    generator = torch.Generator().manual_seed(0)
    classes = torch.arange(400) % 2
    x = 0.3 * torch.randn(400, 1, 28, 28, generator=generator) + (2.0 * classes - 1.0).view(-1, 1, 1, 1)
    between = 0.3 * torch.randn(100, 1, 28, 28, generator=generator)
    problem = sets.Problem((x[:300], classes[:300]), (x[300:], classes[300:]), between, 2, 0, 2, 50, 1e-3)
    found = module.measure(problem, seed=0, samples=20)
    assert set(found["yes"]) == {"accuracy", "probability", "entropy", "information"}
    assert set(found["no"]) == {"accuracy", "probability", "entropy"}
    assert min(found["no"].values()) > 0.95
    assert min(found["yes"].values()) > 0.95


def test_the_text_model_reads_no_padding(papers):
    sets = papers("_ood_sets")
    model = sets.Reader(20, 3).eval()
    numbers = torch.tensor([[4, 5, 6, 0, 0], [7, 8, 9, 10, 11]])
    torch.testing.assert_close(model(numbers)[:1], model(numbers[:1, :3]))
