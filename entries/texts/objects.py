"""Of a file with a JSON object on each line: what its keys hold, and how files that are laid out otherwise are made such ones."""

import argparse
import json
import shlex
from itertools import islice
from pathlib import Path
from typing import Any

from entries.proposal import some_of
from entries.tables.formats import start_of
from entries.texts.columns import LOOKED_AT, Columns
from stages.reading.contents import printable
from stages.reading.texts import json_problem, lines_in
from stages.shell.errors import UserError

SHOWN = 8  # keys


def columns_in(path: Path, encoding: str, options: argparse.Namespace) -> Columns:
    """By key, the values of some of the objects. Raises UserError where they are laid out in another way, and says how they are brought
    into this one.
    """
    refuse_other_layout(path, start_of(path, encoding).lstrip())
    cells, nested, wrong, count = dict[str, list[str]](), dict[str, Any](), "", 0
    for line, content in islice(lines_in(path, encoding), LOOKED_AT):
        try:
            given = json.loads(content)
        except (ValueError, RecursionError) as error:
            given, problem = None, json_problem(error)
        else:
            problem = "" if isinstance(given, dict) else f"a {'list' if isinstance(given, list) else 'value'} stands there"
        if problem:  # one of few is left out, as the stage preprocess does
            wrong = wrong or f"line {line}: {problem}"
            continue
        count += 1
        for key, value in given.items():
            words = value if isinstance(value, list) else [value]
            if any(isinstance(one, dict | list) for one in words):
                nested.setdefault(key, value)
                continue
            cells.setdefault(key, []).extend(one if isinstance(one, str) else json.dumps(one) for one in words)
    if wrong and not cells and not nested:
        raise UserError(f"{path.name} is not a file with a JSON object on each line ({wrong}): write one a line.")
    refuse_nested(path, nested, cells, count, options)
    return Columns(cells)


def refuse_other_layout(path: Path, start: str) -> None:
    """One list of all objects, or objects that go on over several lines."""
    if start.startswith("["):
        raise UserError(one_a_line(path, "a list, not a JSON object on each line", ".[]"))
    if start.partition("\n")[0].strip() == "{":
        raise UserError(one_a_line(path, "objects that go on over several lines", "."))


def refuse_nested(path: Path, nested: dict[str, Any], cells: dict[str, list[str]], count: int, options: argparse.Namespace) -> None:
    """Keys whose values are objects, or lists of them, where they are what is to be read, or nothing else is there to be."""
    own = Columns({key: value for key, value in cells.items() if key not in nested})
    asked = [*(options.target or []), *(options.text or []), *filter(None, (options.group, options.split))]
    needed = [key for key in asked if key in nested or (key.partition(".")[0] in nested and key not in cells)]
    found = (options.text or own.texts()) and (options.target or own.classes())
    if not nested or (found and not needed):
        return
    key, value = next(iter(nested.items()))
    if count == 1 and isinstance(value, list):
        raise UserError(one_a_line(path, f"one object, whose key {printable(key)} has a list of all", f".[{json.dumps(key)}][]"))
    inner = next((f"{key}.{one}" for one in value), key) if isinstance(value, dict) else key
    example = f"such as {inner} as a key {inner.replace('.', '_')} of its own"
    keys = some_of(list(map(printable, needed or nested)), SHOWN)
    raise UserError(
        f"{path.name} has objects or lists of them under {keys}, not texts: flatten each line, so that its keys hold "
        f"texts and labels themselves ({printable(example)})."
    )


def one_a_line(path: Path, what: str, where: str) -> str:
    """How a file that holds `what` is made one that can be read; `where` in it the objects are, as jq writes it."""
    name = path.name
    into = f"{name.partition('.')[0]}_lines.jsonl"
    command = f"jq -c {shlex.quote(where)} {shlex.quote(name)}"
    if name.lower().endswith(".gz"):
        command = f"gunzip -c {shlex.quote(name)} | jq -c {shlex.quote(where)}"
    return f"{name} holds {what}: write one object a line ({command} > {shlex.quote(into)}), and give that file."
