"""Unpacks .zip, .tar, .tar.gz and .tgz as if a stranger had made them: what leaves the folder, links or swells is refused by its name."""

import errno
import gzip
import io
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from stages.common.errors import UserError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
MAX_ENTRIES = 1_000_000
MAX_NAME_BYTES = 1024
MAX_PART_BYTES = 255  # of a file's or folder's own name, on every common file system
HEADER_BYTES = 1 << 20  # what a tar may spend between two entries on headers; a long name needs a few kB
BLOCK = tarfile.BLOCKSIZE
CHUNK = 1 << 18
ZIP_METHODS = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflated"}
ENCRYPTED = 0x1  # bit 0 of a zip entry's flags, APPNOTE.TXT 4.4.4
# What the readers of zip, tar and gzip raise on bytes that are not theirs; RuntimeError covers headers nested too deep.
DAMAGED_CONTAINER = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error)
DAMAGED = (*DAMAGED_CONTAINER, struct.error, EOFError, ValueError, OverflowError, RuntimeError)


class Entry(NamedTuple):
    """One thing in an archive: `content` is None for a folder, `reason` says why the entry is refused, if it is."""

    name: str
    content: IO[bytes] | None
    reason: str | None = None


def unpack(archive: Path, into: Path, max_megabytes: int) -> None:
    """Write the archive's folders and files into `into`, a folder that is new or empty.

    No more than `max_megabytes` (of 10**6 bytes) are written, counted as they come out: sizes in headers are not
    believed. Modes and times in the archive are ignored. Raises UserError, naming the archive and the entry, for
    anything hostile or damaged; what was unpacked by then stays in `into`, which the caller throws away.
    """
    into.mkdir(parents=True, exist_ok=True)
    folder = _Folder(archive.name, into, max_megabytes)
    entries = _zip_entries(archive) if archive.name.endswith(".zip") else _tar_entries(archive, folder)
    try:
        for entry in entries:
            folder.add(entry)
    except DAMAGED as error:
        raise _damaged(archive, error) from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # a damaged zip can send its reader to a place before the file's first byte
            raise
        raise _damaged(archive, error) from error


def _damaged(archive: Path, error: Exception) -> UserError:
    what = str(error) or type(error).__name__
    return UserError(f"{archive.name} is damaged or was cut short ({what}): fetch it again, or get it from another address.")


class _Folder:
    """The folder that is being filled, with all that is counted against its limits."""

    def __init__(self, archive: str, root: Path, max_megabytes: int):
        self.archive, self.root, self.max_megabytes = archive, root, max_megabytes
        self.bytes_left = max_megabytes * 10**6
        self.entries_left = MAX_ENTRIES
        self.files: set[Path] = set()
        self.folders: set[Path] = {root}

    def add(self, entry: Entry) -> None:
        reason = entry.reason or name_problem(entry.name)
        if reason:
            raise self.refusal(entry.name, reason)
        self._count(entry.name)
        path = self.root.joinpath(*_parts(entry.name))
        try:
            if entry.content is None:
                self._make_folder(path, entry.name)
            else:
                self._make_folder(path.parent, entry.name)
                self._write(path, entry.name, entry.content)
        except (FileExistsError, NotADirectoryError) as error:  # also where the disk takes A.txt and a.txt for one name
            raise self.refusal(entry.name, "has the name of an entry before it") from error
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            raise self.refusal(entry.name, "has a name too long for this disk") from error

    def too_large(self, name: str) -> UserError:
        limit = f"{self.max_megabytes} MB unpacked (if that is right, raise unpack.max_megabytes in params.yaml)"
        return self.refusal(name, f"takes it over {limit}")

    def refusal(self, name: str, reason: str) -> UserError:
        shown = repr(name if len(name) <= 200 else name[:200] + "...")
        return UserError(f"{self.archive} was refused: its entry {shown} {reason}.")

    def _count(self, name: str) -> None:
        self.entries_left -= 1
        if self.entries_left < 0:
            raise self.refusal(name, f"is one more than the {MAX_ENTRIES:,} entries that are accepted")

    def _make_folder(self, path: Path, name: str) -> None:
        missing = []
        while path not in self.folders:
            missing.append(path)
            path = path.parent
        for folder in reversed(missing):
            self._count(name)
            folder.mkdir()
            self.folders.add(folder)

    def _write(self, path: Path, name: str, content: IO[bytes]) -> None:
        if path in self.files:
            raise FileExistsError(path)
        with path.open("xb") as file:
            while chunk := content.read(min(CHUNK, self.bytes_left + 1)):
                self.bytes_left -= len(chunk)
                if self.bytes_left < 0:
                    raise self.too_large(name)
                file.write(chunk)
        self.files.add(path)


def name_problem(name: str) -> str | None:
    """Why an entry may not be called `name` (a path with forward slashes), or None if it may."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "has a name that is not UTF-8"
    if size > MAX_NAME_BYTES or any(len(part.encode()) > MAX_PART_BYTES for part in name.split("/")):
        return "has a name that is too long"
    if name.startswith("/") or re.match("[A-Za-z]:", name):
        return "has an absolute path"
    if ".." in name.split("/"):
        return "leaves the folder"
    if "\\" in name:
        return "has a backslash in its name"
    if any(ord(character) < 32 or ord(character) == 127 for character in name):
        return "has a control character in its name"
    return None


def _parts(name: str) -> list[str]:
    return [part for part in name.split("/") if part not in ("", ".")]


def _zip_entries(archive: Path) -> Iterator[Entry]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            reason = _zip_problem(info)
            if reason or info.is_dir():
                yield Entry(info.orig_filename, None, reason)
                continue
            with opened.open(info) as content:
                yield Entry(info.orig_filename, content)


def _zip_problem(info: zipfile.ZipInfo) -> str | None:
    if not info.filename:
        return "has no name"
    kind = stat.S_IFMT(info.external_attr >> 16)  # a Unix mode stands in the upper half; 0 where DOS made the archive
    if kind == stat.S_IFLNK:
        return "is a link"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a device, a pipe or of another special kind"
    if info.flag_bits & ENCRYPTED:
        return "is encrypted"
    if info.compress_type not in ZIP_METHODS:
        return f"is compressed by method {info.compress_type} (accepted: {', '.join(ZIP_METHODS.values())})"
    return None


def _tar_entries(archive: Path, folder: _Folder) -> Iterator[Entry]:
    compressed = archive.name.endswith("gz")
    with archive.open("rb") as packed, gzip.GzipFile(fileobj=packed) if compressed else packed as file:
        stream = _BoundedStream(file, folder)
        # As a stream (r|), so that nothing seeks, and block by block, so that the last block read is the last header.
        with tarfile.open(fileobj=stream, mode="r|", bufsize=BLOCK) as opened:
            while info := opened.next():
                stream.allow_content_of(info.name)
                yield Entry(info.name, opened.extractfile(info) if info.isreg() else None, _tar_problem(info))
                # These two grow with the entries, and nothing here needs them.
                opened.members.clear()  # type: ignore[attr-defined]
                opened.pax_headers.clear()  # type: ignore[attr-defined]
                stream.allow_header()
        if stream.last_block != bytes(BLOCK):  # tarfile takes a header that is cut or damaged for the end
            raise tarfile.ReadError("the mark at its end is missing")
        stream.drain()


def _tar_problem(info: tarfile.TarInfo) -> str | None:
    if info.issym() or info.islnk():
        return "is a link"
    if info.issparse():
        return "is a sparse file"
    if not info.isreg() and not info.isdir():
        return "is a device, a pipe or of another special kind"
    return None


class _BoundedStream(io.RawIOBase):
    """The bytes of a tar after decompression, which may not outgrow what the folder still takes.

    The folder counts what is written; this counts what is read, for a tar can also swell in its headers.
    """

    def __init__(self, file: gzip.GzipFile | io.BufferedReader, folder: _Folder):
        self.file, self.folder = file, folder
        self.entry, self.last_block = "", b""
        self.allow_header()

    def allow_header(self) -> None:
        self.in_header, self.bytes_left = True, HEADER_BYTES

    def allow_content_of(self, entry: str) -> None:
        """As many bytes as the folder takes, and one too many, for the folder to see; blocks come whole."""
        self.entry, self.in_header, self.bytes_left = entry, False, self.folder.bytes_left + 2 * BLOCK

    def read(self, size: int = CHUNK) -> bytes:
        block = self.file.read(size)
        self.bytes_left -= len(block)
        if self.bytes_left < 0 and self.in_header:
            raise self.folder.refusal(self.entry, f"is followed by more than {HEADER_BYTES:,} bytes of headers or padding")
        if self.bytes_left < 0:
            raise self.folder.too_large(self.entry)
        self.last_block = block
        return block

    def drain(self) -> None:
        """Read the padding at the end, so that a gzip's own checksum is reached and checked."""
        while self.read():
            pass
