"""MNIST's four gzipped idx files: the official ones, or scikit-learn's handwritten digits, 1,797 of 8x8, enlarged."""

import gzip
import struct
from pathlib import Path

import numpy as np
from pydantic import Field

from stages.common.params import Section
from stages.reading.fetch import Official

STAND_IN = "A stand-in for MNIST: some of scikit-learn's handwritten digits of 8x8, enlarged to 20x20 within 28x28."
SIDE = 28


class Sample(Section):
    """How many of the 1,797 digits, drawn by the seed, are for train and for test."""

    seed: int = Field(ge=0)
    num_train: int = Field(ge=10, le=1400)
    num_test: int = Field(ge=10, le=397)


class Source(Official):
    sample: Sample


def generate(raw: Path, source: Source) -> None:
    """Write some of scikit-learn's digits, shuffled by the seed, as the four idx files; those for test do not depend on num_train."""
    from sklearn.datasets import load_digits  # here, since importing it takes a second

    digits = load_digits()
    sample = source.sample
    order = np.random.default_rng(sample.seed).permutation(len(digits.target))
    pictures, labels = enlarge(digits.images), digits.target.astype(np.uint8)
    for prefix, places in (("train", order[: sample.num_train]), ("t10k", order[-sample.num_test :])):
        write_idx(raw / f"{prefix}-images-idx3-ubyte.gz", pictures[places])
        write_idx(raw / f"{prefix}-labels-idx1-ubyte.gz", labels[places])


def enlarge(images: np.ndarray) -> np.ndarray:
    """float [n, 8, 8] of 0 to 16 as uint8 [n, 28, 28]: 20x20 in the middle of a black margin, as MNIST was made."""
    from PIL import Image

    pictures = np.zeros((len(images), SIDE, SIDE), dtype=np.uint8)
    for picture, image in zip(pictures, images, strict=True):
        grey = Image.fromarray(np.rint(image * (255 / 16)).astype(np.uint8))
        picture[4:24, 4:24] = np.asarray(grey.resize((20, 20), Image.Resampling.BICUBIC))
    return pictures


def write_idx(path: Path, values: np.ndarray) -> None:
    """Write uint8 `values` of any shape, gzipped with no time stamp: the same values give the same bytes."""
    header = struct.pack(f">4B{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    path.write_bytes(gzip.compress(header + values.astype(np.uint8).tobytes(), mtime=0))
