"""Checks the whole of params.yaml before any other stage starts, so that a typo costs a second and not an hour.

Command: python -m stages.check params.yaml
Reads:   params.yaml and the shelves
Writes:  data/checked/params.json, always the same bytes: what depends on it is rebuilt only for its own reasons;
         data/checked/datasets/<dataset>.json: its kind of input and its task, with a hash of their files, on which the stages of the
         dataset and its models depend, and the task's metrics with their direction, which flows compare models by

It also says what lies in data/, models/ or dvc.lock of models and datasets that have no entry any more.
"""

import contextlib
import hashlib
import json
import re
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import ConfigDict, Field

from stages.common.files import as_json, replacing_folder
from stages.common.params import EACH, ONE, ONE_OR_EACH, PARAMS_FILE, RawFolder, Runtime, Section, check_section, check_source, read_params
from stages.common.shelves import STAGES, part_names, take_part, take_task
from stages.evaluation.section import Evaluate
from stages.exporting.section import About, Export, Int8Layers
from stages.shell.arguments import fitting
from stages.shell.errors import UserError, run_stage
from stages.shell.refusals import refuse_augmentation, refuse_incomplete, refuse_misfit
from stages.training.augmentations import build_augmentations
from stages.training.losses import build_loss
from stages.training.optimizers import GridSearch, build_optimizer
from stages.training.recipe import Recipe, as_recipe, read_recipe
from stages.training.schedules import MovingRate

CHECKED = Path("data") / "checked"
# What files of stages/inputs and stages/tasks are made of besides what every stage depends on.
SHARED_BY_PARTS = ("common/classes.py", "common/signature.py")

MAX_MOVES = 1000  # of a schedule in its rehearsal, before its last
USUAL_STEPS = 100  # of an epoch

# By section: the folder, the stages, and what they alone write there. pipelines/running/leftovers.py, which may not be imported here, has
# the same, and tests/entries/test_leftovers.py compares the two.
BELONGINGS = {
    "sources": ("data", "download", ("raw/.source",)),
    "datasets": ("data", "preprocess", ("processed/meta.json",)),
    "models": ("models", "train|evaluate|export", ("training.json", "exported/signature.json")),
}


class Root(Section):
    """The sections of params.yaml."""

    source: str
    runtime: dict[str, Any]
    sources: dict[str, dict[str, Any]]
    datasets: dict[str, dict[str, Any]]
    recipes: dict[str, dict[str, Any]]
    models: dict[str, dict[str, Any]]
    evaluate: dict[str, Any]
    export: dict[str, Any]
    gate: dict[str, Any]


class Gate(Section):
    """`gate`: how a release (pipelines/release.py) compares a model with the last version: paired bootstrap resamples, and how sure
    it must be that the model is not worse beyond the tolerance.
    """

    num_resamples: int = Field(ge=100, le=100_000)
    confidence: float = Field(gt=0.5, lt=1)


Tolerance = Annotated[float, Field(ge=0)]


class BySource(Section):
    """A number for each `source`: the sample's small test splits say less than the official ones. Null: no model of it is released."""

    sample: float | None
    official: float | None


Bound = Annotated[Annotated[float, ONE] | Annotated[BySource, EACH], ONE_OR_EACH]


class ToleranceBySource(Section):
    """How much worse than the last version is still good enough."""

    sample: Tolerance
    official: Tolerance


class ModelGate(Section):
    """`models.<name>.gate`: what the metric must reach on the test split before the model is released, by one of the two bounds."""

    metric: str
    at_least: Bound | None = None
    at_most: Bound | None = None
    tolerance: Annotated[Annotated[Tolerance, ONE] | Annotated[ToleranceBySource, EACH], ONE_OR_EACH]


class SourceEntry(Section):
    """`sources.<name>`: kind names a file of stages/sources, whose model checks the rest."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    kind: str


class DatasetEntry(Section):
    """`datasets.<name>`: kind names a file of stages/datasets, whose model checks `preprocess`."""

    kind: str
    raw: str
    about: dict[str, Any]
    preprocess: dict[str, Any]


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
    check_section(Runtime, root.runtime, "runtime")
    check_section(Evaluate, root.evaluate, "evaluate")
    check_section(Export, root.export, "export")
    check_section(Gate, root.gate, "gate")
    sources = {f"data/{name}/raw": check_download(name, values) for name, values in root.sources.items()}
    datasets = {name: check_dataset(name, values, sources) for name, values in root.datasets.items()}
    for name, values in root.recipes.items():
        as_recipe(values, "official", f"recipes.{name}")
    for name, values in root.models.items():
        check_model(name, values, root.recipes, datasets)
    with replacing_folder(CHECKED) as fresh:
        (fresh / "params.json").write_bytes(as_json({"checked": path}))
        (fresh / "datasets").mkdir()
        for name, dataset in datasets.items():
            (fresh / "datasets" / f"{name}.json").write_bytes(as_json(facts_of(dataset)))
    if found := leftovers({"sources": root.sources, "datasets": root.datasets, "models": root.models}):
        names = found[0] if len(found) == 1 else f'"{" ".join(found)}"'
        where = "but data/, models/ or dvc.lock still hold something of it"
        print(f"notice: params.yaml has no entry for {', '.join(found)}, {where}: make remove NAME={names}")
    if made := made_with_others(root.models):
        print(f"notice: {made}")


def facts_of(dataset: Any) -> dict[str, Any]:
    """What the stages of a dataset and its models depend on, and what flows read of it; `dataset` is its section `preprocess`."""
    task, files = take_task(dataset.task), (f"inputs/{dataset.input_kind}.py", f"tasks/{dataset.task}.py", *SHARED_BY_PARTS)
    digest = hashlib.sha256(b"".join(hashlib.sha256((STAGES / file).read_bytes()).digest() for file in files)).hexdigest()
    return {"input": dataset.input_kind, "task": dataset.task, "score": task.SCORE, "metrics": task.METRICS, "code": digest}


def leftovers(entries: dict[str, dict[str, Any]]) -> list[str]:
    """What lies in data/, models/ or dvc.lock and has no entry, such as models/line_sgd. Raw data with a .dvc file is somebody's own, and
    raw data that a dataset reads is in use, by whatever it was made.
    """
    lock = Path("dvc.lock").read_text(encoding="utf-8", errors="replace") if Path("dvc.lock").is_file() else ""
    found: dict[str, None] = {}
    known = {section: set(names) for section, names in entries.items()}
    known["sources"] |= {Path(values["raw"]).parent.name for values in entries["datasets"].values() if "raw" in values}
    for section, (folder, stages, marks) in BELONGINGS.items():
        names = set(re.findall(rf"^  (?:{stages})@([\w-]+):$", lock, flags=re.MULTILINE))
        marked = [path.relative_to(folder) for mark in marks for path in Path(folder).glob(f"*/{mark}")]
        names |= {path.parts[0] for path in marked if path.name != ".source" or not Path(folder, path.parts[0], "raw.dvc").exists()}
        found |= dict.fromkeys(f"{folder}/{name}" for name in sorted(names - known[section]))
    return list(found)


# pipelines/running/installed.py has the same two functions, and tests/pipelines/running/test_installed.py compares them.


def made_with_others(models: Iterable[str], root: Path = Path()) -> str | None:
    """One line, or None where there are no such models. A checkpoint that cannot be read is left to the stages."""
    made = {name: versions_of(root / "models" / name / "checkpoint.safetensors") for name in models}
    others = {name: versions for name, versions in made.items() if any(version(library) != own for library, own in versions.items())}
    if not others:
        return None
    libraries = sorted({f"{library} {own}" for versions in others.values() for library, own in versions.items() if version(library) != own})
    rebuilt = f"to rebuild one with those installed now: dvc repro --force train@{next(iter(others))}"
    return f"{', '.join(others)}: made with {', '.join(libraries)}, but other versions are installed now; {rebuilt}"


def versions_of(checkpoint: Path) -> dict[str, str]:
    """By library; none where there is no checkpoint, or one that says nothing of them."""
    try:
        with checkpoint.open("rb") as file:
            header = json.loads(file.read(min(int.from_bytes(file.read(8), "little"), 1 << 24)))
        versions = json.loads(header["__metadata__"]["reprise"])["versions"]
        return {str(library): str(own) for library, own in versions.items() if library in ("torch", "torchvision", "onnx")}
    except (OSError, ValueError, LookupError, AttributeError, TypeError):
        return {}


def check_names(root: Root) -> None:
    """A name becomes a folder, a part of a command and of a key with dots between: nothing in it may mean more than itself."""
    for section in ("sources", "datasets", "recipes", "models"):
        for name in getattr(root, section):
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
                raise UserError(
                    f"params.yaml: {section} has the name {name!r}; expected letters, digits, _ and -, a letter or digit first."
                )


def check_download(name: str, values: dict[str, Any]) -> list[str]:
    """Refuses a mistake in one source's entry; returns the origins that its raw files may have."""
    entry = check_section(SourceEntry, values, f"sources.{name}")
    part = take_part("sources", entry.kind, f"sources.{name}.kind")
    check_section(part.Source, entry.model_extra, f"sources.{name}")
    fetched = [origin for origin in ("official", "sample") if origin in part.Source.model_fields]
    return fetched or ["generated"]


def check_dataset(name: str, values: dict[str, Any], sources: dict[str, list[str]]) -> Any:
    """Refuses a mistake in one dataset's entry; returns its section `preprocess`, which knows the task and the kind of input."""
    entry, key = check_section(DatasetEntry, values, f"datasets.{name}"), f"datasets.{name}"
    part = take_part("datasets", entry.kind, f"{key}.kind")
    check_section(RawFolder, {"raw": entry.raw}, key)
    if entry.raw not in sources and not Path(entry.raw).exists() and not Path(f"{entry.raw}.dvc").exists():
        advice = f"put the files there (then dvc add {entry.raw}), or name the raw folder of one of the sources"
        raise UserError(f"params.yaml: {key}.raw is {entry.raw}, a folder that does not exist and that no source makes: {advice}.")
    check_about(check_section(About, entry.about, f"{key}.about"), sources.get(entry.raw), f"{key}.about")
    return check_section(part.Preprocess, entry.preprocess, f"{key}.preprocess")


def check_about(about: About, origins: list[str] | None, key: str) -> None:
    """An exported model hands the data's licence on: one for each origin that the data of a source can have, one text for one's own."""
    if origins is None and not isinstance(about.licence, str):
        raise UserError(f"params.yaml: {key}.licence must be one text: no source makes the dataset's raw files.")
    if isinstance(about.licence, str) and (origins is None or len(origins) == 1):
        return
    given = {"the text": None} if isinstance(about.licence, str) else about.licence
    if origins is not None and set(given) != set(origins):
        found = ", ".join(given) or "nothing"
        raise UserError(f"params.yaml: {key}.licence has an entry for {found}; expected {' and '.join(sorted(origins))}, and no other.")


def check_model(name: str, values: dict[str, Any], recipes: dict[str, Any], datasets: dict[str, Any]) -> None:
    """Refuses a mistake in one model's entry, an unknown dataset or part, and parts that do not fit each other."""
    key = f"models.{name}"
    entry = check_section(ModelEntry, values, key)
    if entry.dataset not in datasets:
        raise UserError(f"params.yaml: {key}.dataset is {entry.dataset!r}; expected one of {', '.join(datasets)}.")
    dataset = datasets[entry.dataset]
    if "name" not in entry.architecture:
        raise UserError(f"params.yaml: {key}.architecture.name is missing; expected one of {', '.join(part_names('architectures'))}.")
    hint_at_torchvision(entry.architecture["name"], f"{key}.architecture")
    part = take_part("architectures", entry.architecture["name"], f"{key}.architecture.name")
    refuse_incomplete(part)
    check_section(part.Params, entry.architecture, f"{key}.architecture")
    refuse_misfit(part, dataset.input_kind, dataset.task, entry.dataset, key)
    for recipe in unique(read_recipe(entry.train, recipes, origin, f"{key}.train") for origin in ("sample", "official")):
        check_recipe(recipe, dataset, f"{key}.train")
    if entry.gate is not None:
        check_gate(check_section(ModelGate, entry.gate, f"{key}.gate"), dataset.task, f"{key}.gate")


def unique(recipes: Iterable[Recipe]) -> list[Recipe]:
    """One, or one for each source where they differ."""
    found: list[Recipe] = []
    for recipe in recipes:
        if recipe not in found:
            found.append(recipe)
    return found


def hint_at_torchvision(name: Any, key: str) -> None:
    """Refuses a network of torchvision where a family is named, such as resnet50, and says how it is had."""
    if not isinstance(name, str) or name in part_names("architectures"):
        return
    from torchvision.models import list_models  # here, since importing it takes a second

    if name in list_models():
        how = f"{{name: torchvision_classifier, model: {name}, weights: DEFAULT, frozen: true}}"
        raise UserError(f"params.yaml: {key}.name is {name!r}, a network of torchvision: expected {how}.")


def check_recipe(recipe: Recipe, dataset: Any, key: str) -> None:
    """Builds every named part once and rehearses steps on a single weight, so that wrong arguments show now."""
    # How many classes there are is known only when the data is there: as many as the loss has weights for will do.
    weights = recipe.loss.arguments.get("weight")
    num_outputs = take_task(dataset.task).width(len(weights) if isinstance(weights, list) else 3)
    build_loss(recipe.loss.name, recipe.loss.arguments, dataset.task, num_outputs, f"{key}.loss")
    loss = Square()
    optimizer = build_optimizer(recipe.optimizer.name, recipe.optimizer.arguments, recipe.lr, [loss.weight], f"{key}.optimizer")
    with fitting(f"{key}.optimizer", recipe.optimizer.name):
        optimizer.step(loss)  # type: ignore[arg-type]  # torch's types ask for a float where a tensor is as good
    if isinstance(optimizer, GridSearch) and recipe.schedule is not None:
        raise UserError(f"params.yaml: {key}.schedule must be null for GridSearch: its lr is the step of the grid.")
    rehearse_schedule(recipe, optimizer, loss, f"{key}.schedule")
    refuse_augmentation(recipe, dataset.input_kind, key)
    rehearse_augmentations(recipe, f"{key}.augment")


def check_gate(gate: ModelGate, task: str, key: str) -> None:
    """Refuses a metric that the task does not have, and a bound on its wrong side."""
    metrics = take_task(task).METRICS
    if gate.metric not in metrics:
        raise UserError(f"params.yaml: {key}.metric is {gate.metric!r}; expected one of {', '.join(metrics)} for a {task} task.")
    expected = {"higher": "at_least", "lower": "at_most"}[metrics[gate.metric]]
    if [name for name in ("at_least", "at_most") if getattr(gate, name) is not None] != [expected]:
        raise UserError(f"params.yaml: {key} expects {expected} alone as the bound of the metric {gate.metric}.")


class Square:
    """Stands for forward and backward in a rehearsal; its gradient is not 0, without which LBFGS would not look at its arguments."""

    def __init__(self) -> None:
        self.weight = torch.nn.Parameter(torch.full((1, 1), 1.618))

    def __call__(self) -> torch.Tensor:
        self.weight.grad = None
        value = self.weight.square().sum()
        value.backward()
        return value


def rehearse_schedule(recipe: Recipe, optimizer: torch.optim.Optimizer, loss: Square, key: str) -> None:
    """Moves it. How many steps an epoch has is known only when the data is there: any usual number will do,
    but for a length that params give themselves, which even the shortest epochs must not outlast.
    """
    if recipe.schedule is None:
        return
    rate = MovingRate(recipe, optimizer, 1 if {"total_steps", "epochs"} & set(recipe.schedule.arguments) else USUAL_STEPS, key)
    optimizer.step(loss)  # type: ignore[arg-type]  # once more, since a schedule wants one behind it before it moves on
    rate.rehearse(min(recipe.epochs, MAX_MOVES))


def rehearse_augmentations(recipe: Recipe, key: str) -> None:
    """Draws each once; what only does not fit the size of this picture is left for training, which has the right ones."""
    picture = torch.zeros(1, 3, 64, 64)
    for place, augment in enumerate(build_augmentations([choice.model_dump() for choice in recipe.augment], key)):
        with fitting(f"{key}[{place}]", recipe.augment[place].name), contextlib.suppress(ValueError, RuntimeError):
            augment(picture)


if __name__ == "__main__":
    run_stage(check, usage="python -m stages.check params.yaml")
