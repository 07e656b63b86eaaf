"""Checks of whole rows and of classes, for every kind of data. Each yields what it finds."""

import re
from collections.abc import Iterator

import numpy as np

from stages.auditing.data import TEST, TRAIN, Audited, hashes_of
from stages.auditing.findings import NUM_NAMED, Finding, Severity, few, quoted, share
from stages.common.splits import SPLITS

FEW_ROWS = 20  # fewer say nothing, and are not looked at any further
HANDFUL = 10  # items of a class
WORTH_A_WARNING = 0.01  # of all rows
NEARLY_ALL = 0.9  # of the rows, that are different
MANY_COPIES = 0.05  # of test's rows; fewer are equal by zeros that stand together
TOO_MANY_KNOWN = 0.2  # of test's rows, that train has too: beyond it figures on test measure memory
FEW_DIFFERENT = 0.5  # of the rows of a table: there equal ones are no copies, but all that there is
MIN_TEST = 20
SHARE_DIFFERS, TIMES_DIFFERS = 0.1, 2.0  # a class's share of the rows, between train and another split


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
    num_rows, num_different = len(data.hashes), len(np.unique(data.hashes))
    is_small = bool(data.columns) and num_different < FEW_DIFFERENT * num_rows
    why = f"there are only {num_different:,} different ones in {num_rows:,}, and new ones will be known ones too"
    advice = "remove the copies from the raw files"
    if data.ways:
        way, column = next(iter(data.ways.items()))
        advice += f", or choose another way to split than datasets.{data.meta.dataset}.preprocess.{way}: {column}"
    yield Finding(
        "test_rows_in_train",
        "note" if is_small else "stop" if is_severe else "warn",
        f"Of test, {share(len(found), len(of_test))} items stand in train too with the same inputs{example(data, found)}: "
        f"{why if is_small else 'figures on test look better than they are'}.",
        advice,
        lines=data.lines_of(found),
        count=len(found),
    )


def near_copies(data: Audited) -> Iterator[Finding]:
    """Of the sample, rows of test that are equal to one of train but for one column (for a date, with its time).

    Only rows whose other cells are so rare together that, were columns independent, no two of all pairs would be equal by chance; and only
    where nearly all rows are different.
    """
    train, test = data.sample_places == TRAIN, data.sample_places == TEST
    if not data.columns or min(train.sum(), test.sum()) < MIN_TEST:
        return
    parts, rareness = np.empty(data.cells.shape, np.uint64), np.empty(data.cells.shape)
    weights = np.random.default_rng(1).integers(1, 1 << 63, size=len(data.columns), dtype=np.uint64) | np.uint64(1)
    for place, cells in enumerate(data.cells.T):
        parts[:, place] = hashes_of(cells[:, None]) * weights[place]
        _, inverse, counts = np.unique(cells, return_inverse=True, return_counts=True)
        rareness[:, place] = -np.log(counts[inverse] / len(cells))
    whole, all_rare, least = parts.sum(axis=1), rareness.sum(axis=1), np.log(float(train.sum()) * test.sum())
    if len(np.unique(whole)) < NEARLY_ALL * len(whole):
        return
    new = np.flatnonzero(test & ~np.isin(whole, whole[train]))
    for place, column in enumerate(data.columns):
        if column.type == "time":
            continue
        has_time = [one.type for one in data.columns[place + 1 : place + 2]] == ["time"]
        left_out = slice(place, place + 1 + has_time)
        rest = whole - parts[:, left_out].sum(axis=1)
        rare = new[all_rare[new] - rareness[new, left_out].sum(axis=1) >= least]
        found = rare[np.isin(rest[rare], rest[train])]
        if len(found) < max(NUM_NAMED, MANY_COPIES * test.sum()):
            continue
        yield Finding(
            "near_copies",
            "warn",
            f"Of test, {share(len(found), int(test.sum()))} rows are equal to one of train but for {column.name}: "
            "figures on test look better than they are.",
            f"remove the copies from the raw files, or {data.drop([column.name])} and they are kept together",
            [column.name],
            [] if data.lines is None else data.lines[found].tolist(),
            len(found),
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
        yield Finding(name, severity, sentence, advice, lines=data.lines_of(found), count=count)


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


def class_shares(data: Audited) -> Iterator[Finding]:
    """Classes that are far more or less frequent in val or test than in train, by more than four standard errors."""
    counts = data.meta.counts
    found = {}
    for name, in_train in (counts["train"].per_class or {}).items():
        for split in ("val", "test"):
            num_train, num, count = counts["train"].total, counts[split].total, (counts[split].per_class or {}).get(name, 0)
            if not num or not num_train:
                continue
            before, after, both = in_train / num_train, count / num, (in_train + count) / (num_train + num)
            noise = (both * (1 - both) * (1 / num_train + 1 / num)) ** 0.5
            is_far = abs(after - before) > SHARE_DIFFERS or max(before, after) > TIMES_DIFFERS * min(before, after)
            if is_far and abs(after - before) > 4 * noise:
                found[name] = f"{quoted(name)} is {100 * before:.3g} % of train and {100 * after:.3g} % of {split}"
    if found:
        way = next((f"{way}: {column}" for way, column in data.ways.items()), "")
        yield Finding(
            "class_shares",
            "warn",
            f"The classes are not spread over the splits alike: {few(found.values())}.",
            f"see how the rows are split{f' (datasets.{data.meta.dataset}.preprocess.{way})' if way else ''}: "
            "a model learns shares too, and is measured where they are others",
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


def example(data: Audited, places: np.ndarray) -> str:
    """One of these rows by its file, or its number in its split, where there are no lines to name."""
    return "" if data.lines_of(places) else f", such as {data.name_of(int(places[0]))}"


OF_COPIES = (test_rows_in_train, near_copies, equal_rows)  # of kinds of data that cannot keep copies in one split
CHECKS = (rare_class, class_shares, label_variants, left_out_rows)
