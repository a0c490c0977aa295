import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchdropout.study.datasets import idx
from torchdropout.study.errors import StudyError


def encode(array: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
GOOD = encode(IMAGES)
HEADER = 16


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("name", ["images", "images.gz"])
def test_reads_plain_and_gzipped_whatever_the_name(tmp_path, pack, name):
    (tmp_path / name).write_bytes(pack(GOOD))
    read = idx.read(tmp_path / name, 3)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, IMAGES)


BROKEN = {
    "empty": (b"", "header must be 16 bytes, found 0"),
    "half a magic number": (GOOD[:2], "header must be 16 bytes, found 2"),
    "half a header": (GOOD[:10], "header must be 16 bytes, found 10"),
    "text": (b"<html>not found</html>", "magic number must be 0x00000803, found 0x3c68746d"),
    "labels for images": (encode(IMAGES[0, 0]), "magic number must be 0x00000803, found 0x00000801"),
    "floats": (bytes([0, 0, 13, 3]) + GOOD[4:], "magic number must be 0x00000803, found 0x00000d03"),
    "a byte short": (GOOD[:-1], "2 x 3 x 4 values must take 24 bytes after the header, found 23"),
    "no body": (GOOD[:HEADER], "must take 24 bytes after the header, found 0"),
    "a byte long": (GOOD + b"\0", "must take 24 bytes after the header, found more"),
    "huge sizes": (GOOD[:4] + b"\xff" * 12 + GOOD[16:], "found 24 .it is truncated."),
    "truncated gzip": (gzip.compress(GOOD)[:-12], "gzip data must be complete and intact"),
    "gzip without its checksum": (gzip.compress(GOOD)[:-8], "gzip data must be complete and intact"),
    "wrong checksum": (gzip.compress(GOOD)[:-8] + b"\0" * 8, "gzip data must be complete and intact"),
    "nothing but gzip's mark": (b"\x1f\x8b", "gzip data must be complete and intact"),
}


@pytest.mark.parametrize(("content", "rule"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_file_is_one_sentence_with_its_name(tmp_path, content, rule):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(StudyError, match=rule) as caught:
        idx.read(path, 3)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(StudyError, match=r"absent: an idx file must be here, found none\."):
        idx.read(tmp_path / "absent", 3)


def test_folder_in_place_of_a_file(tmp_path):
    with pytest.raises(StudyError, match="the file must be readable, found: Is a directory"):
        idx.read(tmp_path, 3)


@given(data=st.data(), packed=st.booleans())
def test_any_change_of_bytes_reads_or_is_a_study_error(tmp_path_factory, data, packed):
    content = bytearray(gzip.compress(GOOD) if packed else GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path: Path = tmp_path_factory.getbasetemp() / "mutated"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    assert outcome(path) in ("read", f"{path}: ")


def outcome(path: Path) -> str:
    """`read`, or the beginning of the study's error; whatever else is raised gets through."""
    try:
        assert idx.read(path, 3).ndim == 3
    except StudyError as error:
        return str(error)[: len(f"{path}: ")]
    return "read"
