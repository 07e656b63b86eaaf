"""MNIST in its four gzipped idx files: which digit a picture shows, or where on a larger canvas the digit lies.

Reads   raw/{train,t10k}-images-idx3-ubyte.gz and raw/{train,t10k}-labels-idx1-ubyte.gz, a few hundred pictures at a time.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from stages.common.meta import Input
from stages.common.params import Section
from stages.common.splits import hold_out
from stages.reading.contents import Chunk, Contents
from stages.reading.idx import read_idx
from stages.reading.left_out import LeftOutItems
from stages.shell.errors import UserError

SIDE = 28
CHUNK = 512
MAX_ITEMS = 10_000_000  # labels are held in memory, a byte each: no header may ask for gigabytes of them
FILES = {"train": "train", "test": "t10k"}


class Preprocess(Section):
    """`target` digit: the class, on the 28x28 picture as it is; center: row and column of the centre of mass on a `canvas`."""

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

    @property
    def input_kind(self) -> str:
        return "image"


def read(raw: Path, preprocess: Preprocess, seed: int) -> Contents:
    center = preprocess.target == "center"
    side = preprocess.canvas
    placed = f", each at a random spot of a {side}x{side} canvas" if center else ""
    return Contents(
        description=f"MNIST: handwritten digits, grey, 28x28{placed}.",
        task=preprocess.task,
        input=Input(kind=preprocess.input_kind, shape=[side, side, 1], dtype="uint8"),
        classes=None if center else [str(digit) for digit in range(10)],
        outputs=["row of the centre of mass, in pixels", "column of the centre of mass, in pixels"] if center else None,
        item_shape=(side, side, 1),
        target_shape=(2,) if center else (),
        chunks=_chunks(raw, preprocess, seed),
        left_out=LeftOutItems(),
        measure=True,
    )


def _chunks(raw: Path, preprocess: Preprocess, seed: int) -> Iterator[Chunk]:
    for number, (split, prefix) in enumerate(FILES.items()):
        labels = _read_labels(raw / f"{prefix}-labels-idx1-ubyte.gz")
        fraction = preprocess.val_fraction if split == "train" else 0.0
        held_out = hold_out(labels, fraction, seed)
        spots = np.random.default_rng([seed, number])  # train and test draw apart: neither moves the other's digits
        for start, pictures in _read_pictures(raw / f"{prefix}-images-idx3-ubyte.gz", len(labels)):
            place = slice(start, start + len(pictures))
            inputs, targets = pictures[..., None], labels[place].astype(np.int64)
            if preprocess.target == "center":
                inputs, targets = place_on_canvas(pictures, preprocess.canvas, spots)
            val = held_out[place]
            yield split, inputs[~val], targets[~val]
            yield "val", inputs[val], targets[val]


def _read_labels(path: Path) -> np.ndarray:
    """Labels uint8 [n], each 0 to 9."""
    (number,), chunks = read_idx(path, num_dims=1, chunk=65536)
    if number > MAX_ITEMS:
        raise UserError(f"{path} promises {number:,} labels, more than the {MAX_ITEMS:,} that are read: this is not MNIST.")
    labels = np.concatenate([np.empty(0, np.uint8), *chunks])
    for place in np.flatnonzero(labels > 9)[:1]:
        raise UserError(f"{path} has the label {labels[place]} at item {place}, expected 0 to 9: fetch it again.")
    return labels


def _read_pictures(path: Path, num_labels: int) -> Iterator[tuple[int, np.ndarray]]:
    """(place of the first, pictures uint8 [k, 28, 28]), chunk after chunk."""
    (number, height, width), chunks = read_idx(path, num_dims=3, chunk=CHUNK)
    if (height, width) != (SIDE, SIDE):
        raise UserError(f"{path} has pictures of {height}x{width}, expected {SIDE}x{SIDE}: this is not MNIST.")
    if number != num_labels:
        raise UserError(f"{path} promises {number:,} pictures and its labels file {num_labels:,} labels: fetch both again.")
    for index, chunk in enumerate(chunks):
        yield index * CHUNK, chunk


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
