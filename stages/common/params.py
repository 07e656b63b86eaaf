"""Reads params.yaml, as DVC does (YAML 1.2), and checks a section of it against a pydantic model.

Every section is typed where it is used; what several stages share (`source`, `runtime`) is typed here. Nothing that
changes a result has a default, and every mistake ends in a sentence that names the key and what was expected.
"""

import functools
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    ValidationError,
    field_validator,
    model_serializer,
)
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from stages.shell.errors import UserError, reason
from stages.shell.sentences import problem

PARAMS_FILE = Path("params.yaml")

# The last three are for a value that only looks right, such as the date 2026-13-01, and for very deep nesting.
NOT_YAML = (YAMLError, ValueError, LookupError, RecursionError)

Source = Literal["sample", "official"]
Size = Annotated[int, Field(ge=1, le=1_000_000)]


class Section(BaseModel):
    """A section of params.yaml: unknown keys are refused, values keep their type, numbers are finite, nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Newer(Section):
    """`newer` are keys that came later: written only where they are used, so that what is written of older kinds keeps its bytes."""

    newer: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _without_unused(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        unused = {key for key in self.newer if getattr(self, key) is None}
        return {key: value for key, value in write(self).items() if key not in unused}


class Runtime(Section):
    seed: int = Field(ge=0, lt=2**31)
    threads: int = Field(ge=1, le=1024)
    device: Literal["auto", "cpu", "cuda"]
    mixed_precision: bool
    num_processes: int = Field(ge=1, le=1024)
    stream_above_mb: int = Field(ge=1, le=10**9)
    save_minutes: float = Field(gt=0)


# For a value that may be one for all sources, or a section of one for each: Annotated[Annotated[X, ONE] | Annotated[Y, EACH], ONE_OR_EACH].
ONE, EACH = Tag("(one)"), Tag("(each)")
ONE_OR_EACH = Discriminator(lambda value: EACH.tag if isinstance(value, dict) else ONE.tag)


class RawFolder(Section):
    """`datasets.<name>.raw`: the folder of a dataset's raw files, below data/."""

    raw: str

    @field_validator("raw")
    @classmethod
    def _is_a_folder_of_its_own(cls, raw: str) -> str:
        if not re.fullmatch(r"data/[A-Za-z0-9][A-Za-z0-9_-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)+", raw):
            raise ValueError("expected a folder below data/, such as data/birds/raw, in letters, digits, _, - and .")
        if raw.startswith("data/checked/") or raw.split("/")[2] in ("processed", "audit"):
            raise ValueError("expected a folder that no stage writes, such as data/birds/raw")
        return raw


SectionType = TypeVar("SectionType", bound=Section)


def read_params() -> dict[str, Any]:
    """The whole of params.yaml as plain dicts and lists, which are all callers': change nothing in them."""
    try:
        return parse_params(PARAMS_FILE.read_bytes())
    except FileNotFoundError as error:
        raise UserError("params.yaml is not in this folder: run the command in the root of the repository.") from error


@functools.lru_cache(maxsize=1)  # a stage reads it for several of its sections, and YAML takes its time
def parse_params(content: bytes) -> dict[str, Any]:
    try:
        params = YAML(typ="safe").load(content)
    except NOT_YAML as error:
        place = getattr(error, "problem_mark", None)
        where = f" line {place.line + 1}, column {place.column + 1}" if place else ""
        problem = getattr(error, "problem", None) or f"not valid YAML ({reason(error)})"
        raise UserError(f"params.yaml{where}: {problem}; fix the file and run again.") from error
    if not isinstance(params, dict):
        raise UserError("params.yaml must hold keys and values (source, runtime, datasets, models, ...).")
    return params


def look_up(params: dict[str, Any], *keys: str) -> Any:
    """The value at `keys`, for example look_up(params, "models", "mnist_cnn", "train")."""
    value: Any = params
    for depth, key in enumerate(keys):
        if not isinstance(value, dict) or key not in value:
            known = ", ".join(map(str, value)) if isinstance(value, dict) and value else "none"
            raise UserError(f"params.yaml has no {'.'.join(keys[: depth + 1])}; known there: {known}.")
        value = value[key]
    return value


def read_section(model: type[SectionType], *keys: str) -> SectionType:
    return check_section(model, look_up(read_params(), *keys), ".".join(keys))


def check_source(value: Any) -> Source:
    if value not in ("sample", "official"):
        raise UserError(f"params.yaml: source is {value!r}; expected sample or official.")
    return value


def by_origin(value: Any, origin: str) -> Any:
    """A value of params.yaml that may be {sample: ..., official: ...}, as it is for data of this origin: all but a sample is real."""
    return value["sample" if origin == "sample" else "official"] if isinstance(value, dict) else value


def check_section(model: type[SectionType], values: Any, where: str, file: str = "params.yaml") -> SectionType:
    """`values`, of `file`, as a `model`; every mistake in them is named in one sentence that begins with its key (below `where`; "" is the
    root).
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(problem(where, detail, model, (ONE.tag, EACH.tag)) for detail in error.errors())
        raise UserError(f"{file}: {problems}.") from error
