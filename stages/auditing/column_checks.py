"""Checks of the columns of tables and of other rows of numbers, on an even sample of the rows. Each yields what it finds."""

import datetime
import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from stages.auditing.data import TEST, TRAIN, Audited, Column, Target
from stages.auditing.findings import NUM_NAMED, Finding, few, quoted, share
from stages.auditing.row_checks import alike
from stages.common.meta import FIRST_LEVEL, ID_NAME, MISSING_CODE

MIN_PRESENT = 30  # rows that a column needs before it can be said to tell anything
MIN_HELD_OUT = 8  # rows of val and test on which that is tried
LEAK, STRONG = 0.95, 0.8  # of the errors of the commonest class, or of the variance, that one column explains
AUC_LEAK, AUC_STRONG = 0.99, 0.95
CERTAIN = 0.3  # of a class, that one value of a column has to itself,
COMMON = 0.6  # a gap even of the commonest class, unless that has so many of the rows
SAME = 1 - 1e-6  # squared correlation with a target that is a number,
ODD, ODD_OF_OTHERS = 0.005, 0.05  # in all rows but these, and but these of the rows that the commonest class has not
MAX_BINS, ROWS_PER_BIN = 200, 20
FAR, FAR_OF_NINES, FAR_DATES = 2.0, 1.0, 0.5  # gap before the far values, in ranges of the others
NINES = re.compile(r"-?9+(\.0)?|-1(\.0)?|-?9+8(\.0)?")  # what people write for missing
DAYS = 30
ALONE = 0.9  # of the rows, that have their own value
DRIFT = 0.05  # of test's rows
ROWS_IN_GROUP = 1.5
EPOCH = np.datetime64("1970-01-01")


def constant_column(data: Audited) -> Iterator[Finding]:
    """In train, whole; and almost, in the sample of all rows."""
    for place, column, cells in data.with_columns():
        low, high = data.low[place], data.high[place]
        is_empty = np.isnan(low) or (column.type == "category" and low == high == MISSING_CODE)
        is_constant = low == high and (column.type == "category" or not np.isnan(cells[data.sample_places == TRAIN]).any())
        if is_empty or is_constant:
            what = "has no value in any row of train" if is_empty else f"is {shown(column, low)} in every row of train"
            advice = f"{data.drop([column.name])}: a model learns nothing from it"
            yield Finding("constant_column", "warn", f"The column {column.name} {what}.", advice, [column.name], count=len(cells))
            continue
        values, counts = counted(cells)
        others = len(cells) - int(counts.max(initial=0))
        if len(cells) >= MIN_PRESENT and counts.size and others <= max(1, len(cells) // 1000):
            value = shown(column, values[counts.argmax()])
            yield Finding(
                "almost_constant",
                "note",
                f"The column {column.name} is {value} in all rows but {others}.",
                data.drop([column.name]) + ", unless the exceptions matter",
                [column.name],
                lines_where(data, cells != values[counts.argmax()]),
                others,
            )


def id_column(data: Audited) -> Iterator[Finding]:
    for column, way in ids(data).items():
        place = [one.name for one in data.columns].index(column)
        told = [target.name for target in data.targets if tells(data, data.columns[place], data.cells[:, place], target)[0] >= LEAK]
        sorted_by = f", and alone tells {few(told)}, since the rows are sorted by it" if told and way != "has its own word" else ""
        yield Finding(
            "id_column",
            "warn",
            f"The column {column} {way} in {'almost every' if 'own' in way else 'each'} row{sorted_by}: "
            "it names a row and says nothing of a new one.",
            data.drop([column]),
            [column],
            count=len(data.cells),
        )


def ids(data: Audited) -> dict[str, str]:
    """By column, in which way it names the rows."""
    found = {}
    for _, column, cells in data.with_columns("number", "category"):
        present = cells[~missing(column, cells)]
        if len(present) < max(MIN_PRESENT, ALONE * len(cells)) or is_copy(data, column, cells):
            continue
        num_different = len(np.unique(present))
        if column.type == "category":
            if num_different >= ALONE * len(cells):
                found[column.name] = "has its own word"
        elif num_different == len(cells):
            steps = np.diff(cells)
            if data.lines is not None and ((steps > 0).all() or (steps < 0).all()):
                found[column.name] = f"is different and counts {'up' if steps[0] > 0 else 'down'}"
            elif ID_NAME.search(column.name) and (present == np.round(present)).all():
                found[column.name] = "is different"
    return found


def telling_column(data: Audited) -> Iterator[Finding]:
    """Columns that alone tell the target, wholly or for the most part."""
    explained = {**ids(data), **groups(data)}
    for target in data.targets:
        for _, column, cells in data.with_columns():
            part, told, how = f"The column {column.name}", 0.0, ""
            if is_same := same(column, cells, target):
                told, how = 1.0, "in all rows" if same(column, cells, target, 0.0) else "in nearly all rows"
            elif column.name not in explained:
                parts = {part: (column, cells)} | parts_of_date(column, cells)
                told, how, part = max(((*tells(data, *one, target), name) for name, one in parts.items()), key=lambda one: one[0])
            if told < STRONG:
                continue
            what = "is another name of" if is_same else "alone tells" if told >= LEAK else "alone tells much of"
            yield Finding(
                "same_as_target" if is_same else "tells_target",
                "stop" if is_same else "warn" if told >= LEAK else "note",
                f"{part} {what} {target.name} ({how}): is it known before {target.name} is?",
                f"if not, {data.drop([column.name])}",
                [column.name],
                lines_where(data, ~missing(column, cells)),
                int((~missing(column, cells)).sum()),
            )


def tells(data: Audited, column: Column, cells: np.ndarray, target: Target) -> tuple[float, str]:
    """How much of the target a column tells, and by which figure: LEAK and more is all but everything, STRONG and more is worth a look.

    The best guess for each value, or quantile, is of train; it is measured on val and test, and must be as good on train.
    """
    train = data.sample_places == TRAIN
    if len(cells) < MIN_PRESENT or (~train).sum() < MIN_HELD_OUT or (~missing(column, cells)).sum() < MIN_PRESENT:
        return 0.0, ""
    bins = binned(column, cells, train)
    if target.classes:
        if len(target.classes) == 2 and column.type != "category":
            area = auc(cells, target.values)
            area = max(area, 1 - area)
            if area >= AUC_STRONG:
                return LEAK if area >= AUC_LEAK else STRONG, f"AUC {area:.3g}"
        of_gaps = bins[missing(column, cells)][:1]
        return tells_class(bins, target.values.astype(np.int64), train, len(target.classes), of_gaps)
    numbers = target.values
    sums, counts = (np.bincount(bins[train], weights, minlength=bins.max() + 1) for weights in (numbers[train], None))
    guess = np.where(counts > 0, sums / np.maximum(counts, 1), numbers[train].mean())
    spread = ((numbers[~train] - numbers[train].mean()) ** 2).sum()
    r2 = 1 - ((numbers[~train] - guess[bins[~train]]) ** 2).sum() / spread if spread > 0 else 0.0
    if column.type != "category":
        r2 = max(r2, correlation(cells, numbers) ** 2)
    return r2, f"R2 {r2:.3g}"


def tells_class(bins: np.ndarray, answers: np.ndarray, train: np.ndarray, num_classes: int, of_gaps: np.ndarray) -> tuple[float, str]:
    """`of_gaps` has the bin of the gaps, if there are any."""
    before, after = np.zeros((2, bins.max() + 1, num_classes))
    np.add.at(before, (bins[train], answers[train]), 1)
    np.add.at(after, (bins[~train], answers[~train]), 1)
    commonest = before.sum(axis=0).argmax()
    guess = np.where(before.sum(axis=1) > 0, before.argmax(axis=1), commonest)
    usual = [table.sum() - table[:, commonest].sum() for table in (before, after)]
    wrong = [table.sum() - table[np.arange(len(table)), guess].sum() for table in (before, after)]
    explained = min(1 - errors / most if most >= 3 else 0.0 for errors, most in zip(wrong, usual, strict=True))
    if explained >= STRONG:
        return explained, f"right in {100 * (1 - wrong[1] / after.sum()):.3g} % of the rows of val and test"
    both = before + after
    worth = both.argmax(axis=1) != commonest  # numbers at one end often are of the commonest
    worth[of_gaps] |= both[:, commonest].sum() < COMMON * both.sum()
    pure = (both.max(axis=1) == both.sum(axis=1)) & (both.sum(axis=1) >= MIN_PRESENT) & worth
    part = (both * pure[:, None]).sum(axis=0) / np.maximum(both.sum(axis=0), 1)
    if part.max() >= CERTAIN:
        return STRONG, f"what it has in {100 * part.max():.0f} % of the rows of one class, it has in no other row"
    return 0.0, ""


def parts_of_date(column: Column, cells: np.ndarray) -> dict[str, tuple[Column, np.ndarray]]:
    """What a calendar says of dates, for a network gets it too; nothing of other columns."""
    if column.type != "date":
        return {}
    gaps = np.isnan(cells)
    days = EPOCH + np.where(gaps, 0, cells).astype(np.int64)
    months = days.astype("datetime64[M]")
    parts = {"day of the week": (days - EPOCH).astype(np.int64) % 7, "day of the month": (days - months).astype(np.int64)}
    parts["month"] = months.astype(np.int64) % 12
    return {f"The {name} of {column.name}": (replace(column, type="number"), np.where(gaps, np.nan, one)) for name, one in parts.items()}


def is_copy(data: Audited, column: Column, cells: np.ndarray) -> bool:
    return any(same(column, cells, target) for target in data.targets)


def same(column: Column, cells: np.ndarray, target: Target, odd: float = ODD) -> bool:
    """Whether each class has one value of the column, and each value one class, or the numbers lie on a line, in all rows but this share,
    or but one.
    """
    present, answers = ~missing(column, cells), target.values
    most, num_gaps = max(bool(odd), odd * len(cells)), int((~present).sum())
    if len(cells) < MIN_PRESENT or num_gaps > most:
        return False
    cells, answers = cells[present], answers[present]
    if not target.classes:
        return column.type != "category" and on_line(cells, answers, int(most) - num_gaps)
    values, places = np.unique(cells, return_inverse=True)
    if len(values) > len(target.classes) + most:
        return False
    pairs, counts = np.unique(places * len(target.classes) + answers.astype(np.int64), return_counts=True)
    values, answers = np.divmod(pairs, len(target.classes))
    order = np.argsort(-counts, kind="stable")
    classes, firsts = np.unique(answers[order], return_index=True)  # the most frequent value of each class
    best, others = order[firsts], counts.sum() - np.bincount(answers, counts).max()
    is_one_to_one = len(np.unique(values[best])) == len(classes) > 1
    return bool(is_one_to_one and num_gaps + counts.sum() - counts[best].sum() <= min(most, ODD_OF_OTHERS * others))


def on_line(cells: np.ndarray, numbers: np.ndarray, num_odd: int) -> bool:
    """Whether all but so many points lie on a line, which is found by medians (Theil and Sen), that no odd one moves."""
    order = np.argsort(numbers, kind="stable")
    half = len(order) // 2
    low, high = order[:half], order[-half:]
    rise, run = cells[high] - cells[low], numbers[high] - numbers[low]
    if not (run > 0).any():
        return False
    slope = np.median(rise[run > 0] / run[run > 0])
    away = cells - slope * numbers
    kept = np.argsort(np.abs(away - np.median(away)), kind="stable")[: len(cells) - num_odd]
    return correlation(cells[kept], numbers[kept]) ** 2 >= SAME


def binned(column: Column, cells: np.ndarray, train: np.ndarray) -> np.ndarray:
    """int64 [n]: codes; places of values where each has several rows; else which quantile of train a number lies in. Missing is one too."""
    if column.type == "category":
        return cells.astype(np.int64)
    gaps, values = np.isnan(cells), np.unique(cells[~np.isnan(cells)])
    if len(values) * 3 > len(cells):
        own = cells[train & ~gaps]
        values = np.unique(np.quantile(own, np.linspace(0, 1, 1 + min(MAX_BINS, max(2, len(own) // ROWS_PER_BIN)))[1:-1]))
    return np.where(gaps, len(values) + 1, np.searchsorted(values, cells))


def auc(cells: np.ndarray, answers: np.ndarray) -> float:
    """Of the rows that have a number: the share of pairs of the two classes in which the second's is higher, equal ones counting half."""
    present = ~np.isnan(cells)
    if present.mean() < ALONE:
        return 0.5
    _, inverse, counts = np.unique(cells[present], return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    is_second = answers[present] == 1
    num = int(is_second.sum())
    if min(num, len(ranks) - num) < 3:
        return 0.5
    return float((ranks[is_second].sum() - num * (num + 1) / 2) / (num * (len(ranks) - num)))


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    present = ~np.isnan(first)
    first, second = first[present], second[present]
    if len(first) < MIN_PRESENT or first.std() == 0 or second.std() == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def ignored_group(data: Audited) -> Iterator[Finding]:
    if found := groups(data):
        columns, key = list(found), f"datasets.{data.meta.dataset}.preprocess.group: {next(iter(found))}"
        named = few(f"{name} ({why})" for name, why in found.items())
        yield Finding(
            "ignored_group",
            "warn",
            f"The rows seem to belong together by {named}, and train and test share its values: figures on test say nothing of a new one.",
            f"set {key}, so that no group stands in two splits" if data.is_table else f"split the raw files by {columns[0]}",
            columns,
            count=len(found),
        )


def groups(data: Audited) -> dict[str, str]:
    """Columns by which rows come in groups that train and test share, and why that is thought: the target is the same in all rows of one
    value, or the column is called an ID. Those called so come first.
    """
    found = dict[str, str]()
    for _, column, cells in data.with_columns("number", "category") if not data.ways else ():
        present = ~missing(column, cells)
        values = np.unique(cells[present])
        if len(cells) < MIN_PRESENT or not NUM_NAMED <= len(values) <= present.sum() / ROWS_IN_GROUP or is_copy(data, column, cells):
            continue
        train, test = (np.unique(cells[(data.sample_places == place) & present]) for place in (TRAIN, TEST))
        if not len(test) or np.isin(test, train).mean() <= 0.5:
            continue
        runs = 1 + int(np.count_nonzero(cells[1:] != cells[:-1]))
        told = [(target.name, how) for target in data.targets for told, how in [tells(data, column, cells, target)] if told >= LEAK]
        if ID_NAME.search(column.name):
            found = {column.name: f"{len(values):,} values in {int(present.sum()):,} rows"} | found
        elif told and not told[0][1].startswith("AUC") and (data.lines is None or runs <= 2 * len(values)):
            found[column.name] = f"{len(values):,} values, in each of which {told[0][0]} is one"
    return found


def ignored_time(data: Audited) -> Iterator[Finding]:
    if data.ways:
        return
    for _, column, cells in data.with_columns("date"):
        present = cells[~np.isnan(cells)]
        steps = np.diff(present)
        if len(present) < MIN_PRESENT or not steps.any():
            continue
        in_order = data.lines is not None and ((steps >= 0).all() or (steps <= 0).all())
        how = "the rows are in order of it" if in_order else f"from {day(present.min())} to {day(present.max())}"
        key = f"datasets.{data.meta.dataset}.preprocess.time: {column.name}"
        yield Finding(
            "ignored_time",
            "warn" if in_order else "note",
            f"The rows have a date, {column.name} ({how}), and the split is random: train knows what came after the rows of test.",
            f"set {key}, so that the last rows are test, if the model is to be asked about later rows than it has seen",
            [column.name],
            count=len(present),
        )


def far_values(data: Audited) -> Iterator[Finding]:
    """Far values of each column; a row that lies far in many columns is one of totals."""
    found = [(column, cells, *one) for _, column, cells in data.with_columns("number", "date") for one in far_of(column, cells)]
    rows, counts = np.unique([np.argmax(mask) for *_, mask in found if mask.sum() == 1], return_counts=True)
    totals = rows[counts >= NUM_NAMED].tolist()
    for row in totals:
        names = [column.name for column, *_, mask in found if mask.sum() == 1 and np.argmax(mask) == row]
        yield Finding(
            "far_row",
            "warn",
            f"{f'Line {data.lines[row]}' if data.lines is not None else 'A row'} lies far from all others in {len(names)} columns "
            f"({few(names)}): is it a row of totals?",
            "if so, remove the line from the file",
            names,
            [] if data.lines is None else [int(data.lines[row])],
            1,
        )
    for column, _, far, others, mask in found:
        if mask.sum() == 1 and np.argmax(mask) in totals:
            continue
        name, is_date, late = column.name, column.type == "date", far[0] > others[-1]
        named, ends = few(shown(column, value) for value in far), f"{shown(column, others[0])} to {shown(column, others[-1])}"
        word = (
            "a word for missing" if not is_date else "the future, or a mistyped year" if late else "a mistyped year, or a word for missing"
        )
        yield Finding(
            "far_dates" if is_date else "far_numbers",
            "warn" if is_date and late else "note",
            f"In {name}, {named} ({counted_rows(mask)}) {'lies' if len(far) == 1 else 'lie'} far from all others, {ends}: is it {word}?",
            "if so, " + data.advise([name], f"missing to include {named}", "empty the cells in the file") + ", or correct the file",
            [name],
            lines_where(data, mask),
            int(mask.sum()),
        )


def far_of(column: Column, cells: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(far values, all others, sorted, and in which rows the far ones are)."""
    values = counted(cells)[0]
    for far, gap, span in isolated(values):
        enough = FAR_OF_NINES if all(NINES.fullmatch(f"{value:g}") for value in far) else FAR
        mask = np.isin(cells, far)
        if column.type == "date":  # half of the file may be of another year
            is_far = gap >= max(DAYS, FAR_DATES * span) and mask.sum() <= max(1, DRIFT * len(cells))
        else:
            is_far = gap >= enough * span
        if is_far:
            yield far, values[~np.isin(values, far)], mask


def isolated(values: np.ndarray) -> Iterator[tuple[np.ndarray, float, float]]:
    """(values, gap before them, range of the others) of the few highest, and of the few lowest, of sorted different values."""
    few_values = max(1, len(values) // 50)
    if len(values) < few_values + NUM_NAMED:
        return
    for sign in (1, -1):
        ordered = values if sign == 1 else -values[::-1]
        gaps = np.diff(ordered[-few_values - 1 :])
        place = int(gaps.argmax())
        cut = len(ordered) - few_values + place
        far, span = ordered[cut:], ordered[cut - 1] - ordered[0]
        if span > 0:
            yield np.sort(sign * far), float(gaps[place]), float(span)


def equal_in_float32(data: Audited) -> Iterator[Finding]:
    """Whole numbers so large that float32 has no room between them: the different ones are then neighbours in float32."""
    for _, column, cells in data.with_columns("number"):
        values, counts = counted(cells[~np.isnan(cells)])
        steps, room = np.diff(values), np.spacing(np.abs(values[:-1]).astype(np.float32)).astype(np.float64)
        if len(values) >= NUM_NAMED and (steps <= 2 * room).mean() > 0.5 and (room >= 2).mean() > 0.5:
            yield Finding(
                "equal_in_float32",
                "warn",
                f"The numbers of {column.name}, such as {values[0]:.0f}, are so large that neighbours become equal in float32, as models "
                f"have numbers: {len(values):,} different ones are left in {int(counts.sum()):,} rows.",
                "if they number something, " + data.drop([column.name]) + "; else take a constant off them in the file",
                [column.name],
                count=int(counts.sum()),
            )


def target_range(data: Audited) -> Iterator[Finding]:
    train, test = data.sample_places == TRAIN, data.sample_places == TEST
    for target in data.targets:
        if target.classes or not train.any():
            continue
        low, high = target.values[train].min(), target.values[train].max()
        outside = test & ((target.values < low) | (target.values > high))
        if count := int(outside.sum()):
            found = target.values[outside]
            yield Finding(
                "target_range",
                "warn" if count > DRIFT * test.sum() else "note",
                f"Of test, {share(count, int(test.sum()))} rows have a {target.name} outside the range of train, {low:g} to {high:g} "
                f"(from {found.min():g} to {found.max():g}): a model does not know such answers.",
                f"add such rows, or see in datasets.{data.meta.dataset}.preprocess how the rows are split",
                [target.name],
                lines_where(data, outside),
                count,
            )


def drift(data: Audited) -> Iterator[Finding]:
    """Between train and test: words that train lacks, and gaps."""
    train, test = data.sample_places == TRAIN, data.sample_places == TEST
    num_train, num_test = int(train.sum()), int(test.sum())
    if num_test < MIN_HELD_OUT:
        return
    where = f"see whether the rows of test come from elsewhere, or how datasets.{data.meta.dataset}.preprocess splits them"
    for _, column, cells in data.with_columns():
        gaps = missing(column, cells)
        before, after = gaps[train].mean(), gaps[test].mean()
        both = (gaps[train].sum() + gaps[test].sum()) / (num_train + num_test)
        noise = (both * (1 - both) * (1 / num_train + 1 / num_test)) ** 0.5
        if abs(after - before) > max(DRIFT, 4 * noise):
            sentence = f"The column {column.name} is missing in {100 * before:.3g} % of train and {100 * after:.3g} % of test."
            yield Finding("missing_differs", "warn", sentence, where, [column.name], lines_where(data, gaps & test), int(gaps[test].sum()))
        if column.type == "category" and num_train:
            unseen = test & ~gaps & ~np.isin(cells, cells[train & (cells >= FIRST_LEVEL)])
            words = [shown(column, code) for code in np.unique(cells[unseen])]
            if (count := int(unseen.sum())) > max(2, DRIFT * num_test) and column.name not in {*ids(data), *data.ways.values()}:
                what = f"a word in {column.name} that train lacks ({few(words)})"
                sentence = f"Of test, {share(count, num_test)} rows have {what}: these count as unknown."
                yield Finding("unseen_words", "warn", sentence, where, [column.name], lines_where(data, unseen), count)


def level_variants(data: Audited) -> Iterator[Finding]:
    for _, column, _ in data.with_columns("category"):
        if variants := [word for group in alike(list(column.levels)) for word in group]:
            yield Finding(
                "level_variants",
                "warn",
                f"Words of {column.name} differ by upper and lower case or blanks alone: {few(map(quoted, variants))}.",
                "write each in one way in the file, or leave them if they mean different things",
                [column.name],
                count=len(variants),
            )


def missing(column: Column, cells: np.ndarray) -> np.ndarray:
    return cells == MISSING_CODE if column.type == "category" else np.isnan(cells)


def counted(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different values, sorted, and how often each is there; of gaps nothing."""
    values, counts = np.unique(cells[~np.isnan(cells)], return_counts=True)
    return values, counts


def shown(column: Column, value: float) -> str:
    """As the file has it, or nearly."""
    if column.type == "category":
        code = int(value)
        return quoted(column.levels[code - FIRST_LEVEL]) if code >= FIRST_LEVEL else ("unknown", "missing")[code]
    return day(value) if column.type == "date" else f"{value:.7g}"


def day(value: float) -> str:
    return (datetime.date(1970, 1, 1) + datetime.timedelta(days=int(value))).isoformat()


def counted_rows(mask: np.ndarray) -> str:
    return f"{mask.sum():,} row{'s' if mask.sum() > 1 else ''}"


def lines_where(data: Audited, rows: np.ndarray) -> list[int]:
    return [] if data.lines is None else data.lines[rows][:NUM_NAMED].tolist()


CHECKS = (
    constant_column,
    id_column,
    telling_column,
    ignored_group,
    ignored_time,
    far_values,
    equal_in_float32,
    target_range,
    drift,
    level_variants,
)
