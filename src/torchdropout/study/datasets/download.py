"""MNIST and Fashion-MNIST from where they were published."""

from __future__ import annotations

import http.client
import os
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from torchdropout.study.datasets import canonical, text_sets
from torchdropout.study.errors import StudyError

_SECONDS = 30
_CHUNK = 1 << 18
_LARGEST = 1 << 26


def fetch(name: str, folder: Path | str, *, address: str | None = None) -> Path:
    """Download the four files of a set, each verified by its sha256 before it gets its name.

    Files that are there and right are not downloaded again; a file that is there and wrong is replaced.

    Args:
        name: `mnist` or `fashion-mnist`.
        folder: Where the set's own folder goes, for `--data-dir` or the variable TORCHDROPOUT_DATA.
        address: Another place of the same files, http or https; None for where they were published.

    Returns:
        The set's own folder.

    Raises:
        StudyError: There is no such set, the folder cannot be written, or a file cannot be had or is not the published
            one.
    """
    if name in text_sets.SUMS:
        text_sets.refuse_to_fetch(name, Path(folder))
    if name not in canonical.SUMS:
        raise StudyError(f"fetch: the set must be one of {', '.join(canonical.SUMS)}, got {name!r}.")
    base = canonical.ADDRESSES[name] if address is None else address
    if urlsplit(base).scheme not in ("http", "https"):
        raise StudyError(f"fetch: the address must begin with http:// or https://, got {base!r}.")
    inner = Path(folder) / name
    try:
        inner.mkdir(parents=True, exist_ok=True)
        for file, expected in canonical.SUMS[name].items():
            if not (inner / file).is_file() or canonical.sum_of(inner / file) != expected:
                _download(f"{base.rstrip('/')}/{file}", inner / file, name)
    except OSError as error:
        raise StudyError(f"{inner}: the folder must be writable, found: {error.strerror or error}.") from error
    return inner


def _download(address: str, path: Path, name: str) -> None:
    """Through a file of another name, which is gone afterwards whatever happens."""
    number, partial_name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    partial = Path(partial_name)
    try:
        with os.fdopen(number, "wb") as file:
            _receive(address, file)
            file.flush()
            os.fsync(file.fileno())
        found, expected = canonical.sum_of(partial), canonical.SUMS[name][path.name]
        if found != expected:
            raise StudyError(f"{address}: the sha256 of {name}'s file as published must be {expected}, found {found}.")
        partial.chmod(0o644)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _receive(address: str, file: IO[bytes]) -> None:
    request = urllib.request.Request(address, headers={"User-Agent": "torchdropout"})
    try:
        answer = urllib.request.urlopen(request, timeout=_SECONDS)
    except urllib.error.HTTPError as error:
        with error:
            answered = f"{error.code} {error.reason}"
        raise StudyError(f"{address}: the file must be there, the server answered {answered}.") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise StudyError(f"{address}: the server must be reachable, found: {_reason(error)}.") from error
    with answer:
        _copy(answer, address, file)


def _copy(answer: http.client.HTTPResponse, address: str, file: IO[bytes]) -> None:
    announced, received = answer.headers.get("Content-Length"), 0
    while chunk := _next(answer, address):
        received += len(chunk)
        if received > _LARGEST:
            raise StudyError(f"{address}: the file must be below {_LARGEST:,} bytes, found more.")
        file.write(chunk)
    if announced is not None and announced.isdigit() and received < int(announced):
        raise StudyError(f"{address}: the answer must be {int(announced):,} bytes, it ended after {received:,}.")


def _next(answer: http.client.HTTPResponse, address: str) -> bytes:
    try:
        return answer.read(_CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise StudyError(f"{address}: the answer must be complete, found: {_reason(error)}.") from error


def _reason(error: Exception) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    return str(getattr(cause, "strerror", None) or cause) or type(error).__name__
