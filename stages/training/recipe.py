"""`models.<name>.train` in params.yaml: how a network is trained."""

from typing import Any, Literal

from pydantic import ConfigDict, Field

from stages.common.errors import UserError
from stages.common.meta import InputKind
from stages.common.params import Section


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


class Recipe(Section):
    """`models.<name>.train`.

    clip_norm: largest norm of the gradient (null: not clipped). ema: decay of the running average of the weights that is
    validated and kept (null: the weights themselves). best_by: the epoch with the lowest loss, or with the best metric
    (accuracy, or mean absolute error), of val is kept; of train where the dataset has no val. patience: stop after so many epochs without a
    better one (null: never).
    """

    loss: Choice
    optimizer: Choice
    lr: float = Field(gt=0, le=1e6)
    schedule: Schedule | None
    epochs: int = Field(ge=1, le=1_000_000_000)
    batch_size: int = Field(ge=1, le=1_000_000_000)
    augment: list[Choice]
    clip_norm: float | None = Field(gt=0)
    ema: float | None = Field(gt=0, lt=1)
    best_by: Literal["loss", "metric"]
    patience: int | None = Field(ge=1)


def refuse_augmentation(recipe: Recipe, kind: InputKind, key: str) -> None:
    if recipe.augment and kind != "image":
        raise UserError(f"params.yaml: {key}.augment works on pictures, and the dataset has {kind}; make it an empty list.")
