"""Files come from the mirror or an address, are checked wherever they came from, and a failure says what happened at every place."""

import hashlib
import http.server
import os
import pty
import socket
import subprocess
import sys
import termios
import threading
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stages.common.errors import UserError
from stages.common.params import check_section, look_up, read_params
from stages.reading import fetch as fetching
from stages.reading.fetch import RemoteFile, Unpack, contents_sha256, fetch

ROOT = Path(__file__).parents[3]
REAL_MIRROR = Path(os.environ.get("DATASETS_MIRROR") or ROOT.parent / "shared" / "datasets")
CONTENT = bytes(range(256)) * 800
PINNED = hashlib.sha256(CONTENT).hexdigest()
NAME = "numbers/numbers.bin"

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


class Server:
    """A server on loopback: `answers` has for each path what to do at the first request, the second, and all that follow."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Answer]] = {}
        self.requests: Counter[str] = Counter()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answers = outer.answers.get(self.path, [status(404)])
                answer = answers[min(outer.requests[self.path], len(answers) - 1)]
                outer.requests[self.path] += 1
                answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def add(self, path: str, *answers: Answer) -> str:
        self.answers[path] = list(answers)
        return self.address + path


def body(content: bytes, promised: int | None = None, **headers: str) -> Answer:
    """Send `content`; with `promised` more than that, the connection is cut before the end."""

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content) if promised is None else promised))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def status(code: int) -> Answer:
    return lambda handler: handler.send_error(code)


def hang_up(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)


def chunked_and_cut(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.protocol_version = "HTTP/1.1"
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"400\r\n" + CONTENT[:0x400] + b"\r\n")


CUT = body(CONTENT[:100_000], promised=len(CONTENT))


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.server.shutdown()
    server.server.server_close()


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty raw/, no mirror, no waiting between tries, and no proxy between a test and its own server."""
    monkeypatch.delenv("DATASETS_MIRROR", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(fetching, "BACKOFF_SECONDS", 0)
    (tmp_path / "raw").mkdir()
    return tmp_path / "raw"


def remote(*urls: str, sha256: str | None = PINNED, path: str = NAME, unpack: Unpack | None = None) -> RemoteFile:
    return RemoteFile(path=path, sha256=sha256, urls=list(urls), unpack=unpack)


def failure(file: RemoteFile, raw: Path) -> str:
    """The sentence with which fetching ends; nothing may remain in raw/."""
    with pytest.raises(UserError) as caught:
        fetch(file, raw)
    assert list(raw.iterdir()) == []
    assert "\n" not in str(caught.value)
    return str(caught.value)


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def unused_address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


# From addresses


def test_a_file_is_fetched_under_its_own_name(server: Server, raw: Path) -> None:
    fetch(remote(server.add("/any", body(CONTENT))), raw)
    assert content_of(raw) == {"numbers.bin": CONTENT}


@pytest.mark.parametrize("bad", [CUT, hang_up, chunked_and_cut, status(500), status(503), status(429)])
def test_what_may_pass_is_tried_again_from_the_start(server: Server, raw: Path, bad: Answer) -> None:
    fetch(remote(server.add("/f", bad, body(CONTENT))), raw)
    assert content_of(raw) == {"numbers.bin": CONTENT}
    assert server.requests["/f"] == 2


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (status(500), "the server answered 500 Internal Server Error, 3 times"),
        (CUT, "the connection was cut, 3 times"),
        (chunked_and_cut, "the connection was cut, 3 times"),
        (hang_up, "could not be reached or stopped answering, 3 times"),
    ],
)
def test_an_address_is_given_up_after_a_few_tries(server: Server, raw: Path, bad: Answer, reason: str) -> None:
    message = failure(remote(server.add("/f", bad)), raw)
    assert f"numbers/numbers.bin could not be fetched ({server.address}/f: " in message and reason in message
    assert "set DATASETS_MIRROR" in message
    assert server.requests["/f"] == 3


@pytest.mark.parametrize("code", [403, 404, 410])
def test_an_answer_that_will_not_change_is_not_asked_for_again(server: Server, raw: Path, code: int) -> None:
    assert f"the server answered {code}" in failure(remote(server.add("/f", status(code))), raw)
    assert server.requests["/f"] == 1


def test_a_server_that_falls_silent_is_left_after_the_timeout(server: Server, raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "TIMEOUT_SECONDS", (0.3, 0.3))
    monkeypatch.setattr(fetching, "TRIES", 2)
    over = threading.Event()

    def fall_silent(handler: http.server.BaseHTTPRequestHandler) -> None:
        body(CONTENT[:1000], promised=len(CONTENT))(handler)
        over.wait(10)

    def say_nothing(handler: http.server.BaseHTTPRequestHandler) -> None:
        over.wait(10)

    good = server.add("/good", body(CONTENT))
    fetch(remote(server.add("/silent", fall_silent), server.add("/mute", say_nothing), good), raw)
    over.set()
    assert content_of(raw) == {"numbers.bin": CONTENT}
    assert server.requests["/silent"] == server.requests["/mute"] == 2


def test_a_wrong_checksum_goes_on_to_the_next_address(server: Server, raw: Path) -> None:
    urls = server.add("/wrong", body(b"x" + CONTENT[1:])), server.add("/right", body(CONTENT))
    fetch(remote(*urls), raw)
    assert content_of(raw) == {"numbers.bin": CONTENT}
    assert server.requests == {"/wrong": 1, "/right": 1}


def test_a_wrong_checksum_names_the_file_both_hashes_and_what_to_do(server: Server, raw: Path) -> None:
    message = failure(remote(server.add("/wrong", body(b"other"))), raw)
    assert "numbers/numbers.bin could not be fetched" in message and f"{server.address}/wrong" in message
    assert f"SHA-256 {hashlib.sha256(b'other').hexdigest()}, expected {PINNED}" in message
    assert "check the address, or the hash pinned in params.yaml" in message


def test_what_happened_at_every_address_is_told(server: Server, raw: Path) -> None:
    gone, cut, nowhere = server.add("/gone", status(404)), server.add("/cut", CUT), unused_address() + "/f"
    message = failure(remote(gone, cut, nowhere), raw)
    assert f"{gone}: the server answered 404" in message
    assert f"{cut}: the connection was cut" in message
    assert f"{nowhere}: the server could not be reached" in message


def test_without_network_and_mirror_one_sentence_says_so(raw: Path) -> None:
    message = failure(remote(unused_address() + "/f"), raw)
    assert "the server could not be reached" in message
    assert "check the network and the address, or set DATASETS_MIRROR to a folder that holds the file" in message


def test_a_length_that_is_no_number_is_an_answer_like_any_bad_one(server: Server, raw: Path) -> None:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "many")
        handler.end_headers()

    assert "not valid HTTP" in failure(remote(server.add("/f", answer)), raw)


def test_a_server_is_asked_not_to_compress(server: Server, raw: Path) -> None:
    seen = []

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        seen.append(handler.headers["Accept-Encoding"])
        body(CONTENT)(handler)

    fetch(remote(server.add("/f", answer)), raw)
    assert seen == ["identity"]


def test_a_password_in_an_address_is_not_shown(raw: Path) -> None:
    message = failure(remote(unused_address().replace("//", "//me:secret@") + "/f"), raw)
    assert "secret" not in message and "127.0.0.1" in message


def test_an_address_that_is_none_is_named(raw: Path) -> None:
    assert "http://[::1/f: the address or its answer is not valid HTTP" in failure(remote("http://[::1/f"), raw)


def test_a_file_with_no_address_asks_for_a_mirror(raw: Path) -> None:
    message = failure(remote(), raw)
    assert "numbers/numbers.bin has no public address that allows plain download" in message
    assert "set DATASETS_MIRROR to a folder that holds numbers/numbers.bin" in message


# From the mirror


def in_mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, content: bytes) -> Path:
    mirror = tmp_path / "mirror"
    (mirror / path).parent.mkdir(parents=True, exist_ok=True)
    (mirror / path).write_bytes(content)
    monkeypatch.setenv("DATASETS_MIRROR", str(mirror))
    return mirror


def test_the_mirror_is_looked_in_first(server: Server, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_mirror(tmp_path, monkeypatch, NAME, CONTENT)
    fetch(remote(server.add("/f", body(CONTENT))), raw)
    assert content_of(raw) == {"numbers.bin": CONTENT}
    assert not server.requests


def test_the_mirror_may_be_an_address(server: Server, raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATASETS_MIRROR", server.address + "/base/")
    server.add("/base/numbers/two%20words%231.bin", body(CONTENT))
    fetch(remote(path="numbers/two words#1.bin"), raw)
    assert content_of(raw) == {"two words#1.bin": CONTENT}


@pytest.mark.parametrize("content", [b"damaged", None])
def test_where_the_mirror_has_not_the_right_file_the_addresses_follow(
    server: Server, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    in_mirror(tmp_path, monkeypatch, "other" if content is None else NAME, content or b"")
    fetch(remote(server.add("/f", body(CONTENT))), raw)
    assert content_of(raw) == {"numbers.bin": CONTENT}


def test_a_wrong_file_in_the_mirror_is_named_with_both_hashes(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = in_mirror(tmp_path, monkeypatch, NAME, CONTENT[:-1])
    message = failure(remote(), raw)
    assert str(mirror / NAME) in message and PINNED in message and hashlib.sha256(CONTENT[:-1]).hexdigest() in message


def test_a_file_that_the_mirror_lacks_is_named(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = in_mirror(tmp_path, monkeypatch, "other", b"")
    assert f"{mirror / NAME}: not there" in failure(remote(), raw)


def test_a_folder_where_the_mirror_should_have_a_file_is_named(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_mirror(tmp_path, monkeypatch, f"{NAME}/inside", b"")
    assert f"{NAME}: not a plain file" in failure(remote(), raw)


def test_a_pipe_where_the_mirror_should_have_a_file_is_named_at_once(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = in_mirror(tmp_path, monkeypatch, "numbers/other", b"")
    os.mkfifo(mirror / NAME)
    assert f"{mirror / NAME}: not a plain file" in failure(remote(), raw)


def test_a_mirror_that_is_nothing_is_refused(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATASETS_MIRROR", "/no/such/folder")
    assert "DATASETS_MIRROR is '/no/such/folder', which is neither a folder nor an http(s) address" in failure(remote(), raw)


def test_an_empty_setting_is_no_mirror(server: Server, raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATASETS_MIRROR", "")
    fetch(remote(server.add("/f", body(CONTENT))), raw)
    assert content_of(raw) == {"numbers.bin": CONTENT}


# Archives

PHOTOS = {"photos/train/ant.jpg": b"ant", "photos/train/a b.jpg": b"a b", "photos/val/bee.jpg": b"bee" * 1000}
PHOTOS_PINNED = hashlib.sha256(
    "".join(f"{hashlib.sha256(PHOTOS[name]).hexdigest()}  {name}\n" for name in sorted(PHOTOS)).encode()
).hexdigest()
PHOTOS_PATH = "insects/photos.zip"


def photos_zip(path: Path, content: dict[str, bytes] | None = None) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as zipped:
        for name, data in (PHOTOS if content is None else content).items():
            zipped.writestr(name, data)
    return path.read_bytes()


def photos(*urls: str, sha256: str | None = None, contents: str | None = PHOTOS_PINNED) -> RemoteFile:
    return remote(*urls, sha256=sha256, path=PHOTOS_PATH, unpack=Unpack(max_megabytes=1, folder="photos", contents_sha256=contents))


def test_an_archive_and_its_unpacked_folder_in_the_mirror_give_the_same_raw(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos_zip(tmp_path / "packed" / PHOTOS_PATH)
    for name, data in PHOTOS.items():
        in_mirror(tmp_path, monkeypatch, f"insects/{name}", data)
    for mirror, into in (("packed", raw), ("mirror", tmp_path / "raw2")):
        monkeypatch.setenv("DATASETS_MIRROR", str(tmp_path / mirror))
        into.mkdir(exist_ok=True)
        fetch(photos(), into)
        assert content_of(into) == PHOTOS
        assert [path.name for path in into.iterdir()] == ["photos"]


def test_what_an_archive_holds_beside_its_folder_is_left_out(server: Server, raw: Path, tmp_path: Path) -> None:
    zipped = photos_zip(tmp_path / "a.zip", {**PHOTOS, "__MACOSX/._photos": b"x", "readme.txt": b"y"})
    fetch(photos(server.add("/a", body(zipped))), raw)
    assert content_of(raw) == PHOTOS


def test_an_archive_without_the_folder_names_it(server: Server, raw: Path, tmp_path: Path) -> None:
    zipped = photos_zip(tmp_path / "a.zip", {"other/x.jpg": b"x"})
    assert "photos.zip has no folder photos" in failure(photos(server.add("/a", body(zipped))), raw)


def test_all_of_an_archive_is_unpacked_where_no_folder_is_named(server: Server, raw: Path, tmp_path: Path) -> None:
    zipped = photos_zip(tmp_path / "a.zip", {**PHOTOS, "readme.txt": b"y"})
    file = remote(server.add("/a", body(zipped)), sha256=hashlib.sha256(zipped).hexdigest(), path="a.zip", unpack=Unpack(max_megabytes=1))
    fetch(file, raw)
    assert content_of(raw) == {**PHOTOS, "readme.txt": b"y"}


@pytest.mark.parametrize("change", [{"photos/val/bee.jpg": b"wasp"}, {"photos/new.jpg": b""}])
def test_other_content_names_both_hashes(server: Server, raw: Path, tmp_path: Path, change: dict[str, bytes]) -> None:
    zipped = photos_zip(tmp_path / "a.zip", {**PHOTOS, **change})
    message = failure(photos(server.add("/a", body(zipped))), raw)
    assert "insects/photos.zip could not be fetched" in message
    assert "its content has SHA-256" in message and f"expected {PHOTOS_PINNED}" in message


def test_other_content_in_an_unpacked_folder_names_both_hashes(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_mirror(tmp_path, monkeypatch, "insects/photos/val/bee.jpg", b"wasp")
    assert f"expected {PHOTOS_PINNED}" in failure(photos(), raw)


def test_an_unpacked_folder_is_not_taken_where_nothing_pins_its_content(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_mirror(tmp_path, monkeypatch, "insects/photos/val/bee.jpg", b"wasp")
    assert "photos.zip: not there" in failure(photos(sha256=PINNED, contents=None), raw)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"photos/ok.jpg": b"x", "../evil": b"y"}, "'../evil' leaves the folder"),
        ({"photos/ok.jpg": b"x", "photos/big": bytes(2_000_000)}, "'photos/big' takes it over 1 MB"),
    ],
)
def test_a_hostile_archive_is_refused_and_the_next_address_tried(
    server: Server, raw: Path, tmp_path: Path, content: dict[str, bytes], reason: str
) -> None:
    bad, good = photos_zip(tmp_path / "bad.zip", content), photos_zip(tmp_path / "good.zip")
    assert reason in failure(photos(server.add("/bad", body(bad))), raw)
    fetch(photos(server.add("/bad", body(bad)), server.add("/good", body(good))), raw)
    assert content_of(raw) == PHOTOS
    assert not (tmp_path / "evil").exists()


def test_an_archive_that_ends_too_soon_is_named(server: Server, raw: Path, tmp_path: Path) -> None:
    zipped = photos_zip(tmp_path / "a.zip")
    assert "photos.zip is damaged or was cut short" in failure(photos(server.add("/a", body(zipped[:-30]))), raw)


def test_two_files_of_one_name_are_refused(server: Server, raw: Path) -> None:
    url = server.add("/f", body(CONTENT))
    fetch(remote(url), raw)
    with pytest.raises(UserError, match=r"raw/numbers\.bin would be written twice"):
        fetch(remote(url, path="more/numbers.bin"), raw)


# What params.yaml may say

ENTRY = {"path": "a/b.zip", "sha256": PINNED, "urls": ["https://example.org/b.zip"]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"path": "/etc/passwd"}, "is not a path such as"),
        ({"path": "../b.zip"}, "is not a path such as"),
        ({"path": "a//b.zip"}, "is not a path such as"),
        ({"path": "a\\b.zip"}, "is not a path such as"),
        ({"path": ""}, "is not a path such as"),
        ({"sha256": None}, "expected a sha256"),
        ({"sha256": None, "unpack": {"max_megabytes": 1}}, "expected a sha256"),
        ({"sha256": PINNED.upper()}, "here.sha256"),
        ({"sha256": PINNED[:-1]}, "here.sha256"),
        ({"urls": ["ftp://example.org/b.zip"]}, "here.urls.0"),
        ({"urls": ["/etc/passwd"]}, "here.urls.0"),
        ({"path": "a/b.rar", "unpack": {"max_megabytes": 1}}, "b.rar cannot be unpacked; expected one of .zip"),
        ({"unpack": {"max_megabytes": 0}}, "here.unpack.max_megabytes"),
        ({"unpack": {"max_megabytes": 1, "folder": ".."}}, "'..' is not a folder's name"),
        ({"unpack": {"max_megabytes": 1, "folder": "a/b"}}, "here.unpack.folder"),
        ({"unpack": {}}, "here.unpack.max_megabytes is missing"),
        ({"sha": "1"}, "here.sha is not a known key"),
    ],
)
def test_a_wrong_entry_is_refused_by_its_key(change: dict[str, object], said: str) -> None:
    with pytest.raises(UserError) as caught:
        check_section(RemoteFile, {**ENTRY, **change}, "here")
    assert said in str(caught.value)


def test_contents_are_pinned_in_the_order_of_the_paths_bytes(tmp_path: Path) -> None:
    names = ["b", "a/z", "a.txt", "B", "é"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    lines = [f"{hashlib.sha256(name.encode()).hexdigest()}  {name}\n" for name in ["B", "a.txt", "a/z", "b", "é"]]
    assert contents_sha256(tmp_path) == hashlib.sha256("".join(lines).encode()).hexdigest()


# The bar and the imports

FETCH_ONE = """
import sys
from pathlib import Path
from stages.reading.fetch import RemoteFile, fetch
fetch(RemoteFile(path=sys.argv[1], sha256=sys.argv[2], urls=[sys.argv[3]]), Path(sys.argv[4]))
"""


def test_a_terminal_gets_a_bar_and_a_log_nothing(server: Server, raw: Path) -> None:
    url = server.add("/f", body(CONTENT))
    command = [sys.executable, "-c", FETCH_ONE, NAME, PINNED, url, str(raw)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    quiet = subprocess.run(command, env=environment, capture_output=True, check=True)
    assert quiet.stdout + quiet.stderr == b""
    (raw / "numbers.bin").unlink()
    ours, its = pty.openpty()
    termios.tcsetwinsize(its, (24, 80))
    subprocess.run(command, env=environment, stderr=its, check=True)
    os.close(its)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    assert "numbers.bin: 100%" in shown and "205k/205k" in shown


def test_data_side_imports_stay_light() -> None:
    """pooch and requests are for those who download, torch for those who train."""
    code = "import sys, stages.reading.fetch; print({'torch', 'requests', 'pooch'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout == "set()\n"


# The real files


@pytest.mark.parametrize("dataset", ["mnist", "names", "diabetes", "hymenoptera"])
def test_the_official_files_come_out_of_the_real_mirror(dataset: str, raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (REAL_MIRROR / dataset).is_dir():
        pytest.skip(f"needs the real files: DATASETS_MIRROR is not set to a folder with {dataset}/, and ../shared/datasets has none")
    monkeypatch.setenv("DATASETS_MIRROR", str(REAL_MIRROR.resolve()))
    monkeypatch.chdir(ROOT)
    files = [check_section(RemoteFile, entry, dataset) for entry in look_up(read_params(), "sources", dataset, "official")]
    for file in files:
        fetch(file.model_copy(update={"urls": []}), raw)
    if dataset == "hymenoptera":
        assert contents_sha256(raw) == "5a108f97d3bce1380a9ce668f27cbad193fc4949eae3742814be6880564333ae"
        return
    assert {name: hashlib.sha256(data).hexdigest() for name, data in content_of(raw).items()} == {file.name: file.sha256 for file in files}
