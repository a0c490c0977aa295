"""Wrong input: every message says what was found and what was expected."""
# ruff: noqa: N803 - the names of the classic course

import re

import numpy as np
import pytest

from torchdropout import scratch

M = 211
X = np.random.default_rng(0).normal(size=(2, M))
Y = (X[:1] > 0).astype(float)
PARAMETERS = scratch.initialize_parameters([2, 5, 3, 1], rng=0)
A, CACHE = scratch.forward_propagation(X, PARAMETERS)


def refused(message, call, error=ValueError):
    with pytest.raises(error, match=re.escape(message)):
        call()


def train(X=X, Y=Y, dims=(2, 5, 3, 1), **options):
    return lambda: scratch.model(X, Y, list(dims), num_iterations=2, **options)


def put(array, value, at=(0, 4)):
    changed = array.copy()
    changed[at] = value
    return changed


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_inputs_that_are_not_finite(value):
    message = "X holds NaN or infinite values: 1 of 422, the first is in row 1, column 7 (counted from 0)."
    refused(message, train(X=put(X, value, (1, 7))))


def test_labels_with_one_axis():
    refused("Y has shape (211,), expected (1, 211): one row per output, one column per example.", train(Y=Y[0]))


def test_labels_as_columns():
    refused("Y has shape (211, 1), expected (1, 211): one row per output", train(Y=Y.T))


def test_labels_outside_0_and_1():
    refused("Y must hold only 0 and 1, found 2; several classes are one-hot columns", train(Y=put(Y, 2)))
    refused("Y must hold only 0 and 1, found -1", train(Y=put(Y, -1)))
    refused("Y holds NaN or infinite values: 1 of 211", train(Y=put(Y, np.nan)))


def test_labels_that_are_not_one_hot():
    labels = scratch.one_hot(np.zeros(M), 3)
    refused("exactly one 1 per column (one-hot), column 4 has 2.", train(Y=put(labels, 1, (2, 4)), dims=(2, 5, 3)))
    refused("exactly one 1 per column (one-hot), column 4 has 0.", train(Y=put(labels, 0, (0, 4)), dims=(2, 5, 3)))


def test_inputs_with_examples_in_rows():
    refused(
        "X has 5 rows, expected 2: W1 takes 2 features. Are the examples in its rows? Then pass X.T.",
        lambda: scratch.predict(np.zeros((5, 2)), PARAMETERS),
    )


def test_inputs_with_another_number_of_features():
    refused("X has 3 rows, expected 2: W1 takes 2 features.", lambda: scratch.predict(np.zeros((3, 9)), PARAMETERS))


@pytest.mark.parametrize("shape", [(2, 0), (0, 3)])
def test_empty_data(shape):
    message = f"X has shape {shape}: it is empty, there is nothing to compute with."
    refused(message, lambda: scratch.forward_propagation(np.zeros(shape), PARAMETERS))


def test_inputs_with_one_axis():
    refused("X has shape (2,), expected two axes: rows, and one column per example.", train(X=np.zeros(2)))


@pytest.mark.parametrize("values", [[["a", "b"]], [[1j, 2]], [[None, 1]]])
def test_inputs_that_are_no_numbers(values):
    refused("X must hold real numbers, got", lambda: scratch.predict(np.array(values), PARAMETERS), TypeError)


@pytest.mark.parametrize("keep_prob", [0, 0.0, -0.5, 1.5, np.nan, [0.5, 0.0]])
def test_keep_prob_out_of_range(keep_prob):
    message = "keep_prob must be above 0 and at most 1, got"
    refused(message, train(keep_prob=keep_prob))
    refused(message, lambda: scratch.forward_propagation_with_dropout(X, PARAMETERS, keep_prob))
    refused(message, lambda: scratch.backward_propagation_with_dropout(X, Y, CACHE, keep_prob))


def test_keep_prob_0_says_why():
    refused("got 0: it is the probability of keeping a unit, and with 0 nothing would be left.", train(keep_prob=0))


def test_keep_prob_of_another_number_of_layers():
    refused("keep_prob has 3 numbers, expected 2: one per hidden layer.", train(keep_prob=[0.5, 0.5, 0.5]))


def test_masks():
    good = {"D1": np.ones((5, M)), "D2": np.ones((3, M))}

    def forward(masks, **options):
        return lambda: scratch.forward_propagation_with_dropout(X, PARAMETERS, 0.5, masks=masks, **options)

    refused("masks has no D2: expected one mask D1, D2, ... per hidden layer.", forward({"D1": good["D1"]}))
    refused("D1 has shape (5, 1), expected (5, 211): one row per unit", forward(good | {"D1": np.ones((5, 1))}))
    refused("D2 must hold only 0 (dropped) and 1 (kept).", forward(good | {"D2": np.full((3, M), 2.0)}))
    refused("give only one of rng, masks and course_compatible", forward(good, rng=1))
    refused("give only one of rng, masks and course_compatible", forward(good, course_compatible=True))


def test_a_cache_without_masks_and_one_of_other_examples():
    refused(
        "cache has no D1: it must come from forward_propagation_with_dropout.",
        lambda: scratch.backward_propagation_with_dropout(X, Y, CACHE, 0.5),
    )
    refused(
        "X has 10 examples and the cache 211: pass the X of the forward pass.",
        lambda: scratch.backward_propagation(X[:, :10], Y[:, :10], CACHE),
    )


@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_outputs_that_are_no_probabilities(value):
    refused(f"A must hold probabilities, from 0 to 1, found {value}.", lambda: scratch.compute_cost(put(A, value), Y))


@pytest.mark.parametrize("dims", [[], [2], [2, 0, 1], [2, 3.5, 1], [2, True, 1], [2, -1, 1]])
def test_layers(dims):
    refused("layers_dims", lambda: scratch.initialize_parameters(dims))


def test_parameters_that_are_none():
    refused(
        "parameters has no W1: expected the dict that initialize_parameters returns.", lambda: scratch.predict(X, {})
    )
    refused("parameters has W1 and no b1", lambda: scratch.predict(X, {"W1": np.zeros((1, 2))}))
    refused(
        "parameters are those of layers [2, 5, 3, 1], expected [2, 4, 1]: layers_dims.",
        train(dims=(2, 4, 1), parameters=PARAMETERS),
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": 0}, "learning_rate must be a finite number above 0, got 0."),
        ({"learning_rate": np.nan}, "learning_rate must be a finite number above 0, got nan."),
        ({"lambd": -1}, "lambd must be a finite number 0 or more, got -1.0."),
        ({"lambd": (1, 2)}, "lambd must be one number, or two for norm='elastic', got (1, 2) for norm='l2'."),
        ({"norm": "l3"}, "norm must be one of l2, l1, elastic, got 'l3'."),
        ({"method": "best"}, "method must be one of he, xavier, plain, got 'best'."),
        ({"momentum": 1}, "momentum must be at least 0 and below 1, got 1."),
        ({"max_norm": 0}, "max_norm must be a finite number above 0, got 0."),
        ({"course_compatible": True, "rng": 1}, "rng must be None with course_compatible=True"),
    ],
)
def test_settings(options, message):
    refused(message, train(**options))


def test_a_negative_number_of_iterations():
    refused("num_iterations must be 0 or more, got -1.", lambda: scratch.model(X, Y, [2, 1], num_iterations=-1))


def test_momentum_without_a_velocity():
    gradients = scratch.backward_propagation(X, Y, CACHE)
    refused(
        "momentum needs velocity: pass a dict, {} at first and the same one at every step.",
        lambda: scratch.update_parameters(PARAMETERS, gradients, 0.1, momentum=0.9),
    )


def test_gradients_that_do_not_fit():
    gradients = scratch.backward_propagation(X, Y, CACHE)
    missing = {name: value for name, value in gradients.items() if name != "dW2"}
    refused("gradients has no dW2.", lambda: scratch.gradient_check(PARAMETERS, missing, X, Y))
    wrong = gradients | {"db1": np.zeros(5)}
    refused("db1 has shape (5,), expected (5, 1): that of b1.", lambda: scratch.gradient_check(PARAMETERS, wrong, X, Y))


@pytest.mark.parametrize("labels", [[3], [-1], [0.5], []])
def test_labels_for_one_hot(labels):
    refused("labels must be whole numbers from 0 to 2, and at least one.", lambda: scratch.one_hot(labels, 3))


@pytest.mark.parametrize(
    ("rate", "iterations", "message"),
    [
        (1e100, 5, "Z is no longer finite at iteration 1: try a smaller learning_rate."),
        (1e307, 1, "W1 is no longer finite at iteration 1: try a smaller learning_rate."),
    ],
)
def test_a_learning_rate_that_diverges_is_named_even_after_the_last_step(rate, iterations, message):
    """Never a network of NaN."""
    with np.errstate(all="raise", under="ignore"):
        refused(
            message,
            lambda: scratch.model(1000 * X, Y, [2, 20, 20, 1], rate, iterations, lambd=1e6, rng=0),
            FloatingPointError,
        )
