"""What processed/meta.json says of a dataset: all that train, evaluate and export need to know of it."""

from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from stages.common.errors import UserError
from stages.common.params import Section

Task = Literal["regression", "binary", "multiclass", "sequence"]
InputKind = Literal["image", "features", "characters"]
# generated: a worked example that is written out in params.yaml, so there is nothing to stand in for. own: no download made it.
Origin = Literal["official", "sample", "generated", "own"]

# Tasks with one target for a whole item; a sequence has one for every character.
PER_ITEM: tuple[Task, ...] = ("regression", "binary", "multiclass")


class Resize(Section):
    """How a picture of any size becomes an input: shorter side to `shorter_side` (bilinear), then a centre crop."""

    shorter_side: int
    crop: int


class Input(Section):
    """What one input is before any preprocessing; the network's own preprocessing is built from this.

    - image: uint8 [height, width, channels]; `mean` and `std` per channel, of pixels scaled to 0..1.
    - features: float32 [num_features]; `mean` and `std` per feature (null: used as they are); NaN is missing, and so
      is 0 in the features of `zero_is_missing`; a missing value becomes the feature's mean (0 where there is none).
    - characters: code points below 128, 0 is padding; shape [null], since any length will do. With `alphabet` the
      network gets each character's place in it, from 1.
    """

    kind: InputKind
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
    """processed/meta.json. `classes` has the names in label order; `outputs` names the numbers of a regression, with units."""

    dataset: str
    description: str
    source: Origin
    task: Task
    input: Input
    classes: list[str] | None
    outputs: list[str] | None
    counts: dict[Literal["train", "val", "test"], Counts]
    left_out: LeftOut

    @property
    def num_outputs(self) -> int:
        """Width of the network's last layer: one logit for a binary task, else one a class or a regressed number."""
        if self.task == "binary":
            return 1
        return len(self.classes if self.classes is not None else self.outputs or [])


def read_meta(processed: Path) -> Meta:
    try:
        return Meta.model_validate_json((processed / "meta.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(
            f"{processed}/meta.json is missing: run python -m stages.preprocess {processed.parent.name} (or dvc repro) first."
        ) from error
    except (ValidationError, UnicodeDecodeError) as error:
        raise UserError(
            f"{processed}/meta.json is not what this version writes: run python -m stages.preprocess {processed.parent.name} again."
        ) from error
