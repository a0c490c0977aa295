"""Every activation and its derivative against PyTorch's function and autograd."""
# ruff: noqa: N806 - the names of the classic course

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from torchdropout.scratch import activations
from torchdropout.scratch.activations import ACTIVATIONS

TWINS = {
    "ReLU": F.relu,
    "leaky ReLU": F.leaky_relu,
    "parametric ReLU": lambda z: F.prelu(z, torch.tensor([0.25], dtype=z.dtype)),
    "ReLU6": F.relu6,
    "ELU": F.elu,
    "SELU": F.selu,
    "GELU": F.gelu,
    "SiLU (Swish)": F.silu,
    "Mish": F.mish,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}
# The kinks are among them: 0, and ReLU6's 6.
POINTS = np.concatenate([np.linspace(-9, 9, 721), [-0.0, 6.0, 1e-300, -1e-300, 30.0, -30.0, 800.0, -800.0]])


def test_every_activation_has_a_twin():
    assert TWINS.keys() == ACTIVATIONS.keys()


@pytest.mark.parametrize("name", TWINS)
def test_value_and_derivative_are_those_of_autograd(name):
    z = torch.tensor(POINTS, requires_grad=True)
    value = TWINS[name](z)
    (slope,) = torch.autograd.grad(value.sum(), z)
    np.testing.assert_allclose(ACTIVATIONS[name].function(POINTS), value.detach(), rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(ACTIVATIONS[name].derivative(POINTS), slope, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("name", TWINS)
def test_no_overflow_at_a_thousand(name):
    far = np.array([[-1000.0, 1000.0, -1e6, 1e6]])
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        found = ACTIVATIONS[name]
        assert np.isfinite(found.function(far)).all()
        assert np.isfinite(found.derivative(far)).all()


def test_the_derivative_of_relu_at_zero_is_zero():
    assert activations.relu_derivative(np.array([0.0, -0.0])).tolist() == [0.0, 0.0]


def test_the_derivative_of_sigmoid_keeps_its_digits_far_out():
    """exp(-z) / (1 + exp(-z))**2, where 1 - sigmoid(z) has none left."""
    for z in (-40.0, 40.0, 700.0):
        small = math.exp(-abs(z))
        expected = small / (1 + small) ** 2
        assert float(activations.sigmoid_derivative(np.array(z))) == pytest.approx(expected, rel=1e-12, abs=0)


def test_softmax_and_its_backward_are_those_of_autograd():
    rng = np.random.default_rng(1)
    Z, dA = rng.normal(0, 3, (4, 6)), rng.normal(size=(4, 6))
    z = torch.tensor(Z, requires_grad=True)
    A = torch.softmax(z, dim=0)
    (dZ,) = torch.autograd.grad(A, z, torch.tensor(dA))
    np.testing.assert_allclose(activations.softmax(Z), A.detach(), rtol=1e-10)
    np.testing.assert_allclose(activations.softmax_backward(dA, Z), dZ, rtol=1e-10, atol=1e-14)


def test_softmax_of_thousands():
    A = activations.softmax(np.array([[1000.0, -1000.0], [0.0, -1000.0]]))
    np.testing.assert_array_equal(A, [[1.0, 0.5], [0.0, 0.5]])


def test_parametric_relu_gives_the_gradients_of_torch_with_a_slope_per_unit():
    rng = np.random.default_rng(2)
    Z, dA, slope = rng.normal(size=(3, 50)), rng.normal(size=(3, 50)), np.array([[0.1], [0.25], [0.9]])
    z = torch.tensor(Z.T, requires_grad=True)  # PyTorch's units are its second axis
    a = torch.tensor(slope[:, 0], requires_grad=True)
    dz, da = torch.autograd.grad(F.prelu(z, a), (z, a), torch.tensor(dA.T))
    np.testing.assert_allclose(dA * activations.prelu_derivative(Z, slope), dz.T, rtol=1e-10)
    np.testing.assert_allclose((dA * activations.prelu_slope_derivative(Z)).sum(axis=1), da, rtol=1e-10)


def test_a_slope_is_learned_by_descending_its_gradient():
    Z = np.random.default_rng(3).normal(size=(1, 200))
    target, slope = np.where(Z > 0, Z, 0.4 * Z), 0.0
    for _ in range(200):
        dA = (activations.prelu(Z, slope) - target) / Z.size
        slope -= 0.5 * float((dA * activations.prelu_slope_derivative(Z)).sum())
    assert slope == pytest.approx(0.4, abs=1e-10)
