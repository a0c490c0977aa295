import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from independent import mask, uniforms

from torchdropout import laws, ops
from torchdropout.kernels import cpu, openmp, pool, reference

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
WORDS = st.one_of(st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63), 2**32]), st.integers(-(2**63), 2**63 - 1))
RATES = st.one_of(
    st.sampled_from([0.5, 0.25, 1 / 256, 255 / 256, 0.1, 0.3, 1e-4, 1e-9, 1 - 1e-4]),
    st.floats(0, 1, exclude_min=True, exclude_max=True),
)
SHAPES = st.one_of(
    st.lists(st.integers(0, 7), max_size=5), st.lists(st.integers(250, 520), min_size=1, max_size=2)
).map(tuple)


@st.composite
def tensors(draw):
    """A tensor of any shape, dtype and strides: as created, permuted, sliced, expanded or channels last."""
    shape, dtype = draw(SHAPES), draw(st.sampled_from(DTYPES))
    steps = [draw(st.sampled_from([1, 1, 2, 3])) for _ in shape]
    seed = draw(st.integers(0, 99))
    x = torch.randn([n * step for n, step in zip(shape, steps, strict=True)], generator=torch.manual_seed(seed))
    x = x.to(dtype)[tuple(slice(None, None, step) for step in steps)]
    layout = draw(st.sampled_from(["plain", "permuted", "expanded", "channels_last"]))
    if layout == "permuted":
        x = x.permute(draw(st.permutations(range(x.ndim))))
    elif layout == "expanded" and x.numel():
        x = x[..., None].expand(*x.shape, 3)
    elif layout == "channels_last" and x.ndim == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    return x


@st.composite
def inputs_and_keys(draw):
    """The key has the shape of none, some or all of the leading axes, and is itself not always contiguous."""
    x = draw(tensors())
    batch = x.shape[: draw(st.integers(0, x.ndim))]
    start = torch.tensor([draw(WORDS), draw(WORDS)])
    count = math.prod(batch)
    key = (start + torch.arange(2 * count).view(count, 2)).view(*batch, 2)
    return x, (key.flip(-1).contiguous().flip(-1) if draw(st.booleans()) else key)


@settings(max_examples=200)
@given(inputs_and_keys(), RATES, st.booleans())
def test_bernoulli_noise_equals_the_reference_bit_for_bit(x_and_key, p, scaled):
    x, key = x_and_key
    before = x.clone()
    y = ops.multiply(x, laws.Spec("scaled bernoulli" if scaled else "bernoulli", p), key=key)
    expected = reference.multiply(x, key, laws.bernoulli(p, scaled=scaled))
    assert y.dtype == x.dtype
    assert torch.equal(y, expected)
    assert torch.equal(x, before)
    assert y.stride() == torch.empty_like(x).stride()


@pytest.mark.parametrize("dtype", DTYPES)
def test_cpu_kernels_serve_every_dtype(dtype):
    assert ops.devices.cpu_kernel(dtype) is cpu


@settings(max_examples=60)
@given(
    st.sampled_from(DTYPES),
    st.sampled_from([*map(laws.bernoulli, (0.5, 0.25, 0.3, 1e-5)), laws.Normal(1.0, 0.5), laws.Uniform(-1.0, 2.0)]),
    st.integers(1, 40_000),
    st.sampled_from([1, 2, 5]),
    st.lists(st.integers(1, 200_000), max_size=6),
    st.booleans(),
)
def test_any_split_of_the_range_gives_the_same(dtype, law, inner, rows, cuts, in_place):
    x = torch.ones(rows, inner, dtype=dtype)
    key = torch.arange(2 * rows).view(rows, 2)
    whole = torch.empty_like(x)
    cpu.multiply(x, whole, key, law)
    parts = x.clone() if in_place else torch.full_like(x, math.nan)
    source = parts if in_place else x
    bounds = sorted({0, x.numel(), *(cut for cut in cuts if cut < x.numel())})
    for start, stop in reversed(list(itertools.pairwise(bounds))):
        pointers = source.data_ptr(), parts.data_ptr(), key.data_ptr(), inner
        cpu.compiled(dtype)(*pointers, start, stop, *cpu.arguments(law), 0)
    assert torch.equal(parts, whole)


SPECS = [("bernoulli", 0.3), ("bernoulli", 0.5), ("normal", 1.0), ("uniform", -1.0, 1.0)]


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
@pytest.mark.parametrize("spec", SPECS)
def test_a_pool_of_threads_does_not_change_the_result(monkeypatch, threads, spec):
    x, key = torch.ones(5, 100_003), torch.arange(10).view(5, 2)
    alone = ops.multiply(x, laws.Spec(*spec), key=key)
    monkeypatch.setattr(cpu.openmp, "usable", lambda: False)
    monkeypatch.setattr(cpu, "SPLIT", 2**15)
    monkeypatch.setattr(pool, "SPLIT", 2**15)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    parts, run_chunks = [], pool.run_chunks
    monkeypatch.setattr(pool, "run_chunks", lambda work, n: run_chunks(counting(work, parts), n))
    assert torch.equal(ops.multiply(x, laws.Spec(*spec), key=key), alone)
    assert len(parts) == (0 if threads == 1 else threads)


def counting(work, parts):
    def count_and_work(start, stop):
        parts.append((start, stop))
        work(start, stop)

    return count_and_work


@pytest.mark.skipif(not openmp.usable(), reason="this build of torch brings no OpenMP library of GNU's")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", [2, 3, 7])
@pytest.mark.parametrize("spec", SPECS)
def test_torchs_team_of_threads_does_not_change_the_result(monkeypatch, threads, spec, dtype):
    x, key = torch.ones(5, 100_003, dtype=dtype), torch.arange(10).view(5, 2)
    monkeypatch.setattr(cpu, "SPLIT", x.numel() + 1)
    alone = ops.multiply(x, laws.Spec(*spec), key=key)
    monkeypatch.setattr(cpu, "SPLIT", 2**15)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    teams, run = [], openmp.run
    monkeypatch.setattr(openmp, "run", lambda *arguments: (teams.append(arguments[2]), run(*arguments)))
    assert torch.equal(ops.multiply(x, laws.Spec(*spec), key=key), alone)
    assert teams == [threads]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("p", [0.5, 0.25, 0.3])
def test_all_sixteen_bit_floats_are_multiplied_and_rounded_as_torch_does(dtype, p):
    x = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(dtype)
    y = ops.multiply(x, laws.Spec("scaled bernoulli", p), key=torch.tensor([3, 4]))
    law = laws.bernoulli(p)
    kept = torch.from_numpy(mask(3, 4, 2**16, law.bits, law.threshold))
    expected = (x.float() * torch.where(kept, law.scale, 0.0).float()).to(dtype)
    assert torch.equal(y.isnan(), expected.isnan())
    there = ~expected.isnan()  # of a NaN, torch may keep another payload
    assert torch.equal(y[there].view(torch.int16), expected[there].view(torch.int16))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_ties_between_sixteen_bit_floats_are_rounded_to_even(dtype):
    x = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(dtype)
    y = ops.multiply(x, laws.Spec("normal", 0.0, 1.5), key=torch.tensor([3, 4]))
    torch.testing.assert_close(y, (x.float() * 1.5).to(dtype), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_infinity_and_the_sign_of_zero_are_those_of_a_product(dtype):
    x = torch.tensor([math.nan, math.inf, -math.inf, -0.0, 0.0, -1.0], dtype=dtype).repeat(200)
    y = ops.multiply(x, laws.Spec("scaled bernoulli", 0.5), key=torch.tensor([3, 4]))
    noise = torch.from_numpy(mask(3, 4, 1200, 1, 1)).to(dtype) * 2
    torch.testing.assert_close(y, x * noise, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(y.signbit()[~y.isnan()], (x * noise).signbit()[~y.isnan()])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("spec", [laws.Spec("normal", 0.5, 1.0), laws.Spec("uniform", 0.25, 4.0)])
def test_normal_and_uniform_noise_agree_with_the_reference(dtype, spec):
    x, key = torch.ones(3, 7001, dtype=dtype), torch.tensor([[1, 2], [3, 4], [-5, -(2**63)]])
    y, expected = ops.multiply(x, spec, key=key), reference.multiply(x, key, laws.settle(spec))
    rounding = torch.finfo(dtype).eps if dtype in (torch.float16, torch.bfloat16) else 0.0
    torch.testing.assert_close(y, expected, rtol=rounding, atol=2e-6)
    assert y.dtype == dtype


def test_uniforms_are_exact():
    y = ops.multiply(torch.ones(10_000), laws.Spec("uniform", 0.0, 1.0), key=torch.tensor([8, 9]))
    np.testing.assert_array_equal(y.numpy(), uniforms(8, 9, 10_000))
