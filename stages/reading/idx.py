"""Reads and writes gzipped idx files, MNIST's format, as a stream.

An idx file is big-endian: two zero bytes, a type (8 is unsigned byte), the number of dimensions, each dimension as a
32-bit count, then the values. Source: the page that published MNIST (http://yann.lecun.com/exdb/mnist/).
"""

import gzip
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from stages.shell.errors import UserError
from stages.shell.read_errors import read_errors_named

UNSIGNED_BYTE = 8


def read_idx(path: Path, num_dims: int, chunk: int) -> tuple[tuple[int, ...], Iterator[np.ndarray]]:
    """The header's dimensions, item count first, and the items: uint8 [<= chunk, *dims[1:]] at a time.

    The file must hold exactly what its header promises; never is more than a chunk (and one byte at the end) unpacked.
    """
    items = _read(path, num_dims, chunk)
    return next(items), items


def _read(path: Path, num_dims: int, chunk: int) -> Iterator[Any]:
    """The dimensions, then the items."""
    with read_errors_named(path), gzip.open(path, "rb") as file:
        header = file.read(4 + 4 * num_dims)
        if len(header) < 4 + 4 * num_dims or header[:4] != bytes([0, 0, UNSIGNED_BYTE, num_dims]):
            begin = header[:4].hex() or "nothing"
            raise UserError(f"{path} is not an idx file of bytes in {num_dims} dimension(s): it begins with {begin}.")
        number, *shape = struct.unpack(f">{num_dims}I", header[4:])
        yield (number, *shape)
        for start in range(0, number, chunk):
            count = min(chunk, number - start)
            content = file.read(count * math.prod(shape))
            if len(content) < count * math.prod(shape):
                raise UserError(f"{path} ends early: its header promises {number:,} items; fetch it again.")
            yield np.frombuffer(content, dtype=np.uint8).reshape(count, *shape)
        if file.read(1):  # reading past the end also lets gzip compare its checksum
            raise UserError(f"{path} holds more than the {number:,} items that its header promises; fetch it again.")


def write_idx(path: Path, values: np.ndarray) -> None:
    """Write uint8 `values` of any shape, gzipped with no time stamp: the same values give the same bytes."""
    header = bytes([0, 0, UNSIGNED_BYTE, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    path.write_bytes(gzip.compress(header + values.astype(np.uint8).tobytes(), mtime=0))
