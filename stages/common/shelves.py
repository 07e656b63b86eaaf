"""A shelf is a folder of parts (stages/datasets, stages/architectures); a part's name is its file's name."""

import functools
import importlib
import re
from pathlib import Path
from types import ModuleType

from stages.shell.errors import UserError, reason

NAME = r"[a-z0-9_]+"
STAGES = Path(__file__).parents[1]


def part_names(shelf: str) -> list[str]:
    """Of files whose names are of a to z, 0 to 9 and _."""
    return sorted(path.stem for path in (STAGES / shelf).glob("*.py") if re.fullmatch(NAME, path.stem) and path.stem != "__init__")


@functools.cache  # asked at every batch
def take_input(kind: str) -> ModuleType:
    """The module stages/inputs/<kind>.py of a kind that meta.json or a part names."""
    return take_part("inputs", kind, "the kind of input")


@functools.cache
def take_task(name: str) -> ModuleType:
    """The module stages/tasks/<name>.py of a task that meta.json or a part names."""
    return take_part("tasks", name, "the task")


def take_part(shelf: str, name: str, key: str) -> ModuleType:
    """The module stages/<shelf>/<name>.py; `key` is the params.yaml key that named it, for the error's sentence."""
    if not isinstance(name, str) or not re.fullmatch(NAME, name) or name not in part_names(shelf):
        raise UserError(f"params.yaml: {key} is {name!r}; expected one of {', '.join(part_names(shelf))} (the files in stages/{shelf}/).")
    try:
        return importlib.import_module(f"stages.{shelf}.{name}")
    except (SyntaxError, ImportError, AttributeError, NameError, TypeError, ValueError) as error:
        line = f" line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise UserError(
            f"stages/{shelf}/{name}.py{line} cannot be imported ({type(error).__name__}: {reason(error)}): fix the file."
        ) from error
