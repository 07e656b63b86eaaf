"""Sentences about params.yaml: which key is wrong, and what was expected there."""

import re
from reprlib import Repr
from typing import Any, get_args

from pydantic import BaseModel


def problem(where: str, detail: Any, model: type[BaseModel], tags: tuple[str, ...]) -> str:
    """What pydantic found wrong in a section of params.yaml at `where`; `tags` are parts of a place that are no keys."""
    location = [part for part in detail["loc"] if part not in tags]
    key = ".".join(filter(None, [where, *map(str, location)]))
    if detail["type"] == "extra_forbidden":
        known = ", ".join(model.model_fields) if len(location) == 1 else "see the section's model in the code"
        return f"{key} is not a known key (known: {known})"
    field = model.model_fields.get(str(location[0])) if len(location) == 1 else None
    may_be_null = field is not None and type(None) in get_args(field.annotation)
    if detail["type"] == "missing":
        return f"{key} is missing: add it{' (it may be null)' if may_be_null else ''}"
    message = detail["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    message = re.sub(r"a valid dictionary( or instance of \w+)?", "a section of keys and values", message)
    if detail["type"] == "value_error" and isinstance(detail["input"], dict):  # of keys that do not fit together: the message names them
        return ": ".join(filter(None, [key, message]))
    return f"{key} is {shown(detail['input'])}; {message}{', or null' if may_be_null else ''}"


def shown(value: Any) -> str:
    """A value for a sentence, a long one shortened."""
    short = Repr()
    short.maxlevel, short.maxdict, short.maxlist, short.maxstring, short.maxother = 3, 10, 10, 200, 200
    if value is None or isinstance(value, bool):
        return {None: "null", False: "false", True: "true"}[value]
    try:
        return short.repr(value)
    except ValueError:  # Python writes no whole number of thousands of digits
        return "a number of thousands of digits"
