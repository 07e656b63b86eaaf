"""What processed/meta.json says of a dataset: all that train, evaluate and export need to know of it."""

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from stages.common.params import Newer, Section
from stages.shell.errors import UserError

# generated: a worked example that is written out in params.yaml, so there is nothing to stand in for. own: no download made it.
Origin = Literal["official", "sample", "generated", "own"]
# By the name that a person would say; of a file with a byte order mark that decides.
Encoding = Literal["utf-8", "utf-16", "utf-32", "cp1252", "latin-1", "cp1250", "cp1251", "cp932", "gb18030", "big5", "euc-kr", "mac-roman"]
# How a column that names rows or groups is called: id, customer_id, customerId, customerID, but not paid or humid.
ID_NAME = re.compile(r"(?i:(^|[\W\d_])(id|uuid|guid)$)|[a-z]I[dD]$")


class Resize(Section):
    """How a picture of any size becomes an input: shorter side to `shorter_side` (bilinear), then a centre crop."""

    shorter_side: int
    crop: int


class Format(Section):
    """Of the file. Without a `header`, and where a name is blank, columns are called `column 1` and so on, by their places; `names` stand
    for all names, by place.
    """

    encoding: Encoding = "utf-8"
    separator: str = Field(default=",", min_length=1, max_length=1)
    header: bool = True
    names: list[str] | None = None


class Column(Newer):
    """A column of a table: how its cells are read (examples/cells.py says what the keys mean)."""

    newer = ("missing", "decimal", "thousands", "units", "brackets", "formats", "levels", "ignore_case")
    type: Literal["number", "date", "category"]
    missing: list[str] | None = None
    decimal: Literal[".", ","] | None = None
    thousands: Literal["", ",", ".", "'", " "] | None = None
    units: list[str] | None = None
    brackets: bool | None = None
    formats: list[str] | None = None
    levels: list[str] | None = None
    ignore_case: bool | None = None

    def spec(self) -> dict[str, Any]:
        """What is said of it, as examples/cells.py takes it."""
        return {key: value for key, value in self.model_dump(exclude={"why", "example"}).items() if value is not None}


# Codes of a category: of an unknown word, of a gap, and of the first of its levels.
UNKNOWN_CODE, MISSING_CODE, FIRST_LEVEL = 0, 1, 2


class Category(Section):
    """A column of words. `rare` of its `levels` are those that train has less than twice: they count as unknown."""

    name: str
    levels: list[str]
    rare: list[str]


class Table(Section):
    """What the rows of a table hold, in this order: `numbers` (of which `dates` are days since 1970, and `times` seconds of the day), then
    a code for each of `categories`. `edges` are quantiles of each number on train, from the smallest to the largest; `gaps` are the
    numbers that train lacks somewhere; `format` and `columns` (by name) are how a file and its cells are read.
    """

    numbers: list[str]
    dates: list[str]
    times: list[str]
    categories: list[Category]
    format: Format
    columns: dict[str, Column]
    edges: list[list[float]]
    gaps: list[str]


class Text(Section):
    """How a model reads texts: at most so many characters of each, and whether large and small letters are the same (`fold`)."""

    max_length: int
    case: Literal["fold", "keep"]


class Scale(Section):
    """Mean and standard deviation on train of each number that is to be predicted: networks learn it standardised."""

    mean: list[float]
    std: list[float]


class Input(Newer):
    """What one input is before any preprocessing. `kind` names a file of stages/inputs, which says what the other keys mean; in `shape`
    null is an axis of any size.
    """

    newer = ("table", "text")
    kind: str
    shape: list[int | None]
    dtype: Literal["uint8", "float32", "int16", "int32"]
    names: list[str] | None = None
    mean: list[float] | None = None
    std: list[float] | None = None
    zero_is_missing: list[str] | None = None
    resize: Resize | None = None
    alphabet: str | None = None
    table: Table | None = None
    text: Text | None = None


class Counts(Section):
    """How many items a split holds, in all and (for classes) per class name."""

    total: int
    per_class: dict[str, int] | None = None


class LeftOut(Section):
    """Bad rows and unreadable files that were left out: how many, and the first few as 'name: reason'."""

    count: int
    examples: list[str]


class Noted(Section):
    """What is odd in raw files, or was passed over: in how many, and the first few; a `count` of 0 is said of all of them together."""

    what: str
    count: int
    examples: list[str]


class Meta(Newer):
    """processed/meta.json. `task` names a file of stages/tasks; `num_outputs` is the width of the network's last layer. `classes` has the
    names in label order; `outputs` names the numbers of a regression, with units.
    """

    newer = ("target", "notes")
    dataset: str
    description: str
    source: Origin
    task: str
    num_outputs: int
    input: Input
    classes: list[str] | None
    outputs: list[str] | None
    counts: dict[str, Counts]
    left_out: LeftOut
    target: Scale | None = None
    notes: list[Noted] | None = None

    @property
    def names(self) -> list[str]:
        """Of the classes, or of the numbers."""
        return self.classes if self.classes is not None else self.outputs or []


def read_meta(processed: Path) -> Meta:
    path, stage = processed / "meta.json", f"python -m stages.preprocess {processed.parent.name}"
    try:
        return Meta.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: run {stage} (or dvc repro) first.") from error
    except ValidationError as error:
        raise UserError(f"{path} is not what this version writes: run {stage} again.") from error
