"""Texts of any script: int32 code points on disk, padded with 0 at the end; int64 from consumers, of any length.

Readers put a text in NFC (examples/texts.py). All else is in the graph, so that it is the same for everyone who asks a model. The network
gets int64 code points [batch, length + 2], 0 where a text is over:

- only the first `max_length` are read: a longer text is answered as these;
- what no character has, below 0, beyond 0x10FFFF or between 0xD800 and 0xDFFF, is U+FFFD;
- white space as Unicode has it, control characters, U+FEFF and the padding are blanks; several blanks are one, one stands before the text
  and one behind it. A text without anything else is a single blank;
- with case: fold, each letter that has one small letter becomes that one, as Python's str.lower() has it for the letter alone. So Greek's
  small sigma at the end of a word stays another letter than the one within it, which is what a large one becomes; and Turkish's I with a
  dot, whose small form is two characters, stays.
"""

import functools
import unicodedata
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.common.meta import Input, Text
from stages.common.signature import BATCH, LENGTH, Entry

if TYPE_CHECKING:
    from torch import Tensor

IS_AUGMENTED = False
NAMES = ("characters",)  # of what consumers send
CHANNELS_LAST = False
OPSET = 16  # of ONNX, at least: older ones cannot add up what falls on one place
LAST, UNKNOWN, BLANK = 0x10FFFF, 0xFFFD, 0x20
CASED = 0x20000  # from here on there are neither large letters nor blanks
PAGE = 256  # code points of which a page of the table of letters knows what they become
MAX_PADDING = 5
GOLDEN = "Reprise: ΣΊΣΥΦΟΣ, Привет! नमस्ते \U0001f98a"
# A line of each of eight scripts, typed apart (NFD) and in large letters too, emoji beyond the first 65,536 characters, and what is blank.
LINES = (
    "Two  bees,\tone ANT\r\n",
    "Ελληνικά ΣΑΣ ςσ",
    "Русский ЁЖ",
    "العربية ١٢٣",
    "हिन्दी भाषा",
    "தமிழ் மொழி",
    "ಕನ್ನಡ മലയാളം",
    "中文字符、日本語テキスト 한국어",
    "e\u0301\u0308 A\u030a \u0130I \u0131i ß ẞ",
    "\U0001f98a\U0001f469\u200d\U0001f680 \U00010400\U0001e900",
    "\u3000\u2028\x85\x00\ufeff\xa0",
)


class Measurement:
    """Nothing is measured of texts."""

    def __init__(self, described: Input): ...

    def add(self, characters: np.ndarray) -> None: ...

    def measured(self) -> dict[str, Any]:
        return {}


def text_of(described: Input) -> Text:
    assert described.text is not None
    return described.text


def as_batch(rows: np.ndarray) -> np.ndarray:
    """Rows of a split as a consumer sends them."""
    return rows.astype(np.int64)


def lengths(rows: np.ndarray) -> np.ndarray | None:
    """The length of each text, [n]: those of like length are trained together, without the padding that all of them share."""
    is_there = rows != 0
    return np.where(is_there.any(axis=1), rows.shape[1] - is_there[:, ::-1].argmax(axis=1), 0)


@functools.cache
def letters(case: str) -> tuple[np.ndarray, np.ndarray]:
    """What each code point becomes, as the difference from it: int64 [number, PAGE] of the pages that differ, and which of them each
    PAGE code points have, int64.
    """
    changes = np.zeros(-(-LAST // PAGE) * PAGE, dtype=np.int64)
    changes[0xD800:0xE000] = UNKNOWN - np.arange(0xD800, 0xE000)
    for code in range(CASED):
        sign = chr(code)
        if sign.isspace() or sign == "\ufeff" or unicodedata.category(sign) == "Cc":
            changes[code] = BLANK - code
        elif case == "fold" and len(small := sign.lower()) == 1:
            changes[code] += ord(small) - code
    pages, places = np.unique(changes.reshape(-1, PAGE), axis=0, return_inverse=True)
    return pages, places.reshape(-1)


def constants(described: Input) -> dict[str, np.ndarray]:
    own = text_of(described)
    pages, places = letters(own.case)
    # Of the last only the length is used: a slice whose end was a number in a tensor would wait for the device.
    return {"pages": pages.ravel(), "places": places, "row": np.zeros(own.max_length, dtype=np.uint8)}


def prepare(characters: "Tensor", constants: dict[str, "Tensor"]) -> "Tensor":
    """int64 code points [batch, length], 0 is padding, to what is said above, int64 [batch, min(length, max_length) + 2]."""
    from torch import zeros_like
    from torch.nn.functional import pad

    cut = characters[:, : constants["row"].shape[0]]
    codes = cut.masked_fill((cut < 0) | (cut > LAST), UNKNOWN)
    pages = constants["places"][codes.div(PAGE, rounding_mode="trunc")]
    codes = pad(codes + constants["pages"][pages * PAGE + codes.remainder(PAGE)], (1, 1), value=BLANK)
    is_blank = (codes == BLANK).long()
    is_kept = pad(1 - is_blank[:, 1:] * is_blank[:, :-1], (1, 0), value=1)
    places = is_kept.cumsum(dim=1) - 1  # what is dropped adds nothing at the place before it
    return zeros_like(codes).scatter_add(1, places, codes * is_kept)


def as_texts(rows: np.ndarray, described: Input) -> list[str]:
    """The rows of a split as baselines take them."""
    return [row[row != 0].astype("<u4").tobytes().decode("utf-32-le", errors="replace") for row in rows]


def describe(described: Input, names: dict[str, str]) -> list[Entry]:
    """The inputs in the signature: one."""
    own = text_of(described)
    case = "large and small letters count as the same" if own.case == "fold" else "large and small letters differ"
    meaning = (
        "Unicode code points of a text in NFC, 0 = padding at the end. "
        f"The first {own.max_length:,} count; {case}, and so does all white space. More than that need not be prepared."
    )
    return [Entry(name=names["characters"], dtype="int64", shape=[BATCH, LENGTH], meaning=meaning, range=[0, LAST])]


def golden(described: Input) -> np.ndarray:
    """One row, made by rule and not taken from the data: that may be somebody's, and the model goes to others."""
    return as_rows([GOLDEN[: text_of(described).max_length]])


def as_rows(texts: list[str]) -> np.ndarray:
    """int32 [n, length of the longest]."""
    rows = np.zeros((len(texts), max(map(len, texts))), dtype=np.int32)
    for row, text in zip(rows, texts, strict=True):
        row[: len(text)] = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    return rows


def cases(batches: list[np.ndarray], described: Input) -> Iterator[np.ndarray]:
    """Batches that exported forms are compared on, from batches of rows of a split (int64): each at its full width, cut to its longest row,
    cut shorter still, and padded further. Then what a split need not have: other scripts, blanks alone, numbers that no character has, and
    a text that is longer than what is read.
    """
    texts = [np.pad(batch, ((0, 0), (0, MAX_PADDING))) for batch in batches]
    for text, batch in zip(texts, batches, strict=True):
        longest = max(int((text != 0).sum(axis=1).max()), 1)
        for length in sorted({1, max(1, longest // 2), longest, batch.shape[1], text.shape[1]}):
            yield text[:, :length]
    width, most = texts[-1].shape[1] - MAX_PADDING, text_of(described).max_length
    lines = as_batch(as_rows([line[:width] for line in LINES]))
    yield lines
    yield np.zeros_like(lines[:, :1])
    third = np.arange(lines.size).reshape(lines.shape) % 3 == 0
    for strange in (-1, -(2**63), 0, 0xD800, LAST + 1, 2**63 - 1):
        yield np.where(third, strange, lines)
    yield np.tile(lines, -(-(most + MAX_PADDING) // lines.shape[1]))[:, : most + MAX_PADDING]


def shown(rows: np.ndarray, described: Input) -> np.ndarray | list[str]:
    """Pictures, or a line of text for each item."""
    return [" ".join(text.split()) for text in as_texts(rows, described)]


def columns(rows: np.ndarray, described: Input) -> dict[str, tuple[list[int], np.ndarray]]:
    """What can be said of each text, float64 [n]; it is at no place of its own in a row."""
    words = [len(text.split()) for text in as_texts(rows, described)]
    return {"length": ([], np.count_nonzero(rows, axis=1).astype(np.float64)), "words": ([], np.array(words, dtype=np.float64))}
