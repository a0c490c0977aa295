"""The activations of the recurrent kernels against float64, over their whole range."""

import ctypes

import numpy as np
import pytest
from numba import cfunc, types
from scipy import special

from torchdropout.kernels import cpu_cells, cpu_memory


def compiled(name):
    """The kernel's own loop over runs of 128 numbers."""
    loop = getattr(cpu_cells, name)

    def run(x):
        loop(x, 128)

    kernel = cfunc(types.void(types.CPointer(types.float32)), **cpu_memory.OPTIONS)(run)
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(kernel.address)

    def compute(x):
        whole = np.resize(x, -(-len(x) // 128) * 128).astype(np.float32)
        for start in range(0, len(whole), 128):
            function(whole[start:].ctypes.data)
        return whole[: len(x)]

    compute.keep_alive = kernel
    return compute


VALUES = np.concatenate([np.linspace(-100, 100, 200_001), np.linspace(-1, 1, 100_001), 10.0 ** np.arange(-30, 1, 0.25)])


@pytest.mark.parametrize(("name", "exact", "bound"), [("sigmoids", special.expit, 4.0), ("tanhs", np.tanh, 4.0)])
def test_relative_error_is_within_four_units_in_the_last_place(name, exact, bound):
    x = np.concatenate([VALUES, -VALUES]).astype(np.float32)
    found, expected = compiled(name)(x).astype(np.float64), exact(x.astype(np.float64))
    seen = np.abs(expected) > 1e-37  # below, the exponential stays at its smallest number
    unit = np.spacing(np.abs(expected[seen]).astype(np.float32)).astype(np.float64)
    assert (np.abs(found[seen] - expected[seen]) / unit).max() <= bound
    assert np.abs(found[~seen]).max(initial=0.0) < 2e-37 if (~seen).any() else True


def test_ends_and_not_a_number():
    x = np.array([np.inf, -np.inf, np.nan, 0.0], np.float32)
    np.testing.assert_array_equal(compiled("tanhs")(x), [1.0, -1.0, np.nan, 0.0])
    y = compiled("sigmoids")(x)
    assert y[0] == 1.0
    assert y[1] < 1e-37
    assert np.isnan(y[2])
    assert y[3] == 0.5
