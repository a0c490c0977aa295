import hashlib
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from torchdropout.study import datasets
from torchdropout.study.datasets import canonical, download
from torchdropout.study.errors import StudyError

FILES = {name: name.encode() * 100_000 for name in canonical.SUMS["mnist"]}
IMAGES = "train-images-idx3-ubyte.gz"


class Server(ThreadingHTTPServer):
    """Answers with `FILES`, but for what a test puts into `answers`: a status, or headers and a body."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[str] = []
        self.answers: dict[str, int | tuple[dict[str, str], bytes]] = {}

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/mnist/"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        name = self.path.removeprefix("/mnist/")
        self.server.requests.append(name)
        answer = self.server.answers.get(name, ({"Content-Length": str(len(FILES[name]))}, FILES[name]))
        if isinstance(answer, int):
            self.send_error(answer)
            return
        headers, body = answer
        self.send_response(200)
        for header in headers.items():
            self.send_header(*header)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
    monkeypatch.setitem(canonical.SUMS, "mnist", sums)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as served:
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield served
        served.shutdown()
        thread.join()


@pytest.mark.parametrize("slash", ["/", ""])
def test_four_files_arrive(tmp_path, server, slash):
    folder = datasets.fetch("mnist", tmp_path / "new" / "data", address=server.address.rstrip("/") + slash)
    assert folder == tmp_path / "new" / "data" / "mnist"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES
    assert sorted(server.requests) == sorted(FILES)
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}


def test_canonical_addresses_are_used_by_default(tmp_path, server, monkeypatch):
    monkeypatch.setitem(canonical.ADDRESSES, "mnist", server.address)
    assert len(list(datasets.fetch("mnist", tmp_path).iterdir())) == 4


def test_files_that_are_right_stay_and_others_are_replaced(tmp_path, server):
    folder = datasets.fetch("mnist", tmp_path, address=server.address)
    (folder / IMAGES).write_bytes(b"other")
    server.requests.clear()
    datasets.fetch("mnist", tmp_path, address=server.address)
    assert server.requests == [IMAGES]
    assert (folder / IMAGES).read_bytes() == FILES[IMAGES]


def test_all_there_needs_no_server(tmp_path, server):
    datasets.fetch("mnist", tmp_path, address=server.address)
    datasets.fetch("mnist", tmp_path, address="http://127.0.0.1:9/")


RIGHT = FILES[IMAGES]
WRONG, HALF = RIGHT[:-1] + b"!", RIGHT[: len(RIGHT) // 2]
RIGHT_SUM, WRONG_SUM = (hashlib.sha256(content).hexdigest() for content in (RIGHT, WRONG))
LENGTH = {"Content-Length": str(len(RIGHT))}
WRONG_ANSWERS = {
    "wrong sum": (({}, WRONG), f"must be {RIGHT_SUM}, found {WRONG_SUM}"),
    "empty": (({}, b""), "must be .*, found e3b0c44298fc1c14"),
    "truncated": ((LENGTH, HALF), "must be 2,600,000 bytes, it ended after 1,300,000"),
    "truncated chunks": (({"Transfer-Encoding": "chunked"}, b"ffff\r\nab"), "must be complete, found: IncompleteRead"),
    "absent": (404, "the file must be there, the server answered 404 Not Found"),
    "failing": (500, "the file must be there, the server answered 500 Internal Server Error"),
}  # fmt: skip


@pytest.mark.parametrize(("answer", "rule"), WRONG_ANSWERS.values(), ids=WRONG_ANSWERS.keys())
@pytest.mark.parametrize("before", [None, b"an older file"])
def test_wrong_answer_is_one_sentence_and_leaves_nothing(tmp_path, server, answer, rule, before):
    (tmp_path / "mnist").mkdir()
    if before is not None:
        (tmp_path / "mnist" / IMAGES).write_bytes(before)
    server.answers[IMAGES] = answer
    with pytest.raises(StudyError, match=rule) as caught:
        datasets.fetch("mnist", tmp_path, address=server.address)
    assert str(caught.value).startswith(f"{server.address}{IMAGES}: ")
    assert "\n" not in str(caught.value)
    left = {path.name: path.read_bytes() for path in (tmp_path / "mnist").iterdir()}
    assert left == ({} if before is None else {IMAGES: before})


def test_an_answer_without_end_is_cut(tmp_path, server, monkeypatch):
    monkeypatch.setattr(download, "_LARGEST", 1_000_000)
    with pytest.raises(StudyError, match="the file must be below 1,000,000 bytes, found more"):
        datasets.fetch("mnist", tmp_path, address=server.address)
    assert not list((tmp_path / "mnist").iterdir())


def test_a_silent_server_is_given_up(tmp_path, server, monkeypatch):
    monkeypatch.setattr(download, "_SECONDS", 0.2)
    hold = threading.Event()
    monkeypatch.setattr(Handler, "do_GET", lambda _: hold.wait(5))
    try:
        with pytest.raises(StudyError, match="the server must be reachable, found: timed out"):
            datasets.fetch("mnist", tmp_path, address=server.address)
    finally:
        hold.set()


NOWHERE = {
    "http://127.0.0.1:9/": "must be reachable, found: Connection refused",
    "http://nowhere.invalid/": "must be reachable, found: ",
    "http://127.0.0.1:port/": "must be reachable, found: ",
    "http://": "must be reachable, found: ",
}


@pytest.mark.parametrize(("address", "rule"), NOWHERE.items())
def test_no_server(tmp_path, monkeypatch, address, rule):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(StudyError, match=rule):
        datasets.fetch("mnist", tmp_path, address=address)
    assert not list((tmp_path / "mnist").iterdir())


@pytest.mark.parametrize("address", ["file:///etc/", "ftp://127.0.0.1/", "/tmp", ""])
def test_other_addresses(tmp_path, address):
    with pytest.raises(StudyError, match="the address must begin with http:// or https://, got"):
        datasets.fetch("mnist", tmp_path, address=address)
    assert not list(tmp_path.iterdir())


def test_unknown_set(tmp_path):
    with pytest.raises(StudyError, match="fetch: the set must be one of mnist, fashion-mnist, got 'digits'"):
        datasets.fetch("digits", tmp_path)


def test_folder_that_is_a_file(tmp_path, server):
    (tmp_path / "data").write_text("")
    with pytest.raises(StudyError, match="data/mnist: the folder must be writable, found: Not a directory"):
        datasets.fetch("mnist", tmp_path / "data", address=server.address)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_read_only_folder(tmp_path, server):
    (tmp_path / "mnist").mkdir(mode=0o500)
    with pytest.raises(StudyError, match="the folder must be writable, found: Permission denied"):
        datasets.fetch("mnist", tmp_path, address=server.address)


def test_full_disk(tmp_path, server, monkeypatch):
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(download.os, "fsync", full)
    with pytest.raises(StudyError, match="the folder must be writable, found: No space left on device"):
        datasets.fetch("mnist", tmp_path, address=server.address)
    assert not list((tmp_path / "mnist").iterdir())
