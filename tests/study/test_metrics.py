import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from torchdropout.study.metrics import BINS, calibration, classified, outputs, regressed


@pytest.fixture
def predictions():
    generator = torch.Generator().manual_seed(2)
    return 2 * torch.randn(500, 4, generator=generator), torch.randint(4, (500,), generator=generator)


def test_classification_by_hand():
    logits = torch.log(torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.5, 0.25, 0.25]]))
    found = classified(logits, torch.tensor([0, 2, 0]))
    assert found.accuracy == pytest.approx(2 / 3)
    assert found.loss == found.nll == pytest.approx(-(math.log(0.7) + math.log(0.3) + math.log(0.5)) / 3, rel=1e-6)
    assert found.ece == pytest.approx((0.3 + 0.6 + 0.5) / 3, rel=1e-6)  # a bin for each
    assert found.rmse is None


def test_a_sure_and_wrong_prediction_has_its_full_price():
    assert classified(torch.tensor([[0.0, 500.0]]), torch.tensor([0])).nll == pytest.approx(500.0)


def test_calibration_error_by_hand():
    confidence = torch.tensor([0.55, 0.58, 0.95, 1.0, 0.97], dtype=torch.float64)
    right = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0], dtype=torch.float64)
    bins = calibration(confidence, right)
    assert [(b.bin, b.count) for b in bins] == [(8, 2), (14, 3)]
    assert [b.accuracy for b in bins] == pytest.approx([0.5, 2 / 3])
    assert [b.confidence for b in bins] == pytest.approx([0.565, (0.95 + 1.0 + 0.97) / 3])


def test_calibration_error_against_a_count_with_numpy(predictions):
    logits, targets = predictions
    probability = logits.double().softmax(1)
    confidence, guess = probability.max(1)
    edges = np.linspace(0, 1, BINS + 1)
    expected = 0.0
    for low, high in itertools.pairwise(edges):
        inside = (confidence.numpy() > low) & (confidence.numpy() <= high)
        if inside.any():
            hits = (guess == targets).numpy()[inside].mean()
            expected += inside.mean() * abs(confidence.numpy()[inside].mean() - hits)
    assert classified(logits, targets).ece == pytest.approx(expected, rel=1e-9)


def test_a_bin_for_confidence_zero_and_one():
    bins = calibration(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0]))
    assert [b.bin for b in bins] == [0, BINS - 1]


def test_regression_by_hand_and_by_scipy():
    rng = np.random.default_rng(3)
    y, targets = rng.normal(size=(50, 1)), rng.normal(size=(50, 1))
    scale, shift, variance = 3.0, 10.0, 0.7
    units = [torch.from_numpy(value * scale + shift)[:, 0] for value in (y, targets)]
    found = regressed((torch.from_numpy(y), torch.from_numpy(targets)), (units[0], units[1]), variance, scale)
    assert found.loss == pytest.approx(((y - targets) ** 2).mean())
    assert found.rmse == pytest.approx(3 * math.sqrt(((y - targets) ** 2).mean()))
    normal = stats.norm(loc=units[0], scale=scale * math.sqrt(variance))
    assert found.nll == pytest.approx(-normal.logpdf(units[1]).mean())
    assert (found.accuracy, found.ece, found.bins) == (None, None, ())


def test_a_perfect_fit_has_no_likelihood():
    y = torch.ones(3, 1)
    assert regressed((y, y), (y[:, 0], y[:, 0]), 0.0, 1.0).nll is None


@pytest.mark.parametrize("training", [True, False])
def test_outputs_are_those_of_eval_mode_whatever_the_mode(training):
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 2)).train(training)
    inputs = torch.randn(5000, 3)
    expected = model[1](inputs)
    torch.testing.assert_close(outputs(model, inputs), expected)
    assert model.training is training
    assert not outputs(model, inputs).requires_grad
