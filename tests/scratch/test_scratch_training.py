"""What the network, its initialisation, its dropout and its training do."""
# ruff: noqa: N806 - the names of the classic course

import numpy as np
import pytest

from torchdropout import scratch


@pytest.mark.parametrize(("method", "std"), [("he", (2 / 400) ** 0.5), ("xavier", (2 / 700) ** 0.5), ("plain", 0.01)])
def test_initialization_has_the_stated_spread(method, std):
    parameters = scratch.initialize_parameters([400, 300, 2], method, rng=3)
    W1 = parameters["W1"]
    assert W1.shape == (300, 400)
    assert W1.std() == pytest.approx(std, rel=0.015)  # 120,000 draws: the bound is over seven standard errors
    assert abs(W1.mean()) < 5 * std / W1.size**0.5
    assert (parameters["b1"] == 0).all()
    assert parameters["b2"].shape == (2, 1)


def test_a_seed_and_its_generator_give_the_same_weights_and_another_seed_others():
    draw = scratch.initialize_parameters
    same = draw([3, 4, 1], rng=1)["W1"], draw([3, 4, 1], rng=np.random.default_rng(1))["W1"]
    np.testing.assert_array_equal(*same)
    assert (draw([3, 4, 1], rng=2)["W1"] != same[0]).all()


def test_masks_keep_the_stated_share_and_the_expectation():
    X = np.ones((1, 100_000))
    parameters = {"W1": np.ones((2, 1)), "b1": np.zeros((2, 1)), "W2": np.ones((2, 2)), "b2": np.zeros((2, 1))}
    parameters |= {"W3": np.ones((1, 2)), "b3": np.zeros((1, 1))}
    _, cache = scratch.forward_propagation_with_dropout(X, parameters, [0.9, 0.25], rng=1)
    assert cache["D1"].mean() == pytest.approx(0.9, abs=0.004)  # six standard errors
    assert cache["D2"].mean() == pytest.approx(0.25, abs=0.006)
    assert cache["A1"].mean() == pytest.approx(1.0, abs=0.005)
    assert cache["A2"].mean() == pytest.approx(2.0, abs=0.05)
    assert abs(np.corrcoef(cache["D1"][0], cache["D1"][1])[0, 1]) < 0.02  # units are independent
    assert abs(np.corrcoef(cache["D1"][0, :-1], cache["D1"][0, 1:])[0, 1]) < 0.02  # and so are examples


def test_keeping_all_is_no_dropout():
    X = np.random.default_rng(0).normal(size=(3, 9))
    parameters = scratch.initialize_parameters([3, 5, 4, 1], rng=0)
    with_dropout, _ = scratch.forward_propagation_with_dropout(X, parameters, 1.0, rng=0)
    np.testing.assert_array_equal(with_dropout, scratch.forward_propagation(X, parameters)[0])


def test_update_leaves_its_arguments_alone():
    parameters = scratch.initialize_parameters([2, 3, 1], rng=0)
    before = {name: value.copy() for name, value in parameters.items()}
    gradients = {f"d{name}": np.ones_like(value) for name, value in parameters.items()}
    updated = scratch.update_parameters(parameters, gradients, 0.1, momentum=0.9, velocity={}, max_norm=0.1)
    for name, value in before.items():
        np.testing.assert_array_equal(parameters[name], value)
        assert (updated[name] != value).any()


def test_max_norm_shortens_long_rows_only_and_leaves_the_output_layer():
    parameters = {"W1": np.array([[3.0, 4.0], [0.6, 0.8], [0.0, 0.0]]), "b1": np.zeros((3, 1))}
    parameters |= {"W2": np.array([[9.0, 9.0, 9.0]]), "b2": np.zeros((1, 1))}
    nothing = {f"d{name}": np.zeros_like(value) for name, value in parameters.items()}
    updated = scratch.update_parameters(parameters, nothing, 0.1, max_norm=2.0)
    np.testing.assert_allclose(updated["W1"], [[1.2, 1.6], [0.6, 0.8], [0.0, 0.0]])
    np.testing.assert_array_equal(updated["W2"], [[9.0, 9.0, 9.0]])


def test_three_classes_are_learned():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 30)
    X = np.array([[0.0, 3.0, 0.0], [0.0, 0.0, 3.0]])[:, labels] + rng.normal(0, 0.5, (2, 90))
    parameters = scratch.model(X, scratch.one_hot(labels, 3), [2, 8, 3], 0.3, 400, rng=0)
    assert scratch.predict(X, parameters).shape == (1, 90)
    assert (scratch.predict(X, parameters) == labels).mean() > 0.95


def test_a_network_without_hidden_layers_is_logistic_regression():
    """At the optimum of logistic regression the residuals are orthogonal to the inputs and sum to 0."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(2, 60))
    Y = (X[:1] + rng.normal(size=(1, 60)) > 0).astype(float)
    parameters = scratch.model(X, Y, [2, 1], 1.0, 2000, rng=0)
    A, _ = scratch.forward_propagation(X, parameters)
    np.testing.assert_allclose((A - Y) @ X.T, 0, atol=1e-8)
    assert (A - Y).sum() == pytest.approx(0, abs=1e-8)


def test_costs_are_recorded_and_printed(capsys):
    X, Y = np.array([[0.0, 1.0]]), np.array([[0, 1]])
    costs = []
    scratch.model(X, Y, [1, 3, 1], 0.1, 25, rng=0, costs=costs, print_every=10)
    printed = capsys.readouterr().out.splitlines()
    assert len(costs) == 25
    assert printed == [f"Cost after iteration {i}: {costs[i]}" for i in (0, 10, 20)]


def test_a_progress_bar_where_asked_for(capsys):
    X, Y = np.array([[0.0, 1.0]]), np.array([[0, 1]])
    with_bar = scratch.model(X, Y, [1, 3, 1], 0.1, 20, rng=0, progress=True)
    assert "Training" in capsys.readouterr().out
    without = scratch.model(X, Y, [1, 3, 1], 0.1, 20, rng=0)
    np.testing.assert_array_equal(with_bar["W1"], without["W1"])


def test_one_hot():
    np.testing.assert_array_equal(scratch.one_hot([2, 0], 3), [[0, 1], [0, 0], [1, 0]])
