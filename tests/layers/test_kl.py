"""KL from the log-uniform prior: against its definition by quadrature, Dawson's integral and the published values."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import integrate, special, stats

from torchdropout.layers._kl import FORMS, exact, fitted, polynomial, projected_clamp


def by_definition(alpha):
    """KL(N(1, alpha) || log-uniform) = -1/2 ln(alpha) + E ln|e| + c, with c such that it vanishes as alpha grows."""
    std = math.sqrt(alpha)

    def integrand(e):
        return stats.norm.pdf(e, 1.0, std) * math.log(abs(e))

    low, high = 1 - 12 * std, 1 + 12 * std
    cuts = sorted({low, *(c for c in (0.0, 1 - std, 1.0, 1 + std) if low < c < high), high})
    total = sum(integrate.quad(integrand, a, b, epsabs=1e-12, limit=400)[0] for a, b in itertools.pairwise(cuts))
    return -0.5 * math.log(alpha) + total + (np.euler_gamma + math.log(2)) / 2


@pytest.mark.parametrize("alpha", [1e-4, 0.005, 1 / 60.5, 1 / 59.5, 0.05, 0.3, 1.0, 3.0, 50.0, 2000.0])
def test_kl_exact_is_the_definition(alpha):
    value = exact(torch.tensor(math.log(alpha), dtype=torch.float64)).item()
    assert value == pytest.approx(by_definition(alpha), abs=1e-8)


def test_kl_exact_is_the_integral_over_t():
    for log_alpha in (-3.0, 0.0, 2.0, 8.0):
        u = 0.5 * math.exp(-log_alpha)
        value = integrate.quad(lambda t, u=u: -math.expm1(-u * (1 - t * t)) / (1 - t * t), 0, 1, epsabs=1e-13)[0]
        assert exact(torch.tensor(log_alpha, dtype=torch.float64)).item() == pytest.approx(value, abs=1e-11)


def test_kl_exact_has_dawsons_derivative():
    x = torch.linspace(-20, 20, 801, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(exact(x).sum(), x)
    u = 0.5 * np.exp(-x.detach().numpy())
    expected = -u * special.dawsn(np.sqrt(u)) / np.sqrt(u)
    np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-6, atol=1e-14)


def test_kl_exact_integrates_its_derivative():
    """Together with the derivative, this fixes the value everywhere: differences over the whole range."""
    x = torch.linspace(-20, 20, 41, dtype=torch.float64)
    values = exact(x).numpy()
    for i in range(40):
        step = integrate.quad(
            lambda v: -math.exp(-v) / 2 * _dawson_ratio(v), x[i].item(), x[i + 1].item(), epsabs=1e-12
        )
        assert values[i + 1] - values[i] == pytest.approx(step[0], abs=1e-9)
    assert values[-1] == pytest.approx(0.5 * math.exp(-20), rel=1e-6)


def _dawson_ratio(log_alpha):
    root = math.sqrt(0.5 * math.exp(-log_alpha))
    return special.dawsn(root) / root


@pytest.mark.parametrize(
    ("alpha", "negative_exact", "negative_fitted"),
    [
        (0.01, -2.932689, -2.938956),
        (0.1, -1.724138, -1.723453),
        (0.5, -0.739442, -0.740672),
        (1.0, -0.426686, -0.431239),
        (5.0, -0.096754, -0.099959),
        (100.0, -0.004992, -0.005079),
    ],
)
def test_kl_worked_values(alpha, negative_exact, negative_fitted):
    x = torch.tensor(math.log(alpha), dtype=torch.float64)
    assert -exact(x).item() == pytest.approx(negative_exact, abs=1e-6)
    assert -fitted(x).item() == pytest.approx(negative_fitted, abs=1e-6)


@pytest.mark.parametrize(("alpha", "no_constant"), [(0.1, -1.049582), (0.5, -0.068071), (1.0, 0.245709)])
def test_kl_polynomial_worked_values(alpha, no_constant):
    x = torch.tensor(math.log(alpha), dtype=torch.float64)
    assert -polynomial(x).item() == pytest.approx(no_constant - 0.6351814, abs=1e-6)


def test_kl_approximations_are_as_close_as_published():
    x = torch.linspace(-8, 8, 3201, dtype=torch.float64)
    error = (fitted(x) - exact(x)).abs()
    assert 0.008 < error.max() < 0.0095
    small = x[(x >= math.log(1e-3)) & (x <= 0)]
    assert (polynomial(small) - exact(small)).abs().max() < 0.0405
    above = torch.tensor([2.0, 5.0], dtype=torch.float64).log()
    gap = (polynomial(above) - exact(above)).abs()
    assert gap[0] > 0.9
    assert gap[1] > 40  # why alpha is kept at most 1


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_kl_is_finite_everywhere_with_its_gradient(form, dtype):
    x = torch.linspace(-20, 0 if form == "polynomial" else 20, 101).to(dtype).requires_grad_()
    y = FORMS[form](x)
    assert y.dtype == torch.promote_types(dtype, torch.float32)
    y.sum().backward()
    assert torch.isfinite(y).all()
    assert torch.isfinite(x.grad).all()
    assert (x.grad <= 0).all() or form == "polynomial"


def test_kl_float32_agrees_with_float64():
    x = torch.linspace(-20, 20, 401)
    for form in (exact, fitted):
        torch.testing.assert_close(form(x).double(), form(x.double()), rtol=3e-6, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_kl_gradcheck(form):
    x = torch.tensor([-6.0, -4.0945, -4.0, -1.0, -0.1], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(FORMS[form], (x,))
    assert torch.autograd.gradgradcheck(FORMS[form], (x,))


@pytest.mark.parametrize("form", FORMS)
def test_kl_does_not_hide_nan(form):
    assert FORMS[form](torch.tensor(float("nan"))).isnan()


def test_projected_clamp_lets_a_value_come_back_and_never_run_away():
    x = torch.tensor([-3.0, -2.0, -1.0, 0.0, 1.0], requires_grad=True)
    for sign, passes in ((1.0, [0, 0, 1, 1, 1]), (-1.0, [1, 1, 1, 0, 0])):
        y = projected_clamp(x, -2.0, 0.0)
        assert y.tolist() == [-2.0, -2.0, -1.0, 0.0, 0.0]
        (gradient,) = torch.autograd.grad(y, x, torch.full((5,), sign))
        assert gradient.tolist() == [sign * p for p in passes]


def test_projected_clamp_under_transforms():
    x = torch.tensor([-1.0, 1.0])
    one = torch.func.grad(lambda v: -projected_clamp(v, -2.0, 0.0).sum())
    assert one(x).tolist() == [-1.0, 0.0]
    assert torch.func.vmap(one)(torch.stack([x, -x])).tolist() == [[-1.0, 0.0], [0.0, -1.0]]
    v = torch.tensor([-1.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda v: projected_clamp(v, -2.0, 0.0) ** 3, (v,))
