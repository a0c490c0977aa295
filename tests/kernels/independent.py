"""The mapping from a key and an index to bits, once more: from its description, in NumPy, tile by tile."""

import numpy as np

BLOCKS, PLANE = 128, 256
LOW = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)


def philox(counter: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """Philox-4x32-10 of counters `(n, 4)`, with full 64-bit products."""
    c0, c1, c2, c3 = counter.astype(np.uint64).T
    k0, k1 = key
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0, c1, c2, c3 = (
            (p1 >> HALF) ^ c1 ^ np.uint64(k0),
            p1 & LOW,
            (p0 >> HALF) ^ c3 ^ np.uint64(k1),
            p0 & LOW,
        )
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return np.stack([c0, c1, c2, c3], axis=1).astype(np.uint32)


def blocks(seed: int, offset: int, number: int) -> np.ndarray:
    """The words `(number, 4)` of the first blocks: counter (block, offset), key seed, low words first."""
    seed, offset = seed % 2**64, offset % 2**64
    counter = np.zeros((number, 4), np.uint64)
    counter[:, 0] = np.arange(number)
    counter[:, 2], counter[:, 3] = offset % 2**32, offset // 2**32
    return philox(counter, (seed % 2**32, seed // 2**32))


def values(seed: int, offset: int, number: int, bits: int) -> np.ndarray:
    """The unsigned integers of `bits` bits that decide about the first elements.

    The words of a tile of 128 blocks stand in the order 1, 0 of block 0, 1, 0 of block 1, ..., then 3, 2 of block 0,
    and so on. The tile's first 256 elements use the lowest bits of the first 256 words, the next 256 the next bits
    of the same words; when these are spent, the other 256 words follow.
    """
    tiles = -(-number * bits // (512 * 32)) or 1
    words = blocks(seed, offset, tiles * BLOCKS).reshape(tiles, BLOCKS, 4)
    halves = words[:, :, [1, 0]].reshape(tiles, PLANE), words[:, :, [3, 2]].reshape(tiles, PLANE)
    planes = [half >> np.uint32(start) for half in halves for start in range(0, 32, bits)]
    return (np.stack(planes, axis=1) & np.uint32(2**bits - 1)).reshape(-1)[:number]


def mask(seed: int, offset: int, number: int, bits: int, threshold: int) -> np.ndarray:
    """Kept where the bits are below the threshold."""
    return values(seed, offset, number, bits).astype(np.uint64) < np.uint64(threshold)


def uniforms(seed: int, offset: int, number: int) -> np.ndarray:
    """In float64, where they are exact."""
    return ((values(seed, offset, number, 32) >> np.uint32(9)).astype(np.float64) + 0.5) * 2.0**-23


def normals(seed: int, offset: int, number: int) -> np.ndarray:
    """Box-Muller in float64 from the float32 uniforms; quarters of a tile: cos, sin of words 0, 1, then of 2, 3."""
    tiles = -(-number // 512) or 1
    words = blocks(seed, offset, tiles * BLOCKS).reshape(tiles, BLOCKS, 4)
    quarters = [*box_muller(words[..., 0], words[..., 1]), *box_muller(words[..., 2], words[..., 3])]
    return np.stack(quarters, axis=1).reshape(-1)[:number]


def box_muller(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first word is the radius', 31 bits of it, and the second the angle's, as a signed number of half turns."""
    u = ((first >> np.uint32(1)).astype(np.float32) + np.float32(0.5)).astype(np.float64) * 2.0**-31
    t = second.astype(np.int32).astype(np.float32).astype(np.float64) * 2.0**-31
    radius = np.sqrt(-2.0 * np.log(u))
    return radius * np.cos(np.pi * t), radius * np.sin(np.pi * t)
