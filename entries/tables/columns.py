"""What each column of a table is: a number, a category, a date, or nothing to learn from; with the reason, in words for people.

The rules, in this order: nothing in any row, or the same in every row: dropped. Dates, where one pattern fits. Numbers, where nearly all
cells are, in the way of writing them that the file has. Words, where they repeat; else dropped, as an ID or a free text. What cannot be
told is asked for: a Question names the column and the option.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from examples import cells
from examples.rows import is_unit
from stages.common.meta import ID_NAME
from stages.reading.columns import is_read
from stages.reading.contents import printable
from stages.reading.schema import NAMED_LEVELS, ColumnSchema

LOOKED_AT, CELLS_LOOKED_AT = 200_000, 10_000_000  # rows, and cells, by which types are told; levels are of all rows
MOSTLY, HALF = 0.9, 0.5  # shares of cells
MAX_BAD = 0.1
SOME_FORM = 0.8  # of cells that are a date of any form
MAX_WORDS = 5  # that stand for missing in a column of numbers
FEW_NUMBERS, MIN_OF_CLASS = 10, 5  # different whole numbers of a target that are classes, and rows of each on average
FEW_LEVELS = 20  # that need not occur often
MIN_COUNTED = 20  # rows of which a column that says 1, 2, 3, ... is their number
MIN_TIMES = 2.0  # that a level occurs on average
ROWS_IN_GROUP = 1.5  # on average
LONG_TEXT, LONG_SENTENCE = 60.0, 5.0  # characters and words of a cell, on average
SENTENCE = 20  # characters of a cell, on average: of no name
WAYS = ((".", ""), (".", ","), (",", ""), (",", "."), (",", " "), (".", " "), (".", "'"))  # decimal and thousands
UNITS = re.compile(
    r"\(?\s*(?P<before>[^\w\s.,+()\-\u2212'\"]{1,3})?\s*[-+\u2212]?\s*(?P<before2>[^\w\s.,+()\-\u2212'\"]{1,3})?\s*[0-9][0-9.,'\s]*-?(?P<after>[^\w\s.,+()\-\u2212'\"]{1,3}|\s[^\W\d_]{1,6}[²³]?|\s[^\s0-9()]{1,8})?\s*\)?"
)
KNOWN_MISSING = {
    "na",
    "n/a",
    "n.a.",
    "nan",
    "null",
    "none",
    "nil",
    "-",
    "--",
    "?",
    ".",
    "..",
    "unknown",
    "missing",
    "k.a.",
    "x",
    "…",
    "#n/a",
    "(null)",
}
DATES = (
    "%Y-%m-%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d-%m-%Y", "%Y%m%d", "%d.%m.%y", "%d/%m/%y", "%m/%d/%y",
    "%d %b %Y", "%d-%b-%Y", "%b %d, %Y", "%d-%b-%y",
)  # fmt: skip
TIMES = ("", " %H:%M", " %H:%M:%S", "T%H:%M", "T%H:%M:%S", "T%H:%M:%SZ")
NUMBERS_ROWS = re.compile(rf"{ID_NAME.pattern}|(?i:(^|[\W_])(key|nr|no|number|index|row|serial)$)")


class Question(Exception):
    """What a person must say; the message is a part of a sentence that names the column, what it has, and the option."""


@dataclass
class Seen:
    """The cells of a column: how often each occurs (stripped; of the first rows that were looked at), and in which rows it is different."""

    name: str
    looked_at: int = LOOKED_AT  # rows
    counts: Counter[str] = field(default_factory=Counter)
    later: Counter[str] = field(default_factory=Counter)  # of rows after those, while the column may still be one of words
    total: int = 0
    first: list[str] = field(default_factory=list)  # in the order of the rows

    def add(self, column: Sequence[str]) -> None:
        room, self.total = max(0, self.looked_at - self.total), self.total + len(column)
        first = [cells.stripped(cell) for cell in column[:room]]
        self.counts.update(first)
        self.first += first
        if len(column) > room and len(self.later) <= NAMED_LEVELS:
            for cell, count in Counter(column[room:]).items():
                self.later[cells.stripped(cell)] += count

    @property
    def words(self) -> Counter[str]:
        return Counter({word: count for word, count in self.counts.items() if word})

    @property
    def num_filled(self) -> int:
        return sum(self.words.values())

    @property
    def reads_like_texts(self) -> bool:
        """By the cells' length: signs of some scripts are words, and have no blanks between."""
        return sum(len(word) * count for word, count in self.words.items()) > SENTENCE * self.num_filled

    @property
    def example(self) -> str:
        return printable(next((cell for cell in self.first if cell), ""))[:40]


@dataclass(frozen=True)
class Told:
    """What a person has said of columns, by name."""

    drop: frozenset[str] = frozenset()
    number: frozenset[str] = frozenset()
    category: frozenset[str] = frozenset()
    dates: dict[str, list[str]] = field(default_factory=dict)
    missing: dict[str, list[str]] = field(default_factory=dict)
    ignore_case: frozenset[str] = frozenset()
    way: tuple[str, str] | None = None  # decimal and thousands sign

    def names(self) -> set[str]:
        return {*self.drop, *self.number, *self.category, *self.dates, *self.missing, *self.ignore_case}


def way_of_numbers(columns: list[Seen], separator: str) -> tuple[tuple[str, str], str]:
    """The decimal and the thousands sign by which most cells of the file are numbers; "." alone where another way reads no more.

    Raises Question where the cells can be read in two ways that differ (1,234; or 1.234 beside 999, or in a file of semicolons, as German
    programs write it).
    """
    cellss = [Counter(dict(list(column.words.most_common(2000)))) for column in columns]
    digits = [
        Counter({word: count for word, count in words.items() if re.search("[0-9]", word) and re.search("[.,' \u00a0\u202f]", word)})
        for words in cellss
    ]
    read = {way: sum(readable(words, *way) for words in digits) for way in WAYS}
    best = max(WAYS, key=lambda way: (read[way], -WAYS.index(way)))
    if best == WAYS[0] or not read[best]:
        for column, words in zip(columns, digits, strict=True):
            groups = [word for word in words if re.fullmatch(r"[+-]?[1-9][0-9]{0,2}\.[0-9]{3}", word)]
            small = any(re.fullmatch("[1-9][0-9]{0,2}", word) for word in column.counts)
            large = any(re.fullmatch("[0-9]{4,}", word) for word in column.counts)
            if len(groups) > 1 and len(groups) == len(words) and not large and (small or separator == ";"):
                raise Question(
                    f"{groups[0]!r} in {column.name} may be read with a point before the fraction or between thousands: say --decimal . or "
                    "--decimal ,"
                )
        return WAYS[0], ""
    if best in ((".", ","), (",", "")) and read[(".", ",")] == read[(",", "")] > 0:
        example = next(word for words in digits for word in words if readable(Counter([word]), ".", ",") and "," in word)
        raise Question(f"{example!r} may be read with a comma before the fraction or between thousands: say --decimal , or --decimal .")
    return best, f"numbers with {best[0]!r} before the fraction{f' and {best[1]!r} between thousands' if best[1] else ''}, by most cells"


def readable(words: Counter[str], decimal: str, thousands: str) -> int:
    read = cells.reader_of({"type": "number", "decimal": decimal, "thousands": thousands, "units": units_of(words)[0], "brackets": True})
    return sum(count for word, count in words.items() if is_read(read, word))


def units_of(words: Counter[str]) -> tuple[list[str], bool]:
    """Up to three signs or words that stand beside the numbers of a column, and whether numbers stand in brackets."""
    units, brackets = Counter[str](), False
    for word, count in words.items():
        if found := UNITS.fullmatch(word):
            brackets = brackets or (word.startswith("(") and word.endswith(")"))
            for unit in found.groupdict().values():
                if unit and is_unit(unit.strip()):
                    units[unit.strip()] += count
    return sorted(unit for unit, _ in units.most_common(3)) if len(units) <= 3 else [], brackets


def describe(column: Seen, told: Told, way: tuple[str, str], is_target: bool) -> ColumnSchema:
    """Raises Question where a person must say what the column is."""
    name, words = column.name, column.words
    missing = told.missing.get(name, [])
    words = Counter({word: count for word, count in words.items() if word not in missing})
    filled = sum(words.values())
    made: dict[str, Any] = {"missing": missing or None, "example": column.example}
    if name in told.drop:
        return ColumnSchema(type="dropped", why="told", **made)
    if not filled:
        return ColumnSchema(type="dropped", why="empty in every row", **made)
    if len(words) == 1 and filled == column.total and not is_target:
        return ColumnSchema(type="dropped", why=f"the same in every row: {printable(next(iter(words)))!r}", **made)
    if name in told.dates:
        return ColumnSchema(type="date", formats=told.dates[name], why="told", **made)
    if name in told.category or name in told.ignore_case:
        return category(column, words, "told", made, told)
    if name not in told.number and (found := date_formats(name, words)):
        return ColumnSchema(type="date", formats=found, why=f"{filled} cells like {found[0]}", **made)
    return number(column, words, told, way, is_target, made) or category(column, words, "", made, told, is_target)


def date_formats(name: str, words: Counter[str]) -> list[str]:
    """The pattern that nearly all cells fit; none where they are no dates. Raises Question where day and month may be either way round, or
    where it takes several patterns.
    """
    looked = list(words)[:2000]
    if sum(bool(re.search(r"[0-9]{2}.*[0-9]|[0-9].*[A-Za-z]{3}", word)) and 6 <= len(word) <= 30 for word in looked) < HALF * len(looked):
        return []
    fitting = Counter[str]()
    for text in (day + time for day in DATES for time in TIMES):
        read = cells.reader_of({"type": "date", "formats": [text]})
        if (count := sum(is_read(read, word) for word in looked)) and (
            text != "%Y%m%d" or all(re.fullmatch("(19|20)[0-9]{6}", word) for word in looked)
        ):
            fitting[text] = count
    full = [text for text, count in fitting.items() if count >= MOSTLY * len(looked)]
    if len(full) == 1:
        return full
    if full:
        best = max(fitting[text] for text in full)
        full = [text for text in full if fitting[text] == best]
        if len(full) > 1:
            raise Question(f"{name}: {looked[0]!r} may be read as {' or '.join(full)}: say which (--date '{name}={full[0]}')")
        return full
    joined = sum(any(is_read(cells.reader_of({"type": "date", "formats": [text]}), word) for text in fitting) for word in looked)
    if joined >= SOME_FORM * len(looked) and len(looked) > 1:
        some = "|".join(text for text, _ in fitting.most_common(3))
        such = ", ".join(map(repr, looked[:3]))
        raise Question(f"{name} has dates of several forms, such as {such}: name all of them (--date '{name}={some}') or drop it")
    return []


def number(
    column: Seen, words: Counter[str], told: Told, way: tuple[str, str], is_target: bool, made: dict[str, Any]
) -> ColumnSchema | None:
    """None where the column is one of words. Raises Question between the two."""
    name, filled, is_told = column.name, sum(words.values()), column.name in told.number
    units, brackets = units_of(words)
    spec: dict[str, Any] = {
        "decimal": way[0] if way[0] != "." else None,
        "thousands": way[1] or None,
        "units": units or None,
        "brackets": brackets or None,
    }
    read = cells.reader_of({"type": "number"} | {key: value for key, value in spec.items() if value is not None})
    other = Counter({word: count for word, count in words.items() if not is_read(read, word)})
    empty = sum(count for word, count in other.items() if word.lower() in KNOWN_MISSING)
    share = 1 - (sum(other.values()) - empty) / max(filled - empty, 1) if filled > empty else 0.0
    codes = [word for word in words if re.fullmatch(r"0[0-9]+", word)]
    if codes and not is_told:
        return None
    stand_in = [word for word, count in other.items() if word.lower() in KNOWN_MISSING or (count > 1 and len(other) <= MAX_WORDS)]
    rest = sum(count for word, count in other.items() if word not in stand_in)
    if share < HALF and not is_told:
        return None
    if rest > MAX_BAD * column.total and not is_told:
        some = ", ".join(repr(printable(word)) for word in list(other)[:3])
        raise Question(f"{name}: {share:.0%} of its cells are numbers, others are {some}: say --number '{name}' or --category '{name}'")
    numbers = [word for word in words if word not in other]
    plain = all(re.fullmatch(r"[+-]?[0-9]+", word) for word in numbers)
    few = plain and len(numbers) <= FEW_NUMBERS and filled >= MIN_OF_CLASS * len(numbers)
    if is_target and not is_told and (few or len(numbers) == 2):
        return None
    if plain and len(words) == 2 and not is_told and not is_target:
        return None
    if not is_target and not is_told and plain and (why := identity(column, numbers)):
        return ColumnSchema(type="dropped", why=why, **made)
    notes = ["told" if is_told else f"{min(share, 0.99):.0%} of its cells are numbers" if rest else "numbers"]
    notes += (
        [f"{', '.join(map(repr, map(printable, stand_in)))} {'counts' if len(stand_in) == 1 else 'count'} as missing"] if stand_in else []
    )
    notes += [f"{', '.join(map(repr, units))} beside them is left out"] if units else []
    notes += ["brackets mean below zero"] if brackets else []
    if rest:
        such = next(repr(printable(word)) for word in other if word not in stand_in)
        notes.append(f"{rest} other {'cell counts' if rest == 1 else 'cells count'} as missing, such as {such}")
    if hint := outlier(read, numbers):
        notes.append(hint)
    return ColumnSchema(type="number", why="; ".join(notes), **(made | {"missing": [*(made["missing"] or []), *stand_in] or None}), **spec)


def outlier(read: Callable[[str], Any], numbers: list[str]) -> str:
    """A hint at one value far below all others, as -999 stands for missing in some files."""
    values = sorted({float(read(word)) for word in numbers[:10_000]})
    if len(values) > 3 and values[0] < 0 < values[1] and values[0] in (-9, -99, -999, -9999, -99999, -1):
        return f"{values[0]:g} lies apart: if it means missing, say --missing"
    return ""


def identity(column: Seen, numbers: list[str]) -> str:
    """Why whole numbers are no feature but a name for the row; empty where they may be one."""
    if len(numbers) < column.num_filled or column.num_filled < column.counts.total():
        return ""
    values = [int(cell) for cell in column.first]
    if len(values) >= MIN_COUNTED and values in (list(range(len(values))), list(range(1, len(values) + 1))):
        return "counts the rows"
    return "different in each row, and named as an ID" if NUMBERS_ROWS.search(column.name) and len(values) > 2 else ""


def category(column: Seen, words: Counter[str], why: str, made: dict[str, Any], told: Told, is_target: bool = False) -> ColumnSchema:
    """Of words that repeat; else the column is dropped."""
    levels, total = (
        words + Counter({word: count for word, count in column.later.items() if word and word not in (made["missing"] or [])}),
        sum(words.values()),
    )
    length = sum(len(word) * count for word, count in words.items()) / total
    if not (why or is_target):
        different = f"{len(words)} different in {total} rows"
        if len(words) == total and total > 2:
            return ColumnSchema(type="dropped", why="different in each row: an ID, a name or a free text", **made)
        if length > LONG_TEXT or sum(len(word.split()) * count for word, count in words.items()) > LONG_SENTENCE * total:
            return ColumnSchema(type="dropped", why=f"a free text ({length:.0f} characters on average, {different})", **made)
        if len(words) > FEW_LEVELS and total / len(words) < MIN_TIMES:
            hint = "; repeats: consider --group" if total / len(words) >= ROWS_IN_GROUP else ""
            return ColumnSchema(type="dropped", why=f"{different}: an ID, a name or a free text{hint}", **made)
    if max(map(len, levels)) > cells.MAX_WORD:
        return ColumnSchema(type="dropped", why=f"a free text (with more than {cells.MAX_WORD} characters in a cell)", **made)
    if len(levels) > NAMED_LEVELS:
        return ColumnSchema(type="dropped", why=f"more than {NAMED_LEVELS} different words", **made)
    spec = {"type": "category", "missing": made["missing"] or []}
    names = sorted({cells.category(word, spec) for word in levels})
    as_numbers = is_target and all(re.fullmatch("[+-]?[0-9]+", word) for word in words)
    classes = f"{len(names)} whole numbers are taken for classes: --number '{column.name}' makes it a regression"
    notes = [
        why
        or (
            classes
            if as_numbers and len(names) > 2
            else "codes with leading zeros"
            if any(re.fullmatch("0[0-9]+", word) for word in words)
            else f"{len(names)} words that repeat"
        )
    ]
    if column.name in told.ignore_case:
        first = {word.lower(): word for word in sorted(names, key=lambda name: words[name])}
        names = sorted(first.values())
        made = made | {"ignore_case": True}
    else:
        variants = variants_of(names)
        if variants and is_target:
            some = ", ".join(f"{printable(word)!r} ({words[word]})" for word in variants)
            told_so = f"say whether they are the same (--ignore-case '{column.name}') or fix the file"
            raise Question(f"{column.name} has classes that differ by case alone: {some}: {told_so}")
        notes += [f"{' and '.join(map(repr, map(printable, variants[:4])))} differ by case alone"] if variants else []
    if known := [word for word in words if word.lower() in KNOWN_MISSING]:
        what = "is a word" if len(known) == 1 else "are words"
        notes.append(f"{', '.join(map(repr, known))} {what} like any other, unless --missing says otherwise")
    return ColumnSchema(type="category", levels=names, why="; ".join(notes), **made)


def variants_of(names: list[str]) -> list[str]:
    """Words that differ by case alone."""
    times = Counter(name.lower() for name in names)
    return [name for name in names if times[name.lower()] > 1]
