"""Where the files of a raw/ folder are from, written beside them: nobody can take a sample for the real data later on."""

from pathlib import Path
from typing import get_args

from stages.common.errors import UserError
from stages.common.meta import Origin

FILE = ".source"


def write_source(raw: Path, source: Origin) -> None:
    (raw / FILE).write_text(f"{source}\n", encoding="ascii")


def read_source(raw: Path) -> Origin:
    try:
        text = (raw / FILE).read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{raw / FILE} is missing: run python -m stages.download {raw.parent.name} (or dvc repro) first.") from error
    for source in get_args(Origin):
        if text == f"{source}\n".encode():
            return source
    raise UserError(f"{raw / FILE} is damaged: run python -m stages.download {raw.parent.name} again.")
