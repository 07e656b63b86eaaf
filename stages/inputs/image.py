"""Pictures: uint8 [height, width, channels] on disk and from consumers, normalised float32 [channels, height, width] for the network.

`mean` and `std` are per channel, of pixels scaled to 0..1, and measured on train, unless the dataset gives ImageNet's.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.common.meta import Input
from stages.common.signature import BATCH, Entry

if TYPE_CHECKING:
    from torch import Tensor

IS_AUGMENTED = True  # between scale() and normalize()
NAMES = ("image",)  # of what consumers send
CHANNELS_LAST = True  # convolutions are faster so


class Measurement:
    """Mean and std per channel of uint8 pictures scaled to 0..1, from a histogram: whole numbers, so exact in any order."""

    def __init__(self, described: Input):
        self.histogram = np.zeros((described.shape[-1] or 0, 256), dtype=np.int64)

    def add(self, pictures: np.ndarray) -> None:
        """Count the pixels of uint8 [k, height, width, channels]."""
        for channel, histogram in enumerate(self.histogram):
            histogram += np.bincount(pictures[..., channel].ravel(), minlength=256)

    def measured(self) -> dict[str, Any]:
        means, stds = [], []
        for histogram in self.histogram.tolist():
            number = sum(histogram)
            total = sum(value * times for value, times in enumerate(histogram))
            squares = sum(value * value * times for value, times in enumerate(histogram))
            means.append(total / (255 * number))
            stds.append((number * squares - total * total) ** 0.5 / (255 * number))
        return {"mean": means, "std": [std or 1.0 for std in stds]}


def as_batch(rows: np.ndarray) -> np.ndarray:
    """Rows of a split as a consumer sends them."""
    return rows


def lengths(rows: np.ndarray) -> np.ndarray | None:
    """All items are of one size."""
    return None


def constants(described: Input) -> dict[str, np.ndarray]:
    assert described.mean is not None and described.std is not None
    return {name: np.array(values, np.float32).reshape(1, -1, 1, 1) for name, values in (("mean", described.mean), ("std", described.std))}


def scale(image: "Tensor") -> "Tensor":
    """uint8 [batch, height, width, channels] with channels first and in 0..1, which is where augmentations work."""
    return image.permute(0, 3, 1, 2).float() / 255


def normalize(image: "Tensor", constants: dict[str, "Tensor"]) -> "Tensor":
    return (image - constants["mean"]) / constants["std"]


def prepare(image: "Tensor", constants: dict[str, "Tensor"]) -> "Tensor":
    """uint8 [batch, height, width, channels] to normalised float32 [batch, channels, height, width]."""
    return normalize(scale(image), constants)


def describe(described: Input, names: dict[str, str]) -> list[Entry]:
    """The inputs in the signature: one."""
    height, width, channels = (size or 0 for size in described.shape)
    colours = {1: "grey", 3: "red, green, blue"}.get(channels, f"{channels} channels")
    meaning = f"Pictures, 0 to 255, {colours}, as read from a file: not scaled."
    return [Entry(name=names["image"], dtype="uint8", shape=[BATCH, height, width, channels], meaning=meaning, range=[0, 255])]


def golden(described: Input) -> np.ndarray:
    """One row, made by rule and not taken from the data: that may be somebody's, and the model goes to others."""
    height, width, channels = (size or 1 for size in described.shape)
    rows, columns, layers = np.ogrid[:height, :width, :channels]
    return ((7 * rows + 5 * columns + 31 * layers) % 256).astype(np.uint8)[None]


def cases(batches: list[np.ndarray], described: Input) -> Iterator[np.ndarray]:
    """Batches that exported forms are compared on, from batches of rows of a split."""
    yield from batches


def shown(rows: np.ndarray, described: Input) -> np.ndarray | list[str]:
    """Pictures uint8 [n, height, width, channels], or a line of text for each item."""
    return rows


def columns(rows: np.ndarray, described: Input) -> dict[str, tuple[list[int], np.ndarray]]:
    """What can be said of each picture, float64 [n]; none of it is at a place of its own in a row."""
    pixels = rows.reshape(len(rows), -1)
    return {"brightness": ([], pixels.mean(axis=1)), "contrast": ([], pixels.std(axis=1))}
