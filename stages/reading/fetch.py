"""Fetches the official files that params.yaml pins: from the mirror first, then from each published address in turn.

The mirror is the environment's DATASETS_MIRROR, a folder or an http(s) address that holds the files by their `path`.
Whatever a file came from, its SHA-256 is checked, so the place cannot change a result.
"""

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated
from urllib.parse import quote

from pydantic import Field, model_validator

from stages.common.errors import DISK_FULL, UserError, reason
from stages.common.params import Section
from stages.reading import archives

MIRROR = "DATASETS_MIRROR"
TRIES = 3
BACKOFF_SECONDS = 1.0  # before the second try; doubled before each one after it
TIMEOUT_SECONDS = (10, 60)  # to connect; between two pieces of the answer
CHUNK = 1 << 18
NO_ANSWER_ADVICE = f"check the network and the address, or set {MIRROR} to a folder that holds the file"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
WebAddress = Annotated[str, Field(pattern=r"^https?://[^\s/]")]


class Unpack(Section):
    """An archive is unpacked into raw/ and then removed.

    `folder` is the one folder of the archive that is kept (null: everything); a mirror may hold it instead of the
    archive if `contents_sha256` pins what is in it (see the function of that name).
    """

    max_megabytes: int = Field(ge=1)
    folder: Annotated[str, Field(pattern=r"^[^/\\]+$")] | None = None
    contents_sha256: Sha256 | None = None


class RemoteFile(Section):
    """One official file. `path` is its place in a mirror, and the last part of it the file's name in raw/."""

    path: str
    sha256: Sha256 | None = None
    urls: list[WebAddress] = Field(default_factory=list)
    unpack: Unpack | None = None

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name

    @model_validator(mode="after")
    def _is_safe_and_pinned(self) -> "RemoteFile":
        if not all(_is_plain(part) for part in self.path.split("/")):
            raise ValueError(f"{self.path!r} is not a path such as mnist/train-images-idx3-ubyte.gz")
        if self.unpack and self.unpack.folder and not _is_plain(self.unpack.folder):
            raise ValueError(f"{self.unpack.folder!r} is not a folder's name")
        if self.unpack and not self.name.endswith(archives.SUFFIXES):
            raise ValueError(f"{self.name} cannot be unpacked; expected one of {', '.join(archives.SUFFIXES)}")
        if self.sha256 is None and (self.unpack is None or self.unpack.contents_sha256 is None):
            raise ValueError("expected a sha256 (or, for an archive, unpack.contents_sha256)")
        return self


def _is_plain(part: str) -> bool:
    return part not in ("", ".", "..") and archives.name_problem(part) is None


class _Unfit(Exception):
    """A place did not give the file: `reason` is what happened there, `advice` what a person can do about it."""

    def __init__(self, reason: str, advice: str):
        super().__init__(reason)
        self.reason, self.advice = reason, advice


def fetch(file: RemoteFile, raw: Path) -> None:
    """Put the file, or what is in it if it is an archive, into the folder `raw`.

    Raises UserError, with what happened at every place, if none has it; nothing of it is then in `raw`.
    """
    failures: dict[str, _Unfit] = {}
    for place in _places(file):
        with tempfile.TemporaryDirectory(dir=raw, prefix=".fetch-") as scratch:
            try:
                content = _content(file, place, Path(scratch))
            except _Unfit as failure:
                failures[_shown(place)] = failure
                continue
            _move(content, raw)
            return
    raise UserError(_failure_message(file, failures))


def _places(file: RemoteFile) -> Iterator[Path | str]:
    """Where the file may be, best first: a Path in the mirror's folder, or an address."""
    mirror = os.environ.get(MIRROR)
    if mirror and mirror.startswith(("http://", "https://")):
        yield f"{mirror.rstrip('/')}/{quote(file.path)}"
    elif mirror:
        yield _place_in_folder(file, Path(mirror).expanduser())
    yield from file.urls


def _place_in_folder(file: RemoteFile, mirror: Path) -> Path:
    if not mirror.is_dir():
        raise UserError(f"{MIRROR} is {str(mirror)!r}, which is neither a folder nor an http(s) address: set it right, or unset it.")
    place = mirror / file.path
    if file.unpack and file.unpack.folder and file.unpack.contents_sha256 and not place.exists():
        unpacked = place.with_name(file.unpack.folder)
        return unpacked if unpacked.is_dir() else place
    return place


def _content(file: RemoteFile, place: Path | str, scratch: Path) -> Path:
    """A folder in `scratch` that holds what belongs into raw/, checked; raises _Unfit if the place does not have it."""
    content = scratch / "content"
    content.mkdir()
    if file.unpack is None:
        _bring(file, place, content / file.name)
        return content
    if isinstance(place, Path) and place.name == file.unpack.folder:
        with _naming_mirror_errors():
            _copy_folder(place, content / place.name)
    else:
        _bring(file, place, scratch / file.name)
        content = _unpacked(scratch / file.name, content, file.unpack)
    if file.unpack.contents_sha256:
        _check("its content has SHA-256", file.unpack.contents_sha256, contents_sha256(content))
    return content


def _bring(file: RemoteFile, place: Path | str, target: Path) -> None:
    if isinstance(place, Path):
        with _naming_mirror_errors():
            _copy_file(place, target)
    else:
        _download(place, target)
    if file.sha256:
        _check("it has SHA-256", file.sha256, _sha256(target))


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


def _unpacked(archive: Path, content: Path, unpack: Unpack) -> Path:
    try:
        archives.unpack(archive, content, unpack.max_megabytes)
    except UserError as error:
        raise _Unfit(reason(error), "an archive that was refused or is damaged needs another address") from error
    if unpack.folder is None:
        return content
    if not (content / unpack.folder).is_dir():
        raise _Unfit(f"{archive.name} has no folder {unpack.folder}", "check unpack.folder in params.yaml")
    kept = archive.parent / "kept"
    kept.mkdir()
    return (content / unpack.folder).rename(kept / unpack.folder).parent


def _move(content: Path, raw: Path) -> None:
    for path in sorted(content.iterdir()):
        if (raw / path.name).exists():
            raise UserError(f"raw/{path.name} would be written twice: no two official files (and no .source) may have one name in raw/.")
        path.rename(raw / path.name)


@contextlib.contextmanager
def _naming_mirror_errors() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise _Unfit("not there", f"put the file into the folder {MIRROR}") from error
    except OSError as error:
        if error.errno in DISK_FULL:
            raise
        raise _Unfit(f"cannot be copied ({reason(error)})", f"check the folder {MIRROR}") from error


def _copy_folder(source: Path, target: Path) -> None:
    """Content only: a mirror may well be read-only, and its modes and times mean nothing here."""
    target.mkdir()
    for path in sorted(source.iterdir()):
        if path.is_dir():
            _copy_folder(path, target / path.name)
        else:
            _copy_file(path, target / path.name)


def _copy_file(source: Path, target: Path) -> None:
    if source.exists() and not source.is_file():  # a pipe would keep the stage waiting for ever
        raise _Unfit("not a plain file", f"put the file itself into the folder {MIRROR}")
    with source.open("rb") as file, target.open("xb") as copy:
        shutil.copyfileobj(file, copy, CHUNK)


def _download(url: str, target: Path) -> None:
    """Download to `target`, trying again from the start where a second try may help; raises _Unfit if none did."""
    import requests  # it and pooch are needed by few that import this module, and cost a fifth of a second

    for attempt in range(1, TRIES + 1):
        try:
            _download_once(url, target)
            return
        except (requests.RequestException, ValueError) as error:  # ValueError: a Content-Length that is no number
            if attempt == TRIES or not _may_pass(error):
                tries = f", {attempt} times" if attempt > 1 else ""
                raise _Unfit(_reason(error) + tries, NO_ANSWER_ADVICE) from error
            time.sleep(BACKOFF_SECONDS * 2 ** (attempt - 1))


def _download_once(url: str, target: Path) -> None:
    import pooch
    from tqdm import tqdm

    # disable=None shows the bar on a terminal only; total=1 until the answer tells, since pooch takes a bar of 0 for none.
    bar = tqdm(total=1, desc=target.name, unit="B", unit_scale=True, disable=None)
    with bar, contextlib.ExitStack() as answers:
        options = {
            "timeout": TIMEOUT_SECONDS,
            "headers": {"Accept-Encoding": "identity"},  # what a server compresses on the way is another file
            "hooks": {"response": lambda answer, **_: answers.enter_context(answer)},  # pooch leaves it open where it fails
        }
        pooch.HTTPDownloader(progressbar=bar, chunk_size=CHUNK, **options)(url, str(target), None)


def _may_pass(error: Exception) -> bool:
    """Whether the same request may succeed in a moment."""
    import requests

    if isinstance(error, requests.HTTPError):
        return error.response.status_code >= 500 or error.response.status_code == requests.codes.too_many_requests
    return isinstance(error, requests.ConnectionError | requests.Timeout | requests.exceptions.ChunkedEncodingError)


def _reason(error: Exception) -> str:
    import requests

    if isinstance(error, requests.HTTPError):
        return f"the server answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection was cut"
    if isinstance(error, requests.Timeout):
        return "the server did not answer in time"
    if isinstance(error, requests.ConnectionError):
        return "the server could not be reached or stopped answering"
    return f"the address or its answer is not valid HTTP ({type(error).__name__})"


def _shown(place: Path | str) -> str:
    """The place for a message, without the user's name and password that an address may hold."""
    if isinstance(place, Path):
        return str(place)
    return re.sub("//[^/]*@", "//", place)


def _failure_message(file: RemoteFile, failures: dict[str, _Unfit]) -> str:
    if not failures:
        return (
            f"{file.path} has no public address that allows plain download: "
            f"set {MIRROR} to a folder that holds {file.path} (or to the http(s) address of one)."
        )
    happened = "; ".join(f"{place}: {failure.reason}" for place, failure in failures.items())
    advice = "; ".join(dict.fromkeys(failure.advice for failure in failures.values()))
    return f"{file.path} could not be fetched ({happened}): {advice}."
