"""Fetches the official files that params.yaml pins: from the mirror first, then from each published address in turn.

The mirror is the environment's DATASETS_MIRROR, a folder or an http(s) address that holds the files by their `path`.
Wherever a file came from, its SHA-256 is checked, so the place cannot change a result; size and time of a download are limited.
"""

import hashlib
import itertools
import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, NoReturn
from urllib.parse import quote

from pydantic import AfterValidator, Field, model_validator

from stages.common.params import Section
from stages.reading import archives
from stages.reading.contents import printable
from stages.shell.errors import DISK_FULL, UserError, reason

MIRROR = "DATASETS_MIRROR"
TRIES, FINAL = 3, {400, 401, 403, 404, 405, 410, 451}  # these answers are not asked for again
BACKOFF_SECONDS = 1.0  # before the second try; one more before each one after it
TIMEOUT_SECONDS = (10, 60)  # to connect; between two pieces of the answer
MAX_SECONDS = 3600  # for one address, all tries together: a byte a minute would be within the other limits
CHUNK = 1 << 16


def _plain(path: str) -> str:
    if str(PurePosixPath(path)) != path or path == "." or archives.name_problem(path):
        raise ValueError("expected a path such as mnist/train-images-idx3-ubyte.gz")
    return path


PlainPath = Annotated[str, AfterValidator(_plain)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
WebAddress = Annotated[str, Field(pattern=r"^https?://[^\s/]")]
Megabytes = Annotated[int, Field(ge=1)]  # of 10**6 bytes


class Unpack(Section):
    """An archive is unpacked into raw/, all of it or its one `folder`, which a mirror may hold if `contents_sha256` pins its files."""

    max_megabytes: Megabytes
    folder: Annotated[PlainPath, Field(pattern="^[^/]+$")] | None = None
    contents_sha256: Sha256 | None = None


class RemoteFile(Section):
    """One official file, of `max_megabytes` at most. `path` is its place in a mirror, and its last part the file's name in raw/."""

    path: PlainPath
    sha256: Sha256 | None = None
    max_megabytes: Megabytes = 1000
    urls: list[WebAddress] = Field(default_factory=list)
    unpack: Unpack | None = None

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name

    @model_validator(mode="after")
    def _is_pinned(self) -> "RemoteFile":
        if self.unpack and not self.name.endswith(archives.SUFFIXES):
            raise ValueError(f"{self.name} cannot be unpacked; expected one of {', '.join(archives.SUFFIXES)}")
        if self.sha256 is None and (self.unpack is None or self.unpack.contents_sha256 is None):
            raise ValueError("expected a sha256 (or, for an archive, unpack.contents_sha256)")
        return self


class Official(Section):
    """`official`: the files. `addresses`: folders on the web, ending in /, that hold them by the last part of their `path`."""

    official: Annotated[list[RemoteFile], Field(min_length=1)]
    addresses: list[Annotated[WebAddress, Field(pattern=r"/$")]] = Field(default_factory=list)

    def files(self) -> list[RemoteFile]:
        return [file.model_copy(update={"urls": [*file.urls, *(base + file.name for base in self.addresses)]}) for file in self.official]


def fetch(file: RemoteFile, raw: Path) -> None:
    """Put the file, or what is in an archive, into the folder `raw`, from the main thread; UserError says what happened at every place."""
    failures = []
    for place in _places(file):
        with tempfile.TemporaryDirectory(dir=raw, prefix=".fetch-") as scratch:
            try:
                content = _content(file, place, Path(scratch))
            except UserError as error:
                shown = re.sub("//[^/]*@", "//", str(place))  # an address may hold a name and a password
                failures.append(f"{printable(shown)}: {reason(error)}")
                continue
            for path in sorted(content.iterdir()):
                if (raw / path.name).exists():
                    raise UserError(f"raw/{printable(path.name)} would be written twice: no two official files may have one name in raw/.")
                path.rename(raw / path.name)
            return
    if not failures:
        raise UserError(
            f"{printable(file.path)} has no public address that allows plain download: "
            f"set {MIRROR} to a folder that holds it under this path (or to the http(s) address of one)."
        )
    advice = f"check the network, the addresses and the pinned SHA-256, or set {MIRROR} to a folder that holds the file"
    raise UserError(f"{printable(file.path)} could not be fetched ({'; '.join(failures)}): {advice}.")


def _places(file: RemoteFile) -> Iterator[Path | str]:
    """Where the file may be, best first: a Path in the mirror's folder, or an address."""
    mirror = os.environ.get(MIRROR)
    if mirror and mirror.startswith(("http://", "https://")):
        yield f"{mirror.rstrip('/')}/{quote(file.path)}"
    elif mirror:
        place = Path(mirror).expanduser() / file.path
        unpacked = place.with_name(file.unpack.folder) if file.unpack and file.unpack.folder and file.unpack.contents_sha256 else place
        yield unpacked if unpacked.is_dir() and not place.exists() else place
    yield from file.urls


def _content(file: RemoteFile, place: Path | str, scratch: Path) -> Path:
    """A folder in `scratch` that holds what belongs into raw/, its SHA-256 checked; raises UserError if the place does not give it."""
    content, unpack = scratch / "content", file.unpack
    content.mkdir()
    if isinstance(place, Path) and unpack and unpack.contents_sha256 and place.is_dir():
        for folder, _, names in os.walk(place, followlinks=True):
            copy = content / place.name / Path(folder).relative_to(place)
            copy.mkdir()
            for name in names:
                _copy(Path(folder, name), copy / name)
    else:
        fetched = (scratch if unpack else content) / file.name
        if isinstance(place, Path):
            _copy(place, fetched)
        else:
            _download(place, fetched, file.max_megabytes)
        _check("it", file.sha256, _sha256(fetched))
        if unpack:
            archives.unpack(fetched, content, unpack.max_megabytes, unpack.folder)
    if unpack and unpack.contents_sha256:
        _check("its content", unpack.contents_sha256, contents_sha256(content))
    return content


def _check(what: str, expected: str | None, got: str) -> None:
    if expected and got != expected:
        raise UserError(f"{what} has SHA-256 {got}, expected {expected}")


def contents_sha256(folder: Path) -> str:
    """SHA-256 of the lines '<sha256>  <path>', one a file under `folder`, sorted by path, as `sha256sum` prints them."""
    paths = {os.fsencode(path.relative_to(folder).as_posix()): path for path in folder.rglob("*") if path.is_file()}
    lines = (_sha256(paths[name]).encode() + b"  " + name + b"\n" for name in sorted(paths))
    return hashlib.sha256(b"".join(lines)).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _copy(source: Path, target: Path) -> None:
    """A file of the mirror, its content only: a mirror may well be read-only, and its modes and times mean nothing here."""
    if not source.is_file():  # a pipe would keep the stage waiting
        raise UserError("not there, or not a plain file")
    try:
        with source.open("rb") as file, target.open("xb") as copy:
            shutil.copyfileobj(file, copy)
    except OSError as error:
        if error.errno in DISK_FULL:
            raise
        raise UserError(f"cannot be copied ({reason(error)})") from error


def _download(url: str, target: Path, max_megabytes: int) -> None:
    """Download to `target`; what failed is tried again from the start. An alarm ends it, whatever it waits for: a name or a byte."""
    import requests  # needed by few that import this module, and costs a fifth of a second

    def stop(*_: Any) -> NoReturn:
        raise UserError(f"the download was not complete after {MAX_SECONDS:,} seconds")

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, MAX_SECONDS)
    try:
        for attempt in range(TRIES):
            time.sleep(BACKOFF_SECONDS * attempt)
            try:
                return _download_once(url, target, max_megabytes)
            except requests.HTTPError as error:
                what = printable(f"the server answered {error.response.status_code} {error.response.reason}")
                if error.response.status_code in FINAL:
                    raise UserError(what) from error
            except (requests.RequestException, ValueError) as error:  # ValueError: of an address such as http://[::1/
                what = f"no whole answer came ({type(error).__name__})"
        raise UserError(f"{what}, {TRIES} times")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _download_once(url: str, target: Path, max_megabytes: int) -> None:
    import requests
    from tqdm import tqdm

    headers = {"Accept-Encoding": "identity"}  # what a server compresses on the way is another file
    # requests reads the body of a redirection into memory, however long it is: it is closed first.
    hooks = {"response": lambda answer, **_: answer.close() if answer.is_redirect else None}
    with requests.get(url, stream=True, timeout=TIMEOUT_SECONDS, headers=headers, hooks=hooks) as answer, target.open("wb") as file:
        answer.raise_for_status()
        size = answer.raw.length_remaining or 0
        with tqdm(total=size or None, desc=target.name, unit="B", unit_scale=True, disable=None) as bar:  # None: on a terminal only
            for piece in itertools.chain([b""], answer.iter_content(CHUNK)):  # the empty one: the promised size is looked at first
                bar.update(file.write(piece))
                if max(size, file.tell()) > max_megabytes * 10**6:
                    raise UserError(
                        f"it has more than {max_megabytes} MB: if that is right, raise max_megabytes of the file in params.yaml"
                    )
