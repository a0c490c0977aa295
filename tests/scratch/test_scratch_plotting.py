"""The pictures: what is on them, and that matplotlib is needed for nothing else."""
# ruff: noqa: N806 - the names of the classic course

import re

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from torchdropout import scratch


def test_the_grid_of_activations(tmp_path):
    path = scratch.draw_activations(tmp_path / "activations.png")
    picture = imread(path)[..., :3]
    assert picture.shape[1] > 1000
    for panel in np.array_split(picture, 3):
        for part in np.array_split(panel, 4, axis=1):
            assert (part.std(axis=2) > 0.2).sum() > 200  # coloured curves in each of the twelve


def test_the_boundary_separates_what_the_network_separates():
    """W3 = 1 and nothing else: class 1 where x1 > 0.5."""
    parameters = {"W1": np.array([[10.0, 0.0]]), "b1": np.array([[-5.0]])}
    X = np.array([[0.0, 1.0, 0.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
    axes = scratch.plot_decision_boundary(parameters, X, np.array([[0, 1, 0, 1]]), Figure().subplots(), points=101)
    lines = [path.vertices for collection in axes.collections for path in collection.get_paths()]
    assert any(len(line) > 50 and np.abs(line[:, 0] - 0.5).max() < 0.02 for line in lines)
    first, second = axes.collections[-2:]
    np.testing.assert_array_equal(first.get_offsets(), [[0, 0], [0, 1]])
    np.testing.assert_array_equal(second.get_offsets(), [[1, 0], [1, 1]])


def test_three_classes():
    rng = np.random.default_rng(0)
    X, labels = rng.normal(size=(2, 30)), rng.integers(0, 3, 30)
    parameters = scratch.initialize_parameters([2, 5, 3], rng=0)
    axes = scratch.plot_decision_boundary(parameters, X, scratch.one_hot(labels, 3), Figure().subplots(), points=20)
    assert [len(c.get_offsets()) for c in axes.collections[-3:]] == [(labels == k).sum() for k in range(3)]


def test_more_than_a_plane_is_refused():
    parameters = scratch.initialize_parameters([3, 1], rng=0)
    with pytest.raises(ValueError, match=re.escape("only 2 features and at most 6 classes can be drawn, got 3 and 1.")):
        scratch.plot_decision_boundary(parameters, np.zeros((3, 4)), np.zeros((1, 4)))
