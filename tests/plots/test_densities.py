"""The exact curves are exact: draws of the layers fall under them as often as they say."""

import numpy as np
import pytest
from drawn import picture
from scipy import integrate

from torchdropout import catalog, plots

DENSITIES = [name for name in catalog.names() if picture(name).density is not None]


def test_every_continuous_noise_has_a_density():
    continuous = {row.name for row in catalog.METHODS if row.noise.startswith(("Normal", "truncated", "relaxed"))}
    assert set(DENSITIES) == continuous


@pytest.mark.parametrize("name", DENSITIES)
def test_draws_fall_between_places_as_often_as_the_curve_says(name):
    """Sixteen intervals within the middle 90 %, at five standard deviations: wrong by chance once in 10**5 runs."""
    data = picture(name).density.data
    for n in range(len([key for key in data if key.startswith("draws")])):
        x, y, drawn = data[f"x {n}"], data[f"y {n}"], data[f"draws {n}"]
        inner = np.linspace(0.05, 0.95, 17) * (len(x) - 1)
        places = inner.astype(int)
        cumulated = integrate.cumulative_simpson(y, x=x, initial=0)
        chances = np.diff(cumulated[places])
        shares = np.histogram(drawn, x[places])[0] / len(drawn)
        assert (np.abs(shares - chances) <= 5 * np.sqrt(chances / len(drawn)) + 1e-5).all()


@pytest.mark.parametrize("name", ["gaussian", "variational", "gaussian-noise", "fast-dropout"])
def test_the_curve_of_a_normal_is_a_density(name):
    data = picture(name).density.data
    assert integrate.simpson(data["y 0"], x=data["x 0"]) == pytest.approx(1, abs=1e-4)


def test_fast_dropout_has_the_mean_and_variance_of_all_masks():
    density = picture("fast-dropout").density
    values, chances, _ = density.paint.keywords["density"].masks
    mean = (values * chances).sum()
    assert chances.sum() == pytest.approx(1)
    assert mean == pytest.approx(density.data["draws 0"].mean(), abs=0.03)
    assert ((values - mean) ** 2 * chances).sum() == pytest.approx(density.data["draws 0"].var(), rel=0.02)


@pytest.mark.parametrize("name", ["gaussian", "gaussian-noise", "fast-dropout"])
def test_without_noise_there_is_no_density(name):
    assert plots.picture(name, 0.0).density is None
