"""`python -m stages.download NAME` writes data/NAME/raw whole, or says in one sentence why not and leaves what was there."""

import hashlib
import http.server
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stages import download as stage
from stages.common.params import Section
from stages.common.shelves import take_part
from stages.download import download
from stages.reading import fetch as fetching
from stages.reading.official import Official
from stages.reading.source import read_source
from stages.shell.errors import UserError

ROOT = Path(__file__).parents[2]
REAL_MIRROR = Path(os.environ.get("DATASETS_MIRROR") or ROOT.parent / "shared" / "datasets")
ROWS = b"a,b,label\n" + b"1,2,0\n3,4,1\n" * 100_000


def pinned(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Photos(Official):
    sample: int


class Numbers(Section):
    values: list[int]


def write_photos(raw: Path, source: Photos) -> None:
    (raw / "sample.txt").write_text("x" * source.sample)


def write_numbers(raw: Path, source: Numbers) -> None:
    (raw / "numbers.json").write_text(json.dumps(source.values))


STAND_IN = "A stand-in for photos: letters."
PARTS = {
    "photos": SimpleNamespace(Source=Photos, generate=write_photos, STAND_IN=STAND_IN),
    "numbers": SimpleNamespace(Source=Numbers, generate=write_numbers),
    "files": SimpleNamespace(Source=Official),
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to run the stage in, with two kinds of data of the tests' own, no mirror and no waiting."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATASETS_MIRROR", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(fetching, "BACKOFF_SECONDS", 0)

    def take(shelf: str, name: Any, key: str) -> Any:
        return PARTS[name] if name in PARTS else take_part(shelf, name, key)

    monkeypatch.setattr(stage, "take_part", take)
    return tmp_path


def write_params(source: str, **sources: dict[str, Any]) -> None:
    Path("params.yaml").write_text(json.dumps({"source": source, "sources": sources}))


def official(*files: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "photos", "sample": 3, "official": list(files) or [{"path": "unused.bin", "sha256": "0" * 64}]}


def mirror_with(content: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    for path, data in content.items():
        Path("mirror", path).parent.mkdir(parents=True, exist_ok=True)
        Path("mirror", path).write_bytes(data)
    monkeypatch.setenv("DATASETS_MIRROR", "mirror")


def data() -> dict[str, bytes]:
    """All that lies there, but for the note on where it is from."""
    return {path.as_posix(): path.read_bytes() for path in Path("data").rglob("*") if path.is_file() and path.name != ".source"}


def folders_beside_raw(name: str) -> list[str]:
    return sorted(path.name for path in Path("data", name).iterdir())


def test_a_sample_is_generated_without_asking_anyone(project: Path) -> None:
    write_params("sample", ants=official({"path": "a/b", "sha256": pinned(b"x"), "urls": ["http://127.0.0.1:9/b"]}))
    download("ants")
    assert data() == {"data/ants/raw/sample.txt": b"xxx"} and read_source(Path("data/ants/raw")) == ("sample", STAND_IN)


def test_official_files_are_fetched_instead(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror_with({"ants/one.bin": b"1", "ants/two.bin": b"2"}, monkeypatch)
    write_params(
        "official", ants=official(*({"path": f"ants/{n}.bin", "sha256": pinned(c), "urls": []} for n, c in [("one", b"1"), ("two", b"2")]))
    )
    download("ants")
    assert data() == {"data/ants/raw/one.bin": b"1", "data/ants/raw/two.bin": b"2"} and read_source(Path("data/ants/raw")) == (
        "official",
        "",
    )


@pytest.mark.parametrize("source", ["sample", "official"])
def test_data_that_stands_in_params_is_written_whatever_the_source(project: Path, source: str) -> None:
    write_params(source, line={"kind": "numbers", "values": [1, 2]})
    download("line")
    assert data() == {"data/line/raw/numbers.json": b"[1, 2]"} and read_source(Path("data/line/raw")) == ("generated", "")


def test_a_second_run_replaces_the_first(project: Path) -> None:
    for values in ([1], [2]):
        write_params("sample", line={"kind": "numbers", "values": values})
        download("line")
    assert data() == {"data/line/raw/numbers.json": b"[2]"}
    assert folders_beside_raw("line") == ["raw"]


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"source": "samples", "sources": {}}, "source is 'samples'; expected sample or official"),
        ({"sources": {}}, "params.yaml has no source"),
        ({"source": "sample", "sources": {"bees": {}}}, "params.yaml has no sources.ants; known there: bees"),
        ({"source": "sample", "sources": {"ants": {}}}, "sources.ants.kind is None"),
        ({"source": "sample", "sources": {"ants": {"kind": "photos"}}}, "sources.ants.sample is missing"),
        ({"source": "sample", "sources": {"ants": {"kind": "numbers", "value": 1}}}, "sources.ants.value is not a known key"),
        ({"source": "sample", "sources": {"ants": official({"path": "a", "urls": []})}}, "sources.ants.official.0"),
        (
            {"source": "sample", "sources": {"ants": {"kind": "files", "official": [{"path": "a", "sha256": "0" * 64}]}}},
            "sources.ants has no stand-in: set source",
        ),
    ],
)
def test_a_mistake_in_params_is_named_before_anything_is_written(project: Path, params: dict[str, Any], said: str) -> None:
    Path("params.yaml").write_text(json.dumps(params))
    with pytest.raises(UserError) as caught:
        download("ants")
    assert said in str(caught.value)
    assert not Path("data").exists()


def test_an_unknown_kind_names_the_known_ones(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.chdir(project)
    write_params("sample", ants={"kind": "holograms"})
    with pytest.raises(UserError, match=r"sources\.ants\.kind is 'holograms'; expected one of .*points"):
        download("ants")


# After a failure


def hostile_tar(name: str, kind: bytes = tarfile.REGTYPE, size: int = 4) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tarred:
        for entry in ("ok.txt", name):
            info = tarfile.TarInfo(entry)
            info.type, info.size, info.linkname = (kind if entry == name else tarfile.REGTYPE), size, "/etc/passwd"
            tarred.addfile(info, io.BytesIO(bytes(size)))
    return buffer.getvalue()


WHOLE = hostile_tar("fine.txt")
BROKEN = {
    "a wrong checksum": (b"changed", pinned(b"as published"), pinned(b"changed")),
    "a missing file": (None, pinned(b"as published"), "not there"),
    "a truncated archive": (WHOLE[:-20], pinned(WHOLE[:-20]), "cut short"),
    "an entry outside": (hostile_tar("../evil"), pinned(hostile_tar("../evil")), "'../evil' leaves the folder"),
    "a link": (hostile_tar("evil", tarfile.SYMTYPE), None, "'evil' is a link"),
    "a device": (hostile_tar("evil", tarfile.CHRTYPE), None, "'evil' is a device"),
    "a bomb": (hostile_tar("evil", size=3_000_000), None, "takes it over 1 MB"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_after_a_failure_the_earlier_raw_is_intact_and_nothing_else_stays(
    project: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    content, sha256, said = BROKEN[broken]
    write_params("sample", ants=official())
    download("ants")
    before = data()
    mirror_with({"good.bin": b"good", **({} if content is None else {"ants.tgz": content})}, monkeypatch)
    good = {"path": "good.bin", "sha256": pinned(b"good"), "urls": []}
    bad = {"path": "ants.tgz", "sha256": sha256 or pinned(content or b""), "urls": [], "unpack": {"max_megabytes": 1}}
    write_params("official", ants=official(good, bad))
    with pytest.raises(UserError) as caught:
        download("ants")
    assert "ants.tgz" in str(caught.value) and said in str(caught.value)
    assert data() == before
    assert folders_beside_raw("ants") == ["raw"]
    assert not list(project.rglob("evil"))


def test_a_part_that_fails_leaves_the_earlier_raw(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_params("sample", ants=official())
    download("ants")

    def fail(raw: Path, source: Photos) -> None:
        (raw / "half.txt").write_text("half")
        raise UserError("no stand-in")

    monkeypatch.setitem(PARTS, "photos", SimpleNamespace(Source=Photos, generate=fail, STAND_IN=STAND_IN))
    with pytest.raises(UserError, match="no stand-in"):
        download("ants")
    assert data() == {"data/ants/raw/sample.txt": b"xxx"}
    assert folders_beside_raw("ants") == ["raw"]


# The command itself


@pytest.fixture
def address() -> Iterator[str]:
    """A server on loopback that answers everything with ROWS."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(ROWS)))
            self.end_headers()
            self.wfile.write(ROWS)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


ON_A_SMALL_DISK = """
import resource, runpy, sys
limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
runpy.run_module("stages.download", run_name="__main__")
"""


def run(project: Path, *arguments: str, mirror: str = "", max_file_bytes: int | None = None) -> subprocess.CompletedProcess[str]:
    """The command as a person runs it, with `max_file_bytes` on a disk where no file can grow beyond that."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "DATASETS_MIRROR": mirror}
    program = ["-m", "stages.download"] if max_file_bytes is None else ["-c", ON_A_SMALL_DISK, str(max_file_bytes)]
    return subprocess.run([sys.executable, *program, *arguments], cwd=project, env=environment, capture_output=True, text=True)


ROWS_FILE = {"path": "rows/rows.csv", "sha256": pinned(ROWS), "urls": []}


@pytest.mark.parametrize("place", ["folder", "address"])
def test_a_full_disk_ends_in_a_sentence_and_keeps_the_earlier_raw(project: Path, address: str, place: str) -> None:
    (project / "mirror/rows").mkdir(parents=True)
    (project / "mirror/rows/rows.csv").write_bytes(ROWS)
    mirror = address if place == "address" else "mirror"
    write_params("official", rows={"kind": "files", "official": [ROWS_FILE]})
    assert run(project, "rows", mirror=mirror).returncode == 0
    before = data()
    assert before == {"data/rows/raw/rows.csv": ROWS}
    full = run(project, "rows", mirror=mirror, max_file_bytes=100_000)
    assert full.returncode == 1
    assert full.stderr.startswith("error: The disk (or a limit on file size) is full") and full.stderr.count("\n") == 1
    assert data() == before
    assert folders_beside_raw("rows") == ["raw"]


def test_a_disk_that_fills_while_unpacking_ends_in_a_sentence(project: Path) -> None:
    packed = hostile_tar("rows.bin", size=500_000)
    (project / "mirror").mkdir()
    (project / "mirror/rows.tgz").write_bytes(packed)
    entry = {"path": "rows.tgz", "sha256": pinned(packed), "urls": [], "unpack": {"max_megabytes": 5}}
    write_params("official", rows={"kind": "files", "official": [entry]})
    full = run(project, "rows", mirror="mirror", max_file_bytes=100_000)
    assert full.returncode == 1 and full.stderr.startswith("error: The disk") and full.stderr.count("\n") == 1
    assert folders_beside_raw("rows") == []


def test_a_failure_is_one_line_and_exit_code_one(project: Path) -> None:
    write_params("official", rows={"kind": "files", "official": [ROWS_FILE]})
    failed = run(project, "rows")
    assert failed.returncode == 1 and failed.stdout == ""
    assert failed.stderr.startswith("error: rows/rows.csv has no public address") and failed.stderr.count("\n") == 1


@pytest.mark.parametrize(("arguments", "code"), [((), 2), (("a", "b"), 2), (("--help",), 0)])
def test_other_arguments_get_the_usage(project: Path, arguments: tuple[str, ...], code: int) -> None:
    asked = run(project, *arguments)
    assert asked.returncode == code and asked.stderr == "usage: python -m stages.download NAME\n"
    assert not Path("data").exists()


@pytest.mark.parametrize(("name", "num_files"), [("mnist", 4), ("names", 2), ("diabetes", 1), ("hymenoptera", 398)])
def test_the_committed_params_bring_the_real_files(project: Path, name: str, num_files: int) -> None:
    if not (REAL_MIRROR / name).is_dir():
        pytest.skip(f"needs the real files: DATASETS_MIRROR is not set to a folder with {name}/, and ../shared/datasets has none")
    text = (ROOT / "params.yaml").read_text(encoding="utf-8").replace("source: sample ", "source: official ", 1)
    assert text.count("source: official ") == 1
    Path("params.yaml").write_text(text, encoding="utf-8")
    done = run(project, name, mirror=str(REAL_MIRROR.resolve()))
    assert done.returncode == 0 and done.stderr == ""
    assert len(data()) == num_files
    assert folders_beside_raw(name) == ["raw"]
