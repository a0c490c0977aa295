"""Alpha dropout: the constants, and mean and variance by quadrature."""

import numpy as np
import pytest
import torch
from scipy import integrate, stats

import torchdropout as td
from torchdropout.layers.alpha import LIMIT, affine


def test_the_limit_is_selus():
    """SELU itself, far on the left, by PyTorch's own function."""
    selu = torch.selu(torch.tensor(-100.0, dtype=torch.float64)).item()
    assert pytest.approx(selu, rel=1e-12) == LIMIT


@pytest.mark.parametrize("p", [0.05, 0.1, 0.25, 0.5, 0.9])
def test_alpha_dropout_keeps_mean_zero_and_variance_one(p):
    """Klambauer et al. 2017: E[y] = 0 and Var[y] = 1 for a standard normal input, by quadrature over the input."""
    keep = td.laws.keep(p)
    a, b = affine(p)

    def moment(order):
        def integrand(x):
            kept, dropped = (a * x + b) ** order, (a * LIMIT + b) ** order
            return stats.norm.pdf(x) * (keep * kept + (1 - keep) * dropped)

        return integrate.quad(integrand, -np.inf, np.inf)[0]

    assert abs(moment(1)) < 1e-9
    assert moment(2) == pytest.approx(1.0, abs=1e-9)


def test_self_normalising_network_stays_normalised():
    """Through 20 SELU layers with LeCun-normal weights, mean and variance stay near 0 and 1 with dropout on."""
    torch.manual_seed(0)
    x = torch.randn(2000, 300)
    layer = td.AlphaDropout(0.05)
    for key in td.split(td.key(0), 20):
        weight = torch.randn(300, 300) / 300**0.5
        x = layer(torch.selu(x @ weight), key=key)
    assert abs(x.mean()) < 0.1
    assert 0.8 < x.var() < 1.2
