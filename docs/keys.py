"""Writes docs/keys.md: every key of the entries in params.yaml and of a table's schema, from the typed models that check them.

Command: python -m docs.keys
"""

import inspect
import re
import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from examples import cells
from stages.check import DatasetEntry, Gate, ModelEntry, ModelGate
from stages.common.params import Runtime
from stages.common.shelves import part_names, take_part
from stages.evaluation.bootstrap import Evaluate
from stages.exporting.section import About, Export
from stages.reading.schema import ColumnSchema, Format, Schema
from stages.training.recipe import FittedRecipe, Recipe, Train

PAGE = Path(__file__).with_name("keys.md")
HEAD = """# Every key

Written by `python -m docs.keys` from the models that check the keys, so that it cannot differ from them. A key without a default must be
given. A wrong key, type or name is refused by `check` before any work starts, in a sentence that names it."""
SIGNS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
PLAIN = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Any: "a value",
    type(None): "null",
}


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    parts = [HEAD, "## A table's schema\n\n`data/schemas/<dataset>.yaml`, which `make new` writes ([tables.md](tables.md))."]
    parts += [
        section("The file", Schema),
        section("`format`", Format),
        section("`columns.<name>`", ColumnSchema, meanings(cells.__doc__ or "")),
    ]
    parts += ["## A dataset\n\n`datasets.<name>` in `params.yaml`.", section("The entry", DatasetEntry), section("`about`", About)]
    for kind in part_names("datasets"):
        parts.append(section(f"`preprocess` of the kind `{kind}`", take_part("datasets", kind, "").Preprocess))
    parts += ["## A model\n\n`models.<name>` in `params.yaml`.", section("The entry", ModelEntry), section("`gate`", ModelGate)]
    parts += [section("`train`", Train), section("A recipe", Recipe), section("A recipe with `fit`", FittedRecipe)]
    for family in part_names("architectures"):
        parts.append(section(f"`architecture` of the family `{family}`", take_part("architectures", family, "").Params))
    parts.append("## What all share")
    parts += [
        section(f"`{name}`", model) for name, model in (("runtime", Runtime), ("evaluate", Evaluate), ("export", Export), ("gate", Gate))
    ]
    return "\n".join(f"{part}\n" for part in parts)


def section(title: str, model: type[BaseModel], told: dict[str, str] | None = None) -> str:
    """A heading, the model's docstring and a table of its keys; models inside it follow in the same table, with a dot between."""
    own = model.__doc__ if model.__doc__ != BaseModel.__doc__ else ""
    text = "\n\n".join(re.sub(r"\s+", " ", part).strip() for part in inspect.cleandoc(own or "").split("\n\n"))
    columns = ["key", "expected", "default", *(["meaning"] if told else [])]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", *rows("", model, told or {})]
    return "\n\n".join(part for part in (f"### {title}", text, "\n".join(lines)) if part)


def rows(where: str, model: type[BaseModel], told: dict[str, str]) -> list[str]:
    lines = []
    for key, field in model.model_fields.items():
        default = "" if field.is_required() else f"`{shown(field.get_default(call_default_factory=True))}`"
        cells_of_row = [f"`{where}{key}`", expected(field), default, *([told.get(key, field.description or "")] if told else [])]
        lines.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells_of_row)} |")
        for inner in models_in(field.annotation):
            if inner not in (ColumnSchema, Format):  # with a table of their own
                lines += rows(f"{where}{key}.", inner, {})
    return lines


def shown(value: Any) -> str:
    if isinstance(value, BaseModel):
        return "{}"
    return {None: "null", True: "true", False: "false"}.get(value, str(value)) if not isinstance(value, list | dict) else str(value)


def expected(field: FieldInfo) -> str:
    return f"{kind(field.annotation)}{limits(field.metadata)}"


def kind(annotation: Any) -> str:
    """What a value may be, in words."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return f"{kind(inner[0])}{limits(list(inner[1:]))}"
    if origin is Literal:
        return ", ".join(f"`{one}`" if one != "" else '`""`' for one in inner)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(kind(one) for one in inner))
    if origin is list:
        return f"list of {kind(inner[0])}"
    if origin is tuple:
        return f"list of {', '.join(kind(one) for one in inner if one is not Ellipsis)}"
    if origin is dict:
        return f"names, each with {kind(inner[1])}"
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return "keys: " + ", ".join(f"`{key}`" for key in annotation.model_fields)
    return PLAIN.get(annotation, str(getattr(annotation, "__name__", annotation)))


def limits(metadata: list[Any]) -> str:
    found = []
    for one in metadata:
        found += [f"{words} {getattr(one, sign)}" for sign, words in SIGNS.items() if getattr(one, sign, None) is not None]
        found += [
            f"{words} {getattr(one, name)} long"
            for name, words in (("min_length", "at least"), ("max_length", "at most"))
            if getattr(one, name, None)
        ]
        found += limits_of_field(one)
    return f" ({', '.join(dict.fromkeys(found))})" if found else ""


def limits_of_field(one: Any) -> list[str]:
    """Of a Field() within Annotated, whose limits are a list of their own."""
    return [limits(one.metadata)[2:-1]] if isinstance(one, FieldInfo) and limits(one.metadata) else []


def models_in(annotation: Any) -> list[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for one in get_args(annotation) for model in models_in(one)]


def meanings(docstring: str) -> dict[str, str]:
    """From lines of a name, blanks and a sentence, which may go on."""
    return {name: " ".join(text.split()) for name, text in re.findall(r"^    (\w+) +(\S.*(?:\n {8,}\S.*)*)", docstring, flags=re.MULTILINE)}


if __name__ == "__main__":
    main()
