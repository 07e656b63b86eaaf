"""What processed/meta.json says of a dataset: all that train, evaluate and export need to know of it."""

from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from stages.common.params import Section
from stages.shell.errors import UserError

# generated: a worked example that is written out in params.yaml, so there is nothing to stand in for. own: no download made it.
Origin = Literal["official", "sample", "generated", "own"]


class Resize(Section):
    """How a picture of any size becomes an input: shorter side to `shorter_side` (bilinear), then a centre crop."""

    shorter_side: int
    crop: int


class Input(Section):
    """What one input is before any preprocessing. `kind` names a file of stages/inputs, which says what the other keys mean; in `shape`
    null is an axis of any size.
    """

    kind: str
    shape: list[int | None]
    dtype: Literal["uint8", "float32", "int16"]
    names: list[str] | None = None
    mean: list[float] | None = None
    std: list[float] | None = None
    zero_is_missing: list[str] | None = None
    resize: Resize | None = None
    alphabet: str | None = None


class Counts(Section):
    """How many items a split holds, in all and (for classes) per class name."""

    total: int
    per_class: dict[str, int] | None = None


class LeftOut(Section):
    """Bad rows and unreadable files that were left out: how many, and the first few as 'name: reason'."""

    count: int
    examples: list[str]


class Meta(Section):
    """processed/meta.json. `task` names a file of stages/tasks; `num_outputs` is the width of the network's last layer. `classes` has the
    names in label order; `outputs` names the numbers of a regression, with units.
    """

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
