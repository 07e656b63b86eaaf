"""CIFAR-10's files in its binary format (stages/datasets/cifar10.py): the official ones, or small drawn pictures of ten kinds under its
class names, which they do not show.
"""

from pathlib import Path

import numpy as np
from pydantic import Field

from stages.common.params import Section
from stages.reading.fetch import Official

STAND_IN = "A stand-in for CIFAR-10: drawn shapes of ten kinds, 32x32, under its class names, which they do not show."
SIDE = 32
RECORD = 1 + 3 * SIDE * SIDE
LOOKS = {  # shape, texture and hue (0 to 1) of each class: none of them belongs to one class alone
    "airplane": ("disc", "plain", 0.0),
    "automobile": ("square", "plain", 0.0),
    "bird": ("triangle", "plain", 0.33),
    "cat": ("disc", "stripes", 0.0),
    "deer": ("square", "stripes", 0.33),
    "dog": ("ring", "plain", 0.66),
    "frog": ("triangle", "stripes", 0.33),
    "horse": ("ring", "stripes", 0.66),
    "ship": ("cross", "plain", 0.66),
    "truck": ("cross", "stripes", 0.33),
}


class Sample(Section):
    """Pictures are spread evenly over the ten classes."""

    seed: int = Field(ge=0)
    num_train: int = Field(ge=10)
    num_test: int = Field(ge=10)


class Source(Official):
    sample: Sample


def generate(raw: Path, source: Source) -> None:
    """Write the six batch files and batches.meta.txt; each batch has its classes in random order."""
    folder, rng = raw / "cifar-10-batches-bin", np.random.default_rng(source.sample.seed)
    folder.mkdir()
    for number, part in enumerate(np.array_split(_draw_records(source.sample.num_train, rng), 5), start=1):
        (folder / f"data_batch_{number}.bin").write_bytes(part.tobytes())
    (folder / "test_batch.bin").write_bytes(_draw_records(source.sample.num_test, rng).tobytes())
    (folder / "batches.meta.txt").write_text("\n".join(LOOKS) + "\n\n", encoding="utf-8")


def _draw_records(number: int, rng: np.random.Generator) -> np.ndarray:
    """Records uint8 [number, 3073], the classes evenly spread and shuffled."""
    records = np.empty((number, RECORD), dtype=np.uint8)
    looks = list(LOOKS.values())
    for record, label in zip(records, rng.permutation(np.arange(number) % len(looks)), strict=True):
        record[0], (shape, texture, hue) = label, looks[label]
        record[1:] = _draw(shape, texture, hue, rng).transpose(2, 0, 1).ravel()
    return records


def _draw(shape: str, texture: str, hue: float, rng: np.random.Generator) -> np.ndarray:
    """One picture, uint8 [32, 32, 3]: the shape at a random place, size and turn before a sloping background, with noise."""
    row, column = np.mgrid[:SIDE, :SIDE] - rng.uniform(12, 20, size=(2, 1, 1))
    turn, radius = rng.uniform(-0.3, 0.3), rng.uniform(7, 11)
    y = (row * np.cos(turn) - column * np.sin(turn)) / radius
    x = (row * np.sin(turn) + column * np.cos(turn)) / radius
    ink = _inside(shape, y, x).astype(float)
    if texture == "stripes":
        ink *= 0.35 + 0.65 * (np.sin((y + x) * radius * rng.uniform(1.2, 1.8)) > 0)
    colour = _colour(hue + rng.normal(0, 0.12), rng.uniform(0.6, 1.0))
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
