"""Stochastic dropout: the distribution of the rate, what it covers, the caps."""

import pytest
import torch
from scipy import stats

import torchdropout as td
from torchdropout.layers.stochastic_rate import Rates, draw_rate

DEFAULT = Rates(0.0, 0.4, "uniform", 0.2, 0.1, 0.7, 1.5)


def rates(count=4000, **arguments):
    """The rates of many keys."""
    given = DEFAULT._replace(**arguments)
    return torch.stack([draw_rate(given, key) for key in td.split(td.key(0), count)]).numpy()


def test_uniform_rates():
    """Kolmogorov-Smirnov at a level of 1e-6."""
    drawn = rates(low=0.1, high=0.5)
    assert stats.kstest(drawn, stats.uniform(0.1, 0.4).cdf).pvalue > 1e-6


def test_normal_rates_are_clipped_at_zero_or_folded_and_capped():
    """Shares of the clipped mass are binomial: 6 standard deviations; the rest by Kolmogorov-Smirnov at 1e-6."""
    drawn = rates(distribution="normal", mean=0.2, std=0.4)
    normal = stats.norm(0.2, 0.4)
    for share, probability in [((drawn == 0).mean(), normal.cdf(0)), ((drawn == 0.7).mean(), normal.sf(0.7))]:
        assert abs(share - probability) < 6 * (probability * (1 - probability) / 4000) ** 0.5
    inner = drawn[(drawn > 0) & (drawn < 0.7)]
    between = stats.truncnorm(-0.5, 1.25, 0.2, 0.4)
    assert stats.kstest(inner, between.cdf).pvalue > 1e-6
    folded = rates(distribution="normal", mean=0.0, std=0.1)
    assert stats.kstest(folded, stats.halfnorm(0, 0.1).cdf).pvalue > 1e-6


def test_one_rate_for_the_whole_tensor_and_a_new_one_at_every_call():
    """Shares of the rows of one call agree to binomial noise; between calls they spread as the rate does."""
    layer = td.StochasticRateDropout(0.0, 0.4)
    shares = torch.stack([(layer(torch.ones(4, 8192), key=k) == 0).double().mean(1) for k in td.split(td.key(1), 300)])
    within = shares.std(1).mean().item()
    assert within < 0.005  # sqrt(0.25 / 8192) = 0.0055 at most
    of_calls = shares.mean(1)
    assert abs(of_calls.mean().item() - 0.2) < 6 * 0.1155 / 300**0.5
    assert abs(of_calls.std().item() - 0.1155) < 6 * 0.1155 / 600**0.5
    assert layer(torch.ones(100)).ne(layer(torch.ones(100))).any()


def test_scale_of_the_kept_is_the_inverse_keep_probability_up_to_the_cap():
    """Of the realised probability, which differs from the drawn one by 1 % of it at most."""
    layer, capped = td.StochasticRateDropout(), 0
    for key in td.split(td.key(2), 100):
        y = layer(torch.ones(1000, dtype=torch.float64), key=key)
        p = draw_rate(layer._rates, td.fold_in(key, 0)).item()
        kept = y[y != 0].unique()
        assert len(kept) == 1
        assert kept.item() == pytest.approx(min(1 / (1 - p), 1.5), rel=0.01 * p + 1e-9)
        capped += kept.item() == 1.5
    assert 1 <= capped <= 45  # Binomial(100, 1/6) leaves this range with probability below 1e-7


def test_elements_are_independent_given_the_rate():
    """At a fixed rate this is dropout: mean, variance and correlation within 6 standard errors."""
    layer = td.StochasticRateDropout(0.25, 0.25)
    y = layer(torch.ones(20_000, 3, dtype=torch.float64), key=td.key(0))
    assert abs(y.mean().item() - 1) < 6 * (1 / 3 / 60_000) ** 0.5
    assert y.var().item() == pytest.approx(1 / 3, abs=6 * 0.01)
    assert y.T.corrcoef().fill_diagonal_(0).abs().max() < 6 / 20_000**0.5


def test_vmap_draws_a_rate_for_each_example():
    layer = td.StochasticRateDropout(0.0, 0.4)
    y = torch.func.vmap(layer, randomness="different")(torch.ones(400, 4096, dtype=torch.float64))
    shares = (y == 0).double().mean(1)
    assert abs(shares.mean().item() - 0.2) < 6 * 0.1155 / 20
    assert abs(shares.std().item() - 0.1155) < 6 * 0.1155 / 800**0.5
    scales = y.amax(1)
    torch.testing.assert_close(scales, (1 / (1 - shares)).clamp(max=1.5), rtol=0.1, atol=0)
    same = torch.func.vmap(layer, randomness="same")(torch.ones(3, 4096))
    assert torch.equal(same[0], same[1])


def test_a_batch_of_keys_is_a_batch_of_calls():
    layer, keys = td.StochasticRateDropout(), td.split(td.key(0), 3)
    x = torch.randn(3, 50)
    assert torch.equal(layer(x, key=keys), torch.stack([layer(x[i], key=keys[i]) for i in range(3)]))


def test_eval_is_the_identity_and_settled_rates():
    x = torch.randn(50)
    assert td.StochasticRateDropout().eval()(x) is x
    assert torch.equal(td.StochasticRateDropout(0.0, 0.0)(x), x)
    assert torch.equal(td.StochasticRateDropout(1.0, 1.0, cap=1.0)(x).abs(), torch.zeros(50))


@pytest.mark.parametrize(
    ("kind", "call", "message"),
    [
        (
            ValueError,
            lambda: td.StochasticRateDropout(-0.1),
            "StochasticRateDropout: `low` must be in [0, 1], got -0.1.",
        ),
        (
            ValueError,
            lambda: td.StochasticRateDropout(0.5, 0.4),
            "StochasticRateDropout: `high` must be in [low, 1] = [0.5, 1], got 0.4.",
        ),
        (ValueError, lambda: td.StochasticRateDropout(cap=2), "StochasticRateDropout: `cap` must be in [0, 1], got 2."),
        (
            ValueError,
            lambda: td.StochasticRateDropout(max_scale=0.5),
            "StochasticRateDropout: `max_scale` must be finite and at least 1, got 0.5.",
        ),
        (
            ValueError,
            lambda: td.StochasticRateDropout(std=-1.0),
            "StochasticRateDropout: `std` must be finite and not negative, got -1.0.",
        ),
        (
            ValueError,
            lambda: td.StochasticRateDropout(distribution="beta"),
            "StochasticRateDropout: `distribution` must be one of 'uniform', 'normal', got 'beta'.",
        ),
        (TypeError, lambda: td.StochasticRateDropout("a"), "StochasticRateDropout: `low` must be a number, got 'a'."),
        (
            TypeError,
            lambda: td.functional.stochastic_rate_dropout(torch.ones(2, dtype=torch.int64)),
            "stochastic_rate_dropout: the input must be floating point, got torch.int64.",
        ),
    ],
)
def test_errors(kind, call, message):
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == message
