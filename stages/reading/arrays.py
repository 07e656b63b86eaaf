"""Reads arrays from files as a stream, the first axis in pieces: idx (plain or gzipped), .npy, and the arrays of an .npz.

An idx file is big-endian: two zero bytes, a type (8 is unsigned byte), the number of dimensions, each of them as a 32-bit count, then the
values (http://yann.lecun.com/exdb/mnist/). Nothing is unpickled, and no header is believed: a piece is read at a time.
"""

import gzip
import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from stages.reading.archives import DAMAGED
from stages.shell.errors import UserError, reason

MAX_ITEMS, MAX_DIMENSIONS = 10_000_000, 4
MAX_ITEM_BYTES = 50_000_000
PIECE_BYTES = 16_000_000
MAX_HEADER = 10_000  # characters of an .npy header
IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


class Array:
    """An array of `raw`: a file, or FILE.npz/NAME. Raises UserError, here and while it is read."""

    def __init__(self, raw: Path, name: str):
        self.file, self.member = raw / name, ""
        self.path = self.file
        if ".npz/" in name:
            before, _, self.member = name.partition(".npz/")
            self.file = raw / f"{before}.npz"
        with self.opened() as file:
            self.dtype, self.shape = self.header(file)
        if not 1 <= len(self.shape) <= MAX_DIMENSIONS or min(self.shape) < 1 or self.shape[0] > MAX_ITEMS:
            raise UserError(
                f"{self.path} has the shape {list(self.shape)}, expected at most {MAX_DIMENSIONS} axes and {MAX_ITEMS:,} items."
            )
        self.item_bytes = math.prod(self.shape[1:]) * self.dtype.itemsize
        if self.item_bytes > MAX_ITEM_BYTES:
            raise UserError(f"{self.path} has items of {self.item_bytes:,} bytes, more than {MAX_ITEM_BYTES:,}.")

    def pieces(self) -> Iterator[np.ndarray]:
        """Some items at a time, in order: all that the header promises, and no more."""
        most = max(1, PIECE_BYTES // self.item_bytes)
        with self.opened() as file:
            self.header(file)
            for start in range(0, self.shape[0], most):
                number = min(most, self.shape[0] - start)
                content = file.read(number * self.item_bytes)
                # Reading past the end also compares the checksum of what is compressed.
                if len(content) < number * self.item_bytes or (start + number == self.shape[0] and file.read(1)):
                    raise UserError(f"{self.path} does not hold just the {self.shape[0]:,} items that its header promises: fetch it again.")
                yield np.frombuffer(content, self.dtype).reshape(number, *self.shape[1:])

    @contextmanager
    def opened(self) -> Iterator[IO[bytes]]:
        try:
            if self.member:
                with zipfile.ZipFile(self.file) as archive:
                    info = archive.getinfo(f"{self.member.removesuffix('.npy')}.npy")
                    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others can swell to gigabytes in one read
                        raise UserError(f"{self.path} is compressed by another method than deflate: save it with numpy.savez again.")
                    with archive.open(info) as file:
                        yield file
                return
            with self.file.open("rb") as plain:
                is_gzipped = plain.read(2) == b"\x1f\x8b"
                plain.seek(0)
                if not is_gzipped:
                    yield plain
                    return
                with gzip.open(plain) as file:
                    yield file  # type: ignore[misc]
        except FileNotFoundError as error:
            raise UserError(f"{self.file} is missing: check preprocess.train, val and test, or get it back (dvc checkout).") from error
        except KeyError as error:
            raise UserError(f"{self.file} has no array {self.member}; it has {', '.join(self.members())}.") from error
        except DAMAGED as error:
            raise UserError(f"{self.path} is damaged or was cut short ({reason(error)}): fetch it again.") from error

    def members(self) -> list[str]:
        with zipfile.ZipFile(self.file) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()[:20]]

    def header(self, file: IO[bytes]) -> tuple[np.dtype, tuple[int, ...]]:
        """Read it, and stand behind it."""
        start = file.read(4)
        if start == b"\x93NUM":
            return self.npy_header(file)
        if len(start) == 4 and start[:2] == b"\0\0" and start[2] in IDX_TYPES and 1 <= start[3] <= MAX_DIMENSIONS:
            return np.dtype(IDX_TYPES[start[2]]), tuple(np.frombuffer(file.read(4 * start[3]), ">u4").tolist())
        what = f"{start.hex() or 'nothing'}"
        raise UserError(f"{self.path} is neither an idx file nor an array of numpy's: it begins with {what}.")

    def npy_header(self, file: IO[bytes]) -> tuple[np.dtype, tuple[int, ...]]:
        """https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html"""
        try:
            if file.read(2) != b"PY":
                raise ValueError("another mark")
            versions = {b"\1\0": np.lib.format.read_array_header_1_0, b"\2\0": np.lib.format.read_array_header_2_0}
            read = versions[file.read(2)]
            shape, is_fortran, dtype = read(file, max_header_size=MAX_HEADER)
        except Exception as error:  # numpy parses it as Python's source, which fails in many ways
            raise UserError(f"{self.path} has a header that is not numpy's ({reason(error)}): save it with numpy.save again.") from error
        if dtype.hasobject or dtype.names or dtype.kind not in "buif":
            raise UserError(f"{self.path} holds {dtype}, not numbers: save it as an array of numbers.")
        if is_fortran and len(shape) > 1:
            raise UserError(f"{self.path} has its last axis first: save numpy.ascontiguousarray of it.")
        return dtype, tuple(map(int, shape))
