"""Which pictures, or which texts, are copies of one another: the same but for the file, a size, a compression, a mirror, a few words.

Reads and writes nothing: kinds of data keep copies in one split by it, and the stage audit names them.

Pictures are compared in two ways at once, since neither is enough alone. The 256-bit difference hash (imagehash; N. Krawetz, 2013, "Kind of
Like That") says in which directions grey grows; on a plain ground noise decides many of its bits, so that copies at a quarter of their size
lie up to 49 bits apart, and different hands before one wall 20. The correlation of the pictures at 17x16 grey pixels tells those apart:
copies that were saved again, made smaller or cut by 1 % at each side have 0.98 and more, with few exceptions, those hands 0.943 and less.
Larger cuts look like other pictures to both, and are not found (benchmarks/copies.py measures it, docs/audit.md has the table).

Texts are compared as readers see them, without case and blanks, and long ones by MinHash of their runs of five characters (datasketch;
Broder, 1997, "On the resemblance and containment of documents").
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from PIL import Image

SIDE = 16  # of the difference hash: 256 bits; it is made of 17x16 pixels
MAX_BITS, MIN_CORRELATION = 48, 0.96
MIN_CONTRAST = 4.0  # standard deviation of the 17x16 grey values, of 255; of less, noise is what would be compared
SMALL = 64  # pixels of the shorter side; of smaller ones only those with
COLOUR, MAX_GROUND = 2.0, 0.25  # such a mean difference between channels, and so many equal neighbours at most, have near copies
EXACT, TELLS, BITS, GREY = 0, 1, slice(2, 6), slice(6, None)  # columns of a picture's hashes
WIDTH = 6 + (SIDE + 1) * SIDE // 8
COARSE = 40  # lowest frequencies of the grey pixels, by which candidates are found
BLOCK, TILE, MAX_CANDIDATES = 256, 4096, 32  # rows and columns at a time, and candidates for a row that are looked at in each tile

RUN = 5  # characters
MIN_LENGTH, MAX_LENGTH = 20, 2000  # of texts that are compared by their runs; of longer ones the beginning is
NUM_PERMUTATIONS, NUM_BANDS, MIN_SHARED = 128, 32, 0.8  # bands of four: of texts that share 0.8 of their runs one in 10^7 is missed


def picture_hashes(pictures: np.ndarray) -> np.ndarray:
    """Of uint8 RGB pictures [n, height, width, 3] of any one size (grey ones [n, height, width, 1]): uint64 [n, WIDTH], for the other
    functions. Columns are a hash of the pixels, whether they show enough to be known again, the difference hash, and the grey pixels that
    it was made of.
    """
    import imagehash  # here: most stages that import this file never call it

    hashes = np.empty((len(pictures), WIDTH), np.uint64)
    for row, picture in zip(hashes, pictures, strict=True):
        pixels = np.ascontiguousarray(picture[..., 0] if picture.shape[-1] == 1 else picture)
        image = Image.fromarray(pixels).convert("L").resize((SIDE + 1, SIDE), Image.Resampling.LANCZOS)
        small = np.asarray(image)
        row[EXACT] = np.frombuffer(hashlib.blake2b(pixels.tobytes(), digest_size=8).digest(), np.uint64)[0]
        row[TELLS] = small.std() >= MIN_CONTRAST and _is_detailed(pixels, small)
        row[BITS] = np.packbits(imagehash.dhash(image, SIDE).hash).view(np.uint64) if row[TELLS] else 0
        row[GREY] = small.ravel().view(np.uint64)
    return hashes


def _is_detailed(pixels: np.ndarray, small: np.ndarray) -> bool:
    """Of small pictures only those in colour and without a plain ground: drawings and digits of few pixels are all alike."""
    if min(pixels.shape[:2]) >= SMALL:
        return True
    some = pixels[::4, ::4].astype(np.int16)
    has_colour = some.ndim == 3 and np.abs(some[..., 1:] - some[..., :-1]).mean() >= COLOUR
    return has_colour and np.mean(small[:, 1:] == small[:, :-1]) <= MAX_GROUND


def mirrored(hashes: np.ndarray) -> np.ndarray:
    """The hashes of the mirrored pictures from those of the pictures, but for the exact one (0): reducing and mirroring commute."""
    grey = grey_of(hashes)[:, :, ::-1]
    found = hashes.copy()
    found[:, EXACT] = 0
    found[:, BITS] = np.packbits((grey[:, :, 1:] > grey[:, :, :-1]).reshape(len(hashes), -1), axis=1).view(np.uint64)
    found[hashes[:, TELLS] == 0, BITS] = 0
    found[:, GREY] = grey.reshape(len(hashes), -1).view(np.uint64)
    return found


def grey_of(hashes: np.ndarray) -> np.ndarray:
    """uint8 [n, 16, 17]: the pictures, small and grey."""
    return np.ascontiguousarray(hashes[:, GREY]).view(np.uint8).reshape(-1, SIDE, SIDE + 1)


def exact_groups(hashes: np.ndarray) -> np.ndarray:
    """int64 [n]: for each picture the place of the first one with the same pixels."""
    _, first, inverse = np.unique(hashes[:, EXACT], return_index=True, return_inverse=True)
    return first[inverse]


def near_groups(hashes: np.ndarray, of_mirrored: np.ndarray | None = None) -> np.ndarray:
    """int64 [n]: for each picture the place of the first one of its group: equal numbers for copies, exact or near, and with the hashes of
    the mirrored pictures for mirrored copies too; a copy of a copy belongs to the group.

    A picture that shows nothing has only exact copies. Each picture is compared with one of each group before it, so that a thousand views
    of one camera cost no more than a thousand that differ; before it is by their hashes, so that the groups do not depend on the order
    in which pictures come: preprocess and audit find the same.
    """
    from threadpoolctl import threadpool_limits

    groups = _Groups(exact_groups(hashes))
    places = np.flatnonzero((groups.first == np.arange(len(hashes))) & (hashes[:, TELLS] == 1))
    places = places[np.argsort(hashes[places, EXACT])]
    coarse = _coarse(hashes[places])
    sides = [(hashes, coarse)] if of_mirrored is None else [(hashes, coarse), (of_mirrored, _coarse(of_mirrored[places]))]
    leaders, num_leaders = np.empty(len(places), np.int64), 0  # in `places`, as are the rows of a block
    lead = np.empty_like(coarse)
    with threadpool_limits(1):  # many small products, which several threads only slow down
        for start in range(0, len(places), BLOCK):
            block = np.arange(start, min(start + BLOCK, len(places)))
            stop = num_leaders + len(block)
            leaders[num_leaders:stop], lead[num_leaders:stop] = block, coarse[block]
            is_leader = np.ones(len(block), bool)
            for own, of_own in sides:
                rows, columns = _candidates(of_own[block], lead[:stop], num_leaders)
                found = are_near(own[places[block[rows]]], hashes[places[leaders[columns]]])
                for one, other in zip(places[block[rows[found]]].tolist(), places[leaders[columns[found]]].tolist(), strict=True):
                    groups.join(one, other)
                is_leader[rows[found]] = False
            stop = num_leaders + int(is_leader.sum())
            leaders[num_leaders:stop], lead[num_leaders:stop] = block[is_leader], coarse[block[is_leader]]
            num_leaders = stop
    return groups.settled()


def _candidates(block: np.ndarray, others: np.ndarray, before: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (row of the block, place in others) whose coarse pictures lie near enough, of many the nearest. Of the others those from
    `before` on are the block's own, of which only earlier rows count.

    The distance of a part of the frequencies is never more than that of all: none is missed. With the squared lengths as further numbers
    of each side, one product of matrices gives the squared distances, halved.
    """
    lengths = [(of**2).sum(axis=1, keepdims=True) / 2 for of in (block, others)]
    left = np.hstack([-block, lengths[0], np.ones_like(lengths[0])])
    right = np.hstack([others, np.ones_like(lengths[1]), lengths[1]])
    found = list[tuple[np.ndarray, np.ndarray]]()
    for start in range(0, len(others), TILE):
        distances = left @ right[start : start + TILE].T
        is_near = distances <= 1 - MIN_CORRELATION + 1e-4
        if start + TILE > before:
            is_near &= np.arange(start, start + distances.shape[1]) < before + np.arange(len(block))[:, None]
        crowded = np.flatnonzero(np.count_nonzero(is_near, axis=1) > MAX_CANDIDATES)
        if len(crowded):
            nearest = np.argpartition(np.where(is_near[crowded], distances[crowded], np.inf), MAX_CANDIDATES, axis=1)[:, :MAX_CANDIDATES]
            is_near[crowded] = False
            is_near[crowded[:, None], nearest] = True
        rows, columns = np.nonzero(is_near)
        found.append((rows, columns + start))
    return np.concatenate([rows for rows, _ in found]), np.concatenate([columns for _, columns in found])


def are_near(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """bool [n], for pairs of hashes of pictures that show something. Whole numbers as far as they go: the same on every machine."""
    found = np.bitwise_count(some[:, BITS] ^ others[:, BITS]).sum(axis=1) <= MAX_BITS
    left, right = (grey_of(of[found]).reshape(-1, SIDE * (SIDE + 1)).astype(np.int64) for of in (some, others))
    size = left.shape[1]
    both, first, second = size * (left * right).sum(axis=1), left.sum(axis=1), right.sum(axis=1)
    lengths = [np.maximum(size * (of**2).sum(axis=1) - total**2, 1) for of, total in ((left, first), (right, second))]
    found[found] = (both - first * second) / np.sqrt(np.prod(lengths, axis=0, dtype=np.float64)) >= MIN_CORRELATION
    return found


def _coarse(hashes: np.ndarray) -> np.ndarray:
    """float32 [n, COARSE]: the lowest frequencies, but the mean, of the grey pixels at a length of 1."""
    from scipy.fft import dctn

    rows, columns = np.divmod(np.arange((SIDE + 1) * SIDE), SIDE + 1)
    lowest = np.argsort(rows + columns, kind="stable")[1 : COARSE + 1]
    coarse = np.empty((len(hashes), COARSE), np.float32)
    for start in range(0, len(hashes), 4096):
        grey = grey_of(hashes[start : start + 4096]).astype(np.float32)
        grey -= grey.mean(axis=(1, 2), keepdims=True)
        grey /= np.maximum(np.sqrt((grey**2).sum(axis=(1, 2), keepdims=True)), 1e-6)
        coarse[start : start + 4096] = dctn(grey, axes=(1, 2), norm="ortho").reshape(len(grey), -1)[:, lowest]
    return coarse


def as_read(text: str) -> str:
    """The text as it is compared: NFC, without case, and with one blank for white space of any kind and length."""
    return re.sub(r"\s+", " ", unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())).strip()


def equal_texts(texts: Iterable[str]) -> np.ndarray:
    """int64 [n]: for each text the place of the first one that is equal but for case and blanks."""
    seen = dict[bytes, int]()
    return np.array([seen.setdefault(_digest(text), place) for place, text in enumerate(texts)], np.int64)


def text_groups(texts: Sequence[str]) -> np.ndarray:
    """int64 [n]: for each text the place of the first one of its group: equal numbers for texts that are equal but for case and blanks, or
    that share nearly all their runs of characters; a copy of a copy belongs to the group.

    Texts that fall together in a band of their MinHash are compared with the one before and with the first there, not all with all; in an
    order of their own, so that the groups do not depend on the one in which texts come: preprocess and audit find the same.
    """
    groups = _Groups(equal_texts(texts))
    places = sorted(np.flatnonzero(groups.first == np.arange(len(texts))).tolist(), key=lambda place: _digest(texts[place]))
    runs = [(place, found) for place in places if (found := _runs(texts[place])) is not None]
    if len(runs) < 2:
        return groups.settled()
    at, hashes = np.array([place for place, _ in runs]), _min_hashes(found for _, found in runs)
    for band in np.split(hashes, NUM_BANDS, axis=1):
        keys = np.ascontiguousarray(band).view(f"V{band.itemsize * band.shape[1]}").ravel()
        _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        order = np.argsort(inverse, kind="stable")
        follows = np.flatnonzero(np.diff(inverse[order]) == 0)
        for one, other in ((order[follows + 1], order[follows]), (order[follows + 1], first[inverse[order[follows + 1]]])):
            alike = (hashes[one] == hashes[other]).mean(axis=1) >= MIN_SHARED
            for left, right in zip(at[one[alike]].tolist(), at[other[alike]].tolist(), strict=True):
                groups.join(left, right)
    return groups.settled()


def _digest(text: str) -> bytes:
    return hashlib.blake2b(as_read(text).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _runs(text: str) -> np.ndarray | None:
    """uint32 hashes of the runs of characters of a text, each once; None of a short one."""
    codes = np.frombuffer(as_read(text[: 2 * MAX_LENGTH])[:MAX_LENGTH].encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    if len(codes) < MIN_LENGTH:
        return None
    mixed = np.zeros(len(codes) - RUN + 1, np.uint64)
    for place in range(RUN):
        mixed = (mixed ^ codes[place : place + len(mixed)]) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    return np.unique((mixed >> np.uint64(32)).astype(np.uint32))


def _min_hashes(runs: Iterator[np.ndarray]) -> np.ndarray:
    """[n, NUM_PERMUTATIONS], by datasketch."""
    from datasketch import MinHash

    first = MinHash(NUM_PERMUTATIONS, seed=1, hashfunc=int)
    hashes = []
    for found in runs:
        one = first.copy()
        one.update_batch(found.tolist())
        hashes.append(one.hashvalues)
    return np.stack(hashes)


class _Groups:
    """Places that are joined, each known by the first of its group."""

    def __init__(self, first: np.ndarray):
        self.first = first.copy()

    def of(self, place: int) -> int:
        while (to := int(self.first[place])) != place:
            self.first[place] = self.first[to]
            place = to
        return place

    def join(self, one: int, other: int) -> None:
        low, high = sorted((self.of(one), self.of(other)))
        self.first[high] = low

    def settled(self) -> np.ndarray:
        return np.array([self.of(place) for place in range(len(self.first))], np.int64)
