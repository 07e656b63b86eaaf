"""Checks the whole of params.yaml before any other stage starts, so that a typo costs a second and not an hour.

Command: python -m stages.check params.yaml
Reads:   params.yaml and the shelves
Writes:  data/checked/params.json, always the same bytes: what depends on it is rebuilt only for its own reasons;
         data/checked/datasets/<dataset>.json: its kind of input and its task, with a hash of their files and of those that its kind of
         data alone reads with, on which the stages of the dataset and its models depend; the task's metrics with their direction, which
         flows compare models by; and of a table its schema (data/schemas/<dataset>.yaml);
         data/checked/accepted/<dataset>.json: the findings that it accepts, which audit reads

It also says what is left of entries that are no more, and which models other versions of the libraries made.
"""

import contextlib
import hashlib
import re
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field, field_validator

from stages.auditing.findings import NAMES
from stages.common.files import as_json, replacing_folder
from stages.common.params import EACH, ONE, ONE_OR_EACH, PARAMS_FILE, RawFolder, Runtime, Section, check_section, check_source, read_params
from stages.common.shelves import STAGES, part_names, take_part, take_task
from stages.evaluation.bootstrap import Evaluate
from stages.exporting.section import About, Export, Int8Layers
from stages.reporting.section import Report
from stages.shell.arguments import fitting
from stages.shell.errors import UserError, run_stage
from stages.shell.notices import leftovers, made_with_others
from stages.shell.refusals import refuse_augmentation, refuse_incomplete, refuse_misfit, refuse_unfitted
from stages.training.augmentations import build_augmentations
from stages.training.losses import build_loss
from stages.training.optimizers import GridSearch, build_optimizer
from stages.training.recipe import Recipe, as_recipe, read_recipe
from stages.training.schedules import MovingRate

CHECKED = Path("data") / "checked"
# What files of stages/inputs and stages/tasks are made of besides what every stage depends on.
SHARED_BY_PARTS = ("common/classes.py", "common/signature.py")
RESERVED = ("checked", "schemas")  # folders below data/ that belong to no dataset

MAX_MOVES = 1000  # of a schedule in its rehearsal, before its last
USUAL_STEPS = 100  # of an epoch


class Root(Section):
    """The sections of params.yaml."""

    source: str
    runtime: dict[str, Any]
    sources: dict[str, dict[str, Any]]
    datasets: dict[str, dict[str, Any]]
    recipes: dict[str, dict[str, Any]]
    models: dict[str, dict[str, Any]]
    evaluate: dict[str, Any]
    report: dict[str, Any]
    export: dict[str, Any]
    gate: dict[str, Any]


class Gate(Section):
    """`gate`: how a release (pipelines/release.py) compares a model with the last version: paired bootstrap resamples, and how sure
    it must be that the model is not worse beyond the tolerance.
    """

    num_resamples: int = Field(ge=100, le=100_000)
    confidence: float = Field(gt=0.5, lt=1)


class BoundBySource(Section):
    """A number for each `source`: the sample's small test splits say less than the official ones. Null: no model of it is released."""

    sample: float | None
    official: float | None


Tolerance = Annotated[float, Field(ge=0)]


class ToleranceBySource(Section):
    sample: Tolerance
    official: Tolerance


Bound = Annotated[Annotated[float, ONE] | Annotated[BoundBySource, EACH], ONE_OR_EACH]


class ModelGate(Section):
    """`models.<name>.gate`: what the metric must reach on the test split before the model is released, by one of the two bounds, and how
    much worse than the last version is still good enough.
    """

    metric: str
    at_least: Bound | None = None
    at_most: Bound | None = None
    tolerance: Annotated[Annotated[Tolerance, ONE] | Annotated[ToleranceBySource, EACH], ONE_OR_EACH]


class DatasetEntry(RawFolder):
    """`datasets.<name>`: kind names a file of stages/datasets, whose model checks `preprocess`; `accept` are findings of the stage audit
    that do not stop the training.
    """

    kind: str
    about: dict[str, Any]
    preprocess: dict[str, Any]
    accept: list[str] | None = None

    @field_validator("accept")
    @classmethod
    def _findings_are_known(cls, accept: list[str] | None) -> list[str] | None:
        if unknown := [name for name in accept or [] if name not in NAMES]:
            raise ValueError(f"expected names of findings, of {', '.join(NAMES)}; got {unknown[0]!r}")
        return accept


class ModelEntry(Section):
    """`models.<name>`: architecture.name names a file of stages/architectures, train.recipe one of `recipes`. A model without a gate is
    never released.
    """

    dataset: str
    architecture: dict[str, Any]
    train: dict[str, Any]
    int8: Int8Layers
    gate: dict[str, Any] | None = None


def check(path: str) -> None:
    if path != str(PARAMS_FILE):
        raise UserError(f"{path} is not the file that the stages read: give {PARAMS_FILE}, and run the command in the repository's root.")
    root = check_section(Root, read_params(), "")
    check_names(root)
    check_source(root.source)
    shared: dict[str, type[Section]] = {"runtime": Runtime, "evaluate": Evaluate, "report": Report, "export": Export, "gate": Gate}
    for name, section in shared.items():
        check_section(section, getattr(root, name), name)
    sources = {f"data/{name}/raw": check_download(name, values) for name, values in root.sources.items()}
    datasets = {name: check_dataset(name, values, sources) for name, values in root.datasets.items()}
    facts = {name: facts_of(name, values["kind"], datasets[name]) for name, values in root.datasets.items()}
    for name, values in root.recipes.items():
        as_recipe(values, "official", f"recipes.{name}")
    for name, values in root.models.items():
        check_model(name, values, root.recipes, datasets)
    with replacing_folder(CHECKED) as fresh:
        (fresh / "params.json").write_bytes(as_json({"checked": path}))
        (fresh / "datasets").mkdir()
        for name, known in facts.items():
            (fresh / "datasets" / f"{name}.json").write_bytes(as_json(known))
        (fresh / "accepted").mkdir()
        for name, values in root.datasets.items():
            (fresh / "accepted" / f"{name}.json").write_bytes(as_json({"accept": sorted(values.get("accept") or [])}))
    if found := leftovers({"sources": root.sources, "datasets": root.datasets, "models": root.models}):
        names = found[0] if len(found) == 1 else f'"{" ".join(found)}"'
        where = "but data/, models/ or dvc.lock still hold something of it"
        print(f"notice: params.yaml has no entry for {', '.join(found)}, {where}: make remove NAME={names}")
    if made := made_with_others(root.models):
        print(f"notice: {made}")


def facts_of(name: str, kind: str, dataset: Any) -> dict[str, Any]:
    """What the stages of a dataset and its models depend on, and what flows read of it; `kind` is a file of stages/datasets, `dataset` its
    section `preprocess`. A kind of data may have READS, the files that it alone reads with, and pinned(), what it reads by besides
    params.yaml: a table's schema.
    """
    part, task = take_part("datasets", kind, f"datasets.{name}.kind"), take_task(dataset.task)
    files = (f"inputs/{dataset.input_kind}.py", f"tasks/{dataset.task}.py", *SHARED_BY_PARTS)
    paths = [*(STAGES / file for file in files), *(STAGES.parent / file for file in getattr(part, "READS", ()))]
    digest = hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in paths)).hexdigest()
    pinned = {"schema": part.pinned(name, dataset)} if hasattr(part, "pinned") else {}
    if hasattr(dataset, "keep_copies_together"):
        pinned["keeps_copies"] = True  # by which audit is strict
    return {"input": dataset.input_kind, "task": dataset.task, "score": task.SCORE, "metrics": task.METRICS, "code": digest, **pinned}


def check_names(root: Root) -> None:
    """A name becomes a folder, a part of a command and of a key with dots between: nothing in it may mean more than itself."""
    for section in ("sources", "datasets", "recipes", "models"):
        for name in getattr(root, section):
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
                expected = "expected letters, digits, _ and -, a letter or digit first"
                raise UserError(f"params.yaml: {section} has the name {name!r}; {expected}.")
            if section in ("sources", "datasets") and name in RESERVED:
                raise UserError(f"params.yaml: {section} has the name {name!r}, but data/{name} is a folder of ours: choose another name.")


def check_download(name: str, values: dict[str, Any]) -> list[str]:
    """Refuses a mistake in one source's entry; kind names a file of stages/sources. Returns the origins that its raw files may have."""
    part = take_part("sources", values.get("kind", ""), f"sources.{name}.kind")
    check_section(part.Source, {key: value for key, value in values.items() if key != "kind"}, f"sources.{name}")
    return [origin for origin in ("official", "sample") if origin in part.Source.model_fields] or ["generated"]


def check_dataset(name: str, values: dict[str, Any], sources: dict[str, list[str]]) -> Any:
    """Refuses a mistake in one dataset's entry; returns its section `preprocess`, which knows the task and the kind of input."""
    entry, key = check_section(DatasetEntry, values, f"datasets.{name}"), f"datasets.{name}"
    part = take_part("datasets", entry.kind, f"{key}.kind")
    if entry.raw not in sources and not Path(entry.raw).exists() and not Path(f"{entry.raw}.dvc").exists():
        advice = f"put the files there (then dvc add {entry.raw}), or name the raw folder of one of the sources"
        raise UserError(f"params.yaml: {key}.raw is {entry.raw}, a folder that does not exist and that no source makes: {advice}.")
    check_licence(check_section(About, entry.about, f"{key}.about").licence, sources.get(entry.raw), f"{key}.about.licence")
    return check_section(part.Preprocess, entry.preprocess, f"{key}.preprocess")


def check_licence(licence: Any, origins: list[str] | None, key: str) -> None:
    """An exported model hands the data's licence on: one for each origin that the data of a source can have, one text for one's own."""
    given = ["one text"] if isinstance(licence, str) else list(licence)
    wanted = ["one text"] if origins is None else origins
    if set(given) != set(wanted) and not (isinstance(licence, str) and len(wanted) == 1):
        expected = f"expected {' and '.join(sorted(wanted))}, and no other"
        raise UserError(f"params.yaml: {key} has an entry for {', '.join(given) or 'nothing'}; {expected}.")


def check_model(name: str, values: dict[str, Any], recipes: dict[str, Any], datasets: dict[str, Any]) -> None:
    """Refuses a mistake in one model's entry, an unknown dataset or part, and parts that do not fit each other."""
    key = f"models.{name}"
    entry = check_section(ModelEntry, values, key)
    if entry.dataset not in datasets:
        raise UserError(f"params.yaml: {key}.dataset is {entry.dataset!r}; expected one of {', '.join(datasets)}.")
    dataset = datasets[entry.dataset]
    hint_at_torchvision(entry.architecture.get("name"), f"{key}.architecture")
    part = take_part("architectures", entry.architecture.get("name", ""), f"{key}.architecture.name")
    refuse_incomplete(part)
    check_section(part.Params, entry.architecture, f"{key}.architecture")
    refuse_misfit(part, dataset.input_kind, dataset.task, entry.dataset, key)
    sample, official = (read_recipe(entry.train, recipes, origin, f"{key}.train") for origin in ("sample", "official"))
    for recipe in [official] if official == sample else [sample, official]:
        refuse_unfitted(part, recipe, key)
        if isinstance(recipe, Recipe):
            check_recipe(recipe, dataset, f"{key}.train")
    if entry.gate is not None:
        check_gate(check_section(ModelGate, entry.gate, f"{key}.gate"), dataset.task, f"{key}.gate")


def hint_at_torchvision(name: Any, key: str) -> None:
    """Refuses a network of torchvision where a family is named, such as resnet50, and says how it is had."""
    if not isinstance(name, str) or name in part_names("architectures"):
        return
    from torchvision.models import list_models  # here, since importing it takes a second

    if name in list_models():
        how = f"{{name: torchvision_classifier, model: {name}, weights: DEFAULT, frozen: true}}"
        raise UserError(f"params.yaml: {key}.name is {name!r}, a network of torchvision: expected {how}.")


def check_gate(gate: ModelGate, task: str, key: str) -> None:
    """Refuses a metric that the task does not have, and a bound on its wrong side."""
    metrics = take_task(task).METRICS
    if gate.metric not in metrics:
        raise UserError(f"params.yaml: {key}.metric is {gate.metric!r}; expected one of {', '.join(metrics)} for a {task} task.")
    expected = {"higher": "at_least", "lower": "at_most"}[metrics[gate.metric]]
    if [name for name in ("at_least", "at_most") if getattr(gate, name) is not None] != [expected]:
        raise UserError(f"params.yaml: {key} expects {expected} alone as the bound of the metric {gate.metric}.")


def check_recipe(recipe: Recipe, dataset: Any, key: str) -> None:
    """Builds every named part once and rehearses it: steps on a single weight, the schedule's moves, each augmentation of one picture."""
    # How many classes there are is known only when the data is there: as many as the loss has weights for will do.
    weights = recipe.loss.arguments.get("weight")
    num_outputs = take_task(dataset.task).width(len(weights) if isinstance(weights, list) else 3)
    build_loss(recipe.loss.name, recipe.loss.arguments, dataset.task, num_outputs, f"{key}.loss")

    weight = torch.nn.Parameter(torch.full((1, 1), 1.618))  # no gradient of 0, at which LBFGS would not look at its arguments

    def backward() -> Any:
        weight.grad = None
        value = weight.square().sum()
        value.backward()
        return value

    optimizer = build_optimizer(recipe.optimizer.name, recipe.optimizer.arguments, recipe.lr, [weight], f"{key}.optimizer")
    with fitting(f"{key}.optimizer", recipe.optimizer.name):
        optimizer.step(backward)
    if recipe.schedule is not None:
        if isinstance(optimizer, GridSearch):
            raise UserError(f"params.yaml: {key}.schedule must be null for GridSearch: its lr is the step of the grid.")
        # How many steps an epoch has is known only when the data is there: any usual number will do, but for a length that params give
        # themselves, which even the shortest epochs must not outlast.
        steps = 1 if {"total_steps", "epochs"} & set(recipe.schedule.arguments) else USUAL_STEPS
        rate = MovingRate(recipe, optimizer, steps, f"{key}.schedule")
        optimizer.step(backward)  # once more, since a schedule wants one behind it before it moves on
        rate.rehearse(min(recipe.epochs, MAX_MOVES))

    refuse_augmentation(recipe, dataset.input_kind, key)
    for place, augment in enumerate(build_augmentations([choice.model_dump() for choice in recipe.augment], f"{key}.augment")):
        # What only does not fit the size of this picture is left for training, which has the right ones.
        with fitting(f"{key}.augment[{place}]", recipe.augment[place].name), contextlib.suppress(ValueError, RuntimeError):
            augment(torch.zeros(1, 3, 64, 64))


if __name__ == "__main__":
    run_stage(check, usage="python -m stages.check params.yaml")
