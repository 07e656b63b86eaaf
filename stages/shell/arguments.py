"""Arguments that params.yaml gives to something of torch's: what is wrong with them, as a sentence that names the key."""

import contextlib
import inspect
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import torch

from stages.shell.errors import UserError, reason
from stages.shell.sentences import shown


@contextlib.contextmanager
def fitting(key: str, name: str) -> Iterator[None]:
    """Turns what torch raises of wrong arguments of `name` (at `key`), which may be anything, into a sentence."""
    try:
        yield
    except (UserError, torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        kind = "" if isinstance(error, TypeError | ValueError) else f"{type(error).__name__}: "
        raise UserError(f"params.yaml: the arguments of {key} ({name}) do not fit: {kind}{reason(error)}.") from error


def refuse_infinite(values: Any, key: str) -> None:
    """Refuses .inf and .nan anywhere in what params.yaml gives to a part."""
    if isinstance(values, float) and not math.isfinite(values):
        raise UserError(f"params.yaml: {key} is {values}; expected a finite number.")
    if isinstance(values, dict | list):
        for name, value in values.items() if isinstance(values, dict) else enumerate(values):
            refuse_infinite(value, f"{key}.{name}")


# Kinds of values that params.yaml can hold, the types by which a signature says that it takes them, and what it must speak of to tell.
TAKEN_AS: list[tuple[type, str, str, str]] = [
    (str, "str|Literal|Any", "", "not a text"),
    (bool, "bool|Any", "int|float", "not true or false"),
    (float, "float|Any", "int|bool", "not a fraction"),
    (type(None), "None|Optional|Any", "int|float|bool", "not null"),
]


def refuse_types(function: Callable[..., Any], arguments: dict[str, Any], key: str) -> None:
    """Refuses a value where the signature has a type that it is not of: torch would take "no" for yes, and 2.5 steps for some number.

    Infinite numbers are refused with them, and lists of another length than a tuple's.
    """
    refuse_infinite(arguments, key)
    parameters = inspect.signature(function).parameters
    for name, value in arguments.items():
        if name not in parameters or parameters[name].annotation is inspect.Parameter.empty:
            continue
        expected = parameters[name].annotation
        expected = expected if isinstance(expected, str) else inspect.formatannotation(expected)
        for kind, taking, telling, why_not in TAKEN_AS:
            if type(value) is kind and re.search(rf"\b({telling})\b", expected) and not re.search(rf"\b({taking})\b", expected):
                raise UserError(f"params.yaml: {key}.{name} is {shown(value)}; expected {expected}, {why_not}.")
        if re.fullmatch(r"tuple\[(?!.*\.\.\.)[^][]*\]", expected) and not (
            isinstance(value, list) and len(value) == expected.count(",") + 1
        ):
            raise UserError(f"params.yaml: {key}.{name} is {shown(value)}; expected a list of {expected.count(',') + 1} numbers.")
