"""Gaussian dropout and Gaussian noise: variance against the Bernoulli mask's, errors."""

import math

import pytest
import torch

import torchdropout as td


@pytest.mark.parametrize(("p", "std"), [(0.1, 1 / 3), (0.2, 0.5), (0.5, 1.0), (0.8, 2.0)])
def test_gaussian_dropout_has_the_variance_of_the_inverted_bernoulli_mask(p, std):
    """Srivastava et al. 2014, section 10: sigma**2 = (1 - k) / k; `z` recovers the unit normals of the key."""
    z = td.functional.normal((10_000,), key=td.key(3)).double()
    y = td.functional.gaussian_dropout(torch.full((10_000,), 2.0, dtype=torch.float64), p, key=td.key(3))
    torch.testing.assert_close(y, 2.0 + 2.0 * std * z)
    bernoulli = (1 - p) * (1 / (1 - p)) ** 2 - 1
    assert math.isclose(std**2, bernoulli)


def test_gaussian_noise_adds_in_the_inputs_units():
    z = td.functional.normal((1000,), key=td.key(3))
    x = torch.linspace(-5, 5, 1000)
    torch.testing.assert_close(td.GaussianNoise(0.3)(x, key=td.key(3)), x + 0.3 * z)


def test_noise_may_be_negative():
    """A multiplier clamped at zero would have a mean above one."""
    y = td.GaussianDropout(0.8)(torch.ones(1 << 16), key=td.key(0))
    assert (y < 0).any()


@pytest.mark.parametrize("p", [1.0, 1, -0.1, 1.5, float("nan")])
def test_gaussian_dropout_refuses_p(p):
    for call in (td.GaussianDropout, lambda p: td.functional.gaussian_dropout(torch.ones(2), p)):
        with pytest.raises(ValueError, match=rf"^(GaussianDropout|gaussian_dropout): `p` must be in \[0, 1\), got {p}"):
            call(p)


@pytest.mark.parametrize("std", [-0.1, float("nan"), float("inf")])
def test_gaussian_noise_refuses_std(std):
    with pytest.raises(ValueError, match=f"^GaussianNoise: `std` must be finite and not negative, got {std}"):
        td.GaussianNoise(std)


@pytest.mark.parametrize("make", [lambda: td.GaussianDropout("a"), lambda: td.GaussianNoise(None)])
def test_something_that_is_no_number(make):
    with pytest.raises(TypeError, match="must be a number, got"):
        make()


@pytest.mark.parametrize("layer", [td.GaussianDropout(0.5), td.GaussianNoise(0.5), td.DropPath(0.5)])
def test_integers_are_refused(layer):
    with pytest.raises(TypeError, match=f"^{type(layer).__name__}: the input must be floating point, got torch.int64"):
        layer(torch.ones(3, 3, dtype=torch.int64))
