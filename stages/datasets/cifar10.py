"""CIFAR-10 in its official binary version: 32x32 colour pictures of ten classes.

Reads   raw/cifar-10-batches-bin/{data_batch_1..5,test_batch}.bin and batches.meta.txt, a few hundred pictures at a time.
        A record is a label byte and 3,072 pixel bytes: red, green and blue planes of 32x32, row by row
        (https://www.cs.toronto.edu/~kriz/cifar.html). The version of pickled files is never read.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from stages.common.meta import Input
from stages.common.params import Section
from stages.common.splits import by_split, choose_splits
from stages.reading.contents import Chunk, Contents
from stages.shell.errors import UserError
from stages.shell.read_errors import read_errors_named

FOLDER = "cifar-10-batches-bin"
TRAIN_FILES = [f"data_batch_{number}.bin" for number in range(1, 6)]
TEST_FILE = "test_batch.bin"
SIDE, NUM_CLASSES = 32, 10
RECORD = 1 + 3 * SIDE * SIDE
CHUNK = 512


class Preprocess(Section):
    task: ClassVar[str] = "multiclass"
    input_kind: ClassVar[str] = "image"
    val_fraction: float = Field(ge=0, lt=1)


def read(raw: Path, preprocess: Preprocess, seed: int) -> Contents:
    folder = raw / FOLDER
    return Contents(
        description="CIFAR-10: small colour photographs of ten kinds of things, 32x32.",
        input=Input(kind="image", shape=[SIDE, SIDE, 3], dtype="uint8"),
        classes=_read_class_names(folder / "batches.meta.txt"),
        chunks=_chunks(folder, preprocess.val_fraction, seed),
        measure=True,
    )


def _read_class_names(path: Path) -> list[str]:
    with read_errors_named(path), path.open("rb") as file:
        text = file.read(10_000).decode("utf-8", errors="replace")
    names = [line.strip() for line in text.splitlines() if line.strip()]
    if len(names) != NUM_CLASSES or len(set(names)) != NUM_CLASSES:
        raise UserError(f"{path} has {len(set(names))} class names, expected {NUM_CLASSES} different ones, one a line: fetch it again.")
    return names


def _chunks(folder: Path, val_fraction: float, seed: int) -> Iterator[Chunk]:
    train = [folder / name for name in TRAIN_FILES]
    labels = np.concatenate([np.empty(0, np.int64), *(labels for path in train for _, labels in _items(path))])
    yield from by_split((chunk for path in train for chunk in _items(path)), choose_splits(labels, seed, val_fraction))
    yield from (("test", *chunk) for chunk in _items(folder / TEST_FILE))


def _items(path: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pictures uint8 [k, 32, 32, 3] and classes int64 [k] of a batch file, at most CHUNK at a time."""
    with read_errors_named(path), path.open("rb") as file:
        size = path.stat().st_size
        if size == 0 or size % RECORD:
            raise UserError(f"{path} has {size:,} bytes, not a whole number of records of {RECORD:,}: it is damaged, fetch it again.")
        for start in range(0, size // RECORD, CHUNK):
            records = np.frombuffer(file.read(CHUNK * RECORD), dtype=np.uint8).reshape(-1, RECORD)
            for place in np.flatnonzero(records[:, 0] >= NUM_CLASSES)[:1]:
                raise UserError(f"{path} has the label {records[place, 0]} at record {start + place}, expected 0 to 9: fetch it again.")
            planes = records[:, 1:].reshape(-1, 3, SIDE, SIDE)
            yield planes.transpose(0, 2, 3, 1), records[:, 0].astype(np.int64)
