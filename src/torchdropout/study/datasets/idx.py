"""The idx format of the MNIST family: a magic number, the sizes, then unsigned bytes. Read strictly, gzipped or not."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from torchdropout.study.errors import StudyError

_GZIP = b"\x1f\x8b"
_CHUNK = 1 << 20


class _Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...


def read(path: Path, rank: int) -> npt.NDArray[np.uint8]:
    """The array of unsigned bytes in an idx file of `rank` dimensions.

    Raises:
        StudyError: The file is missing, unreadable, of another kind, too short or too long.
    """
    try:
        with path.open("rb") as raw:
            gzipped = raw.read(2) == _GZIP
            raw.seek(0)
            if not gzipped:
                return _parse(raw, path, rank)
            with gzip.open(raw, "rb") as unpacked:
                return _parse(unpacked, path, rank)
    except FileNotFoundError:
        raise StudyError(f"{path}: an idx file must be here, found none.") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise StudyError(f"{path}: gzip data must be complete and intact, found: {error}.") from error
    except OSError as error:
        raise StudyError(f"{path}: the file must be readable, found: {error.strerror or error}.") from error


def _parse(stream: _Stream, path: Path, rank: int) -> npt.NDArray[np.uint8]:
    sizes = _header(stream, path, rank)
    expected = math.prod(sizes)
    body = _at_most(stream, expected + 1)
    if len(body) != expected:
        found = f"{len(body):,} (it is truncated)" if len(body) < expected else "more"
        shape = " x ".join(map(str, sizes))
        raise StudyError(f"{path}: {shape} values must take {expected:,} bytes after the header, found {found}.")
    return np.frombuffer(body, dtype=np.uint8).reshape(sizes)


def _header(stream: _Stream, path: Path, rank: int) -> tuple[int, ...]:
    magic = bytes([0, 0, 8, rank])
    length = 4 + 4 * rank
    header = _at_most(stream, length)
    if header[:4] != magic[: len(header)]:
        raise StudyError(f"{path}: the magic number must be 0x{magic.hex()}, found 0x{header[:4].hex()}.")
    if len(header) < length:
        raise StudyError(f"{path}: the header must be {length} bytes, found {len(header)} (it is truncated).")
    return tuple(int.from_bytes(header[start : start + 4], "big") for start in range(4, length, 4))


def _at_most(stream: _Stream, count: int) -> bytes:
    """Up to `count` bytes, never reserving memory for sizes that a header merely claims."""
    parts, missing = [], count
    while missing and (part := stream.read(min(missing, _CHUNK))):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)
