"""Where the files of a raw/ folder come from, written beside them: nobody can take a stand-in for the real data later on."""

from pathlib import Path
from typing import get_args

from stages.common.meta import Origin
from stages.reading.left_out import printable
from stages.shell.errors import UserError

FILE = ".source"


def write_source(raw: Path, origin: Origin, stand_in: str = "") -> None:
    """`stand_in` describes a sample in a sentence."""
    (raw / FILE).write_text(f"{origin}\n{stand_in}", encoding="utf-8")


def read_source(raw: Path) -> tuple[Origin, str]:
    """The origin, and for a sample its description. Raw files that no download has made are somebody's own."""
    try:
        with (raw / FILE).open("rb") as file:  # raw files may be a stranger's: no more is read than a sentence has
            origin, _, stand_in = file.read(1000).decode(errors="replace").partition("\n")
    except FileNotFoundError:
        return "own", ""
    for known in get_args(Origin):
        if origin == known:
            return known, printable(stand_in)
    raise UserError(f"{raw / FILE} is damaged: run python -m stages.download {raw.parent.name} again.")
