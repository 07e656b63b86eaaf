"""Makes of a text what a model of texts takes: the one reader of Python, for preprocessing and for those who ask a model.

A text is sent as its Unicode code points, of any script: its first `max_length` in NFC, where a letter with its accents is one character
however it was typed. U+0000, which pads, becomes a blank, and half of a character (a surrogate, which JSON can hold) U+FFFD. All else, such
as large and small letters, is in the model. examples/predict.mjs does the same in JavaScript.

NFC takes time squared on long runs of accents. So no more of a text is looked at than can matter, in pieces of PIECE characters.
"""

import re
import unicodedata

PIECE = 1000
MOST_JOINED = 4  # characters that one of NFC is made of
BLANK = re.compile("[\\s\0-\x1f\x7f-\x9f\ufeff]*")
HALVES = re.compile("[\ud800-\udfff]")


def normalised(text: str, max_length: int) -> str:
    """At most `max_length` characters, each of which is a code point to be sent."""
    read = text[: MOST_JOINED * max_length]
    pieces = (read[start : start + PIECE] for start in range(0, len(read), PIECE))
    joined = "".join(unicodedata.normalize("NFC", piece) for piece in pieces)[:max_length]
    return HALVES.sub("\ufffd", joined.replace("\0", " "))


def is_blank(text: str) -> bool:
    """Whether there is nothing in it to be read: blanks, line ends and control characters alone."""
    return bool(BLANK.fullmatch(text))
