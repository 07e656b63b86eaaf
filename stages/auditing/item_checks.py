"""Checks of pictures and of texts: copies, and items that show or say nothing. Each yields what it finds."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from stages.auditing.data import TEST, VAL, Audited
from stages.auditing.findings import NUM_SHOWN, Finding, Severity, few, share
from stages.auditing.items import BRIGHTEST, CONTRAST, SHARPNESS, Items, Pictures, Texts, is_empty, script_of
from stages.common.splits import SPLITS

WORTH_A_WARNING = 0.01  # of all items
FLAT, FLAT_IN_THE_DARK, DARK = 4.0, 1.0, 48  # deviations, and the brightest value, of the small grey picture
BLURRED = 2.0  # sharpness: photographs at 224 pixels have 2.5 and more, blurred over 4 of their pixels less than this
TEXTURED = 40.0  # sharpness: made small, fine patterns are of one colour; a bare wall with a camera's noise has less than half of it
USUAL = 0.5  # of all pictures: what is true of more of them is how they are
NEARLY_ALL = 0.95  # of the texts with letters
MAX_OTHER = 5  # scripts that are named
FAR_LONGER, LONG = 20, 1000  # times the middle length, and characters


def copies_across_splits(data: Audited, items: Items) -> Iterator[Finding]:
    """Items of val and test that are copies of one in a split before. Of kinds of data that cannot keep copies together, exact ones are
    another check's.
    """
    found = np.flatnonzero(data.places[items.groups] < data.places)
    partners = np.where(data.places[items.exact[found]] < data.places[found], items.exact[found], items.groups[found])
    how = items.how(found, partners)
    if not data.keeps_copies:
        found, partners, how = (of[how > 0] for of in (found, partners, how))
    if not len(found):
        return
    counted = []
    for place, before in ((TEST, "train or val" if (data.places[partners] == VAL).any() else "train"), (VAL, "train")):
        if count := int((data.places[found] == place).sum()):
            whole = share(count, int((data.places == place).sum()))
            counted.append(f"of {SPLITS[place]}, {whole} {items.NOUN}s are copies of some in {before}")
    kinds = ", ".join(
        f"{count:,} {name}" for name, count in zip(items.HOW, np.bincount(how, minlength=len(items.HOW)), strict=True) if count
    )
    such = f"{data.name_of(int(found[0]))} of {data.name_of(int(partners[0]))}"
    better = f"figures on {SPLITS[int(data.places[found].max())]} look better than they are"
    sentence = f"{'; '.join(counted)} ({kinds}), such as {such}: {better}."
    yield Finding(
        "copies_across_splits",
        "stop" if data.keeps_copies else "note",
        sentence[0].upper() + sentence[1:],
        advice_on_copies(data),
        lines=data.lines_of(found),
        count=len(found),
        examples=[data.example(int(partners[at]), int(found[at])) for at in some_of_each(how)],
    )


def advice_on_copies(data: Audited) -> str:
    if data.keeps_copies and not data.copies_are_kept:
        return f"set datasets.{data.meta.dataset}.preprocess.keep_copies_together to true: copies go to one split; or remove the copies"
    return "remove the copies from the raw files"


def some_of_each(kinds: np.ndarray) -> list[int]:
    """At most NUM_SHOWN places, of each kind as many as there is room for."""
    each = [np.flatnonzero(kinds == kind).tolist() for kind in np.unique(kinds)]
    turns = [(turn, place) for places in each for turn, place in enumerate(places[:NUM_SHOWN])]
    return sorted(place for _, place in sorted(turns)[:NUM_SHOWN])


def copies(data: Audited, items: Items) -> Iterator[Finding]:
    """Items that have a copy before them in their own split."""
    places = np.arange(len(data.places)) if data.keeps_copies else np.flatnonzero(items.exact == np.arange(len(data.places)))
    _, first, inverse = np.unique(items.groups[places] * len(SPLITS) + data.places[places], return_index=True, return_inverse=True)
    partners = places[first[inverse]]
    found, partners = places[partners != places], partners[partners != places]
    if not len(found):
        return
    severity: Severity = "warn" if data.keeps_copies and len(found) >= WORTH_A_WARNING * len(data.places) else "note"
    yield Finding(
        "copies",
        severity,
        f"{share(len(found), len(data.places))} {items.NOUN}s are copies of another in the same split, "
        f"such as {data.name_of(int(found[0]))} of {data.name_of(int(partners[0]))}.",
        "remove the copies, unless they are real: copies weigh more in training and in every figure",
        lines=data.lines_of(found),
        count=len(found),
        examples=[data.example(int(partners[at]), int(found[at])) for at in some_of_each(items.how(found, partners))],
    )


def copies_with_two_labels(data: Audited, items: Items) -> Iterator[Finding]:
    if data.meta.outputs is not None:
        return
    groups = items.groups
    differs = data.target_hashes != data.target_hashes[groups]
    if not data.keeps_copies:
        differs &= items.exact != items.exact[groups]
    first = np.unique(groups[differs], return_index=True)[1]
    found = np.flatnonzero(differs)[first]  # of each group one that has another label than the first
    if not len(found):
        return
    count = int(np.isin(groups, groups[found]).sum())
    one, other = data.example(int(groups[found[0]]), int(found[0]))
    yield Finding(
        "copies_with_two_labels",
        "warn" if data.keeps_copies else "note",
        f"{share(count, len(groups))} {items.NOUN}s are copies that do not have the same label, such as {one['name']} ({one['label']}) and "
        f"{other['name']} ({other['label']}): no model can be right on all of them.",
        "correct the labels, or remove these copies",
        lines=data.lines_of(found),
        count=count,
        examples=[data.example(int(groups[place]), int(place)) for place in found[:NUM_SHOWN]],
    )


def blank_pictures(data: Audited, items: Items) -> Iterator[Finding]:
    if not isinstance(items, Pictures):
        return
    is_dark, contrast = items.look(BRIGHTEST) < DARK, items.look(CONTRAST)
    is_flat = (contrast < np.where(is_dark, FLAT_IN_THE_DARK, FLAT)) & ~(items.look(SHARPNESS) >= TEXTURED)
    show_nothing, advice = "show nothing: they are of one colour", "remove them, or the frames around them"
    yield from of_some(data, items, np.flatnonzero(is_flat), "blank_pictures", "warn", show_nothing, advice)
    is_blurred = (items.look(SHARPNESS) < BLURRED) & ~is_dark
    for name, found, what, advice in (
        ("dark_pictures", is_dark, "are dark all over", "look at them: there is hardly anything to tell them by"),
        ("blurred_pictures", is_blurred, "look blurred", "look at them, and use sharper ones if there are any"),
    ):
        if (found & ~is_flat).mean() <= USUAL:
            yield from of_some(data, items, np.flatnonzero(found & ~is_flat), name, "note", what, advice)


def odd_files(data: Audited, items: Items) -> Iterator[Finding]:
    """What was noticed while the raw files were read, such as pictures so long and thin that a cut in the middle shows nothing of them."""
    for note in data.meta.notes or []:
        named = f": {note.count:,} ({'; '.join(note.examples[:NUM_SHOWN])})" if note.count else ""
        yield Finding(
            "odd_files", "note", f"Of the raw files: {note.what}{named}.", "look whether this is as it should be", count=note.count
        )


def empty_texts(data: Audited, items: Items) -> Iterator[Finding]:
    if isinstance(items, Texts):
        found = np.flatnonzero([is_empty(text) for text in items.texts])
        yield from of_some(
            data, items, found, "empty_texts", "warn", "have nothing in them that can be read", "remove them, or fill them in"
        )


def long_texts(data: Audited, items: Items) -> Iterator[Finding]:
    """Those that were cut, or else those far longer than the middle one."""
    if not isinstance(items, Texts):
        return
    lengths, text = np.concatenate(items.lengths), data.meta.input.text
    if text is not None:
        cut = np.flatnonzero(lengths >= text.max_length)
        what = f"are {text.max_length:,} characters long or were cut there"
        advice = f"see whether datasets.{data.meta.dataset}.preprocess.max_length should be more: what is cut off is never read"
        yield from of_some(data, items, cut, "cut_texts", "note", what, advice)
    middle = int(np.median(lengths))
    found = np.flatnonzero(lengths > max(LONG, FAR_LONGER * middle))
    what = f"are far longer than the others, of which half have at most {middle:,} characters"
    yield from of_some(data, items, found, "long_texts", "note", what, "look at them: several texts may have become one")


def other_script(data: Audited, items: Items) -> Iterator[Finding]:
    if not isinstance(items, Texts):
        return
    known = dict[str, str]()
    scripts = np.array([script_of(text, known) for text in items.texts])
    counts = Counter(script for script in scripts.tolist() if script)
    if not counts:
        return
    usual, count = counts.most_common(1)[0]
    if count == counts.total() or count < NEARLY_ALL * counts.total():
        return
    others = few(f"{other.capitalize()} {number:,}" for other, number in counts.most_common()[1 : MAX_OTHER + 1])
    found = np.flatnonzero((scripts != usual) & (scripts != ""))
    what = f"are of another script than nearly all the others ({usual.capitalize()}): {others}"
    yield from of_some(data, items, found, "other_script", "note", what, "look whether they belong here")


def of_some(data: Audited, items: Items, found: np.ndarray, name: str, severity: Severity, what: str, advice: str) -> Iterator[Finding]:
    """One finding of single items."""
    if not len(found):
        return
    named = "" if data.lines_of(found) else f": {few(data.name_of(int(place)) for place in found)}"
    yield Finding(
        name,
        severity,
        f"{share(len(found), len(data.places))} {items.NOUN}s {what}{named}.",
        advice,
        lines=data.lines_of(found),
        count=len(found),
        examples=[data.example(int(place)) for place in found[:NUM_SHOWN]],
    )


CHECKS = (copies_across_splits, copies_with_two_labels, copies, blank_pictures, odd_files, empty_texts, long_texts, other_script)
