"""Checks of whole rows and of classes, for every kind of data. Each yields what it finds."""

import re
from collections.abc import Iterator

import numpy as np

from stages.auditing.data import TEST, TRAIN, Audited
from stages.auditing.findings import NUM_NAMED, Finding, Severity, few, quoted, share
from stages.common.splits import SPLITS

FEW_ROWS = 20  # fewer say nothing, and are not looked at any further
HANDFUL = 10  # items of a class
WORTH_A_WARNING = 0.01  # of all rows
TOO_MANY_KNOWN = 0.2  # of test's rows, that train has too: beyond it figures on test measure memory
MIN_TEST = 20


def few_rows(data: Audited) -> Iterator[Finding]:
    if len(data.hashes) < FEW_ROWS:
        yield Finding(
            "few_rows",
            "note",
            f"There are {len(data.hashes)} items in all: too few to check, and no figure on them says how good a model is.",
            "add items, or take it as an exercise",
            count=len(data.hashes),
        )


def test_rows_in_train(data: Audited) -> Iterator[Finding]:
    of_test = np.flatnonzero(data.places == TEST)
    found = of_test[np.isin(data.hashes[of_test], data.hashes[data.places == TRAIN])]
    if not len(found):
        return
    is_severe = len(of_test) >= MIN_TEST and len(found) > TOO_MANY_KNOWN * len(of_test)
    advice = "remove the copies from the raw files"
    if data.ways:
        way, column = next(iter(data.ways.items()))
        advice += f", or choose another way to split than datasets.{data.meta.dataset}.preprocess.{way}: {column}"
    yield Finding(
        "test_rows_in_train",
        "stop" if is_severe else "warn",
        f"Of test, {share(len(found), len(of_test))} items stand in train too with the same inputs{example(data, found)}: "
        "figures on test look better than they are.",
        advice,
        lines=lines_of(data, found),
        count=len(found),
    )


def equal_rows(data: Audited) -> Iterator[Finding]:
    """Rows with equal inputs, and those among them that have different targets."""
    num_rows = len(data.hashes)
    order = np.argsort(data.hashes, kind="stable")
    starts = np.flatnonzero(np.diff(data.hashes[order], prepend=~data.hashes[order[0]]))
    sizes = np.diff(starts, append=num_rows)
    answers = data.target_hashes[order]
    differ = np.minimum.reduceat(answers, starts) != np.maximum.reduceat(answers, starts)
    for name, groups, is_of_classes in (("duplicate_rows", sizes > 1, True), ("contradicting_rows", differ, data.meta.outputs is None)):
        if not (count := int(sizes[groups].sum())):
            continue
        found = np.sort(order[np.repeat(groups, sizes)])
        different = f"{int(groups.sum()):,} different row{'s' if groups.sum() > 1 else ''}"
        sentence, advice = {
            "duplicate_rows": (
                f"{share(count, num_rows)} rows have the same inputs as another, {different} over and over{example(data, found)}.",
                "remove the copies, unless they are real: copies weigh more in training and in every figure",
            ),
            "contradicting_rows": (
                f"{share(count, num_rows)} rows are equal but for the target, {different} with several answers{example(data, found)}: "
                "no model can be right on all of them.",
                "correct the targets, or add the column that tells the rows apart",
            ),
        }[name]
        severity: Severity = "warn" if is_of_classes and count >= WORTH_A_WARNING * num_rows else "note"
        yield Finding(name, severity, sentence, advice, lines=lines_of(data, found), count=count)


def rare_class(data: Audited) -> Iterator[Finding]:
    per_class = {split: data.meta.counts[split].per_class or {} for split in SPLITS}
    found = {}
    for name in per_class["train"]:
        counts = {split: per_class[split].get(name, 0) for split in SPLITS if data.meta.counts[split].total}
        total = sum(counts.values())
        if total < HANDFUL or not counts["test"]:
            found[name] = f"{quoted(name)} has {total} in all ({', '.join(f'{number} in {split}' for split, number in counts.items())})"
    if found:
        absent = [name for name in found if not per_class["test"].get(name)]
        untested = f"; test has no item of {few(map(quoted, absent))}, so no figure says how well that is told" if absent else ""
        yield Finding(
            "rare_class",
            "warn",
            f"Of some classes there are hardly any items: {few(found.values())}{untested}.",
            "add items of these classes, or join them with others or remove them in the raw files",
            count=len(found),
        )


def label_variants(data: Audited) -> Iterator[Finding]:
    per_class = [data.meta.counts[split].per_class or {} for split in SPLITS]
    names = data.meta.classes or []
    if variants := [name for group in alike(names) for name in group]:
        counted = [
            f"{quoted(name)}{f' ({number})' if (number := sum(each.get(name, 0) for each in per_class)) else ''}" for name in variants
        ]
        yield Finding(
            "label_variants",
            "stop",
            f"Classes differ by upper and lower case or blanks alone: {', '.join(counted)}.",
            "write each class in one way in the raw files"
            + (f", or set {data.key(data.label, 'ignore_case')} to true, with one level for each" if data.is_table else ""),
            count=len(variants),
        )


def left_out_rows(data: Audited) -> Iterator[Finding]:
    left_out = data.meta.left_out
    if left_out.count:
        yield Finding(
            "left_out_rows",
            "note",
            f"{left_out.count:,} rows or files were left out: {'; '.join(left_out.examples[:NUM_NAMED])}.",
            "fix them in the raw files, if they should count",
            count=left_out.count,
        )


def alike(words: list[str]) -> list[list[str]]:
    """Groups of two and more that are one word but for case and blanks."""
    groups: dict[str, list[str]] = {}
    for word in words:
        groups.setdefault(re.sub(r"\s+", "", word).casefold(), []).append(word)
    return [group for group in groups.values() if len(group) > 1]


def lines_of(data: Audited, places: np.ndarray) -> list[int]:
    """Of the raw file, the first of these rows."""
    return [] if data.all_lines is None else np.sort(data.all_lines[places])[:NUM_NAMED].tolist()


def example(data: Audited, places: np.ndarray) -> str:
    """One of these rows by its number in its split, where there are no lines to name."""
    if data.all_lines is not None:
        return ""
    split = data.places[places[0]]
    return f", such as item {places[0] - np.argmax(data.places == split) + 1} of {SPLITS[split]}"


CHECKS = (few_rows, test_rows_in_train, equal_rows, rare_class, label_variants, left_out_rows)
