"""Arguments that params.yaml gives to something of torch's: what is wrong with them, as a sentence that names the key."""

import contextlib
import inspect
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import torch

from stages.common.errors import UserError


@contextlib.contextmanager
def fitting(key: str, name: str) -> Iterator[None]:
    """Turns what torch raises of wrong arguments of `name` (at `key`), which may be anything, into a sentence."""
    try:
        yield
    except (UserError, torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        kind = "" if isinstance(error, TypeError | ValueError) else f"{type(error).__name__}: "
        raise UserError(f"params.yaml: the arguments of {key} ({name}) do not fit: {kind}{str(error).rstrip('.')}.") from error


def refuse_infinite(values: Any, key: str) -> None:
    """Refuses .inf and .nan anywhere in what params.yaml gives to a part."""
    if isinstance(values, float) and not math.isfinite(values):
        raise UserError(f"params.yaml: {key} is {values}; expected a finite number.")
    if isinstance(values, dict | list):
        for name, value in values.items() if isinstance(values, dict) else enumerate(values):
            refuse_infinite(value, f"{key}.{name}")


def refuse_text(function: Callable[..., Any], arguments: dict[str, Any], key: str) -> None:
    """Refuses a text where the signature has a type without one: torch would take "no" for yes, and iterate over "abc".

    Infinite numbers are refused with them.
    """
    refuse_infinite(arguments, key)
    parameters = inspect.signature(function).parameters
    for name, value in arguments.items():
        if not isinstance(value, str) or name not in parameters or parameters[name].annotation is inspect.Parameter.empty:
            continue
        expected = parameters[name].annotation
        expected = expected if isinstance(expected, str) else inspect.formatannotation(expected)
        if not re.search(r"\b(str|Literal|Any)\b", expected):
            raise UserError(f"params.yaml: {key}.{name} is {value!r}; expected {expected}, not a text.")
