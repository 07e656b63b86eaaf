"""Fetches the official files that params.yaml pins: from the mirror first, then from each published address in turn.

The mirror is the environment's DATASETS_MIRROR, a folder or an http(s) address that holds the files by their `path`.
Wherever a file came from, its SHA-256 is checked, so the place cannot change a result; size and time of a download are limited.
"""

import contextlib
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
from types import FrameType
from typing import Annotated, NoReturn
from urllib.parse import quote

from pydantic import AfterValidator, Field, model_validator

from stages.common.params import Section
from stages.reading import archives
from stages.reading.left_out import printable
from stages.shell.errors import DISK_FULL, UserError, reason

MIRROR = "DATASETS_MIRROR"
TRIES = 3
BACKOFF_SECONDS = 1.0  # before the second try; doubled before each one after it
TIMEOUT_SECONDS = (10, 60)  # to connect; between two pieces of the answer
MAX_SECONDS = 3600  # for one address, all tries together: a byte a minute would be within the other limits
CHUNK = 1 << 16
ADVICE = f"check the network and the address, or set {MIRROR} to a folder that holds the file"


def _plain(path: str) -> str:
    if str(PurePosixPath(path)) != path or path == "." or archives.name_problem(path):
        raise ValueError("expected a path such as mnist/train-images-idx3-ubyte.gz")
    return path


PlainPath = Annotated[str, AfterValidator(_plain)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
WebAddress = Annotated[str, Field(pattern=r"^https?://[^\s/]")]
Megabytes = Annotated[int, Field(ge=1)]  # of 10**6 bytes


class Unpack(Section):
    """An archive is unpacked into raw/, `max_megabytes` at most, and then removed.

    `folder` is the one folder of the archive that is kept (null: everything); a mirror may hold it instead of the
    archive if `contents_sha256` pins what is in it (see the function of that name).
    """

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


class _Unfit(Exception):
    """A place did not give the file: `reason` is what happened there, `advice` what a person can do about it."""

    def __init__(self, reason: str, advice: str):
        super().__init__(reason)
        self.reason, self.advice = reason, advice


def fetch(file: RemoteFile, raw: Path) -> None:
    """Put the file, or what is in it if it is an archive, into the folder `raw`; to be called in the main thread.

    Raises UserError, with what happened at every place, if none has it; nothing of it is then in `raw`.
    """
    failures: dict[str, _Unfit] = {}
    for place in _places(file):
        with tempfile.TemporaryDirectory(dir=raw, prefix=".fetch-") as scratch:
            try:
                content = _content(file, place, Path(scratch))
            except _Unfit as failure:
                failures[re.sub("//[^/]*@", "//", str(place))] = failure  # an address may hold a name and a password
                continue
            for path in sorted(content.iterdir()):
                if (raw / path.name).exists():
                    advice = "no two official files (and no .source) may have one name in raw/"
                    raise UserError(f"raw/{printable(path.name)} would be written twice: {advice}.")
                path.rename(raw / path.name)
            return
    if not failures:
        raise UserError(
            f"{printable(file.path)} has no public address that allows plain download: "
            f"set {MIRROR} to a folder that holds it under this path (or to the http(s) address of one)."
        )
    happened = "; ".join(f"{printable(place)}: {failure.reason}" for place, failure in failures.items())
    advice = "; ".join(dict.fromkeys(failure.advice for failure in failures.values()))
    raise UserError(f"{printable(file.path)} could not be fetched ({happened}): {advice}.")


def _places(file: RemoteFile) -> Iterator[Path | str]:
    """Where the file may be, best first: a Path in the mirror's folder, or an address."""
    mirror = os.environ.get(MIRROR)
    if mirror and mirror.startswith(("http://", "https://")):
        yield f"{mirror.rstrip('/')}/{quote(file.path)}"
    elif mirror:
        folder = Path(mirror).expanduser()
        if not folder.is_dir():
            raise UserError(f"{MIRROR} is {mirror!r}, which is neither a folder nor an http(s) address: set it to one, or unset it.")
        place = folder / file.path
        if file.unpack and file.unpack.folder and file.unpack.contents_sha256 and not place.exists():
            unpacked = place.with_name(file.unpack.folder)
            place = unpacked if unpacked.is_dir() else place
        yield place
    yield from file.urls


def _content(file: RemoteFile, place: Path | str, scratch: Path) -> Path:
    """A folder in `scratch` that holds what belongs into raw/, checked; raises _Unfit if the place does not have it."""
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
        if file.sha256:
            _check("it has SHA-256", file.sha256, _sha256(fetched))
        if unpack:
            try:
                archives.unpack(fetched, content, unpack.max_megabytes, unpack.folder)
            except UserError as error:
                raise _Unfit(reason(error), "an archive that was refused or is damaged needs another address") from error
    if unpack and unpack.contents_sha256:
        _check("its content has SHA-256", unpack.contents_sha256, contents_sha256(content))
    return content


def _check(what: str, expected: str, got: str) -> None:
    if got != expected:
        advice = "what has another SHA-256 was changed there or damaged on the way, so check the address, or the hash pinned in params.yaml"
        raise _Unfit(f"{what} {got}, expected {expected}", advice)


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
    try:
        if not source.is_file():  # a pipe would keep the stage waiting
            raise _Unfit("not there, or not a plain file", f"put the file itself into the folder {MIRROR}")
        with source.open("rb") as file, target.open("xb") as copy:
            shutil.copyfileobj(file, copy)
    except OSError as error:
        if error.errno in DISK_FULL:
            raise
        raise _Unfit(f"cannot be copied ({reason(error)})", f"check the folder {MIRROR}") from error


def _download(url: str, target: Path, max_megabytes: int) -> None:
    """Download to `target`, trying again from the start where a second try may help; raises _Unfit if none did."""
    import requests  # needed by few that import this module, and costs a fifth of a second

    with _limited(MAX_SECONDS):
        for attempt in range(1, TRIES + 1):
            try:
                _download_once(url, target, max_megabytes)
                return
            except (requests.RequestException, ValueError) as error:  # ValueError: of an address such as http://[::1/
                what, may_pass = _explained(error)
                if attempt == TRIES or not may_pass:
                    raise _Unfit(what + (f", {attempt} times" if attempt > 1 else ""), ADVICE) from error
                time.sleep(BACKOFF_SECONDS * 2 ** (attempt - 1))


@contextlib.contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raises _Unfit in the block once it has taken `seconds`, whatever it waits for: a name, a header or a byte of the body."""

    def stop(_number: int, _frame: FrameType | None) -> NoReturn:
        raise _Unfit(f"the download was not complete after {seconds:,} seconds", ADVICE)

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


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
                file.write(piece)
                bar.update(len(piece))
                if max(size, file.tell()) > max_megabytes * 10**6:
                    raise _Unfit(f"it has more than {max_megabytes} MB", "if that is right, raise max_megabytes of the file in params.yaml")


def _explained(error: Exception) -> tuple[str, bool]:
    """What happened, and whether the same request may succeed in a moment."""
    import requests

    if isinstance(error, requests.HTTPError):
        code = error.response.status_code
        return printable(f"the server answered {code} {error.response.reason}"), code >= 500 or code == requests.codes.too_many_requests
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection was cut", True
    if isinstance(error, requests.Timeout):
        return "the server did not answer in time", True
    if isinstance(error, requests.ConnectionError):
        return "the server could not be reached or stopped answering", True
    return f"the address or its answer is not valid HTTP ({type(error).__name__})", False
