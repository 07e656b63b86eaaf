"""Pictures in arrays: idx files as MNIST's, .npy files, or the arrays of an .npz, with the names of their classes given.

Reads   raw/<file>, or raw/<file>.npz/<array>, as a stream: pictures uint8 [n, height, width], with 1 or 3 channels last or first too, and
        their labels, whole numbers [n] or [n, 1] from 0.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from PIL import Image
from pydantic import Field, model_validator

from examples.pictures import centre, resized
from stages.common.meta import Input, Resize
from stages.common.params import Section
from stages.common.splits import by_split, choose_splits
from stages.reading.arrays import Array
from stages.reading.contents import Chunk, Contents
from stages.reading.sizes import NORMS, Side
from stages.shell.errors import UserError

READS = (
    "examples/pictures.py",
    "stages/reading/archives.py",
    "stages/reading/arrays.py",
    "stages/reading/sizes.py",
)
CHUNK = 512

Name = Annotated[str, Field(pattern=r"^[^/\\.][^/\\]*(/[^/\\.][^/\\]*)?$")]


class Part(Section):
    """Files in raw/, or FILE.npz/ARRAY."""

    pictures: Name
    labels: Name


class Preprocess(Section):
    """`classes` names the labels 0, 1 and so on. `train`, `val` and `test` are pairs of arrays; where val or test is not given, a share of
    train's pictures is held out by the seed. `resize` makes pictures larger, or smaller, and of three channels, for networks that expect
    that; null leaves them as they are. `normalize`: as of the kind pictures.
    """

    task: ClassVar[str] = "multiclass"
    input_kind: ClassVar[str] = "image"
    classes: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=2, max_length=10_000)]
    train: Part
    val: Part | None = None
    test: Part | None = None
    test_fraction: float | None = Field(default=None, gt=0, lt=1)
    val_fraction: float | None = Field(default=None, ge=0, lt=1)
    resize: Side | None
    normalize: Literal["train", "imagenet", "symmetric"]

    @model_validator(mode="after")
    def _fits(self) -> "Preprocess":
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("expected classes that are all different")
        for name in ("test", "val"):
            if (getattr(self, name) is None) == (getattr(self, f"{name}_fraction") is None):
                raise ValueError(f"expected either {name}, a pair of arrays, or {name}_fraction, a share of train")
        return self


def read(raw: Path, preprocess: Preprocess, seed: int) -> Contents:
    parts = {name: Pair(raw, part, preprocess) for name in ("train", "val", "test") if (part := getattr(preprocess, name)) is not None}
    shapes = {name: part.shape for name, part in parts.items()}
    if len(set(shapes.values())) > 1:
        raise UserError(f"{raw}: pictures have different sizes: {', '.join(f'{name} {shape}' for name, shape in shapes.items())}.")
    shape = shapes["train"]
    mean, std = (of and of[: shape[2]] for of in NORMS[preprocess.normalize])
    colours = {1: "grey", 3: "in colours"}[parts["train"].channels]
    side, shown = preprocess.resize, ", ".join(preprocess.classes[:20])
    return Contents(
        description=f"Pictures in arrays, {parts['train'].size}, {colours}, of these classes: {shown}.",
        input=Input(
            kind="image",
            shape=list(shape),
            dtype="uint8",
            mean=mean,
            std=std,
            resize=None if side is None else Resize(shorter_side=side, crop=side),
        ),
        classes=preprocess.classes,
        chunks=_chunks(parts, preprocess, seed),
        measure=preprocess.normalize == "train",
    )


def _chunks(parts: dict[str, "Pair"], preprocess: Preprocess, seed: int) -> Iterator[Chunk]:
    train = parts["train"]
    places = choose_splits(train.labels, seed, preprocess.val_fraction or 0.0, preprocess.test_fraction or 0.0)
    yield from by_split(train.items(), places)
    for name in ("val", "test"):
        if name in parts:
            yield from ((name, *chunk) for chunk in parts[name].items())


class Pair:
    """An array of pictures and one of labels."""

    def __init__(self, raw: Path, part: Part, preprocess: Preprocess):
        self.array, labels, self.resize = Array(raw, part.pictures), Array(raw, part.labels), preprocess.resize
        path, shape = self.array.path, self.array.shape
        if self.array.dtype != np.uint8:
            fix = "save it as uint8, 0 to 255 (numbers from 0 to 1 times 255)"
            raise UserError(f"{path} holds {self.array.dtype}, expected whole numbers of 8 bits: {fix}.")
        self.is_first = len(shape) == 4 and shape[1] in (1, 3) and shape[3] not in (1, 3)
        if len(shape) != 3 and not (len(shape) == 4 and (self.is_first or shape[3] in (1, 3))):
            raise UserError(f"{path} has the shape {list(shape)}, expected [n, height, width], with 1 or 3 channels last or first.")
        self.channels = 1 if len(shape) == 3 else shape[1] if self.is_first else shape[3]
        height, width = shape[2 if self.is_first else 1], shape[3 if self.is_first else 2]
        self.size = f"{width}x{height}"
        self.shape = (height, width, self.channels) if self.resize is None else (self.resize, self.resize, 3)
        self.labels = read_labels(labels, preprocess.classes)
        if len(self.labels) != shape[0]:
            raise UserError(
                f"{path} has {shape[0]:,} pictures and {labels.path.name} {len(self.labels):,} labels: they do not belong together."
            )

    def items(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Pictures uint8 [k, height, width, channels] and classes int64 [k]."""
        start = 0
        for piece in self.array.pieces():
            for pictures in np.split(piece, range(CHUNK, len(piece), CHUNK)):
                labels = self.labels[start : start + len(pictures)].astype(np.int64)
                start += len(pictures)
                last = np.moveaxis(pictures, 1, 3) if self.is_first else pictures.reshape(*pictures.shape[:3], self.channels)
                yield last if self.resize is None else np.stack([enlarged(one, self.resize) for one in last]), labels


def enlarged(pixels: np.ndarray, side: int) -> np.ndarray:
    """uint8 RGB [side, side, 3], as a consumer's picture becomes."""
    image = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)).convert("RGB")
    return np.asarray(centre(resized(image, side), side, side))


def read_labels(array: Array, classes: list[str]) -> np.ndarray:
    """uint16 [n], each a place in classes."""
    if array.dtype.kind not in "bui" or array.shape[1:] not in ((), (1,)):
        raise UserError(f"{array.path} holds {array.dtype} {list(array.shape)}, expected whole numbers [n]: the labels.")
    found = list[np.ndarray]()
    for piece in array.pieces():
        labels = piece.reshape(-1)
        for place in np.flatnonzero((labels < 0) | (labels >= len(classes)))[:1]:
            at = sum(map(len, found)) + place
            raise UserError(
                f"{array.path} has the label {labels[place]} at item {at}, expected 0 to {len(classes) - 1}: check preprocess.classes."
            )
        found.append(labels.astype(np.uint16))
    return np.concatenate(found)
