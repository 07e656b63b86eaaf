"""processed/{train,val,test}.safetensors: written as a stream, so that memory does not grow with the dataset, and read back.

Each file holds `inputs` and `targets`, the item first: uint8 pictures [n, height, width, channels], float32 features
[n, num_features], int16 characters or int32 code points [n, length]; targets int64 [n] (classes), int64 [n, length] (sequences, -1 where
padded) or float32 [n, num_outputs] (regression). Some kinds of data add `lines`, int64 [n]: where in its file each item stands, or its
place in items.json.
"""

import contextlib
import json
import math
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType

import numpy as np

from stages.shell.errors import UserError, reason

SPLITS = ("train", "val", "test")
AT_ONCE, AT_ONCE_BYTES = 256, 5_000_000  # rows
PIECE = 1 << 18  # items whose places are looked for together
ITEMS = "items.json"  # beside them: the names of raw files, where items are not lines of one file

# https://github.com/huggingface/safetensors#format: u64 header length, JSON header, then the raw little-endian tensors.
DTYPES = {"uint8": "U8", "int16": "I16", "int32": "I32", "int64": "I64", "float32": "F32"}


class SplitWriter:
    """Writes one split: chunks go to two files without a name, joined behind a header at the end of the block, if that ends well.

    Use it in a folder that is replaced whole. The shapes are of one item, dtypes numpy names.
    """

    def __init__(
        self,
        path: Path,
        input_shape: tuple[int, ...],
        input_dtype: str,
        target_shape: tuple[int, ...],
        target_dtype: str,
        lines: bool = False,
    ):
        self.path, self.count = path, 0
        self.tensors = {"inputs": (input_shape, np.dtype(input_dtype)), "targets": (target_shape, np.dtype(target_dtype))}
        if lines:
            self.tensors["lines"] = ((), np.dtype("int64"))

    def __enter__(self) -> "SplitWriter":
        self.stack = contextlib.ExitStack()
        self.files = [self.stack.enter_context(tempfile.TemporaryFile(dir=self.path.parent)) for _ in self.tensors]  # noqa: SIM115
        return self

    def add(self, inputs: np.ndarray, targets: np.ndarray, *lines: np.ndarray) -> None:
        """Append a chunk: inputs [k, *input_shape], targets [k, *target_shape], and where there are `lines`, those [k]."""
        if len(inputs) != len(targets):
            raise ValueError(f"{len(inputs)} inputs and {len(targets)} targets in one chunk")
        for file, (name, (shape, dtype)), values in zip(self.files, self.tensors.items(), (inputs, targets, *lines), strict=True):
            if values.shape[1:] != shape:
                raise ValueError(f"{name} of shape {values.shape[1:]}, not {shape}")
            file.write(np.ascontiguousarray(values, dtype=dtype).tobytes())
        self.count += len(inputs)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self.stack:
            if error is None:
                self._join()

    def _join(self) -> None:
        header, start = {}, 0
        for name, (shape, dtype) in self.tensors.items():
            end = start + self.count * math.prod(shape) * dtype.itemsize
            header[name] = {"dtype": DTYPES[dtype.name], "shape": [self.count, *shape], "data_offsets": [start, end]}
            start = end
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        with self.path.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for part in self.files:
                part.seek(0)
                shutil.copyfileobj(part, file, 1 << 20)


class SplitFile:
    """One split of processed/, read piece by piece; what was read takes no memory but the caller's."""

    def __init__(self, processed: Path, split: str):
        self.path = processed / f"{split}.safetensors"
        self.tensors: dict[str, tuple[np.dtype, tuple[int, ...], int]] = {}  # dtype, shape and place in the file
        numpys = {name: np.dtype(kind) for kind, name in DTYPES.items()}
        with _naming(self.path), self.path.open("rb") as file:
            self.num_bytes = self.path.stat().st_size
            start = 8 + int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(start - 8))
            for name in (name for name in ("inputs", "targets", "lines") if name in header or name != "lines"):
                dtype, shape, (first, last) = numpys[header[name]["dtype"]], tuple(header[name]["shape"]), header[name]["data_offsets"]
                if last - first != dtype.itemsize * math.prod(shape) or start + last > self.num_bytes:
                    raise ValueError("it is shorter than it says")
                self.tensors[name] = dtype, shape, start + first
            self.count, num_targets = (self.tensors[name][1][0] for name in ("inputs", "targets"))
            if self.count != num_targets:
                raise ValueError(f"it has {self.count} inputs and {num_targets} targets")

    @property
    def at_once(self) -> int:
        """How many rows a network gets at once: fewer of photographs, of which its layers make hundreds of times as much."""
        dtype, (_, *shape), _ = self.tensors["inputs"]
        return max(1, min(AT_ONCE, AT_ONCE_BYTES // max(1, dtype.itemsize * math.prod(shape))))

    def read(self, name: str, start: int, stop: int) -> np.ndarray:
        """Rows of `inputs` or `targets`."""
        return self.read_all(name, [(start, min(stop, self.count))])

    def pieces(self, name: str, size: int) -> Iterator[np.ndarray]:
        """All rows, in order, so many at a time."""
        for start in range(0, self.count, size):
            yield self.read(name, start, start + size)

    def take(self, name: str, places: Iterable[int]) -> np.ndarray:
        """The rows at these places."""
        return self.read_all(name, [(place, place + 1) for place in places])

    def read_all(self, name: str, places: list[tuple[int, int]]) -> np.ndarray:
        """Rows from several places (start and stop of each). They are read, not mapped: a file that is cut meanwhile would kill the
        process, and pages that were looked at count as its memory.
        """
        dtype, shape, offset = self.tensors[name]
        rows = np.empty((sum(stop - start for start, stop in places), *shape[1:]), dtype)
        row_bytes, filled = rows.nbytes // max(len(rows), 1), 0
        with _naming(self.path), self.path.open("rb") as file:
            for start, stop in (place for place in places if place[0] < place[1]):
                piece = rows[filled : filled + stop - start].data.cast("B")
                file.seek(offset + start * row_bytes)
                if file.readinto(piece) < len(piece):
                    raise ValueError("it has become shorter")
                filled += stop - start
        return rows


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turns what a missing or damaged split raises into a sentence."""
    stage = f"python -m stages.preprocess {path.parent.parent.name}"
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: run {stage} (or dvc repro) first.") from error
    except (LookupError, TypeError, ValueError, OverflowError, MemoryError) as error:
        raise UserError(f"{path} is damaged ({reason(error)}): run {stage} again.") from error


def read_names(processed: Path) -> list[str] | None:
    """Of the raw files, in which the `lines` of a split are places; None where they are lines of one file, or not known."""
    try:
        names: list[str] = json.loads((processed / ITEMS).read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        stage = f"python -m stages.preprocess {processed.parent.name}"
        raise UserError(f"{processed / ITEMS} is damaged ({reason(error)}): run {stage} again.") from error
    return names


def read_split(processed: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets of a split, the whole of it in memory."""
    file = SplitFile(processed, split)
    return file.read("inputs", 0, file.count), file.read("targets", 0, file.count)


def middle(rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Of pictures that are larger in one split than in another, as for random crops, the part that all have."""
    starts = [(have - want) // 2 for have, want in zip(rows.shape[1:], shape, strict=True)]
    return rows[(slice(None), *(slice(start, start + want) for start, want in zip(starts, shape, strict=True)))]


def hold_out(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """A mask [n] of the items to hold out: round(fraction * n) of them, spread over the labels in proportion, chosen by the seed.

    For targets that are not classes pass one label for all.
    """
    rng = np.random.default_rng(seed)
    names, counts = np.unique(labels, return_counts=True)  # of small numbers: a byte an item
    # Whole shares first; what rounding down left over goes to the labels with the largest remainders.
    shares = np.floor(fraction * counts).astype(int)
    left_over = round(fraction * len(labels)) - shares.sum()
    shares[np.argsort(shares - fraction * counts, kind="stable")[:left_over]] += 1
    held_out = np.zeros(len(labels), dtype=bool)
    for name, share in zip(names, shares, strict=True):
        own = places_of(labels == name)
        rng.shuffle(own)
        held_out[own[:share]] = True
    return held_out


def places_of(mask: np.ndarray) -> np.ndarray:
    """Where a mask [n] is true, in half the memory of flatnonzero()."""
    places, filled = np.empty(np.count_nonzero(mask), np.int32 if len(mask) < 1 << 31 else np.int64), 0
    for start in range(0, len(mask), PIECE):
        found = np.flatnonzero(mask[start : start + PIECE])
        places[filled : filled + len(found)] = found + start
        filled += len(found)
    return places


def choose_splits(labels: np.ndarray, seed: int, val_fraction: float, test_fraction: float = 0.0) -> np.ndarray:
    """For every item the place of its split in SPLITS, uint8 [n], stratified by label; `val_fraction` is of what test leaves."""
    places = np.where(hold_out(labels, test_fraction, seed), 2, 0).astype(np.uint8)
    remaining = np.flatnonzero(places == 0)
    places[remaining[hold_out(labels[remaining], val_fraction, seed)]] = 1
    return places


def by_split(chunks: Iterable[tuple[np.ndarray, np.ndarray]], places: np.ndarray) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(split, inputs, targets) of chunks of inputs and targets, each item given to the split at its place."""
    start = 0
    for inputs, targets in chunks:
        here = places[start : start + len(targets)]
        start += len(targets)
        for place, split in enumerate(SPLITS):
            yield split, inputs[here == place], targets[here == place]
