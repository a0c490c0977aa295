import numpy as np
import pytest
import torch
from independent import box_muller, mask, normals, uniforms, values
from scipy import stats
from torch._subclasses.fake_tensor import FakeTensorMode

from torchdropout import laws, ops
from torchdropout.kernels import reference

KEYS = [(0, 0), (7, 0), (-1, -1), (2**63 - 1, -(2**63)), (-(2**63), 3), (0x123456789ABCDEF, 0xFEDCBA987654321)]
# The first 64 elements under each number of bits: to change one is to change every user's masks.
FROZEN = [
    ((0, 0), laws.Bernoulli(1, 1, 1.0), 0x1AE4FF4E2417E1DE),
    ((0, 0), laws.Bernoulli(8, 179, 1.0), 0x9FEBCFFBECE7F9E3),
    ((0, 0), laws.Bernoulli(16, 45875, 1.0), 0x2E3FF8FD7DF7FADF),
    ((0, 0), laws.Bernoulli(32, 3006477107, 1.0), 0x6EB3F3FDFFFDFBB7),
    ((7, 1), laws.Bernoulli(1, 1, 1.0), 0x6EB2C822EEF70128),
    ((7, 1), laws.Bernoulli(8, 179, 1.0), 0xC84D2DBFDCAEE7E7),
    ((7, 1), laws.Bernoulli(16, 45875, 1.0), 0x37F379BF9FD71CF5),
    ((7, 1), laws.Bernoulli(32, 3006477107, 1.0), 0xCFFF3B0FFCDEF9FF),
    ((-1, 2**63 - 1), laws.Bernoulli(1, 1, 1.0), 0xF083EF26D2CC7C38),
    ((-1, 2**63 - 1), laws.Bernoulli(8, 179, 1.0), 0x95CAE3FEFB97BEFF),
    ((-1, 2**63 - 1), laws.Bernoulli(16, 45875, 1.0), 0xE12E767EAC93B2FE),
    ((-1, 2**63 - 1), laws.Bernoulli(32, 3006477107, 1.0), 0x3EFF5EBE8BB3FB8F),
]


def ones_times(law, number, key, dtype=torch.float32):
    return reference.multiply(torch.ones(number, dtype=dtype), torch.tensor(key), law).numpy()


@pytest.mark.parametrize(("key", "law", "first"), FROZEN)
def test_frozen_masks(key, law, first):
    kept = ones_times(law, 64, key)
    assert int("".join("1" if value else "0" for value in kept), 2) == first


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(("bits", "threshold"), [(1, 1), (8, 1), (8, 77), (16, 45875), (32, 1), (32, 2**32 - 1)])
def test_masks_follow_the_documented_mapping(key, bits, threshold):
    number = 2 * 512 * 32 // bits + 300  # two whole tiles and a part
    noise = ones_times(laws.Bernoulli(bits, threshold, 3.0), number, key)
    np.testing.assert_array_equal(noise, np.where(mask(*key, number, bits, threshold), 3.0, 0.0))


def test_the_value_itself_is_compared_not_only_one_threshold():
    bits = values(7, 0, 1000, 8)
    for threshold in range(1, 256, 15):
        noise = ones_times(laws.Bernoulli(8, threshold, 1.0), 1000, (7, 0))
        np.testing.assert_array_equal(noise == 1, bits < threshold)


@pytest.mark.parametrize("key", KEYS)
def test_uniforms_follow_the_documented_mapping(key):
    noise = ones_times(laws.Uniform(0.0, 1.0), 1500, key)
    np.testing.assert_array_equal(noise, uniforms(*key, 1500))
    assert 0 < noise.min() < noise.max() < 1


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normals_follow_the_documented_mapping(key, dtype):
    noise = ones_times(laws.Normal(0.0, 1.0), 1500, key, dtype)
    np.testing.assert_allclose(noise, normals(*key, 1500), rtol=0, atol=2e-6)


def test_normals_of_every_corner_are_within_2e_6(monkeypatch):
    first, second = adversarial_words()
    monkeypatch.setattr(reference, "_words", lambda block, key: (first, second, first, second))
    index = torch.tensor([0, 128, 256, 384])[:, None].expand(4, len(first))
    z = reference._normal(index, torch.zeros(2, dtype=torch.int64)).double().numpy()
    cosine, sine = box_muller(first.numpy().astype(np.uint32), second.numpy().astype(np.uint32))
    assert np.isfinite(z).all()
    for got, expected in zip(z, (cosine, sine, cosine, sine), strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=2e-6)


def adversarial_words():
    """Pairs of words at the ends of the radius and around every eighth of a turn."""
    radii = [0, 1, 2, 3, 2**31, 2**32 - 1, 2**32 - 2, 2**32 - 257, 3037000499, 3037000500, 0x5A827999]
    near = [-(2**9), -129, -64, -2, -1, 0, 1, 2, 64, 129, 2**9]
    angles = [(eighth * 2**29 + delta) % 2**32 for eighth in range(8) for delta in near]
    pairs = torch.tensor([(radius, angle) for radius in radii for angle in angles])
    return pairs[:, 0], pairs[:, 1]


def test_affine_laws():
    z, u = ones_times(laws.Normal(0.0, 1.0), 600, (5, 6)), ones_times(laws.Uniform(0.0, 1.0), 600, (5, 6))
    np.testing.assert_allclose(ones_times(laws.Normal(1.0, 0.25), 600, (5, 6)), 1 + 0.25 * z, atol=1e-7)
    np.testing.assert_allclose(ones_times(laws.Uniform(-2.0, 3.0), 600, (5, 6)), -2 + 5 * u, atol=1e-6)


def test_elements_of_a_batched_key_count_within_the_rest():
    keys = torch.tensor([[3, 4], [5, 6], [3, 4]])
    x = torch.ones(3, 4, 5)
    for law in (laws.Bernoulli(16, 30000, 2.0), laws.Normal(0.0, 1.0), laws.Uniform(0.0, 1.0)):
        rows = torch.stack([reference.multiply(x[0], key, law) for key in keys])
        assert torch.equal(reference.multiply(x, keys, law), rows)
        assert not torch.equal(rows[0], rows[1])


@pytest.mark.parametrize("law", [laws.Bernoulli(1, 1, 1.0), laws.Bernoulli(8, 128, 1.0)])
def test_masks_of_neighbouring_keys_and_elements_agree_by_chance(law):
    """Exact binomial bounds that all of the comparisons together would miss for one key in 10**9."""
    number = 2**16
    first = ones_times(law, number, (0, 0))
    others = [ones_times(law, number, key) for key in [(0, 1), (1, 0), (0, 2**32), (2**32, 0), (-1, 0), (1, 1)]]
    others += [np.roll(first, shift) for shift in (1, 2, 3, 127, 128, 255, 256, 257, 512, 2048, 2**14)]
    low, high = stats.binom.interval(1 - 1e-9 / len(others) / 3, number, 0.5)
    for other in others:
        assert low <= (first == other).sum() <= high
    assert low <= first.sum() <= high


@pytest.mark.parametrize(
    "spec", [laws.Spec("bernoulli", 0.3), laws.Spec("normal", 1.0, 0.0), laws.Spec("uniform", 0.0, 1.0)]
)
@pytest.mark.parametrize("batch", [None, (), (3,), (3, 7)])
def test_nothing_stays_on_the_cpu_for_a_tensor_elsewhere(spec, batch):
    """The device of tensors without data stands for an accelerator's: mixing it with the CPU is an error on both."""
    with FakeTensorMode():
        x = torch.ones(3, 7, 5, device="meta", dtype=torch.bfloat16)
        key = None if batch is None else torch.zeros(*batch, 2, dtype=torch.int64)
        y = ops.multiply(x, spec, key=key)
    assert (y.device.type, y.dtype, y.shape) == ("meta", torch.bfloat16, x.shape)
