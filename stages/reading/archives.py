"""Unpacks .zip, .tar, .tar.gz and .tgz as if a stranger had made them: a hostile entry is refused by its name."""

import gzip
import io
import shutil
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from stages.reading.contents import printable
from stages.shell.errors import DISK_FULL, UserError, reason

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
MAX_ENTRIES = 1_000_000  # files and folders
MAX_NAME = 1024  # characters of an entry's whole path
HEADER_BYTES = 1 << 20  # of a tar between two entries; a long name needs a few kB
NOT_PLAIN = "is a link, a device or of another special kind, or compressed by another method than deflate"
# What zipfile, tarfile and gzip raise on bytes that are not theirs.
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, struct.error, EOFError, ValueError, OverflowError, RuntimeError, OSError)

# Name, size in bytes, whether it is a plain file or folder, and the opened content (None: a folder, or not plain).
Entry = tuple[str, int, bool, IO[bytes] | None]


def unpack(archive: Path, into: Path, max_megabytes: int, folder: str | None = None) -> None:
    """Write the archive's folders and files, or its one folder `folder`, into `into`, which is new or empty, without modes and times.

    All of it may have `max_megabytes` (of 10**6 bytes). UserError names the archive and a hostile entry; what was unpacked by then stays.
    An archive that is cut between two entries can pass: its SHA-256, or its content's, is the caller's to check.
    """
    name, bytes_left, folders = "", max_megabytes * 10**6, set[PurePosixPath]()
    try:
        for number, (name, size, is_plain, content) in enumerate((_zip if archive.suffix == ".zip" else _tar)(archive), start=1):
            problem = name_problem(name) if is_plain else NOT_PLAIN
            bytes_left -= size
            if size < 0 or bytes_left < 0:  # zipfile and tarfile give no byte more than this size
                problem = f"takes it over {max_megabytes} MB unpacked (if that is right, raise unpack.max_megabytes in params.yaml)"
            path = PurePosixPath("" if problem else name)
            folders.update(path.parents)  # a single name can make hundreds of them
            if number + len(folders) > MAX_ENTRIES:
                problem = f"is one more than the {MAX_ENTRIES:,} files and folders that are accepted"
            if problem:
                raise UserError(f"{archive.name} was refused: its entry '{printable(name)}' {problem}.")
            if folder is not None and path.parts[:1] != (folder,):
                continue
            (into / (path if content is None else path.parent)).mkdir(parents=True, exist_ok=True)
            if content is not None:
                with (into / path).open("xb") as file:
                    shutil.copyfileobj(content, file)
    except (FileExistsError, NotADirectoryError) as error:  # also where the disk takes A.txt and a.txt for one name
        raise UserError(f"{archive.name} was refused: its entry '{printable(name)}' has the name of an entry before it.") from error
    except DAMAGED as error:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise
        what = (isinstance(error, OSError) and error.strerror) or reason(error)
        raise UserError(f"{archive.name} is damaged or was cut short ({what}): fetch it again, or get it from another address.") from error
    if folder is not None and not (into / folder).is_dir():
        raise UserError(f"{archive.name} has no folder {folder}: check unpack.folder in params.yaml.")


def name_problem(name: str) -> str | None:
    """Why an entry may not be called `name` (a path with forward slashes), or None if it may."""
    if len(name) > MAX_NAME:
        return "has a name that is too long"
    path = PureWindowsPath(name)  # knows drives and backslashes beside all that POSIX knows
    if path.anchor or ".." in path.parts:
        return "leaves the folder"
    if "\\" in name or any(unicodedata.category(character) in ("Cc", "Cs") for character in name):  # Cs: bytes that are not UTF-8
        return "has a backslash, a control character or a byte that is not UTF-8 in its name"
    return None


def _zip(archive: Path) -> Iterator[Entry]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)  # a Unix mode stands in the upper half; 0 where DOS made the archive
            deflated = info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others can swell to gigabytes in one read
            is_plain = kind in (0, stat.S_IFREG, stat.S_IFDIR) and deflated
            name = info.orig_filename  # with what may follow a zero byte
            if name.endswith("/") or not is_plain:
                yield name, info.file_size, is_plain, None
            else:
                with opened.open(info) as content:
                    yield name, info.file_size, True, content


def _tar(archive: Path) -> Iterator[Entry]:
    with gzip.open(archive) if archive.name.endswith("gz") else archive.open("rb") as file:
        stream = _BoundedStream(file)
        # As a stream (r|), so that nothing seeks, and block by block, so that no more is read than the next header.
        with tarfile.open(fileobj=stream, mode="r|", bufsize=tarfile.BLOCKSIZE) as opened:
            while info := opened.next():
                stream.bytes_left = info.size + HEADER_BYTES
                is_plain = info.isreg() or info.isdir()
                yield info.name, info.size, is_plain, opened.extractfile(info) if is_plain else None
                # These two grow with the entries, and nothing here needs them.
                opened.members.clear()  # type: ignore[attr-defined]
                opened.pax_headers.clear()  # type: ignore[attr-defined]


class _BoundedStream(io.RawIOBase):
    """The bytes of a tar after decompression, `bytes_left` of them: headers too can swell, and tarfile reads them into memory."""

    def __init__(self, file: gzip.GzipFile | io.BufferedReader):
        self.file, self.bytes_left = file, HEADER_BYTES

    def read(self, size: int = tarfile.BLOCKSIZE) -> bytes:
        block = self.file.read(size)
        self.bytes_left -= len(block)
        if self.bytes_left < 0:
            raise tarfile.ReadError(f"more than {HEADER_BYTES:,} bytes of headers or padding")
        return block
