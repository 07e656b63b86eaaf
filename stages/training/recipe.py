"""How a network is trained: `recipes` in params.yaml, and `models.<name>.train`, which names one and changes single keys."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from stages.common.params import Newer, Section, by_origin, check_section
from stages.shell.errors import UserError

Row = dict[str, float | None]  # of the learning curve: what was measured in an epoch, by name


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


class Fit(Section):
    """How a linear head is fitted (stages/training/head.py)."""

    C: Annotated[list[Annotated[float, Field(gt=0, le=1e9)]], Field(min_length=1, max_length=100)]
    folds: int = Field(ge=2, le=100)
    standardise: bool


class FittedRecipe(Section):
    """`recipes.<name>` with `fit`: the network stays as it is, but for its last layer, which is fitted to the end on what the network makes
    of train: for families of networks that have features (efficientnet_lite, ngrams, torchvision_classifier).

    C: how much the loss counts beside the penalty on large weights; of several the one with the lowest loss on held-out items is taken: on
    val, or on so many `folds` of train in turn where the dataset has no val. standardise: the penalty sees features of deviation 1.
    batch_size: items whose features are computed together.
    """

    fit: Fit
    batch_size: Count


class Recipe(Newer):
    """`recipes.<name>`, upon which a model's own `train` is laid; read by read_recipe(), for `epochs` may be {sample: ..., official: ...}.

    clip_norm: largest norm of the gradient (null: not clipped). ema: decay of the running average of the weights that is
    validated and kept (null: the weights themselves). best_by: the epoch with the lowest loss, or with the best metric
    (accuracy, or mean absolute error), of val is kept; of train where the dataset has no val. patience: stop after so many epochs without a
    better one (null: never). late_dropout: the share of the epochs, at the start, that have no dropout (null: none). fit_first: the head
    is fitted so, on the network as it is, before the first epoch (null: it is not).
    """

    newer = ("fit_first",)
    loss: Choice
    optimizer: Choice
    lr: float = Field(gt=0, le=1e6)
    schedule: Schedule | None = None
    epochs: Count
    batch_size: Count
    augment: list[Choice] = Field(default_factory=list)
    clip_norm: float | None = Field(default=None, gt=0)
    ema: float | None = Field(default=None, gt=0, lt=1)
    best_by: Literal["loss", "metric"]
    patience: int | None = Field(default=None, ge=1)
    late_dropout: float | None = Field(default=None, gt=0, lt=1)
    fit_first: Fit | None = None


AnyRecipe = Recipe | FittedRecipe


class Train(Section):
    """`models.<name>.train`: the name of a recipe, and beside it the keys that this model has otherwise."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    recipe: str


def read_recipe(values: Any, recipes: dict[str, Any], origin: str, key: str) -> AnyRecipe:
    """The complete recipe that a model's `train` (at `key`) has on data of this origin, as meta.json names it."""
    train = check_section(Train, values, key)
    if train.recipe not in recipes:
        raise UserError(f"params.yaml: {key}.recipe is {train.recipe!r}; expected one of {', '.join(recipes)} (the section recipes).")
    return as_recipe({**recipes[train.recipe], **(train.model_extra or {})}, origin, key)


def as_recipe(values: dict[str, Any], origin: str, key: str) -> AnyRecipe:
    """`values` (of params.yaml at `key`) as a recipe for data of this origin: with `fit`, or with a loss and an optimizer."""
    if values.get("fit") is not None:
        if others := [name for name in values if name in Recipe.model_fields and name not in FittedRecipe.model_fields]:
            known = f"a recipe with fit has {' and '.join(FittedRecipe.model_fields)} alone"
            raise UserError(f"params.yaml: {key} has fit and also {', '.join(others)}, but {known}: remove fit, or the others.")
        return check_section(FittedRecipe, values, key)
    epochs = values.get("epochs")
    if isinstance(epochs, dict):
        check_section(EpochsBySource, epochs, f"{key}.epochs")
    return check_section(Recipe, {**values, "epochs": by_origin(epochs, origin)}, key)
