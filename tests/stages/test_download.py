"""`python -m stages.download NAME` writes data/NAME/raw whole, or says in one sentence why not and leaves what was there."""

import functools
import hashlib
import http.server
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from stages import download as stage
from stages.common.params import Section
from stages.common.shelves import take_part
from stages.download import download
from stages.reading.contents import read_source
from stages.reading.fetch import Official
from stages.shell.errors import UserError

ROOT = Path(__file__).parents[2]
REAL_MIRROR = Path(os.environ.get("DATASETS_MIRROR") or ROOT.parent / "shared" / "datasets").resolve()
ROWS = b"a,b,label\n" + b"1,2,0\n3,4,1\n" * 100_000
STAND_IN = "A stand-in for photos: letters."


def pinned(content):
    return hashlib.sha256(content).hexdigest()


class Photos(Official):
    sample: int


class Numbers(Section):
    values: list[int]


def write_photos(raw, source):
    (raw / "sample.txt").write_text("x" * source.sample)
    if source.sample == 13:
        raise UserError("no stand-in")


def write_numbers(raw, source):
    (raw / "numbers.json").write_text(json.dumps(source.values))


PARTS = {
    "photos": SimpleNamespace(Source=Photos, generate=write_photos, STAND_IN=STAND_IN),
    "numbers": SimpleNamespace(Source=Numbers, generate=write_numbers),
}


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """An empty folder to run the stage in, with two sources of the tests' own, and a mirror."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATASETS_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.setattr(stage, "take_part", lambda shelf, name, key: PARTS[name] if name in PARTS else take_part(shelf, name, key))
    (tmp_path / "mirror").mkdir()
    return tmp_path


def write_params(source, **sources):
    Path("params.yaml").write_text(json.dumps({"source": source, "sources": sources}))


def photos(*official, sample=3):
    return {"kind": "photos", "sample": sample, "official": list(official) or [{"path": "unused.bin", "sha256": "0" * 64}]}


def put(name, content, **options):
    """Puts a file into the mirror; returns its entry in params.yaml."""
    Path("mirror", name).write_bytes(content)
    return {"path": name, "sha256": pinned(content), **options}


def data():
    """All that lies there, but for the note on where it is from."""
    return {path.as_posix(): path.read_bytes() for path in Path("data").rglob("*") if path.is_file() and path.name != ".source"}


def test_each_source_is_made_or_fetched_and_says_which(project):
    for source in ("sample", "official"):
        write_params(source, ants=photos(put("one.bin", b"1"), put("two.bin", b"2")), line={"kind": "numbers", "values": [1, 2]})
        download("line")
        assert read_source(Path("data/line/raw")) == ("generated", "")
        download("ants")
        expected = {"sample.txt": b"xxx"} if source == "sample" else {"one.bin": b"1", "two.bin": b"2"}
        assert data() == {"data/line/raw/numbers.json": b"[1, 2]"} | {
            f"data/ants/raw/{name}": content for name, content in expected.items()
        }
        assert read_source(Path("data/ants/raw")) == (source, STAND_IN if source == "sample" else "")


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"source": "samples", "sources": {}}, "source is 'samples'; expected sample or official"),
        ({"source": "sample", "sources": {"bees": {}}}, "params.yaml has no sources.ants; known there: bees"),
        ({"source": "sample", "sources": {"ants": {"kind": "holograms"}}}, "sources.ants.kind is 'holograms'; expected one of"),
        ({"source": "sample", "sources": {"ants": {"kind": "numbers", "value": 1}}}, "sources.ants.value is not a known key"),
        (
            {"source": "sample", "sources": {"ants": {"kind": "files", "official": [{"path": "a", "sha256": "0" * 64}]}}},
            "sources.ants has no stand-in: set source",
        ),
    ],
)
def test_a_mistake_in_params_is_named_before_anything_is_written(params, said):
    Path("params.yaml").write_text(json.dumps(params))
    with pytest.raises(UserError) as caught:
        download("ants")
    assert said in str(caught.value) and not Path("data").exists()


def archive(name, size=4):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tarred:
        for entry in ("ok.txt", name):
            info = tarfile.TarInfo(entry)
            info.size = size
            tarred.addfile(info, io.BytesIO(bytes(size)))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "sha256", "said"),
    [
        (b"changed", pinned(b"as published"), f"ants.tgz: it has SHA-256 {pinned(b'changed')}"),
        (archive("../evil"), None, "'../evil' leaves the folder"),
        (None, None, "no stand-in"),
    ],
    ids=["another file", "a hostile archive", "a part that fails"],
)
def test_after_a_failure_the_earlier_raw_is_intact_and_nothing_else_stays(project, content, sha256, said):
    write_params("sample", ants=photos())
    download("ants")
    if content is None:
        write_params("sample", ants=photos(sample=13))
    else:
        bad = put("ants.tgz", content, unpack={"max_megabytes": 1})
        write_params("official", ants=photos(put("good.bin", b"good"), bad | ({"sha256": sha256} if sha256 else {})))
    with pytest.raises(UserError) as caught:
        download("ants")
    assert said in str(caught.value)
    assert data() == {"data/ants/raw/sample.txt": b"xxx"}
    assert [path.name for path in Path("data/ants").iterdir()] == ["raw"] and not list(project.rglob("evil"))


@pytest.fixture
def address():
    """A server on loopback of the mirror's files."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory="mirror")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


ON_A_SMALL_DISK = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
runpy.run_module("stages.download", run_name="__main__")
"""


@pytest.mark.parametrize("place", ["folder", "address", "archive"])
def test_a_full_disk_ends_in_a_sentence_and_keeps_the_earlier_raw(monkeypatch, address, place):
    file = put("rows.tgz", archive("rows.bin", 500_000), unpack={"max_megabytes": 5}) if place == "archive" else put("rows.csv", ROWS)
    if place == "address":
        monkeypatch.setenv("DATASETS_MIRROR", address)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    write_params("official", rows={"kind": "files", "official": [file]})
    download("rows")
    before = data()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    full = subprocess.run([sys.executable, "-c", ON_A_SMALL_DISK, "rows"], env=environment, capture_output=True, text=True, check=False)
    assert (full.returncode, full.stdout, full.stderr.count("\n")) == (1, "", 1)
    assert full.stderr.startswith("error: The disk (or a limit on file size) is full")
    assert data() == before and [path.name for path in Path("data/rows").iterdir()] == ["raw"]


@pytest.mark.parametrize(("name", "num_files"), [("mnist", 4), ("names", 2), ("diabetes", 1), ("hymenoptera", 398)])
def test_the_committed_params_bring_the_real_files(monkeypatch, name, num_files):
    if not (REAL_MIRROR / name).is_dir():
        pytest.skip(f"needs the real files: DATASETS_MIRROR is not set to a folder with {name}/, and ../shared/datasets has none")
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    Path("params.yaml").write_text(text.replace("source: sample ", "source: official ", 1), encoding="utf-8")
    monkeypatch.setenv("DATASETS_MIRROR", str(REAL_MIRROR))
    download(name)
    assert len(data()) == num_files and read_source(Path("data", name, "raw"))[0] == "official"
