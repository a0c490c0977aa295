"""Triton's kernels in its interpreter, against the CPU's: masks bit for bit, normals to the stated tolerance.

Run by themselves, with `TRITON_INTERPRET=1` (`make test` does): the interpreter is chosen when a kernel is defined.
"""

import os

import pytest
import torch

from torchdropout import laws, ops, rng
from torchdropout.kernels import cpu

pytestmark = pytest.mark.interpreted

BERNOULLI = {
    "1 bit": laws.Spec("scaled bernoulli", 0.5),
    "8 bits": laws.Spec("scaled bernoulli", 0.25),
    "16 bits": laws.Spec("bernoulli", 0.1),
    "32 bits": laws.Spec("scaled bernoulli", 1e-5),
    "nearly all": laws.Spec("scaled bernoulli", 0.999999),
}
OTHERS = {"normal": laws.Spec("normal", 0.7, 1.0), "uniform": laws.Spec("uniform", -1.0, 2.0)}
SHAPES = {"one tile": ((300,), None), "tiles": ((20_000,), None), "rows": ((3, 700), 3), "short rows": ((5, 17), 5)}
ROUNDING = {torch.float32: 0.0, torch.float16: 0.0, torch.bfloat16: 2.0**-7}  # the interpreter truncates bfloat16


@pytest.fixture
def cuda():
    assert os.environ.get("TRITON_INTERPRET") == "1", "run these with TRITON_INTERPRET=1"
    from torchdropout.kernels import cuda  # noqa: PLC0415 - the environment decides how it is made

    return cuda


def both(cuda, shape, keys, spec, dtype):
    torch.manual_seed(0)
    x = torch.randn(shape).to(dtype)
    key = rng.draw() if keys is None else rng.split(rng.key(-5), keys)
    on_cpu, interpreted = torch.empty_like(x), torch.empty_like(x)
    cpu.multiply(x, on_cpu, key, laws.settle(spec))
    cuda.multiply(x, interpreted, key, laws.settle(spec))
    return x, on_cpu, interpreted


@pytest.mark.parametrize("dtype", list(ROUNDING))
@pytest.mark.parametrize("shape", list(SHAPES))
@pytest.mark.parametrize("name", list(BERNOULLI))
def test_masks_are_the_cpus_bit_for_bit(cuda, name, shape, dtype):
    _, on_cpu, interpreted = both(cuda, *SHAPES[shape], BERNOULLI[name], dtype)
    assert torch.equal(on_cpu == 0, interpreted == 0)
    assert torch.allclose(on_cpu.double(), interpreted.double(), rtol=ROUNDING[dtype], atol=0.0)


@pytest.mark.parametrize("dtype", list(ROUNDING))
@pytest.mark.parametrize("shape", list(SHAPES))
@pytest.mark.parametrize("name", list(OTHERS))
def test_other_noise_agrees_to_the_stated_tolerance(cuda, name, shape, dtype):
    x, on_cpu, interpreted = both(cuda, *SHAPES[shape], OTHERS[name], dtype)
    unit = torch.finfo(dtype).eps
    bound = x.double().abs() * 4e-6 + (0.0 if dtype is torch.float32 else unit) * on_cpu.double().abs() + 1e-6
    assert ((on_cpu.double() - interpreted.double()).abs() <= bound).all()


@pytest.mark.parametrize("dtype", list(ROUNDING))
def test_a_residual_is_added_in_the_same_pass(cuda, dtype):
    torch.manual_seed(0)
    x, residual = torch.randn(2, 900).to(dtype), torch.randn(2, 900).to(dtype)
    law, key, out = laws.settle(BERNOULLI["1 bit"]), rng.key(3), torch.empty(2, 900, dtype=dtype)
    cuda.multiply(x, out, key, law, residual)
    expected = (ops.multiply(x.float(), BERNOULLI["1 bit"], key=key) + residual.float()).to(dtype)
    assert torch.allclose(out.double(), expected.double(), rtol=2 * torch.finfo(dtype).eps, atol=1e-6)


def test_it_may_write_to_its_input_and_nan_and_infinity_stay(cuda):
    x = torch.full((600,), float("nan"))
    x[::2] = float("inf")
    expected, key, law = torch.empty_like(x), rng.key(1), laws.settle(BERNOULLI["1 bit"])
    cpu.multiply(x, expected, key, law)
    cuda.multiply(x, x, key, law)
    assert torch.equal(x.isnan(), expected.isnan())
    assert torch.equal(x[~x.isnan()], expected[~expected.isnan()])


PRODUCTS = {
    "1 bit": (3, 64, 256, 0.5),
    "8 bits": (3, 16, 256, 0.25),
    "16 bits, long rows": (2, 4, 2048, 0.1),
    "16 bits": (2, 8, 1024, 0.1),
}


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("name", list(PRODUCTS))
def test_dropconnect_makes_the_masks_of_the_materialised_product_and_its_gradients(cuda, name, batched):
    from torchdropout.kernels import cuda_dropconnect  # noqa: PLC0415 - as above

    batch, out, inputs, p = PRODUCTS[name]
    torch.manual_seed(0)
    x, weight, grad = torch.randn(batch, inputs), torch.randn(out, inputs), torch.randn(batch, out)
    key, law = rng.split(rng.key(3), batch) if batched else rng.key(3), laws.bernoulli(p, scaled=False)
    masks = ops.multiply(torch.ones(batch, out, inputs), laws.Spec("bernoulli", p), key=key)
    assert cuda_dropconnect.serves(batch, out, inputs, law, key.numel() // 2)
    y = cuda_dropconnect.forward(x, weight, key, law)
    of_input, of_weight = cuda_dropconnect.backward(x, weight, grad, key, law, wants_input=True)
    exact = masks.double() * weight.double()
    for found, expected in (
        (y, torch.einsum("noi,ni->no", exact, x.double())),
        (of_input, torch.einsum("noi,no->ni", exact, grad.double())),
        (of_weight, torch.einsum("noi,no,ni->oi", masks.double(), grad.double(), x.double())),
    ):
        assert torch.allclose(found.double(), expected, rtol=1e-5, atol=1e-4)


def test_dropconnect_says_which_sizes_it_takes(cuda):
    from torchdropout.kernels import cuda_dropconnect  # noqa: PLC0415 - as above

    law = laws.bernoulli(0.5, scaled=False)
    assert cuda_dropconnect.serves(256, 4096, 4096, law, 1)
    assert not cuda_dropconnect.serves(2, 800, 784, law, 1)
    assert not cuda_dropconnect.serves(2, 3, 256, law, 1)


def test_more_than_31_bits_of_index_reach_other_blocks(cuda):
    """The words of a far tile, without the memory that would reach it."""
    import triton  # noqa: PLC0415 - as above
    import triton.language as tl  # noqa: PLC0415 - as above

    @triton.jit
    def far(keys, out, tile):
        w0, _, _, w3 = cuda.words_of(keys, 0, tile.to(tl.int64))
        lane = tl.arange(0, 128)
        tl.store(out + lane, w0.to(tl.int64))
        tl.store(out + 128 + lane, w3.to(tl.int64))

    tile, key, out = 2**26 + 5, rng.key(9), torch.empty(256, dtype=torch.int64)
    far.fn.__globals__["cuda"] = cuda
    far[(1,)](key, out, tile)
    for lane in (0, 77):
        block = tile * 128 + lane
        expected = rng.philox((block & 0xFFFFFFFF, block >> 32, 0, 0), 9, 0)
        assert (int(out[lane]), int(out[128 + lane])) == (expected[0], expected[3])
