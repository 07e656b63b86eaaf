"""Files come from the mirror or an address, are checked wherever they came from, and a failure says what happened at every place."""

import contextlib
import hashlib
import io
import os
import shutil
import socketserver
import threading
import time
import zipfile
from collections import Counter
from typing import NamedTuple

import pytest

from stages.common.params import check_section
from stages.reading import fetch as fetching
from stages.reading.fetch import RemoteFile, Unpack, fetch
from stages.shell.errors import UserError

CONTENT = bytes(range(256)) * 800
PINNED = hashlib.sha256(CONTENT).hexdigest()
NAME = "numbers/numbers.bin"


class Endless(NamedTuple):
    """An answer of `start`, then `again` every `pause` seconds until the client or the test ends."""

    start: bytes
    again: bytes
    pause: float = 0


class Server(socketserver.ThreadingTCPServer):
    """Answers on loopback, byte for byte: `answers` has those of each path, the last one for all requests that follow."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server_address[1]}"
        self.answers, self.requests, self.over = {}, Counter(), threading.Event()

    def add(self, path, *answers):
        self.answers[path] = answers
        return self.address + path


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        path = self.rfile.readline().split()[1].decode()
        headers = list(iter(self.rfile.readline, b"\r\n"))
        answers = self.server.answers.get(path, [status(404)])
        answer = answers[min(self.server.requests[path], len(answers) - 1)]
        self.server.requests[path] += 1
        if b"Accept-Encoding: identity\r\n" not in headers:  # what a server compresses on the way is another file
            answer = status(406)
        with contextlib.suppress(OSError):
            self.wfile.write(answer.start if isinstance(answer, Endless) else answer)
            while isinstance(answer, Endless) and not self.server.over.wait(answer.pause):
                self.wfile.write(answer.again)


def body(content, promised=None):
    return f"HTTP/1.0 200 OK\r\nContent-Length: {promised or len(content)}\r\n\r\n".encode() + content


def status(code, phrase="Sorry"):
    return f"HTTP/1.0 {code} {phrase}\r\n\r\n".encode()


GOOD = body(CONTENT)
CUT = body(CONTENT[:100_000], promised=len(CONTENT))
CUT_IN_CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n" + CONTENT[:0x400] + b"\r\n"
NO_ANSWER = b""


@pytest.fixture
def server():
    with Server() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.over.set()
        server.shutdown()


@pytest.fixture
def raw(tmp_path, monkeypatch):
    """An empty raw/, no mirror, no waiting between tries, and no proxy between a test and its own server."""
    monkeypatch.delenv("DATASETS_MIRROR", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(fetching, "BACKOFF_SECONDS", 0)
    (tmp_path / "raw").mkdir()
    return tmp_path / "raw"


def remote(*urls, sha256=PINNED, path=NAME, **options):
    return RemoteFile(path=path, sha256=sha256, urls=list(urls), **options)


def failure(file, raw):
    """The sentence with which fetching ends; nothing may remain in raw/."""
    with pytest.raises(UserError) as caught:
        fetch(file, raw)
    assert list(raw.iterdir()) == []
    assert str(caught.value).isprintable()
    return str(caught.value)


def content_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# From addresses


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (status(503), "the server answered 503 Sorry"),
        (CUT, "no whole answer came (ChunkedEncodingError)"),
        (CUT_IN_CHUNKS, "no whole answer came (ChunkedEncodingError)"),
        (NO_ANSWER, "no whole answer came (ConnectionError)"),
        (status(500, "\x1b]0;title\x07"), r"the server answered 500 \x1b]0;title\x07"),
    ],
)
def test_what_fails_is_tried_again_from_the_start_and_then_at_the_next_address(server, raw, bad, said):
    fetch(remote(server.add("/once", bad, GOOD)), raw)
    assert content_of(raw) == {"numbers.bin": CONTENT} and server.requests["/once"] == 2
    (raw / "numbers.bin").unlink()
    url = server.add("/always", bad)
    assert f"numbers/numbers.bin could not be fetched ({url}: {said}, 3 times)" in failure(remote(url), raw)
    assert server.requests["/always"] == 3
    fetch(remote(url, server.add("/good", GOOD)), raw)
    assert content_of(raw) == {"numbers.bin": CONTENT}


def test_what_is_not_there_is_asked_for_once(server, raw):
    url = server.add("/moved", status(404))
    assert f"({url}: the server answered 404 Sorry)" in failure(remote(url), raw)
    assert server.requests["/moved"] == 1


def test_a_server_that_falls_silent_is_left_after_the_timeout(server, raw, monkeypatch):
    monkeypatch.setattr(fetching, "TIMEOUT_SECONDS", (0.3, 0.3))
    silent = server.add("/silent", Endless(CUT, b"", pause=10))
    mute = server.add("/mute", Endless(b"", b"", pause=10))
    fetch(remote(silent, mute, server.add("/good", GOOD)), raw)
    assert content_of(raw) == {"numbers.bin": CONTENT}
    assert server.requests["/silent"] == server.requests["/mute"] == 3


@pytest.mark.parametrize("start", [b"HTTP/1.0 200 OK\r\nX: ", b"HTTP/1.0 200 OK\r\n\r\n"])
def test_an_answer_of_a_byte_now_and_then_is_left_after_the_time_for_the_whole(server, raw, monkeypatch, start):
    monkeypatch.setattr(fetching, "MAX_SECONDS", 0.5)
    slow, began = server.add("/slow", Endless(start, b"x", pause=0.05)), time.monotonic()
    assert f"{slow}: the download was not complete after 0.5 seconds" in failure(remote(slow), raw)
    assert time.monotonic() - began < 30 and server.requests["/slow"] == 1


def test_what_is_too_large_is_refused_as_promised_or_as_it_comes(server, raw, monkeypatch):
    monkeypatch.setattr(fetching, "MAX_SECONDS", 10)
    promised = server.add("/promised", Endless(body(b"", promised=1_000_001), b"", pause=10))
    endless = server.add("/endless", Endless(b"HTTP/1.0 200 OK\r\n\r\n", bytes(100_000), pause=0.001))
    message = failure(remote(promised, endless, max_megabytes=1), raw)
    assert f"{promised}: it has more than 1 MB" in message and f"{endless}: it has more than 1 MB" in message
    assert "raise max_megabytes of the file in params.yaml" in message
    assert server.requests == {"/promised": 1, "/endless": 1}


def test_a_redirection_is_followed_and_its_own_body_not_read(server, raw, monkeypatch):
    monkeypatch.setattr(fetching, "MAX_SECONDS", 10)
    server.add("/good", GOOD)
    fetch(remote(server.add("/moved", Endless(b"HTTP/1.0 302 Found\r\nLocation: /good\r\n\r\n", b"x", pause=0.01))), raw)
    assert content_of(raw) == {"numbers.bin": CONTENT}


def test_the_proxy_of_the_environment_is_asked(server, raw, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", server.address)
    server.add("http://files.example/f", GOOD)
    fetch(remote("http://files.example/f"), raw)
    assert content_of(raw) == {"numbers.bin": CONTENT}


def test_what_happened_at_every_address_is_told(server, raw):
    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as closed:
        nowhere = f"127.0.0.1:{closed.server_address[1]}/f"
    wrong = server.add("/wrong", body(b"other"))
    message = failure(remote(wrong, f"http://me:secret@{nowhere}", "http://[::1/f"), raw)
    assert f"({wrong}: it has SHA-256 {hashlib.sha256(b'other').hexdigest()}, expected {PINNED}" in message
    assert f"; http://{nowhere}: no whole answer came (ConnectionError)" in message  # without name and password
    assert "; http://[::1/f: no whole answer came (InvalidURL), 3 times): check the network, the addresses and the" in message


# From the mirror


@pytest.fixture
def mirror(raw, tmp_path, monkeypatch):
    monkeypatch.setenv("DATASETS_MIRROR", str(tmp_path / "mirror"))
    (tmp_path / "mirror/numbers").mkdir(parents=True)
    return tmp_path / "mirror"


@pytest.mark.parametrize(
    ("put", "said"),
    [
        (lambda place: place.write_bytes(b"other"), "it has SHA-256"),
        (lambda place: None, "not there, or not a plain file"),
        (os.mkfifo, "not there, or not a plain file"),
    ],
)
def test_the_mirror_is_looked_in_first_and_what_is_wrong_there_is_named(server, raw, mirror, put, said):
    put(mirror / NAME)
    assert f"{mirror / NAME}: {said}" in failure(remote(), raw)
    fetch(remote(server.add("/f", GOOD)), raw)
    assert content_of(raw) == {"numbers.bin": CONTENT} and server.requests["/f"] == 1
    (raw / "numbers.bin").unlink()
    (mirror / NAME).unlink(missing_ok=True)
    (mirror / NAME).write_bytes(CONTENT)
    fetch(remote(server.add("/f", GOOD)), raw)
    assert content_of(raw) == {"numbers.bin": CONTENT} and server.requests["/f"] == 1
    with pytest.raises(UserError, match=r"raw/numbers\.bin would be written twice"):
        fetch(remote(), raw)


def test_the_mirror_may_be_an_address(server, raw, monkeypatch):
    monkeypatch.setenv("DATASETS_MIRROR", server.address + "/base/")
    server.add("/base/numbers/two%20words%231.bin", GOOD)
    fetch(remote(path="numbers/two words#1.bin"), raw)
    assert content_of(raw) == {"two words#1.bin": CONTENT}


def test_without_an_address_a_mirror_is_asked_for(raw, monkeypatch):
    monkeypatch.setenv("DATASETS_MIRROR", "")
    message = failure(remote(), raw)
    assert "numbers/numbers.bin has no public address that allows plain download: set DATASETS_MIRROR to a folder that holds" in message
    monkeypatch.setenv("DATASETS_MIRROR", "/no/such/folder")
    assert "/no/such/folder/numbers/numbers.bin: not there" in failure(remote(), raw)


# Archives

PHOTOS = {"photos/train/ant.jpg": b"ant", "photos/train/a b.jpg": b"a b", "photos/é.jpg": b"", "photos/val/bee.jpg": b"bee" * 1000}
PHOTOS_PINNED = hashlib.sha256(
    "".join(f"{hashlib.sha256(PHOTOS[name]).hexdigest()}  {name}\n" for name in sorted(PHOTOS)).encode()
).hexdigest()


def zipped(content):
    with zipfile.ZipFile(written := io.BytesIO(), "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return written.getvalue()


def photos(*urls, sha256=None, folder="photos", contents=PHOTOS_PINNED):
    unpack = Unpack(max_megabytes=1, folder=folder, contents_sha256=contents)
    return remote(*urls, sha256=sha256, path="numbers/photos.zip", unpack=unpack)


def test_one_folder_of_an_archive_and_that_folder_in_the_mirror_give_the_same_raw(server, raw, mirror):
    fetch(photos(server.add("/a", body(zipped({**PHOTOS, "__MACOSX/._photos": b"x", "readme.txt": b"y"})))), raw)
    for name, data in PHOTOS.items():
        (mirror / "numbers" / name).parent.mkdir(parents=True, exist_ok=True)
        (mirror / "numbers" / name).write_bytes(data)
    (other := raw.with_name("raw2")).mkdir()
    fetch(photos(), other)
    assert content_of(raw) == content_of(other) == PHOTOS
    assert [path.name for path in (*raw.iterdir(), *other.iterdir())] == ["photos", "photos"]
    (mirror / "numbers/photos/train/ant.jpg").write_bytes(b"wasp")
    shutil.rmtree(raw / "photos")
    assert f"{mirror}/numbers/photos: its content has SHA-256" in failure(photos(), raw)
    assert "photos.zip: not there" in failure(photos(sha256=PINNED, contents=None), raw)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({**PHOTOS, "photos/new.jpg": b""}, "its content has SHA-256"),
        ({"other/x.jpg": b"x"}, "photos.zip has no folder photos"),
        ({**PHOTOS, "../evil": b"y"}, "photos.zip was refused: its entry '../evil' leaves the folder"),
    ],
)
def test_another_archive_or_a_hostile_one_is_named_and_the_next_address_tried(server, raw, content, said):
    bad = server.add("/bad", body(zipped(content)))
    assert f"numbers/photos.zip could not be fetched ({bad}: {said}" in failure(photos(bad), raw)
    fetch(photos(bad, server.add("/good", body(zipped(PHOTOS)))), raw)
    assert content_of(raw) == PHOTOS


@pytest.mark.parametrize(
    ("change", "said"),
    [
        *(({"path": path}, "expected a path such as") for path in ("/etc/passwd", "../b.zip", "a//b.zip", "a\\b.zip", "")),
        ({"sha256": None, "unpack": {"max_megabytes": 1}}, "expected a sha256"),
        ({"path": "a/b.rar", "unpack": {"max_megabytes": 1}}, "b.rar cannot be unpacked; expected one of .zip"),
        ({"unpack": {"max_megabytes": 1, "folder": ".."}}, "here.unpack.folder is '..'"),
        ({"unpack": {"max_megabytes": 1, "folder": "a/b"}}, "here.unpack.folder"),
    ],
)
def test_a_wrong_entry_in_params_is_refused_by_its_key(change, said):
    with pytest.raises(UserError) as caught:
        check_section(RemoteFile, {"path": "a/b.zip", "sha256": PINNED, "urls": ["https://example.org/b.zip"], **change}, "here")
    assert said in str(caught.value)
