"""How a table is read: data/schemas/<dataset>.yaml, which `make new` writes and a person may change.

`check` refuses a mistake in it and writes it into data/checked/datasets/<dataset>.json, where preprocess reads it: a change of a schema
rebuilds its own dataset and models, and nothing else.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator
from ruamel.yaml import YAML

from examples.rows import are_texts, check_column, check_columns, check_format
from stages.common.meta import Column, Format
from stages.common.params import NOT_YAML, Section, check_section
from stages.shell.errors import UserError, reason

SCHEMAS = Path("data") / "schemas"
NAMED_LEVELS = 10_000  # of a column; more are no category


class ColumnSchema(Column):
    """A column, and for people why it is read so (`why`)."""

    type: Literal["number", "date", "category", "dropped"]  # type: ignore[assignment]
    why: str | None = None
    example: str | None = None

    @model_validator(mode="after")
    def _can_be_read(self) -> "ColumnSchema":
        if self.type != "dropped":
            check_column(self.spec())
        return self


class Schema(Section):
    """`targets` are what is to be predicted: one column, or several numbers, or several columns of two levels each. A target's levels are
    the classes, in this order; the second of two is the one that a probability and an AUC are of.
    """

    file: str
    format: Format = Format()
    targets: list[str] = Field(min_length=1)
    columns: dict[str, ColumnSchema] = Field(min_length=2)

    @field_validator("format")
    @classmethod
    def _file_can_be_read(cls, form: Format) -> Format:
        check_format(form.model_dump())
        return form

    @model_validator(mode="after")
    def _names_fit(self) -> "Schema":
        if not are_texts([self.file]) or self.file in ("", "..") or self.file != Path(self.file).name:
            raise ValueError(f"expected file to be the name of a file in the raw folder, without a folder; got {self.file!r}")
        if not are_texts([*self.columns]):
            raise ValueError("expected names of columns that UTF-8 can hold, without zero bytes")
        for target in self.targets:
            if target not in self.columns or self.columns[target].type not in ("number", "category"):
                raise ValueError(f"expected the target {target!r} to be one of columns, a number or a category")
        if len(set(self.targets)) != len(self.targets):
            raise ValueError("expected targets that are all different")
        if not self.inputs():
            raise ValueError("expected a column besides the target that is not dropped")
        check_columns({name: column.spec() for name, column in self.inputs().items()})
        return self

    def inputs(self) -> dict[str, ColumnSchema]:
        """The columns that the model reads, in the file's order."""
        return {name: column for name, column in self.columns.items() if column.type != "dropped" and name not in self.targets}


def path_of(dataset: str) -> Path:
    return SCHEMAS / f"{dataset}.yaml"


def read_schema(dataset: str) -> Schema:
    """As the file says; a mistake is a UserError that names the file and the key."""
    path = path_of(dataset)
    try:
        values = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: make new writes it, or see docs/tables.md for what it holds.") from error
    except NOT_YAML as error:
        raise UserError(f"{path} is not YAML ({reason(error)}): fix the file.") from error
    return check_schema(values, str(path))


def check_schema(values: Any, where: str) -> Schema:
    return check_section(Schema, values, "", where)
