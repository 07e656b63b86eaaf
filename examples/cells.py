"""Reads the cells of a table as a model's columns say: the one reader of Python, for preprocessing and for those who ask a model.

A column is a dict, as the signature of an exported model has it under `columns`:

    type      number, date or category (others are not read)
    missing   words that mean that nothing is known, besides the empty cell and cells of blanks; in numbers `nan` too
    decimal   of numbers: the sign before the fraction, "." or ","
    thousands of numbers: the sign between groups of three digits: "", ",", ".", "'" or " " (any blank)
    units     of numbers: what may stand before or behind, such as $ or %, and is left out
    brackets  of numbers: whether (7.78) means -7.78; 7.78- always does, as SAP writes it
    formats   of dates: patterns of %Y %y %m %d %b %H %M %S and other characters; the first that fits counts
    ignore_case  of categories: whether a word is the level that it equals but for case
    levels    of categories: the words that the model knows; any other counts as unknown

examples/cells.mjs reads the same in JavaScript. No part of it depends on the machine's language or time zone.
"""

import functools
import math
import re
import struct
import unicodedata
from collections.abc import Callable, Iterable
from typing import Any

Column = dict[str, Any]

# As String.trim() has it in JavaScript.
BLANKS = "\t\n\v\f\r \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
LARGEST = struct.unpack("<f", b"\xff\xff\x7f\x7f")[0]  # of float32
MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
DAYS_BEFORE = (0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334)
PARTS = {
    "%Y": r"(?P<Y>[0-9]{4})",
    "%y": r"(?P<y>[0-9]{2})",
    "%m": r"(?P<m>[0-9]{1,2})",
    "%d": r"(?P<d>[0-9]{1,2})",
    "%b": r"(?P<b>[A-Za-z]{3,9})",
    "%H": r"(?P<H>[0-9]{1,2})",
    "%M": r"(?P<M>[0-9]{2})",
    "%S": r"(?P<S>[0-9]{2})(?:\.[0-9]+)?",
}
MISSING = (math.nan, math.nan)
MAX_NUMBER = MAX_WORD = 1000  # characters; a longer word's accents would be put in order in time squared
EXACT = 2**53  # from here on a float64 is not every whole number
NO_TEXT = re.compile("[\0\ud800-\udfff]")  # halves of characters, which JSON and command lines can hold and UTF-8 cannot


class BadCell(ValueError):
    """A cell that is not what its column says; the message goes on from the cell: `expected a number`."""


def stripped(cell: str) -> str:
    return cell.strip(BLANKS)


def is_missing(cell: str, column: Column) -> bool:
    text = stripped(cell)
    return not text or text in column.get("missing", ()) or (column["type"] == "number" and text.lower() == "nan")


def category(cell: str, column: Column, levels: dict[str, str] | None = None) -> str:
    """The level; "" is missing. Letters with accents are one character each (NFC), however they were typed."""
    if NO_TEXT.search(cell):
        raise BadCell("expected a text that UTF-8 can hold, without zero bytes")
    if is_missing(cell, column):
        return ""
    if len(stripped(cell)) > MAX_WORD:
        raise BadCell(f"expected a text of at most {MAX_WORD} characters")
    text = unicodedata.normalize("NFC", stripped(cell))
    if not column.get("ignore_case"):
        return text
    levels = levels_by_spelling(column) if levels is None else levels
    return levels.get(text) or levels.get(text.lower(), text)


def levels_by_spelling(column: Column) -> dict[str, str]:
    """Of a column that ignores case: a level by itself, and by its small letters."""
    levels = column["levels"]
    return {level.lower(): level for level in reversed(levels)} | {level: level for level in levels}


def reader_of(column: Column) -> Callable[[str], Any]:
    """From a cell to a float (number), two floats (date: days since 1970 and seconds of the day) or a text (category).

    What is missing is NaN, or "". The function raises BadCell.
    """
    if column["type"] == "number":
        return functools.partial(number, column=column, pattern=pattern_of_numbers(column))
    if column["type"] == "date":
        return functools.partial(date, column=column, patterns=[pattern_of_dates(one) for one in column["formats"]])
    return functools.partial(category, column=column, levels=levels_by_spelling(column) if column.get("ignore_case") else None)


def pattern_of_numbers(column: Column) -> re.Pattern[str]:
    """Of a cell without blanks around it. No blank can belong to two parts of it, or long runs of them would take time squared."""
    blank = f"[{BLANKS}]"
    thousands, decimal = column.get("thousands", ""), re.escape(column.get("decimal", "."))
    between = f"{blank}" if thousands == " " else re.escape(thousands)
    whole = rf"[0-9]{{1,3}}(?:{between}[0-9]{{3}})+|[0-9]+" if thousands else "[0-9]+"
    unit = "|".join(re.escape(one) for one in sorted(column.get("units", ()), key=len, reverse=True))
    before, behind = (rf"(?:(?:{unit}){blank}*)?", rf"(?:{blank}*(?:{unit}))?") if unit else ("", "")
    number = rf"(?=(?:{decimal})?[0-9])(?P<whole>{whole})?(?:{decimal}(?P<fraction>[0-9]*))?(?P<exponent>[eE][+-]?[0-9]+)?"
    signed = rf"{before}(?:(?P<sign>[+\-\u2212]){blank}*)?{before}{number}(?P<after>[\-\u2212])?{behind}"
    return re.compile(rf"(?:(?P<open>\(){blank}*)?{signed}(?:{blank}*(?P<close>\)))?" if column.get("brackets") else signed)


def number(cell: str, column: Column, pattern: re.Pattern[str]) -> float:
    if is_missing(cell, column):
        return math.nan
    text = stripped(cell)
    found = pattern.fullmatch(text) if len(text) <= MAX_NUMBER else None
    part = found.groupdict() if found else {}
    if not found or bool(part.get("open")) != bool(part.get("close")) or (part["after"] and (part["sign"] or part.get("open"))):
        raise BadCell("expected a number")
    digits = re.sub("[^0-9]", "", part["whole"] or "0")
    value = float(f"{digits}.{part['fraction'] or '0'}{part['exponent'] or ''}")
    if not value <= LARGEST:
        raise BadCell("expected a number that float32 can hold")
    return -value if part["sign"] in ("-", "\u2212") or part["after"] or part.get("open") else value


def pattern_of_dates(text: str) -> re.Pattern[str]:
    """Raises ValueError where a pattern has another % than those of PARTS, one of them twice, or no day."""
    pieces = re.findall("%.|[^%]+|%$", text)
    known = [piece for piece in pieces if piece.startswith("%")]
    if unknown := [piece for piece in known if piece not in PARTS]:
        raise ValueError(f"{unknown[0]} is not one of {', '.join(PARTS)}")
    if len(set(known)) != len(known) or len({"%Y", "%y"} & set(known)) != 1 or len({"%m", "%b"} & set(known)) != 1 or "%d" not in known:
        raise ValueError("expected one year (%Y or %y), one month (%m or %b) and one day (%d)")
    return re.compile("".join(PARTS.get(piece) or re.escape(piece) for piece in pieces))


def date(cell: str, column: Column, patterns: list[re.Pattern[str]]) -> tuple[float, float]:
    if is_missing(cell, column):
        return MISSING
    text = stripped(cell)
    for pattern in patterns:
        if found := pattern.fullmatch(text):
            value = as_day_and_second(found.groupdict())
            if value is not None:
                return value
    raise BadCell(f"expected a date like {' or '.join(column['formats'])}")


def as_day_and_second(part: dict[str, str]) -> tuple[float, float] | None:
    """None where the calendar has no such day, or the day no such second. Years of two digits are of 1969 to 2068, as POSIX has it."""
    year = int(part["Y"]) if "Y" in part else int(part["y"]) + (1900 if int(part["y"]) >= 69 else 2000)
    month = MONTHS.index(part["b"][:3].lower()) + 1 if part.get("b", "jan")[:3].lower() in MONTHS and "b" in part else int(part.get("m", 0))
    day, hour, minute, second = (int(part.get(key) or 0) for key in ("d", "H", "M", "S"))
    is_leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if not (1 <= month <= 12 and year >= 1 and hour < 24 and minute < 60 and second < 60):
        return None
    length = 29 if month == 2 and is_leap else (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)[month - 1]
    if not 1 <= day <= length:
        return None
    before = year - 1
    days = before * 365 + before // 4 - before // 100 + before // 400 + DAYS_BEFORE[month - 1] + (month > 2 and is_leap) + day - 719163
    return float(days), float(3600 * hour + 60 * minute + second)


def cell_of(value: Any, column: Column) -> str:
    """The cell that says what a value of JSON does. null is missing, and so is a number that a word of `missing` spells; true and false are
    the level that is spelled so in large or small letters. Raises BadCell.
    """
    kind, levels = column["type"], column.get("levels", [])
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, bool) and kind == "category":
        same = [level for level in levels if level.lower() == str(value).lower()]
        if len(same) != 1:
            raise BadCell(f"expected a text: {'no' if not same else 'more than one'} level is spelled so")
        return str(same[0])
    if isinstance(value, int | float) and not isinstance(value, bool) and kind != "date":
        if not abs(value) <= LARGEST:
            raise BadCell("expected a number that float32 can hold")
        if kind == "category" and (abs(value) >= EXACT or 0 < abs(value) < 1e-4):
            raise BadCell("expected a text: a number so large or so small can be spelled in several ways")
        text = str(int(value)) if value == int(value) and abs(value) < EXACT else repr(float(value))
        if kind == "category":
            return text
        return "" if float(value) in numbers_in(column.get("missing", ())) else text.replace(".", column.get("decimal", "."))
    raise BadCell({"number": "expected a number", "date": "expected a date as a text"}.get(kind, "expected a text"))


def numbers_in(words: Iterable[str]) -> list[float]:
    """As JSON and most files spell them."""
    return [float(word) for word in words if re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", word)]


def has_time(column: Column) -> bool:
    """Whether a date gives two numbers: the day, and the second of the day."""
    return column["type"] == "date" and any("%H" in one for one in column["formats"])


def feature_names(name: str, column: Column) -> list[str]:
    """Of the numbers that a column of numbers or dates gives."""
    return [name, f"{name} (second of the day)"] if has_time(column) else [name]
