"""CIFAR-10 in its official binary version: 32x32 colour pictures of ten classes.

Reads   raw/cifar-10-batches-bin/{data_batch_1..5,test_batch}.bin and batches.meta.txt, a few hundred pictures at a time.
        A record is a label byte and 3,072 pixel bytes: red, green and blue planes of 32x32, row by row
        (https://www.cs.toronto.edu/~kriz/cifar.html). The version of pickled files is never read.
The sample is small drawn pictures in the same files: a class is a shape, a texture and a range of colours.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from stages.common.errors import UserError
from stages.common.meta import Input, InputKind, Task
from stages.common.params import Section
from stages.common.splits import hold_out
from stages.reading.contents import Chunk, Contents
from stages.reading.fetch import RemoteFile
from stages.reading.left_out import LeftOutItems
from stages.reading.read_errors import read_errors_named

FOLDER = "cifar-10-batches-bin"
TRAIN_FILES = [f"data_batch_{number}.bin" for number in range(1, 6)]
TEST_FILE = "test_batch.bin"
SIDE, NUM_CLASSES = 32, 10
RECORD = 1 + 3 * SIDE * SIDE
CHUNK = 512
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


class Sample(Section):
    """Pictures are spread evenly over the ten classes."""

    seed: int = Field(ge=0)
    num_train: int = Field(ge=10)
    num_test: int = Field(ge=10)


class Download(Section):
    sample: Sample
    official: Annotated[list[RemoteFile], Field(min_length=1)]


class Preprocess(Section):
    val_fraction: float = Field(ge=0, lt=1)

    @property
    def task(self) -> Task:
        return "multiclass"

    @property
    def input_kind(self) -> InputKind:
        return "image"


def read(raw: Path, preprocess: Preprocess, seed: int) -> Contents:
    folder = raw / FOLDER
    return Contents(
        description="CIFAR-10: small colour photographs of ten kinds of things, 32x32.",
        stand_in="A stand-in for CIFAR-10: drawn shapes of ten kinds, 32x32, under its class names, which they do not show.",
        task=preprocess.task,
        input=Input(kind=preprocess.input_kind, shape=[SIDE, SIDE, 3], dtype="uint8"),
        classes=_read_class_names(folder / "batches.meta.txt"),
        outputs=None,
        item_shape=(SIDE, SIDE, 3),
        target_shape=(),
        chunks=_chunks(folder, preprocess.val_fraction, seed),
        left_out=LeftOutItems(),
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
    labels = [records[:, 0].copy() for path in train for records in _records(path)]
    held_out = hold_out(np.concatenate([np.empty(0, np.uint8), *labels]), val_fraction, seed)
    start = 0
    for records in (records for path in train for records in _records(path)):
        val = held_out[start : start + len(records)]
        start += len(records)
        yield "train", *_pictures(records[~val])
        yield "val", *_pictures(records[val])
    for records in _records(folder / TEST_FILE):
        yield "test", *_pictures(records)


def _records(path: Path) -> Iterator[np.ndarray]:
    """Records uint8 [<= CHUNK, 3073] of a batch file, their labels checked."""
    with read_errors_named(path), path.open("rb") as file:
        size = path.stat().st_size
        if size == 0 or size % RECORD:
            raise UserError(f"{path} has {size:,} bytes, not a whole number of records of {RECORD:,}: it is damaged, fetch it again.")
        for start in range(0, size // RECORD, CHUNK):
            content = file.read(CHUNK * RECORD)
            records = np.frombuffer(content, dtype=np.uint8).reshape(-1, RECORD)
            for place in np.flatnonzero(records[:, 0] >= NUM_CLASSES)[:1]:
                raise UserError(f"{path} has the label {records[place, 0]} at record {start + place}, expected 0 to 9: fetch it again.")
            yield records


def _pictures(records: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pictures uint8 [k, 32, 32, 3] and classes int64 [k]."""
    planes = records[:, 1:].reshape(-1, 3, SIDE, SIDE)
    return planes.transpose(0, 2, 3, 1), records[:, 0].astype(np.int64)


def generate(raw: Path, download: Download) -> None:
    """Write the six batch files and batches.meta.txt; each batch has its classes in random order."""
    sample = download.sample
    folder = raw / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(sample.seed)
    train = _draw_records(sample.num_train, rng)
    for name, part in zip(TRAIN_FILES, np.array_split(train, len(TRAIN_FILES)), strict=True):
        (folder / name).write_bytes(part.tobytes())
    (folder / TEST_FILE).write_bytes(_draw_records(sample.num_test, rng).tobytes())
    (folder / "batches.meta.txt").write_text("\n".join(CLASSES) + "\n\n", encoding="utf-8")


def _draw_records(number: int, rng: np.random.Generator) -> np.ndarray:
    """Records uint8 [number, 3073], the classes evenly spread and shuffled."""
    records = np.empty((number, RECORD), dtype=np.uint8)
    for record, label in zip(records, rng.permutation(np.arange(number) % NUM_CLASSES), strict=True):
        record[0] = label
        record[1:] = _draw(LOOKS[label], rng).transpose(2, 0, 1).ravel()
    return records


@dataclass(frozen=True)
class Look:
    """What a class looks like: no shape, texture or hue (0 to 1) belongs to one class alone."""

    shape: str
    texture: str
    hue: float


LOOKS = [
    Look("disc", "plain", 0.0),
    Look("square", "plain", 0.0),
    Look("triangle", "plain", 0.33),
    Look("disc", "stripes", 0.0),
    Look("square", "stripes", 0.33),
    Look("ring", "plain", 0.66),
    Look("triangle", "stripes", 0.33),
    Look("ring", "stripes", 0.66),
    Look("cross", "plain", 0.66),
    Look("cross", "stripes", 0.33),
]


def _draw(look: Look, rng: np.random.Generator) -> np.ndarray:
    """One picture, uint8 [32, 32, 3]: the shape at a random place, size and turn before a sloping background, with noise."""
    row, column = np.mgrid[:SIDE, :SIDE] - rng.uniform(12, 20, size=(2, 1, 1))
    turn, radius = rng.uniform(-0.3, 0.3), rng.uniform(7, 11)
    y = (row * np.cos(turn) - column * np.sin(turn)) / radius
    x = (row * np.sin(turn) + column * np.cos(turn)) / radius
    ink = _inside(look.shape, y, x).astype(float)
    if look.texture == "stripes":
        ink *= 0.35 + 0.65 * (np.sin((y + x) * radius * rng.uniform(1.2, 1.8)) > 0)
    colour = _colour(look.hue + rng.normal(0, 0.12), rng.uniform(0.6, 1.0))
    background = _colour(rng.random(), rng.uniform(0.1, 0.6)) * (0.8 + 0.02 * (row * rng.normal() + column * rng.normal()))[..., None]
    picture: np.ndarray = background * (1 - ink[..., None]) + colour * ink[..., None] + rng.normal(0, 0.12, size=(SIDE, SIDE, 3))
    return np.asarray(np.rint(255 * np.clip(picture, 0, 1)), dtype=np.uint8)


def _inside(shape: str, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Where (y, x), of about -1 to 1, lies within the shape."""
    distance = np.hypot(y, x)
    shapes: dict[str, np.ndarray] = {
        "disc": distance < 1,
        "ring": (distance < 1) & (distance > 0.5),
        "square": np.maximum(abs(y), abs(x)) < 0.85,
        "triangle": (y < 0.8) & (y > 2 * abs(x) - 1),
        "cross": (np.minimum(abs(y), abs(x)) < 0.3) & (np.maximum(abs(y), abs(x)) < 1),
    }
    return shapes[shape]


def _colour(hue: float, brightness: float) -> np.ndarray:
    """RGB [3] of 0 to 1, somewhat pale; the hue goes round once from 0 to 1."""
    phases = hue - np.arange(3) / 3
    return np.asarray(brightness * (0.55 + 0.45 * np.cos(2 * np.pi * phases)))
