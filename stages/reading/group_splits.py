"""How items are split by chance where some of them belong together: rows of one customer, pictures of one patient, copies."""

import numpy as np

from stages.common.splits import hold_out

MIN_TO_SPLIT = 3  # items of a class, of which fewer all stay in train
WORDS = {"train": 0, "training": 0, "val": 1, "valid": 1, "validation": 1, "dev": 1, "test": 2}  # for a split, by its place in SPLITS


def splits_by_group(groups: np.ndarray, labels: np.ndarray, seed: int, val_fraction: float, test_fraction: float) -> np.ndarray:
    """Groups, whole numbers [n], stay whole; they are spread over the labels (of a group, its first row's). Classes of a few groups stay
    in train.
    """
    # Groups in the order of the file: which rows are held out depends on no value but the label.
    _, first, groups = np.unique(groups, return_index=True, return_inverse=True)
    order = np.argsort(first)
    groups = np.argsort(order)[groups]
    own = labels[first[order]]
    counts = np.bincount(own, minlength=own.max() + 1)
    places, spread = np.zeros(len(own), dtype=np.uint8), counts[own] >= MIN_TO_SPLIT
    for place, fraction in ((2, test_fraction), (1, val_fraction)):
        free = np.flatnonzero(spread & (places == 0))
        places[free[hold_out(own[free], fraction, seed)]] = place
    return places[groups]


def joined(groups: np.ndarray, others: np.ndarray) -> np.ndarray:
    """int64 [n]: groups that hold all who are together in one of two ways, or in both by turns."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    groups, others = (np.unique(of, return_inverse=True)[1] for of in (groups, others))
    size, total = int(groups.max()) + 1, int(groups.max() + others.max()) + 2
    edges = coo_array((np.ones(len(groups), np.int8), (groups, others + size)), shape=(total, total))
    return connected_components(edges, directed=False)[1][groups].astype(np.int64)
