"""The classic course's printed numbers, and its training with one frozen mask, written out here a second time.

The numbers are those that the notebooks of its "Initialization" and "Regularization" exercises print.
"""
# ruff: noqa: N803, N806, NPY002 - the names of the classic course, and its global generator

import numpy as np
import pytest
from sklearn.datasets import make_circles

from torchdropout import scratch

Y5 = np.array([[1, 1, 0, 1, 0]])


def drawn(rng, with_inputs):
    X = rng.randn(3, 5) if with_inputs else None
    shapes = {"W1": (2, 3), "b1": (2, 1), "W2": (3, 2), "b2": (3, 1), "W3": (1, 3), "b3": (1, 1)}
    return X, {name: rng.randn(*shape) for name, shape in shapes.items()}


def test_cost_with_regularization():
    _, parameters = drawn(np.random.RandomState(1), with_inputs=False)
    A3 = np.array([[0.40682402, 0.01629284, 0.16722898, 0.10118111, 0.40682402]])
    found = scratch.compute_cost_with_regularization(A3, Y5, parameters, lambd=0.1)
    assert found == pytest.approx(1.78648594516, abs=1e-11)


def test_forward_propagation_with_dropout():
    X, parameters = drawn(np.random.RandomState(1), with_inputs=True)
    A3, _ = scratch.forward_propagation_with_dropout(X, parameters, keep_prob=0.7, course_compatible=True)
    printed = [[0.36974721, 0.00305176, 0.04565099, 0.49683389, 0.36974721]]
    np.testing.assert_allclose(A3, printed, atol=5.1e-9)


COMMON = {
    "W1": [[-1.09989127, -0.17242821, -0.87785842], [0.04221375, 0.58281521, -1.10061918]],
    "b1": [[1.14472371], [0.90159072]],
    "W2": [[0.50249434, 0.90085595], [-0.68372786, -0.12289023], [-0.93576943, -0.26788808]],
    "b2": [[0.53035547], [-0.69166075], [-0.39675353]],
    "W3": [[-0.6871727, -0.84520564, -0.67124613]],
    "b3": [[-0.0126646]],
    "Z1": [
        [-1.52855314, 3.32524635, 2.13994541, 2.60700654, -0.75942115],
        [-1.98043538, 4.1600994, 0.79051021, 1.46493512, -0.45506242],
    ],
}


def as_arrays(cache):
    return {name: np.array(value, dtype=float) for name, value in (COMMON | cache).items()}


def test_backward_propagation_with_regularization():
    X = np.random.RandomState(1).randn(3, 5)
    cache = as_arrays(
        {
            "A1": np.maximum(COMMON["Z1"], 0),
            "Z2": [
                [0.53035547, 5.94892323, 2.31780174, 3.16005701, 0.53035547],
                [-0.69166075, -3.47645987, -2.25194702, -2.65416996, -0.69166075],
                [-0.39675353, -4.62285846, -2.61101729, -3.22874921, -0.39675353],
            ],
            "A2": [[0.53035547, 5.94892323, 2.31780174, 3.16005701, 0.53035547], [0] * 5, [0] * 5],
            "Z3": [[-0.3771104, -4.10060224, -1.60539468, -2.18416951, -0.3771104]],
            "A3": [[0.40682402, 0.01629284, 0.16722898, 0.10118111, 0.40682402]],
        }
    )
    gradients = scratch.backward_propagation_with_regularization(X, Y5, cache, lambd=0.7)
    printed = {
        "dW1": [[-0.25604646, 0.12298827, -0.28297129], [-0.17706303, 0.34536094, -0.4410571]],
        "dW2": [[0.79276486, 0.85133918], [-0.0957219, -0.01720463], [-0.13100772, -0.03750433]],
        "dW3": [[-1.77691347, -0.11832879, -0.09397446]],
    }
    for name, value in printed.items():
        np.testing.assert_allclose(gradients[name], value, atol=6e-9, err_msg=name)


def test_backward_propagation_with_dropout():
    X = np.random.RandomState(1).randn(3, 5)
    cache = as_arrays(
        {
            "D1": [[1, 0, 1, 1, 1], [1, 1, 1, 1, 0]],
            "A1": [[0, 0, 4.27989081, 5.21401307, 0], [0, 8.32019881, 1.58102041, 2.92987024, 0]],
            "Z2": [
                [0.53035547, 8.02565606, 4.10524802, 5.78975856, 0.53035547],
                [-0.69166075, -1.71413186, -3.81223329, -4.61667916, -0.69166075],
                [-0.39675353, -2.62563561, -4.82528105, -6.0607449, -0.39675353],
            ],
            "D2": [[1, 0, 1, 0, 1], [0, 1, 0, 1, 1], [0, 0, 1, 0, 0]],
            "A2": [[1.06071093, 0, 8.21049603, 0, 1.06071093], [0] * 5, [0] * 5],
            "Z3": [[-0.7415562, -0.0126646, -5.65469333, -0.0126646, -0.7415562]],
            "A3": [[0.32266394, 0.49683389, 0.00348883, 0.49683389, 0.32266394]],
        }
    )
    gradients = scratch.backward_propagation_with_dropout(X, Y5, cache, keep_prob=0.8)
    printed = {
        "dA1": [[0.36544439, 0, -0.00188233, 0, -0.17408748], [0.65515713, 0, -0.00337459, 0, 0]],
        "dA2": [
            [0.58180856, 0, -0.00299679, 0, -0.27715731],
            [0, 0.53159854, 0, 0.53159854, -0.34089673],
            [0, 0, -0.00292733, 0, 0],
        ],
    }
    for name, value in printed.items():
        np.testing.assert_allclose(gradients[name], value, atol=6e-9, err_msg=name)


def circles(seed, examples):
    X, y = make_circles(n_samples=examples, noise=0.05, random_state=np.random.RandomState(seed))
    return X.T, y[np.newaxis]


def test_fifteen_thousand_iterations_from_he_initialization_print_the_courses_costs():
    X, Y = circles(1, 300)
    parameters = scratch.initialize_parameters([2, 10, 5, 1], "he", np.random.RandomState(3))
    costs = []
    parameters = scratch.model(X, Y, [2, 10, 5, 1], 0.01, 15_000, parameters=parameters, costs=costs)
    printed = [0.8830537463419761, 0.6879825919728063, 0.6751286264523371, 0.6526117768893807, 0.6082958970572938]
    printed += [0.5304944491717495, 0.4138645817071794, 0.3117803464844441, 0.23696215330322556, 0.18597287209206836]
    printed += [0.15015556280371808, 0.12325079292273548, 0.09917746546525937, 0.08457055954024274]
    printed += [0.07357895962677366]
    np.testing.assert_allclose(costs[::1000], printed, rtol=1e-9)
    assert (scratch.predict(X, parameters) == Y).mean() == pytest.approx(0.9933333333333333)
    test_X, test_Y = circles(2, 100)
    assert (scratch.predict(test_X, parameters) == test_Y).mean() == 0.96


def three_layers_with_the_frozen_mask(X, Y, iterations, keep_prob):
    """The course's training, from its description: global seeds, 3 for the weights, 1 at every forward pass."""
    np.random.seed(3)
    W1, W2, W3 = (np.random.randn(o, i) / np.sqrt(i) for i, o in [(2, 20), (20, 3), (3, 1)])
    b1, b2, b3 = np.zeros((20, 1)), np.zeros((3, 1)), np.zeros((1, 1))
    m, costs = X.shape[1], []
    for _ in range(iterations):
        np.random.seed(1)
        A1 = np.maximum(0, W1 @ X + b1)
        D1 = np.random.rand(*A1.shape) < keep_prob
        A1 = A1 * D1 / keep_prob
        A2 = np.maximum(0, W2 @ A1 + b2)
        D2 = np.random.rand(*A2.shape) < keep_prob
        A2 = A2 * D2 / keep_prob
        A3 = 1 / (1 + np.exp(-(W3 @ A2 + b3)))
        costs.append(-(np.log(A3) * Y + np.log(1 - A3) * (1 - Y)).sum() / m)
        dZ3 = A3 - Y
        dZ2 = (W3.T @ dZ3) * D2 / keep_prob * (A2 > 0)
        dZ1 = (W2.T @ dZ2) * D1 / keep_prob * (A1 > 0)
        W3, b3 = W3 - 0.3 * dZ3 @ A2.T / m, b3 - 0.3 * dZ3.sum(1, keepdims=True) / m
        W2, b2 = W2 - 0.3 * dZ2 @ A1.T / m, b2 - 0.3 * dZ2.sum(1, keepdims=True) / m
        W1, b1 = W1 - 0.3 * dZ1 @ X.T / m, b1 - 0.3 * dZ1.sum(1, keepdims=True) / m
    return {"W1": W1, "b1": b1, "W2": W2, "b2": b2, "W3": W3, "b3": b3}, costs


def test_course_compatible_training_is_the_courses_step_by_step():
    X, Y = circles(1, 211)
    before = np.random.get_state()
    expected, expected_costs = three_layers_with_the_frozen_mask(X, Y, 300, 0.86)
    np.random.set_state(before)
    costs = []
    found = scratch.model(X, Y, [2, 20, 3, 1], 0.3, 300, keep_prob=0.86, costs=costs, course_compatible=True)
    np.testing.assert_allclose(costs, expected_costs, rtol=1e-9)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-8, atol=1e-10, err_msg=name)


def masks_of(calls):
    return [{name: value for name, value in cache.items() if name[0] == "D"} for _, cache in calls]


def test_the_courses_mask_is_frozen_and_ours_is_fresh():
    X, _ = circles(1, 50)
    parameters = scratch.initialize_parameters([2, 20, 3, 1], rng=0)
    forward, rng = scratch.forward_propagation_with_dropout, np.random.default_rng(0)
    first, second = masks_of(forward(X, parameters, 0.5, course_compatible=True) for _ in range(2))
    assert all((first[name] == second[name]).all() for name in ("D1", "D2"))
    first, second = masks_of(forward(X, parameters, 0.5, rng) for _ in range(2))
    assert all((first[name] != second[name]).any() for name in ("D1", "D2"))


def test_training_with_dropout_draws_fresh_masks():
    """With one frozen mask the cost would repeat that of the given masks; with a tiny step nothing else can move it."""
    X, Y = circles(1, 211)
    fresh, frozen = [], []
    scratch.model(X, Y, [2, 20, 3, 1], 1e-12, 5, keep_prob=0.5, rng=0, costs=fresh)
    scratch.model(X, Y, [2, 20, 3, 1], 1e-12, 5, keep_prob=0.5, course_compatible=True, costs=frozen)
    assert np.ptp(fresh) > 1e-4
    assert np.ptp(frozen) < 1e-9


def test_global_generator_is_left_alone():
    np.random.seed(7)
    X, Y = circles(1, 20)
    scratch.model(X, Y, [2, 4, 1], 0.3, 3, keep_prob=0.5, course_compatible=True)
    found = np.random.rand()
    np.random.seed(7)
    assert found == np.random.rand()
