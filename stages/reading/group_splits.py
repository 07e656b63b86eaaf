"""How items are split by chance where some of them belong together: rows of one customer, pictures of one patient, copies."""

import numpy as np

from stages.common.splits import PIECE, hold_out, places_of

PARTS = 16
MIN_TO_SPLIT = 3  # items of a class, of which fewer all stay in train
WORDS = {"train": 0, "training": 0, "val": 1, "valid": 1, "validation": 1, "dev": 1, "test": 2}  # for a split, by its place in SPLITS


def splits_by_group(groups: np.ndarray, labels: np.ndarray, seed: int, val_fraction: float, test_fraction: float) -> np.ndarray:
    """Groups, whole numbers [n], stay whole; they are spread over the labels (of a group, its first row's). Classes of a few groups stay
    in train. uint8 [n]: places in SPLITS.
    """
    return splits_by_first(firsts_of(groups), labels, seed, val_fraction, test_fraction)


def firsts_of(groups: np.ndarray) -> np.ndarray:
    """For each of whole numbers [n] the place of the first that is equal. Those that end in the same bits are looked at together, a part
    after the other, since sorting all of them at once would take seven times the memory of the numbers.
    """
    groups, count = np.ascontiguousarray(groups), len(groups)
    firsts = np.empty(count, np.int32 if count < 1 << 31 else np.int64)
    ends = groups.view(np.uint8)[:: groups.itemsize] & (PARTS - 1)  # of little-endian numbers
    for end in range(PARTS):
        own = places_of(ends == end)
        own = own[np.argsort(groups[own], kind="stable")]
        equal = groups[own]
        starts = np.flatnonzero(np.concatenate([[True], equal[1:] != equal[:-1]])) if len(own) else own
        firsts[own] = np.repeat(own[starts], np.diff(starts, append=len(own)))
    return firsts


def num_groups(firsts: np.ndarray) -> int:
    return sum(
        int(np.count_nonzero(firsts[start : start + PIECE] == np.arange(start, min(start + PIECE, len(firsts)))))
        for start in range(0, len(firsts), PIECE)
    )


def splits_by_first(firsts: np.ndarray, labels: np.ndarray, seed: int, val_fraction: float, test_fraction: float) -> np.ndarray:
    """The same for groups that are told by the place of their first item."""
    is_first = np.zeros(len(firsts), dtype=bool)
    is_first[firsts] = True
    # Groups in the order of the file: which rows are held out depends on no value but the label.
    own = labels[is_first]
    places, spread = np.zeros(len(own), dtype=np.uint8), (counts_of(own) >= MIN_TO_SPLIT)[own]
    for place, fraction in ((2, test_fraction), (1, val_fraction)):
        held_out, free = np.zeros(len(own), dtype=bool), spread & (places == 0)
        held_out[free] = hold_out(own[free], fraction, seed)
        places[held_out] = place
    of_all = np.zeros(len(firsts), dtype=np.uint8)
    of_all[is_first] = places
    return of_all[firsts]


def counts_of(labels: np.ndarray) -> np.ndarray:
    """How often each label from 0 on is there. bincount() makes int64 of what it is given."""
    counts = np.zeros(int(labels.max()) + 1, dtype=np.int64)
    for start in range(0, len(labels), PIECE):
        counts += np.bincount(labels[start : start + PIECE], minlength=len(counts))
    return counts


def joined(groups: np.ndarray, others: np.ndarray) -> np.ndarray:
    """int64 [n]: groups that hold all who are together in one of two ways, or in both by turns."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    groups, others = (np.unique(of, return_inverse=True)[1] for of in (groups, others))
    size, total = int(groups.max()) + 1, int(groups.max() + others.max()) + 2
    edges = coo_array((np.ones(len(groups), np.int8), (groups, others + size)), shape=(total, total))
    return connected_components(edges, directed=False)[1][groups].astype(np.int64)
