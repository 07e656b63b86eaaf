"""What `make new` makes of data, by its kind: entries/<kind>/proposal.py looks at it and gives a Proposal."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ruamel.yaml.error import YAMLError

from entries.lines import parse
from stages.common.params import Section, check_section
from stages.reading.group_splits import WORDS
from stages.shell.errors import UserError

NEW = "The new entry"  # of params.yaml, where a sentence would name the file
S = TypeVar("S", bound=Section)
NOT_WRITTEN = {"limits": "Nobody has written down yet what it is not for.", "licence": "not stated"}


class Proposal(Protocol):
    """A dataset and a model of the data at `path`, which was looked at."""

    path: Path

    def print(self) -> None:
        """Says what was found."""

    def dataset(self, name: str) -> dict[str, Any]:
        """The entry under `datasets` in params.yaml."""

    def model(self, name: str) -> dict[str, Any]:
        """The entry under `models`."""

    def schema(self, address: str) -> str:
        """The content of data/schemas/<name>.yaml, empty where the kind of data has none; `address` is where the data was fetched."""

    def place(self, raw: Path) -> None:
        """Puts the data into the folder `raw`, which is empty."""


def is_usable(name: str) -> bool:
    """Whether it is written in one way everywhere; names with a dot first are the project's own."""
    return bool(name) and name.isprintable() and not name.startswith(".")


def refuse_odd_name(path: Path) -> None:
    if not is_usable(path.name):
        raise UserError(f"{path.name!r} cannot be the name of raw data: give it another name, without signs that are not seen.")


def settings(given: Iterable[str], kind: type[Section]) -> dict[str, Any]:
    """Keys of `preprocess` that are told as KEY=VALUE, the value as in params.yaml."""
    found = dict[str, Any]()
    for text in given:
        key, sign, value = text.partition("=")
        if not sign or key not in kind.model_fields:
            raise UserError(f"--set {text!r}: expected KEY=VALUE, with a key of {', '.join(kind.model_fields)}.")
        try:
            found[key] = parse(value)
        except (YAMLError, ValueError) as error:
            fix = "write a blank after each colon" if re.search(r"\{.*:\S", value) else "put it in single quotes"
            raise UserError(f"--set {text!r}: {value!r} is not a value of YAML: {fix}.") from error
    return found


def checked(kind: type[S], values: dict[str, Any]) -> S:
    """A section `preprocess` of the new entry; a mistake is one of --set."""
    return check_section(kind, values, "preprocess", NEW)


def with_set(error: UserError, names: dict[str, str]) -> UserError:
    """The same in words for who has no entry yet: keys are said with --set, and paths by `names`."""
    text = str(error).replace(f"{NEW}: preprocess: ", f"{NEW}: ")
    for path, name in names.items():
        text = text.replace(path, name)
    return UserError(f"{text} Keys of preprocess are said with --set KEY=VALUE." if "preprocess." in text or NEW in text else text)


def reads_like_splits(cells: Iterable[str]) -> bool:
    """Whether each cell is a split's word, and both train and another one occur."""
    places = {WORDS.get(cell.strip().lower()) for cell in cells if cell.strip()}
    return None not in places and 0 in places and len(places) > 1


def flag(name: str) -> str:
    """An option as it is told, such as --ignore-case."""
    return f"--{name.replace('_', '-')}"


def listed_with_counts(counts: dict[str, int], most: int) -> str:
    """Such as `apple 95, banana 93, ...`."""
    shown = [f"{name} {number:,}" for name, number in list(counts.items())[:most]]
    return ", ".join([*shown, *(["..."] if len(counts) > most else [])])


def some_of(names: list[str], most: int) -> str:
    """Such as `apple, banana and 3 more`."""
    return f"{', '.join(names[:most])} and {len(names) - most:,} more" if len(names) > most + 1 else ", ".join(names)
