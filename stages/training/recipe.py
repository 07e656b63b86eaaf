"""`models.<name>.train` in params.yaml: how a network is trained."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from stages.common.errors import UserError
from stages.common.meta import InputKind
from stages.common.params import Section, check_section


class Choice(Section):
    """A part by name with its own arguments beside it, for example {name: SGD, momentum: 0.5}."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    name: str

    @property
    def arguments(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Schedule(Choice):
    """A learning rate schedule, moved on after every `interval`."""

    interval: Literal["step", "epoch"]


Count = Annotated[int, Field(ge=1, le=1_000_000_000)]


class EpochsBySource(Section):
    """A small sample shows that a training works in fewer epochs than the real data are worth."""

    sample: Count
    official: Count


class Recipe(Section):
    """`models.<name>.train`, read by read_recipe(), for `epochs` may be {sample: ..., official: ...}.

    clip_norm: largest norm of the gradient (null: not clipped). ema: decay of the running average of the weights that is
    validated and kept (null: the weights themselves). best_by: the epoch with the lowest loss, or with the best metric
    (accuracy, or mean absolute error), of val is kept; of train where the dataset has no val. patience: stop after so many epochs without a
    better one (null: never). late_dropout: the share of the epochs, at the start, that have no dropout (null: none).
    """

    loss: Choice
    optimizer: Choice
    lr: float = Field(gt=0, le=1e6)
    schedule: Schedule | None
    epochs: Count
    batch_size: Count
    augment: list[Choice]
    clip_norm: float | None = Field(gt=0)
    ema: float | None = Field(gt=0, lt=1)
    best_by: Literal["loss", "metric"]
    patience: int | None = Field(ge=1)
    late_dropout: float | None = Field(gt=0, lt=1)


def read_recipe(values: Any, source: str, key: str) -> Recipe:
    """The recipe that a section `train` of params.yaml (at `key`) has for data of this `source`, as meta.json names it."""
    if isinstance(values, dict) and isinstance(epochs := values.get("epochs"), dict):
        by_source = check_section(EpochsBySource, epochs, f"{key}.epochs")
        values = values | {"epochs": by_source.sample if source == "sample" else by_source.official}
    return check_section(Recipe, values, key)


def refuse_augmentation(recipe: Recipe, kind: InputKind, key: str) -> None:
    if recipe.augment and kind != "image":
        raise UserError(f"params.yaml: {key}.augment works on pictures, and the dataset has {kind}; make it an empty list.")
