"""The polynomials of the CPU kernels: their largest error, and the distribution that they make."""

import ctypes

import numpy as np
import pytest
import torch
from independent import box_muller, normals
from numba import cfunc, types
from scipy import stats

from torchdropout import laws, ops
from torchdropout.kernels import cpu_memory, cpu_words

BOUND = 2e-6
NUMBER = 2**22


@pytest.fixture(scope="module")
def four_million():
    return ops.multiply(torch.ones(NUMBER), laws.Spec("normal", 1.0, 0.0), key=torch.tensor([7, 1])).numpy()


def test_four_million_normals_are_within_2e_6_of_float64(four_million):
    assert np.abs(four_million - normals(7, 1, NUMBER)).max() <= BOUND


@pytest.fixture(scope="module")
def from_words():
    """The kernel's own normals, 256 lanes at a time, from words that a test chooses."""

    def fill(buffer, noise):
        cpu_words.make_normals(noise, buffer)

    signature = types.void(types.CPointer(types.uint32), types.CPointer(types.float32))
    kernel = cfunc(signature, **cpu_memory.OPTIONS)(fill)
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(kernel.address)

    def compute(first, second):
        lanes = (first.astype(np.uint64) << np.uint64(32)) | second.astype(np.uint64)
        whole = np.resize(lanes, -(-len(lanes) // 256) * 256).reshape(-1, 256)
        noise = np.empty((len(whole), 4, 128), np.float32)
        for lane, row in zip(np.ascontiguousarray(whole), noise, strict=True):
            function(lane.ctypes.data, row.ctypes.data)
        cosine, sine = noise[:, [0, 2]].reshape(-1), noise[:, [1, 3]].reshape(-1)
        return cosine[: len(lanes)], sine[: len(lanes)]

    compute.keep_alive = kernel
    return compute


def test_normals_of_every_corner_are_within_2e_6(from_words):
    """Both ends of the radius, the mantissas where the logarithm changes its branch, every eighth of a turn."""
    near = np.concatenate([np.arange(-300, 301), [2**k for k in range(9, 28)], [-(2**k) for k in range(9, 28)]])
    angles = (np.arange(8)[:, None] * 2**29 + near).ravel() % 2**32
    radii = np.concatenate([near, 2 ** np.arange(32), np.round(2 ** (np.arange(1, 64) / 2)), [0x5A827999, 0xB504F333]])
    radii = radii.astype(np.int64) % 2**32
    rng = np.random.default_rng(0)
    first = np.concatenate([np.repeat(radii, 40), rng.integers(0, 2**32, 20 * len(angles))])
    second = np.concatenate([np.resize(rng.permutation(angles), 40 * len(radii)), np.tile(angles, 20)])
    got = from_words(first, second)
    expected = box_muller(first.astype(np.uint32), second.astype(np.uint32))
    for z, exact in zip(got, expected, strict=True):
        assert np.isfinite(z).all()
        assert np.abs(z - exact).max() <= BOUND
    assert max(np.abs(got[0]).max(), np.abs(got[1]).max()) > 6.6  # the corners were reached


def test_normals_of_equal_words(from_words):
    words = np.array([0, 2**32 - 1, 2**31, 2**31 - 1, 2**30, 0x55555555, 0xAAAAAAAA])
    got, expected = from_words(words, words), box_muller(words.astype(np.uint32), words.astype(np.uint32))
    np.testing.assert_allclose(got, expected, rtol=0, atol=BOUND)


def test_distribution_is_normal(four_million):
    """Kolmogorov and Smirnov, four moments, and the tails; each bound fails for one key in 10**9."""
    z = four_million.astype(np.float64)
    assert stats.kstest(z, "norm").pvalue > 1e-9
    limit = stats.norm.isf(1e-9 / 2) / np.sqrt(NUMBER)
    for power, variance in ((1, 1), (2, 2), (3, 15), (4, 96)):  # of z**power
        assert abs((z**power).mean() - (0, 1, 0, 3)[power - 1]) < limit * np.sqrt(variance)
    for bound in (2.0, 3.0, 4.0, 4.5):
        low, high = stats.binom.interval(1 - 1e-9, NUMBER, 2 * stats.norm.sf(bound))
        assert low <= (np.abs(z) > bound).sum() <= high


@pytest.mark.parametrize("lag", [1, 127, 128, 256, 384, 512])
def test_normals_are_uncorrelated_in_value_and_in_size(four_million, lag):
    """Lag 128 pairs the cosine with the sine of the same words."""
    z = four_million[: 2**20].astype(np.float64)
    limit = stats.norm.isf(1e-9 / 2) / np.sqrt(len(z))
    assert abs((z[lag:] * z[:-lag]).mean()) < limit
    assert abs(((z[lag:] ** 2 - 1) * (z[:-lag] ** 2 - 1)).mean()) < 2 * limit


def test_uniforms_are_uniform():
    u = ops.multiply(torch.ones(2**20), laws.Spec("uniform", 0.0, 1.0), key=torch.tensor([7, 1])).numpy()
    assert stats.kstest(u, "uniform").pvalue > 1e-9
