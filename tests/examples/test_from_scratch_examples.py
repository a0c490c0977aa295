"""The closed forms of the experiments against scikit-learn's, and planar points from a MATLAB file."""

import subprocess
import sys

import numpy as np
import pytest
from scipy.io import savemat
from sklearn.linear_model import Ridge

from torchdropout import examples

pytest.importorskip("matplotlib")


def test_the_optimum_of_weight_decay_is_ridge_regression():
    module = examples._module("weight_decay")
    inputs, targets = module.draw(np.random.default_rng(0), module.POINTS)
    w, b = module.ridge(inputs, targets, 3.0)
    ridge = Ridge(alpha=3.0 * module.POINTS).fit(inputs, targets)
    np.testing.assert_allclose(w, ridge.coef_, rtol=1e-9)
    assert b == pytest.approx(ridge.intercept_)


def test_gaussian_noise_is_ridge_regression_and_dropout_is_it_on_scaled_inputs():
    module = examples._module("ridge")
    inputs, targets = module.draw(3)
    w = module.closed_form(inputs, targets, module.strengths(inputs, "gauss"))
    ridge = Ridge(alpha=len(inputs) * module.SIGMA**2, fit_intercept=False).fit(inputs, targets)
    np.testing.assert_allclose(w, ridge.coef_, rtol=1e-9)
    lengths = np.linalg.norm(inputs, axis=0)
    scaled = Ridge(alpha=(1 - module.KEEP) / module.KEEP, fit_intercept=False).fit(inputs / lengths, targets)
    w = module.closed_form(inputs, targets, module.strengths(inputs, "dropout"))
    np.testing.assert_allclose(w, scaled.coef_ / lengths, rtol=1e-9)


def points(rng, many):
    inputs = rng.normal(size=(many, 2))
    return inputs, (inputs[:, :1] > 0).astype(np.uint8)


def test_planar_points_from_a_matlab_file(tmp_path):
    """Classes that a line separates: every method tells them apart, which the drawn points do not allow."""
    rng = np.random.default_rng(0)
    (inputs, labels), (test_inputs, test_labels) = points(rng, 60), points(rng, 40)
    savemat(tmp_path / "data.mat", {"X": inputs, "y": labels, "Xval": test_inputs, "yval": test_labels})
    command = [sys.executable, examples.folder() / "planar.py", "--small", "--out", tmp_path, "--mat"]
    done = subprocess.run([*command, tmp_path / "data.mat"], capture_output=True, text=True, check=True)
    assert "none         train 100.0 ± 0.0 %" in done.stdout
    assert (tmp_path / "planar.png").stat().st_size > 10_000


def assert_refused(path, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        examples._module("planar").read(path)
    assert stopped.value.code == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert message in printed
    assert printed.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"yval": None}, "lacks yval: expected X (points, 2), y (points, 1), Xval and yval."),
        ({"y": np.full((60, 1), 2)}, "Y must hold only 0 and 1, found 2"),
        ({"y": np.zeros((59, 1))}, "Y has shape (1, 59), expected (1, 60)"),
        ({"X": np.zeros((60, 3))}, "X has 3 rows, expected 2: points in the plane."),
        ({"Xval": np.full((60, 2), np.nan)}, "X holds NaN or infinite values: 120 of 120"),
    ],
)
def test_a_matlab_file_that_does_not_fit(change, message, tmp_path, capsys):
    inputs, labels = points(np.random.default_rng(0), 60)
    content = {"X": inputs, "y": labels, "Xval": inputs, "yval": labels} | change
    savemat(tmp_path / "data.mat", {name: value for name, value in content.items() if value is not None})
    assert_refused(tmp_path / "data.mat", message, capsys)


@pytest.mark.parametrize("content", [None, b"not a MATLAB file at all" * 20])
def test_a_file_that_is_no_matlab_file(content, tmp_path, capsys):
    path = tmp_path / "data.mat"
    if content is not None:
        path.write_bytes(content)
    assert_refused(path, "cannot be read as a MATLAB file", capsys)
