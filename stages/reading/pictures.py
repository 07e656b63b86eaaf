"""Pictures as raw files: decoded some hundreds at a time by examples/pictures.py, resized, cut in the middle, and handed on by split.

What cannot be read is left out and named. Memory holds a name and a target a picture; where copies are kept together, what is decoded waits
in a file without a name beside raw/ until the splits are chosen, so that no picture is decoded twice.
"""

import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from examples.pictures import BadPicture, Note, centre, cut_notes, decode, resized
from stages.common.splits import SPLITS
from stages.reading.contents import Chunk
from stages.reading.copies import mirrored, near_groups, picture_hashes
from stages.reading.raw_files import RawFiles
from stages.reading.sizes import Pictures

CHUNK_BYTES = 16_000_000
MAX_CHUNK = 512  # pictures
# Pillow decodes and resizes without Python's lock; more threads would hold more large pictures at a time, and of small ones each would wait
# for the others.
THREADS, SMALL = 2, 50_000  # bytes


def cuts_of(content: bytes, resize: int | None, crops: Sequence[int]) -> tuple[list[np.ndarray], tuple[Note, ...]]:
    """The middle of the picture in a file's bytes, upright, uint8 RGB [crop, crop, 3] for each of `crops`, and what there is to say of it.

    Raises BadPicture.
    """
    image, notes = decode(content)
    if resize is None:
        if image.size != (crops[0], crops[0]):
            raise BadPicture(f"is {image.width}x{image.height}, expected {crops[0]}x{crops[0]}: set resize in params.yaml")
        return [np.asarray(image)], notes
    small = resized(image, resize)
    return [np.asarray(centre(small, crop, crop)) for crop in crops], (*notes, *cut_notes(image.size, resize, crops[-1], crops[-1]))


class PictureReader:
    """The pictures `names` of `files`, each with its target, in this order: their places in it are the `lines` of chunks."""

    def __init__(self, files: RawFiles, names: list[str], targets: np.ndarray, section: Pictures):
        self.files, self.names, self.targets, self.section = files, names, targets, section
        self.left_out, self.notes = files.left_out, files.notes
        self.total = files.left_out.count + len(names)

    def by_split(self, splits: np.ndarray) -> Iterator[Chunk]:
        """Chunks of the pictures, of which `splits` has the places in SPLITS."""
        train, other = [self.section.train_crop], [self.section.crop]
        with self.files:
            for start, cuts in self.cuts(lambda place: train if splits[place] == 0 else other):
                yield from self.chunks(range(start, start + len(cuts)), [None if cut is None else cut[0] for cut in cuts], splits)
            self.left_out.settle(self.total, self.section.max_bad_fraction)

    def cuts(self, sizes: Callable[[int], list[int]]) -> Iterator[tuple[int, list[list[np.ndarray] | None]]]:
        """(place of the first, pictures cut to the sizes at each place); None stands for one that cannot be read."""
        largest = max(self.section.crop, self.section.train_crop)
        most = min(MAX_CHUNK, max(1, CHUNK_BYTES // (3 * largest * largest)))
        with ThreadPoolExecutor(THREADS) as pool:
            for start in range(0, len(self.names), most):
                with warnings.catch_warnings(action="ignore"):
                    here = range(start, min(start + most, len(self.names)))
                    mapped = pool.map if self.files.size(self.names[start]) > SMALL else map
                    found = list(mapped(partial(self.cut, sizes), here))
                for place, (cut, notes) in enumerate(found, start=start):
                    if isinstance(cut, str):
                        self.left_out.add(self.names[place], f"cannot be read as a picture ({cut})")
                    for note in notes:
                        self.notes.add(note.what, f"{self.names[place]} ({note.detail})" if note.detail else self.names[place])
                yield start, [None if isinstance(cut, str) else cut for cut, _ in found]

    def cut(self, sizes: Callable[[int], list[int]], place: int) -> tuple[list[np.ndarray] | str, tuple[Note, ...]]:
        try:
            return cuts_of(self.files.read(self.names[place]), self.section.resize, sizes(place))
        except (ValueError, OSError) as error:
            return str(error), ()

    def chunks(self, places: Sequence[int], pictures: Sequence[np.ndarray | None], splits: np.ndarray) -> Iterator[Chunk]:
        """Of the pictures at these places, in each split's chunk its own."""
        good = [(place, picture) for place, picture in zip(places, pictures, strict=True) if picture is not None]
        for number, split in enumerate(SPLITS):
            if own := [(place, picture) for place, picture in good if splits[place] == number]:
                lines = np.array([place for place, _ in own], np.int64)
                yield split, np.stack([picture for _, picture in own]), self.targets[lines], lines


class Spool:
    """The pictures of a reader, decoded, in a file without a name: each in the size of train and, where that is another, in that of val and
    test; and for each of `good`, the places of those that could be read, its hashes.
    """

    def __init__(self, reader: PictureReader):
        self.reader, section = reader, reader.section
        self.sizes = list(dict.fromkeys([section.train_crop, section.crop]))
        self.file = tempfile.TemporaryFile(dir=reader.files.raw.parent)  # noqa: SIM115  # until by_split() has read it; /tmp may be memory
        found_hashes, self.good = list[np.ndarray](), list[int]()
        try:
            with reader.files:
                for start, cuts in reader.cuts(lambda _: self.sizes):
                    found = [(place, cut) for place, cut in enumerate(cuts, start=start) if cut is not None]
                    for place, cut in found:
                        self.good.append(place)
                        self.file.writelines(picture.tobytes() for picture in cut)
                    if found:
                        found_hashes.append(picture_hashes(np.stack([cut[-1] for _, cut in found])))
            reader.left_out.settle(reader.total, section.max_bad_fraction)
            # A picture that cannot be read has no copies.
            self.groups = np.arange(len(reader.names))
            if self.good:
                hashes = np.concatenate(found_hashes)
                self.groups[self.good] = np.array(self.good)[near_groups(hashes, mirrored(hashes))]
        except BaseException:
            self.file.close()
            raise

    def by_split(self, splits: np.ndarray) -> Iterator[Chunk]:
        size = [3 * side * side for side in self.sizes]
        most = min(MAX_CHUNK, max(1, CHUNK_BYTES // sum(size)))
        with self.file as file:
            file.seek(0)
            for start in range(0, len(self.good), most):
                places, pictures = self.good[start : start + most], list[np.ndarray]()
                for place in places:
                    record = file.read(sum(size))
                    side = self.sizes[0 if splits[place] == 0 else -1]
                    pixels = record[: size[0]] if splits[place] == 0 else record[-size[-1] :]
                    pictures.append(np.frombuffer(pixels, np.uint8).reshape(side, side, 3))
                yield from self.reader.chunks(places, pictures, splits)
