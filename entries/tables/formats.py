"""How a text file of a table is laid out: its encoding, the sign between cells, whether its first line is a header."""

import codecs
import contextlib
import csv
import io
import re
from collections import Counter
from pathlib import Path

from charset_normalizer import from_bytes

from examples import cells as reading
from examples.rows import CODECS, SEPARATOR_LINE
from stages.common.meta import Format
from stages.common.params import check_section
from stages.reading.contents import printable
from stages.reading.delimited import bom_of, is_parquet, opened, refuse_other_content
from stages.shell.errors import UserError
from stages.shell.read_errors import read_errors_named

SEPARATORS = (",", ";", "\t", "|")
LOOKED_AT = 1 << 20  # bytes from the start
MAX_ODD = 1 << 14  # bytes that an encoding is told by
SOME_ROWS = 1000
MOST_ACCENTED = 0.85  # of the letters of words that have any
MIN_AGREEING = 0.8  # of the rows, that have as many cells as the most
# Of which a file that is not UTF-8 may be, by the names of Python's codecs and of the schema.
GUESSED = {
    "cp1252": "cp1252",
    "cp1250": "cp1250",
    "cp1251": "cp1251",
    "cp932": "cp932",
    "gb18030": "gb18030",
    "big5": "big5",
    "euc_kr": "euc-kr",
    "mac_roman": "mac-roman",
}
LETTERS = re.compile(
    "[ -~\u00a0-\u00ff\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u20ac\u2013\u2014\u2018-\u201e\u2026]*"  # of cp1252, without rare signs
)


def encoding_of(path: Path, told: str | None) -> tuple[str, str]:
    """The encoding, and how it is known. UTF-8 is certain where the whole file is; of others only Western ones are taken unasked."""
    if mark := bom_of(path):
        return mark, "its byte order mark says so"
    if told:
        return told, "told"
    found = not_utf8(path)
    if not found:
        return "utf-8", "the whole file is"
    text = found.decode("cp1252", errors="replace")
    if not is_western(text):
        best = from_bytes(found, cp_isolation=list(GUESSED)).best()
        guess = GUESSED.get(best.encoding, "") if best else ""
        which = f"may be {guess}: say its encoding (--encoding {guess})" if guess else "its encoding is not known: say it (--encoding)"
        raise UserError(f"{path.name} is not UTF-8, and {which}, or save it as UTF-8.")
    odd = list(dict.fromkeys(re.findall(r"\w*[^\x00-\x7f]+\w*", text)))[:3]
    return "cp1252", f"it is not UTF-8; look at {', '.join(printable(word) for word in odd)}"


def is_western(text: str) -> bool:
    """Whether text that was read as cp1252 is what Western Europe writes, whose words are not of letters with accents alone."""
    words = [word for word in re.findall(r"[^\W\d_]{3,}", text) if not word.isascii()]
    accented = sum(not letter.isascii() for word in words for letter in word)
    return bool(LETTERS.fullmatch("".join(text.split()))) and accented <= MOST_ACCENTED * sum(map(len, words))


def not_utf8(path: Path) -> bytes:
    """Nothing of a file that is UTF-8 to its last byte; else some lines with the bytes that are not ASCII, which tell what it is."""
    decoder, found = codecs.getincrementaldecoder("utf-8")(), b""
    with read_errors_named(path), opened(path) as file:
        while piece := file.read(LOOKED_AT):
            if len(found) < MAX_ODD and not piece.isascii():
                found += b"\n".join(line[:1000] for line in piece.splitlines() if not line.isascii())[:MAX_ODD]
            try:
                decoder.decode(piece)
            except UnicodeDecodeError as error:
                return found[:MAX_ODD] + error.object[max(0, error.start - 100) : error.end + 100]  # that byte may come after a long file
        try:
            decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            return found + error.object
    return b""


def start_of(path: Path, encoding: str) -> str:
    """Whole lines from the file's start."""
    with read_errors_named(path), opened(path) as file:
        content = file.read(LOOKED_AT)
        is_whole = not file.read(1)
    text = content.decode(CODECS.get(encoding, encoding), errors="ignore")
    if "\0" in text[:1000]:
        raise UserError(f"{path.name} has zero bytes: it is UTF-16 without a byte order mark (--encoding utf-16), or no text.")
    return text if is_whole else text[: max(text.rfind("\n"), text.rfind("\r")) + 1] or text


def separator_of(path: Path, text: str, told: str | None) -> str:
    """The sign by which nearly all rows have the same number of cells, the most cells."""
    if told:
        return told
    best, most = "", 1.0
    for sign in SEPARATORS:
        widths = [len(row) for row in first_rows(text, sign)]
        width = max(set(widths), key=widths.count, default=1)
        agreeing = widths.count(width) / max(len(widths), 1)
        if agreeing >= MIN_AGREEING and width > 1 and width * agreeing > most:
            best, most = sign, width * agreeing
    if not best:
        first = printable(text.splitlines()[0][:80]) if text.strip() else "nothing"
        if text.strip() and not any(sign in text for sign in SEPARATORS):
            raise UserError(
                f"{path.name} has one column, {first!r}, and no other to predict it from: give a table of at least two columns."
            )
        raise UserError(
            f"{path.name}: no sign sets cells apart in the same way on most lines (its first line is {first!r}): say it with --separator, "
            "or give a table of at least two columns."
        )
    return best


def first_rows(text: str, separator: str) -> list[list[str]]:
    """Up to SOME_ROWS that are not blank; fewer where a quote is not closed, or a cell is too long."""
    found = list[list[str]]()
    with contextlib.suppress(csv.Error):
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator):
            if any(cell.strip() for cell in row):
                found.append(row)
            if len(found) >= SOME_ROWS:
                break
    return found


def format_of(
    path: Path, encoding: str | None, separator: str | None, header: bool | None, names: list[str] | None
) -> tuple[Format, dict[str, str]]:
    """The format, and for people how each part of it is known. Raises UserError where that needs to be told."""
    if is_parquet(path):
        return Format(), {"encoding": "Parquet", "header": "its columns have names"}
    check_section(Format, {key: value for key, value in (("encoding", encoding), ("separator", separator)) if value}, "", path.name)
    refuse_other_content(path)
    found, why = encoding_of(path, encoding)
    text = start_of(path, found)
    if excel := SEPARATOR_LINE.fullmatch(next(io.StringIO(text, newline=""), "")):
        separator = separator or excel[1]
        text = text[excel.end() :]
    if not text.strip():
        raise UserError(f"{path.name} is empty: there is no header and no row.")
    sign = separator_of(path, text, separator)
    told = {
        "encoding": found,
        "separator": sign,
        "header": header is not False,
        "names": names and [reading.stripped(name) for name in names],
    }
    form = check_section(Format, told, "", f"{path.name}, its format")
    looked = first_rows(text, sign)
    if header is None and not names and looked:
        refuse_lines_above(path, looked)
        refuse_no_header(path, looked[0])
    return form, {"encoding": why, "header": "told" if header is not None or names else "the first line names the columns"}


def refuse_lines_above(path: Path, looked: list[list[str]]) -> None:
    """A title or a comment above the header, which has fewer cells than nearly all rows."""
    widths = [len(row) for row in looked]
    width = max(set(widths), key=widths.count)
    if widths[0] < width and widths.count(width) >= MIN_AGREEING * (len(widths) - 1):
        first = printable(",".join(looked[0])[:80])
        raise UserError(
            f"{path.name}: its first line, {first!r}, has {widths[0]} cells, where most have {width}: remove what stands above the header, "
            "or name every column there."
        )


def refuse_no_header(path: Path, first: list[str]) -> None:
    """A first line that has numbers among its cells is data, most likely: it must not be lost as names."""
    numbers = [cell for cell in first if re.fullmatch(r"\s*[-+]?[0-9.,]+\s*", cell)]
    if numbers:
        raise UserError(
            f"{path.name}: the first line has {numbers[0].strip()!r} where a column's name should be. If the file has no header, say "
            "--no-header (columns are called column 1, column 2, ... then) or give all names (--names a,b,c --no-header); if they are "
            "names, say --header."
        )
    cells = [cell.strip() for cell in first]
    # A first column without a name is that of row numbers, as pandas and R write them; a last one is what a sign at each line's end makes.
    blank = [place for place, cell in enumerate(cells, start=1) if not cell]
    times = Counter(cells)
    twice = [place for place, cell in enumerate(cells, start=1) if cell and times[cell] > 1]
    if twice or set(blank) - {1, len(cells)}:
        what = " and ".join(
            [
                *([f"column {' and '.join(map(str, blank))} without a name"] if blank else []),
                *([f"columns {' and '.join(map(str, twice))} of one name"] if twice else []),
            ]
        )
        raise UserError(f"{path.name} has {what}: give a name to every column, in their order (--names a,b,c,...).")
