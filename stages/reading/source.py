"""Where the files of a raw/ folder come from, written beside them: nobody can take a stand-in for the real data later on."""

from pathlib import Path
from typing import get_args

from stages.common.errors import UserError
from stages.common.meta import Origin

FILE = ".source"


def write_source(raw: Path, origin: Origin, stand_in: str = "") -> None:
    """`stand_in` describes a sample in a sentence."""
    (raw / FILE).write_text(f"{origin}\n{stand_in}", encoding="utf-8")


def read_source(raw: Path) -> tuple[Origin, str]:
    """The origin, and for a sample its description. Raw files that no download has made are somebody's own."""
    try:
        origin, _, stand_in = (raw / FILE).read_text(encoding="utf-8", errors="replace").partition("\n")
    except FileNotFoundError:
        return "own", ""
    for known in get_args(Origin):
        if origin == known:
            return known, stand_in
    raise UserError(f"{raw / FILE} is damaged: run python -m stages.download {raw.parent.name} again.")
