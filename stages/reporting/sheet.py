"""Pictures and texts beside one another: a few of each class, and those that the stage audit has found, such as copies."""

from typing import Any

import numpy as np

from stages.common.shown import as_shown, as_small_picture
from stages.common.splits import middle
from stages.reporting.items import Items, evenly

SIDE, MAX_TEXT = 80, 160  # pixels of a picture, characters of a text
MAX_OF_CLASS, MAX_TEXTS_OF_CLASS, MAX_OF_ALL = 8, 3, 160  # on the sheet of all classes: a page of two megabytes holds so many
MAX_GROUPS = 3  # of a finding
MAX_NAME = 60

One = dict[str, Any]  # `picture`, the address of one, or `text`; the other is None


def classes(train: Items, names: list[str]) -> list[dict[str, Any]]:
    """Of each class some items of train, evenly spaced, and how many there are; empty where items have no class. Of hundreds of classes the
    first are shown.
    """
    counts, targets = train.model.meta.counts["train"].per_class, train.targets
    if not counts:
        return []
    is_of = targets.T.astype(bool) if targets.ndim == 2 else targets == np.arange(len(names))[:, None]
    number = max(1, min(MAX_OF_CLASS, MAX_OF_ALL // len(names)))
    found = []
    for place, name in list(enumerate(names))[:MAX_OF_ALL]:
        own = np.flatnonzero(is_of[place])
        items = as_shown_items(train, train.places[own[evenly(len(own), number)]])
        if items and items[0]["text"] is not None:
            items = items[:MAX_TEXTS_OF_CLASS]
        found.append({"name": name, "count": counts[train.model.meta.names[place]], "items": items})
    return found


def groups(finding: dict[str, Any], splits: dict[str, Items]) -> list[list[One]]:
    """Those that a finding of the audit gives as examples, each with its `name`, its `split` and its `label`; copies are one group."""
    found = []
    for group in finding.get("examples", [])[:MAX_GROUPS]:
        shown = [as_shown_items(splits[one["split"]], np.array([one["place"]]))[0] for one in group]
        words = [{key: as_shown(one[key], MAX_NAME) for key in ("name", "split", "label")} for one in group]
        found.append([item | said for item, said in zip(shown, words, strict=True)])
    return found


def as_shown_items(items: Items, places: np.ndarray) -> list[One]:
    """Those at these places of the split's file."""
    rows, shape = items.file.take("inputs", places), items.described.shape
    if rows.ndim > 2:  # of train larger ones may be kept, for crops
        rows = middle(rows, tuple(own or have for own, have in zip(shape, rows.shape[1:], strict=True)))
    shown = items.model.input.part.shown(rows, items.described)
    if isinstance(shown, list):
        return [{"picture": None, "text": as_shown(text, MAX_TEXT)} for text in shown]
    return [{"picture": as_small_picture(picture, SIDE), "text": None} for picture in shown]
