"""MNIST in its four gzipped idx files: which digit a picture shows, or where on a larger canvas the digit lies.

Reads   raw/{train,t10k}-images-idx3-ubyte.gz and raw/{train,t10k}-labels-idx1-ubyte.gz, a few hundred pictures at a time.
        An idx file is big-endian: two zero bytes, a type (8 is unsigned byte), the number of dimensions, each dimension as a
        32-bit count, then the values (http://yann.lecun.com/exdb/mnist/).
"""

import gzip
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from stages.common.meta import Input
from stages.common.params import Section
from stages.common.splits import by_split, choose_splits
from stages.reading.contents import Chunk, Contents
from stages.shell.errors import UserError
from stages.shell.read_errors import read_errors_named

SIDE = 28
CHUNK = 512
MAX_ITEMS = 10_000_000  # labels are held in memory, a byte each: no header may ask for gigabytes of them


class Preprocess(Section):
    """`target` digit: the class, on the 28x28 picture as it is; center: row and column of the centre of mass on a `canvas`."""

    input_kind: ClassVar[str] = "image"
    target: Literal["digit", "center"]
    canvas: int = Field(ge=SIDE, le=1024)
    val_fraction: float = Field(ge=0, lt=1)

    @model_validator(mode="after")
    def _digits_fill_the_canvas(self) -> "Preprocess":
        if self.target == "digit" and self.canvas != SIDE:
            raise ValueError(f"expected canvas {SIDE} for the target digit, got {self.canvas}")
        return self

    @property
    def task(self) -> str:
        return "multiclass" if self.target == "digit" else "regression"


def read(raw: Path, preprocess: Preprocess, seed: int) -> Contents:
    center, side = preprocess.target == "center", preprocess.canvas
    placed = f", each at a random spot of a {side}x{side} canvas" if center else ""
    return Contents(
        description=f"MNIST: handwritten digits, grey, 28x28{placed}.",
        input=Input(kind="image", shape=[side, side, 1], dtype="uint8"),
        classes=None if center else [str(digit) for digit in range(10)],
        outputs=["row of the centre of mass, in pixels", "column of the centre of mass, in pixels"] if center else None,
        chunks=_chunks(raw, preprocess, seed),
        measure=True,
    )


def _chunks(raw: Path, preprocess: Preprocess, seed: int) -> Iterator[Chunk]:
    train, test = (_read_labels(raw / f"{prefix}-labels-idx1-ubyte.gz") for prefix in ("train", "t10k"))
    # Train and test draw apart: neither moves the other's digits.
    items = _items(raw / "train-images-idx3-ubyte.gz", train, preprocess, np.random.default_rng([seed, 0]))
    yield from by_split(items, choose_splits(train, seed, preprocess.val_fraction))
    items = _items(raw / "t10k-images-idx3-ubyte.gz", test, preprocess, np.random.default_rng([seed, 1]))
    yield from (("test", *chunk) for chunk in items)


def _items(path: Path, labels: np.ndarray, preprocess: Preprocess, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    start = 0
    for pictures in _read_idx(path, (SIDE, SIDE), len(labels)):
        if preprocess.target == "center":
            yield place_on_canvas(pictures, preprocess.canvas, rng)
        else:
            yield pictures[..., None], labels[start : start + len(pictures)].astype(np.int64)
        start += len(pictures)


def _read_labels(path: Path) -> np.ndarray:
    """Labels uint8 [n], each 0 to 9."""
    labels = np.concatenate([np.empty(0, np.uint8), *_read_idx(path, ())])
    for place in np.flatnonzero(labels > 9)[:1]:
        raise UserError(f"{path} has the label {labels[place]} at item {place}, expected 0 to 9: fetch it again.")
    return labels


def _read_idx(path: Path, shape: tuple[int, ...], expected: int | None = None) -> Iterator[np.ndarray]:
    """uint8 [<= CHUNK, *shape] at a time: `expected` items, or as many as the header promises.

    The file must hold exactly what its header promises; never is more than a chunk (and one byte at the end) unpacked.
    """
    with read_errors_named(path), gzip.open(path, "rb") as file:
        header = file.read(8 + 4 * len(shape))
        number = int.from_bytes(header[4:8], "big")
        right = struct.pack(f">4B{1 + len(shape)}I", 0, 0, 8, 1 + len(shape), number, *shape)
        if header != right or number > MAX_ITEMS or expected not in (None, number):
            wanted = f"{expected:,} pictures of {SIDE}x{SIDE}" if shape else f"at most {MAX_ITEMS:,} labels"
            raise UserError(f"{path} is not an idx file of {wanted}: it begins with {header.hex() or 'nothing'}; fetch both again.")
        for start in range(0, number, CHUNK):
            count = min(CHUNK, number - start)
            content = file.read(count * math.prod(shape))
            # Reading past the end also lets gzip compare its checksum.
            if len(content) < count * math.prod(shape) or (start + count == number and file.read(1)):
                raise UserError(f"{path} does not hold just the {number:,} items that its header promises; fetch it again.")
            yield np.frombuffer(content, dtype=np.uint8).reshape(count, *shape)


def place_on_canvas(pictures: np.ndarray, canvas: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Each of uint8 [k, 28, 28] at a random spot: uint8 [k, canvas, canvas, 1] and its centre of mass, float32 [k, 2].

    The centre is (row, column) in pixels, 0 being the middle of the first pixel, weighted by brightness and taken from
    the placed picture. An all-black picture has its centre in the middle of where it was placed.
    """
    placed = np.zeros((len(pictures), canvas, canvas), dtype=np.uint8)
    spots = rng.integers(0, canvas - SIDE + 1, size=(len(pictures), 2))
    for target, picture, (row, column) in zip(placed, pictures, spots, strict=True):
        target[row : row + SIDE, column : column + SIDE] = picture
    mass = placed.sum(axis=(1, 2), dtype=np.int64)
    along = np.arange(canvas)
    moments = np.stack([placed.sum(axis=2, dtype=np.int64) @ along, placed.sum(axis=1, dtype=np.int64) @ along], axis=1)
    centres = np.where(mass[:, None] > 0, moments / np.maximum(mass, 1)[:, None], spots + (SIDE - 1) / 2)
    return placed[..., None], centres.astype(np.float32)
