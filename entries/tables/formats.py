"""How a text file of a table is laid out: its encoding, the sign between cells, whether its first line is a header."""

import csv
import io
import re
from pathlib import Path

from charset_normalizer import from_bytes

from stages.reading.delimited import bom_of, opened
from stages.reading.schema import Format
from stages.shell.errors import UserError

SEPARATORS = (",", ";", "\t", "|")
LOOKED_AT = 1 << 20  # bytes from the start
MIN_AGREEING = 0.8  # of the rows, that have as many cells as the most
WESTERN = {
    "cp1252",
    "latin_1",
    "iso8859_1",
    "iso8859_15",
    "cp1250",
    "cp858",
    "cp850",
    "mac_roman",
    "iso8859_2",
    "iso8859_9",
    "cp1254",
    "cp1257",
}


def encoding_of(path: Path, told: str | None) -> tuple[str, str]:
    """The encoding, and how it is known. UTF-8 is certain where the whole file is; of others only Western ones are taken unasked."""
    if mark := bom_of(path):
        return mark, "its byte order mark says so"
    if told:
        return told, "told"
    start, is_utf8, rest = b"", True, b""
    with opened(path) as file:
        while piece := file.read(LOOKED_AT):
            start = start or piece
            try:
                text = (rest + piece).decode("utf-8")
                rest = b""
            except UnicodeDecodeError as error:
                if error.end < len(rest + piece) or len(rest + piece) - error.start > 3:
                    is_utf8 = False
                    break
                rest = (rest + piece)[error.start :]
            del piece
        is_utf8 = is_utf8 and not rest
    if is_utf8:
        return "utf-8", "the whole file is"
    best = from_bytes(start).best()
    guess = best.encoding if best else "unknown"
    if guess not in WESTERN:
        raise UserError(f"{path.name} is not UTF-8, and may be {guess}: say its encoding (--encoding {guess}), or save it as UTF-8.")
    try:
        text = start.decode("cp1252")
    except UnicodeDecodeError as error:
        raise UserError(f"{path.name} is neither UTF-8 nor cp1252: say its encoding (--encoding), or save it as UTF-8.") from error
    odd = list(dict.fromkeys(re.findall(r"\w*[^\x00-\x7f]+\w*", text)))[:3]
    return "cp1252", f"it is not UTF-8; look at {', '.join(odd)}"


def start_of(path: Path, encoding: str) -> str:
    """Whole lines from the file's start."""
    with opened(path) as file:
        content = file.read(LOOKED_AT)
        is_whole = not file.read(1)
    text = content.decode({"utf-8": "utf-8-sig"}.get(encoding, encoding), errors="ignore")
    return text if is_whole else text[: text.rfind("\n") + 1] or text


def separator_of(path: Path, text: str, told: str | None) -> str:
    """The sign by which nearly all rows have the same number of cells, the most cells."""
    if told:
        return told
    best, most = "", 1.0
    for sign in SEPARATORS:
        rows = [cells for cells in csv.reader(io.StringIO(text, newline=""), delimiter=sign) if any(cell.strip() for cell in cells)][:1000]
        widths = [len(cells) for cells in rows]
        width = max(set(widths), key=widths.count, default=1)
        agreeing = widths.count(width) / max(len(widths), 1)
        if agreeing >= MIN_AGREEING and width > 1 and width * agreeing > most:
            best, most = sign, width * agreeing
    if not best:
        first = text.splitlines()[0][:80] if text.strip() else "nothing"
        if text.strip() and not any(sign in text for sign in SEPARATORS):
            raise UserError(
                f"{path.name} has one column, {first!r}, and no other to predict it from: give a table of at least two columns."
            )
        raise UserError(
            f"{path.name}: no sign sets cells apart in the same way on most lines (its first line is {first!r}): say it with --separator, "
            "or give a table of at least two columns."
        )
    return best


def format_of(
    path: Path, encoding: str | None, separator: str | None, header: bool | None, names: list[str] | None
) -> tuple[Format, dict[str, str]]:
    """The format, and for people how each part of it is known. Raises UserError where that needs to be told."""
    found, why = encoding_of(path, encoding)
    text = start_of(path, found)
    if not text.strip():
        raise UserError(f"{path.name} is empty: there is no header and no row.")
    sign = separator_of(path, text, separator)
    form = Format(encoding=found, separator=sign, header=header is not False, names=names)  # type: ignore[arg-type]
    first = next(csv.reader(io.StringIO(text, newline=""), delimiter=sign))
    if header is None and not names:
        refuse_no_header(path, first)
    return form, {"encoding": why, "header": "told" if header is not None or names else "the first line names the columns"}


def refuse_no_header(path: Path, first: list[str]) -> None:
    """A first line that has numbers among its cells is data, most likely: it must not be lost as names."""
    numbers = [cell for cell in first if re.fullmatch(r"\s*[-+]?[0-9.,]+\s*", cell)]
    if numbers:
        raise UserError(
            f"{path.name}: the first line has {numbers[0].strip()!r} where a column's name should be. If the file has no header, say --no-header "
            "(columns are called column 1, column 2, ... then) or give all names (--names a,b,c --no-header); if they are names, say --header."
        )
    cells = [cell.strip() for cell in first]
    # A first column without a name is that of row numbers, as pandas and R write them; a last one is what a sign at each line's end makes.
    blank = [place for place, cell in enumerate(cells, start=1) if not cell and place not in (1, len(cells))]
    twice = [place for place, cell in enumerate(cells, start=1) if cell and cells.count(cell) > 1]
    if twice or blank:
        what = " and ".join(
            [
                *([f"column {' and '.join(map(str, blank))} without a name"] if blank else []),
                *([f"columns {' and '.join(map(str, twice))} of one name"] if twice else []),
            ]
        )
        raise UserError(f"{path.name} has {what}: give a name to every column, in their order (--names a,b,c,...).")
