"""Costs and gradients stay finite, and right, where a plain formula overflows or takes the logarithm of 0."""
# ruff: noqa: N806 - the names of the classic course

import math

import numpy as np
import pytest

from torchdropout import scratch


def all_finite(arrays):
    return all(np.isfinite(value).all() for value in arrays.values())


@pytest.mark.parametrize("output", [1, 3])
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_inputs_of_a_thousand(output, scale):
    X = np.array([[1000.0, -1000.0, 0.0, 1000.0], [-1000.0, 1000.0, 1000.0, 0.0]])
    Y = np.array([[0, 1, 1, 0]]) if output == 1 else scratch.one_hot([0, 1, 2, 0], 3)
    parameters = scratch.initialize_parameters([2, 20, 3, output], rng=0)
    parameters = {name: scale * value for name, value in parameters.items()}
    with np.errstate(all="raise", under="ignore"):
        A, cache = scratch.forward_propagation(X, parameters)
        assert all_finite(cache)
        for Z in (None, cache["Z3"]):
            assert math.isfinite(scratch.compute_cost(A, Y, Z))
        assert all_finite(scratch.backward_propagation(X, Y, cache))


@pytest.mark.parametrize("z", [1e-9, 30.0, 40.0, 800.0, 1e5])
def test_the_cost_from_z_is_exact_where_the_output_has_rounded(z):
    """-log(1 - sigmoid(z)) = z + log(1 + exp(-z)), and the small cost of the right answer is exp(-z) nearly."""
    Z = np.array([[z]])
    A = np.array([[1.0 / (1.0 + math.exp(-z))]])
    expected = z + math.log1p(math.exp(-z))
    assert scratch.compute_cost(A, np.array([[0]]), Z) == pytest.approx(expected, rel=1e-14, abs=0)
    right = scratch.compute_cost(A, np.array([[1]]), Z)
    assert right == pytest.approx(math.log1p(math.exp(-z)), rel=1e-14, abs=0)


def test_softmax_cost_from_z_is_exact():
    Z = np.array([[1000.0], [0.0]])
    A = np.array([[1.0], [0.0]])
    assert scratch.compute_cost(A, np.array([[0], [1]]), Z) == 1000.0
    assert scratch.compute_cost(A, np.array([[1], [0]]), Z) == 0.0


@pytest.mark.parametrize("output", [0.0, 1.0])
@pytest.mark.parametrize("label", [0, 1])
def test_outputs_of_exactly_0_and_1(output, label):
    with np.errstate(all="raise"):
        cost = scratch.compute_cost(np.array([[output]]), np.array([[label]]))
    assert 0 <= cost < 1e-15 if output == label else 36 < cost < 709


def test_the_cost_from_probabilities_keeps_the_digits_it_can():
    wrong = scratch.compute_cost(np.array([[1.0]]), np.array([[0]]))
    assert wrong == pytest.approx(53 * math.log(2), rel=1e-12)  # the largest number below 1 is 1 - 2**-53
    assert scratch.compute_cost(np.array([[1e-20]]), np.array([[0]])) == pytest.approx(1e-20, rel=1e-12, abs=0)


@pytest.mark.parametrize("keep_prob", [1e-3, 1e-12, 1e-300, 5e-324])
def test_keep_prob_near_0_with_drawn_masks(keep_prob):
    X = np.random.default_rng(0).normal(0, 1000, (2, 200))
    Y = (X[:1] > 0).astype(float)
    parameters = scratch.initialize_parameters([2, 50, 30, 1], rng=0)
    with np.errstate(all="raise", under="ignore"):
        A, cache = scratch.forward_propagation_with_dropout(X, parameters, keep_prob, rng=1)
        assert math.isfinite(scratch.compute_cost(A, Y, cache["Z3"]))
        assert all_finite(cache)
        assert all_finite(scratch.backward_propagation_with_dropout(X, Y, cache, keep_prob))


def test_keep_prob_near_0_with_units_kept():
    X = np.array([[1000.0, -1000.0]])
    Y = np.array([[0, 1]])
    parameters = scratch.initialize_parameters([1, 4, 3, 1], rng=0)
    masks = {"D1": np.ones((4, 2)), "D2": np.ones((3, 2))}
    with np.errstate(all="raise", under="ignore"):
        A, cache = scratch.forward_propagation_with_dropout(X, parameters, 1e-12, masks=masks)
        assert math.isfinite(scratch.compute_cost(A, Y, cache["Z3"]))
        assert all_finite(scratch.backward_propagation_with_dropout(X, Y, cache, 1e-12))


def test_training_until_outputs_round_to_0_and_1():
    X, Y = np.array([[-1000.0, 1000.0]]), np.array([[0, 1]])
    costs = []
    parameters = scratch.model(X, Y, [1, 4, 1], 0.01, 200, rng=1, costs=costs)
    A, _ = scratch.forward_propagation(X, parameters)
    assert A.tolist() == [[0.0, 1.0]]
    assert np.isfinite(costs).all()
    assert costs[-1] < 1e-12
