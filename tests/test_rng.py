import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import torchdropout as td
from torchdropout import rng

MASK = 2**32 - 1
WORDS = st.integers(-(2**63), 2**63 - 1)
# Counter, key, result: the file kat_vectors of Random123, "philox4x32 10".
VECTORS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((MASK, MASK, MASK, MASK), (MASK, MASK), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "expected"), VECTORS)
def test_philox_known_answers(counter, key, expected):
    assert rng.philox(counter, *key) == expected
    words = rng.philox(tuple(torch.tensor([c, c]) for c in counter), *(torch.tensor(k) for k in key))
    assert [word.tolist() for word in words] == [[value, value] for value in expected]


@settings(max_examples=50)
@given(st.tuples(*[st.integers(0, MASK)] * 4), st.integers(0, MASK), st.integers(0, MASK))
def test_philox_of_tensors_equals_that_of_integers(counter, k0, k1):
    words = rng.philox(tuple(map(torch.tensor, counter)), torch.tensor(k0), torch.tensor(k1))
    assert tuple(map(int, words)) == rng.philox(counter, k0, k1)


@pytest.mark.parametrize(
    ("seed", "bits"), [(0, 0), (-1, -1), (2**64 - 1, -1), (2**63, -(2**63)), (2**63 - 1, 2**63 - 1)]
)
def test_a_key_holds_the_bits_of_its_seed(seed, bits):
    key = td.key(seed)
    assert key.tolist() == [bits, 0]
    assert (key.dtype, key.device.type) == (torch.int64, "cpu")


@pytest.mark.parametrize("seed", [2**64, -(2**63) - 1, 1.0, "1", None])
def test_what_is_no_seed(seed):
    with pytest.raises(ValueError, match="key: `seed` must be an integer of 64 bits, got"):
        td.key(seed)


@given(st.tuples(WORDS, WORDS), st.integers(1, 9))
def test_split_is_fold_in_of_the_number(words, num):
    key = torch.tensor(words)
    parts = td.split(key, num)
    assert parts.shape == (num, 2)
    for i in range(num):
        assert torch.equal(parts[i], td.fold_in(key, i))


def test_batched_keys_derive_row_by_row():
    keys = torch.arange(12).view(2, 3, 2) - 5
    parts, folded = td.split(keys, 4), td.fold_in(keys, 2**40 + 3)
    assert parts.shape == (4, 2, 3, 2)
    for i, j in itertools.product(range(2), range(3)):
        assert torch.equal(parts[:, i, j], td.split(keys[i, j], 4))
        assert torch.equal(folded[i, j], td.fold_in(keys[i, j], 2**40 + 3))


@settings(max_examples=30)
@given(st.tuples(WORDS, WORDS))
def test_unsigned_keys_are_the_same_keys(words):
    signed = torch.tensor(words)
    unsigned = signed.view(torch.uint64)
    assert torch.equal(td.split(unsigned, 3), td.split(signed, 3))
    assert torch.equal(td.fold_in(unsigned, 7), td.fold_in(signed, 7))
    x = torch.ones(300)
    assert torch.equal(td.functional.dropout(x, 0.3, key=unsigned), td.functional.dropout(x, 0.3, key=signed))


def test_fold_in_uses_every_bit_of_the_key_and_of_the_data():
    results = {tuple(td.fold_in(td.key(0), 0).tolist())}
    for bit in range(63):
        results.add(tuple(td.fold_in(td.key(0), 2**bit).tolist()))
    for bit, position in itertools.product(range(64), range(2)):
        key = [0, 0]
        key[position] = 2**bit if bit < 63 else -(2**63)
        results.add(tuple(td.fold_in(torch.tensor(key), 0).tolist()))
    assert len(results) == 1 + 63 + 128


def test_derived_keys_share_no_words_with_the_noise_of_their_parent():
    """Derived keys come from counters with the highest bit of the block set, which no element reaches."""
    seed, number = 7, 4096
    derived = td.split(td.key(seed), number)
    pairs = set(derived.flatten().tolist())
    assert len(pairs) == 2 * number
    block = torch.arange(number)
    w0, w1, w2, w3 = rng.philox((block, block * 0, block * 0, block * 0), torch.tensor(seed), torch.tensor(0))
    assert pairs.isdisjoint((w0 | w1 << 32).tolist() + (w2 | w3 << 32).tolist())


def test_masks_of_derived_keys_differ():
    keys = torch.cat([td.key(7)[None], td.split(td.key(7), 100), td.split(td.fold_in(td.key(7), 0), 100)])
    masks = td.functional.dropout_mask((len(keys), 64), 0.5, key=keys)
    assert len(masks.unique(dim=0)) == len(keys)


def test_derivation_works_under_vmap():
    keys = td.split(td.key(3), 5)
    assert torch.equal(torch.func.vmap(lambda key: td.fold_in(key, 9))(keys), td.fold_in(keys, 9))
    assert torch.equal(torch.func.vmap(lambda key: td.split(key, 2))(keys), td.split(keys, 2).movedim(1, 0))


@pytest.mark.parametrize("data", [-1, 2**63])
def test_fold_in_refuses_what_is_out_of_range(data):
    with pytest.raises(ValueError, match=r"fold_in: `data` must be in \[0, 2\*\*63\), got"):
        td.fold_in(td.key(0), data)


def test_split_refuses_no_keys():
    with pytest.raises(ValueError, match="split: `num` must be at least 1, got 0"):
        td.split(td.key(0), 0)


@pytest.mark.parametrize("wrong", [7, [0, 0], torch.zeros(2), torch.zeros(3, dtype=torch.int64), torch.tensor(1)])
@pytest.mark.parametrize("use", [td.split, lambda key: td.fold_in(key, 0)])
def test_what_is_no_key(use, wrong):
    with pytest.raises(TypeError, match=r"`key` must be an int64 or uint64 tensor of shape \(\*batch, 2\), got"):
        use(wrong)
