"""Output, cost, gradients and ten steps of training against PyTorch's autograd and optimizer, in float64 to 1e-10."""
# ruff: noqa: N803, N806 - the names of the classic course

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from torchdropout import scratch

SIGMOID, SOFTMAX, SHALLOW = [5, 7, 6, 4, 1], [5, 8, 6, 3], [5, 1]
KEEP = {4: [0.9, 0.5, 0.7], 3: [0.6, 0.8], 1: []}
M = 23


class Twin:
    """The network in PyTorch, examples in rows."""

    def __init__(self, parameters):
        self.layers = len(parameters) // 2
        self.leaves = {name: torch.tensor(value, requires_grad=True) for name, value in parameters.items()}

    def logits(self, X, keep=None, masks=None):
        h = torch.tensor(X.T)
        for layer in range(1, self.layers + 1):
            h = F.linear(h, self.leaves[f"W{layer}"], self.leaves[f"b{layer}"][:, 0])
            if layer < self.layers:
                h = torch.relu(h)
                if masks is not None:
                    h = h * torch.tensor(masks[f"D{layer}"].T) / keep[layer - 1]
        return h

    def cost(self, X, Y, lambd=0.0, norm="l2", keep=None, masks=None):
        z = self.logits(X, keep, masks)
        if len(Y) == 1:
            cost = F.binary_cross_entropy_with_logits(z, torch.tensor(Y.T, dtype=torch.float64))
        else:
            cost = F.cross_entropy(z, torch.tensor(Y.argmax(axis=0)))
        weights = torch.cat([value.flatten() for name, value in self.leaves.items() if name[0] == "W"])
        l1, l2 = {"l2": (0, lambd), "l1": (lambd, 0), "elastic": lambd}[norm]
        return cost + l1 / M * weights.abs().sum() + l2 / (2 * M) * weights.square().sum()

    def gradients(self, *arguments, **options):
        found = torch.autograd.grad(self.cost(*arguments, **options), list(self.leaves.values()))
        return {f"d{name}": value.numpy() for name, value in zip(self.leaves, found, strict=True)}


def problem(dims, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(dims[0], M))
    if dims[-1] == 1:
        Y = (rng.random((1, M)) < 0.5).astype(float)
    else:
        Y = scratch.one_hot(rng.integers(0, dims[-1], M), dims[-1])
    parameters = scratch.initialize_parameters(dims, rng=rng)
    for name in parameters:
        if name[0] == "b":
            parameters[name] = rng.normal(0, 0.3, parameters[name].shape)
    keep = KEEP[len(dims) - 1]
    masks = {f"D{i + 1}": (rng.random((dims[i + 1], M)) < k).astype(float) for i, k in enumerate(keep)}
    return X, Y, parameters, keep, masks


def last(cache):
    return cache[max((name for name in cache if name[0] == "Z"), key=lambda name: int(name[1:]))]


def assert_equal(found, expected):
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-10, atol=1e-12, err_msg=name)


every_shape = pytest.mark.parametrize("dims", [SIGMOID, SOFTMAX, SHALLOW], ids=["sigmoid", "softmax", "one layer"])
PENALTIES = [(0.0, "l2"), (0.7, "l2"), (0.7, "l1"), ((0.3, 0.9), "elastic")]


@every_shape
def test_output_and_cost(dims):
    X, Y, parameters, _, _ = problem(dims)
    twin = Twin(parameters)
    A, cache = scratch.forward_propagation(X, parameters)
    z = twin.logits(X)
    expected = torch.sigmoid(z) if dims[-1] == 1 else torch.softmax(z, dim=1)
    np.testing.assert_allclose(A, expected.detach().T, rtol=1e-10)
    cost = twin.cost(X, Y).item()
    assert scratch.compute_cost(A, Y) == pytest.approx(cost, rel=1e-10)
    assert scratch.compute_cost(A, Y, last(cache)) == pytest.approx(cost, rel=1e-10)


@every_shape
def test_backward_propagation(dims):
    X, Y, parameters, _, _ = problem(dims, 1)
    _, cache = scratch.forward_propagation(X, parameters)
    assert_equal(scratch.backward_propagation(X, Y, cache), Twin(parameters).gradients(X, Y))


@every_shape
@pytest.mark.parametrize(("lambd", "norm"), PENALTIES)
def test_penalties(dims, lambd, norm):
    X, Y, parameters, _, _ = problem(dims, 2)
    parameters["W1"][0, 0] = 0.0  # where |w| has its kink
    A, cache = scratch.forward_propagation(X, parameters)
    cost = scratch.compute_cost_with_regularization(A, Y, parameters, lambd, norm)
    assert cost == pytest.approx(Twin(parameters).cost(X, Y, lambd, norm).item(), rel=1e-10)
    gradients = scratch.backward_propagation_with_regularization(X, Y, cache, lambd, norm)
    assert_equal(gradients, Twin(parameters).gradients(X, Y, lambd, norm))


@pytest.mark.parametrize("dims", [SIGMOID, SOFTMAX])
def test_dropout_with_given_masks(dims):
    X, Y, parameters, keep, masks = problem(dims, 3)
    A, cache = scratch.forward_propagation_with_dropout(X, parameters, keep, masks=masks)
    expected = Twin(parameters).cost(X, Y, keep=keep, masks=masks).item()
    assert scratch.compute_cost(A, Y) == pytest.approx(expected, rel=1e-10)
    gradients = scratch.backward_propagation_with_dropout(X, Y, cache, keep)
    assert_equal(gradients, Twin(parameters).gradients(X, Y, keep=keep, masks=masks))


def test_dropout_backward_uses_the_masks_drawn_forward():
    X, Y, parameters, keep, _ = problem(SIGMOID, 4)
    _, cache = scratch.forward_propagation_with_dropout(X, parameters, keep, rng=np.random.default_rng(5))
    drawn = {name: value for name, value in cache.items() if name[0] == "D"}
    assert all(0 < mask.mean() < 1 for mask in drawn.values())
    gradients = scratch.backward_propagation_with_dropout(X, Y, cache, keep)
    assert_equal(gradients, Twin(parameters).gradients(X, Y, keep=keep, masks=drawn))


def train_twin(parameters, X, Y, steps, max_norm, momentum, **cost):
    twin = Twin(parameters)
    optimizer = torch.optim.SGD(twin.leaves.values(), lr=0.3, momentum=momentum)
    for _ in range(steps):
        optimizer.zero_grad()
        twin.cost(X, Y, **cost).backward()
        optimizer.step()
        with torch.no_grad():
            for layer in range(1, twin.layers if max_norm else 0):
                W = twin.leaves[f"W{layer}"]
                W *= (max_norm / W.norm(dim=1, keepdim=True)).clamp(max=1)
    return {name: value.detach().numpy() for name, value in twin.leaves.items()}


@pytest.mark.parametrize("dims", [SIGMOID, SOFTMAX])
@pytest.mark.parametrize(("lambd", "norm"), PENALTIES)
@pytest.mark.parametrize("options", [{}, {"momentum": 0.9}, {"max_norm": 0.8}, {"momentum": 0.5, "max_norm": 1.0}])
@pytest.mark.parametrize("dropout", [False, True])
def test_ten_steps_of_training(dims, lambd, norm, options, dropout):
    X, Y, parameters, keep, masks = problem(dims, 6)
    arguments = {"keep_prob": keep, "masks": masks} if dropout else {}
    found = scratch.model(X, Y, dims, 0.3, 10, lambd, norm=norm, parameters=parameters, **arguments, **options)
    drop = {"keep": keep, "masks": masks} if dropout else {}
    options = {"momentum": 0.0, "max_norm": None} | options
    expected = train_twin(parameters, X, Y, 10, **options, lambd=lambd, norm=norm, **drop)
    assert_equal(found, expected)


@pytest.mark.parametrize("options", [{"momentum": 0.9}, {"max_norm": 0.8}])
def test_momentum_and_max_norm_change_the_training(options):
    """Else the test above would pass with options that do nothing."""
    X, Y, parameters, _, _ = problem(SIGMOID, 6)
    plain = scratch.model(X, Y, SIGMOID, 0.3, 10, parameters=parameters)
    other = scratch.model(X, Y, SIGMOID, 0.3, 10, parameters=parameters, **options)
    assert np.abs(plain["W1"] - other["W1"]).max() > 1e-2


@pytest.mark.parametrize("dims", [SIGMOID, SOFTMAX, SHALLOW])
@pytest.mark.parametrize(("lambd", "norm"), PENALTIES)
@pytest.mark.parametrize("dropout", [False, True])
def test_gradient_check_passes_and_catches_an_error(dims, lambd, norm, dropout):
    X, Y, parameters, keep, masks = problem(dims, 7)
    if dropout:
        _, cache = scratch.forward_propagation_with_dropout(X, parameters, keep, masks=masks)
        gradients = scratch.backward_propagation_with_dropout(X, Y, cache, keep)
    else:
        masks, keep = None, 1.0
        _, cache = scratch.forward_propagation(X, parameters)
        gradients = scratch.backward_propagation(X, Y, cache)
    extra = scratch.backward_propagation_with_regularization(X, Y, cache, lambd, norm)
    plain = scratch.backward_propagation_with_regularization(X, Y, cache, 0.0)
    total = {name: gradients[name] + extra[name] - plain[name] for name in gradients if name[:2] in ("dW", "db")}
    options = {"lambd": lambd, "norm": norm, "keep_prob": keep, "masks": masks}
    assert scratch.gradient_check(parameters, total, X, Y, **options) < 1e-7
    total["dW1"] = total["dW1"] * (1 + 1e-3)
    assert scratch.gradient_check(parameters, total, X, Y, **options) > 1e-5
