from fractions import Fraction

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from torchdropout import laws

INSIDE = st.one_of(
    st.floats(0, 1, exclude_min=True, exclude_max=True),
    st.floats(-300, -0.1).map(lambda exponent: 10.0**exponent),
    st.floats(-15.5, -0.1).map(lambda exponent: 1 - 10.0**exponent),
    st.integers(1, 2**16 - 1).map(lambda number: number / 2**16),
    st.integers(1, 255).map(lambda number: number / 2**8),
)


@pytest.mark.parametrize(
    ("p", "bits", "threshold"),
    [
        (0.5, 1, 1),
        (0.25, 8, 192),
        (1 / 256, 8, 255),
        (255 / 256, 8, 1),
        (0.1, 16, 58982),
        (0.3, 16, 45875),
        (1 / 512, 16, 65408),
        (0.001, 16, 65470),  # 66 / 65536, 0.7 % more
        (0.0002, 16, 65523),  # 13 / 65536, 0.8 % less
        (0.0001, 32, 2**32 - 429497),  # sixteen bits would give 7 / 65536, 6.8 % more
        (0.9999, 32, 429497),
        (1e-12, 32, 2**32 - 1),
        (5e-324, 32, 2**32 - 1),
        (1 - 2**-53, 32, 1),
    ],
)
def test_bits_and_threshold(p, bits, threshold):
    law = laws.bernoulli(p)
    assert (law.bits, law.threshold) == (bits, threshold)


@settings(max_examples=2000)
@given(INSIDE)
def test_the_fewest_bits_that_are_near_enough_decide(p):
    """Exactly for 1 and 8 bits; within 1 % of the smaller of p and 1 - p for 16; at the nearest step for 32."""
    law = laws.bernoulli(p)
    realised = 1 - Fraction(law.threshold, 2**law.bits)
    wanted = Fraction(p)
    smaller = min(wanted, 1 - wanted)
    assert 0 < law.threshold < 2**law.bits
    if law.bits <= 8:
        assert realised == wanted
    elif law.bits == 16:
        assert abs(realised - wanted) <= smaller * Fraction(101, 10_000)  # 1 - p is itself rounded
    else:
        assert abs(realised - wanted) <= Fraction(1, 2**32)
    for fewer in {1, 8} - set(range(law.bits, 64)):
        assert (wanted * 2**fewer).denominator != 1
    if law.bits == 32:
        sixteenth = Fraction(round((1 - wanted) * 2**16), 2**16)
        assert sixteenth in (0, 1) or abs(1 - sixteenth - wanted) > smaller * Fraction(99, 10_000)


@settings(max_examples=1000)
@given(INSIDE)
def test_scale_times_keep_is_one(p):
    """To the last bit of float64, which holds the scale."""
    law = laws.bernoulli(p)
    keep = Fraction(law.threshold, 2**law.bits)
    assert laws.keep(p) == keep
    assert abs(Fraction(law.scale) * keep - 1) <= Fraction(1, 2**53)
    assert laws.bernoulli(p, scaled=False).scale == 1


@pytest.mark.parametrize("p", [0.5, 0.75, 0.875, 1 - 1 / 256])
def test_scale_times_keep_is_exactly_one_where_the_scale_is_a_number_of_float64(p):
    assert Fraction(laws.bernoulli(p).scale) * Fraction(laws.keep(p)) == 1


@settings(max_examples=500)
@given(INSIDE, st.booleans())
def test_traced_law_equals_the_host_law(p, scaled):
    kind = "scaled bernoulli" if scaled else "bernoulli"
    host = laws.settle(laws.Spec(kind, p))
    traced = laws.Spec(kind, torch.tensor(p, dtype=torch.float64)).as_tensors()
    assert (int(traced.bits), int(traced.threshold), float(traced.scale)) == (host.bits, host.threshold, host.scale)
    assert laws.keep(torch.tensor(p, dtype=torch.float64)) == laws.keep(p)


@pytest.mark.parametrize(("p", "noise"), [(0.0, 1.0), (1.0, 0.0)])
def test_settled_probabilities(p, noise):
    spec = laws.Spec("scaled bernoulli", p)
    assert spec.fixed_noise() == noise
    traced = spec.as_tensors()
    assert int(traced.threshold) == noise * 2 ** int(traced.bits)  # below the threshold: all, or none
    assert torch.isfinite(traced.scale)
    assert float(traced.scale) == noise
    assert laws.keep(p) == laws.keep(torch.tensor(p, dtype=torch.float64)) == noise


@given(INSIDE)
def test_other_probabilities_are_random(p):
    assume(0 < p < 1)
    assert laws.Spec("bernoulli", p).fixed_noise() is None
    assert laws.Spec("scaled bernoulli", torch.tensor(p, dtype=torch.float64)).fixed_noise() is None


def test_normal_and_uniform_have_no_fixed_noise_and_keep_their_numbers():
    assert laws.Spec("normal", 1.0, 0.0).fixed_noise() is None
    assert laws.settle(laws.Spec("normal", 0.25, 1.0)) == laws.Normal(mean=1.0, std=0.25)
    assert laws.settle(laws.Spec("uniform", -1.0, 3.0)) == laws.Uniform(low=-1.0, high=3.0)
    traced = laws.Spec("normal", 0.25, 1.0).as_tensors()
    assert (float(traced.mean), float(traced.std)) == (1.0, 0.25)
