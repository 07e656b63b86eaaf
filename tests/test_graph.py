"""dvc.yaml against the code: what a stage imports, reads and writes is what the graph says, or a model would go stale in silence.

The graph is resolved by DVC itself, in a copy. Which files a stage imports is read from the code (tests/closure.py); the
parts that it takes from a shelf by name (stages/common/shelves.py) are added by hand.
"""

import ast
import contextlib
import copy
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo
from ruamel.yaml import YAML

from stages.check import SHARED_BY_PARTS
from stages.common.shelves import part_names, take_part
from stages.shell.errors import UserError
from tests.closure import ROOT, closure, imported_files
from tests.toy import RUNTIME

PARAMS: dict[str, Any] = YAML(typ="safe").load(ROOT / "params.yaml")
STAGES = ("check", "download", "preprocess", "audit", "train", "evaluate", "export", "report")
OF_MODELS = STAGES[4:]
SECTIONS = {"download": "sources", "preprocess": "datasets", "audit": "datasets", **dict.fromkeys(OF_MODELS, "models")}
PARTS = [f"{shelf}/{name}" for shelf in ("sources", "datasets", "inputs", "tasks", "architectures") for name in part_names(shelf)]
SMALLEST = {"sources": "line", "datasets": "line", "models": "line_gd"}
CHECKED_OF = "data/checked/datasets/"  # stands for the files of a dataset's kind of input and of its task
# Which consumers have too.
CONSUMERS = {"examples/cells.py", "examples/parquet.py", "examples/pictures.py", "examples/rows.py", "examples/texts.py"}
# What only a stage's own file may call: a part that read params.yaml itself would depend on keys that the graph cannot know.
READERS = {"read_params", "read_section", "look_up"}


ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


@dataclass(frozen=True)
class Instance:
    """One stage of the resolved graph, such as train@line_gd; paths are posix paths in the repository."""

    stage: str
    key: str
    command: str
    deps: frozenset[str]
    params: tuple[str, ...]
    outs: frozenset[str]
    not_persisted: frozenset[str]
    not_cached: frozenset[str]

    @property
    def code(self) -> frozenset[str]:
        return frozenset(dep for dep in self.deps if dep.split("/")[0] in ("stages", "examples"))


def resolve(folder: Path, graph: str, params: dict[str, Any]) -> dict[str, Instance]:
    """The instances by DVC's name of a repository whose dvc.yaml is the text `graph`."""
    (folder / ".dvc").mkdir(parents=True, exist_ok=True)
    (folder / ".dvc/config").write_text("[core]\n    no_scm = true\n    analytics = false\n")
    (folder / "dvc.yaml").write_text(graph)
    (folder / "params.yaml").write_text(json.dumps(params))
    with Repo(str(folder)) as repo:
        return {stage.name: as_instance(stage, folder) for stage in repo.index.stages}


def as_instance(stage: Any, folder: Path) -> Instance:
    def paths(things: list[Any]) -> frozenset[str]:
        return frozenset(Path(thing.fs_path).relative_to(folder.resolve()).as_posix() for thing in things)

    name, _, key = stage.name.partition("@")
    of_params = [dep for dep in stage.deps if hasattr(dep, "params")]
    return Instance(
        stage=name,
        key=key,
        command=stage.cmd,
        deps=paths([dep for dep in stage.deps if dep not in of_params]),
        params=tuple(sorted(param for dep in of_params for param in dep.params)),
        outs=paths(stage.outs),
        not_persisted=paths([out for out in stage.outs if not out.persist]),
        not_cached=paths([out for out in stage.outs if not out.use_cache]),
    )


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Instance]:
    return resolve(tmp_path_factory.mktemp("graph"), (ROOT / "dvc.yaml").read_text(), PARAMS)


def of_stage(graph: dict[str, Instance], stage: str) -> list[Instance]:
    found = [instance for instance in graph.values() if instance.stage == stage]
    assert found
    return found


# Deps: what a stage imports


@cache
def used_files(instance: Instance) -> set[str]:
    """The closure of the stage's file and of the parts that this instance takes from the shelves, but for the shell."""
    if instance.stage == "check":  # what it refuses is written nowhere
        parts = [part for part in PARTS if part.split("/")[0] in ("datasets", "inputs", "tasks")]
        files = closure(*(ROOT / "stages" / f"{part}.py" for part in parts)) | {"stages/check.py"}
        hashed = set().union(*(reads_of(part.removeprefix("datasets/")) for part in parts if part.startswith("datasets/")))
        return {file for file in without_shell(files) if not file.startswith("stages/reading/") or file in hashed}  # it reads no data
    entry = PARAMS[SECTIONS[instance.stage]][instance.key]
    parts = {
        "audit": lambda: parts_of(instance.key)[:1],  # how items are shown
        "download": lambda: [f"sources/{entry['kind']}"],
        "preprocess": lambda: [f"datasets/{entry['kind']}", *parts_of(instance.key)],
    }.get(instance.stage, lambda: [f"architectures/{entry['architecture']['name']}", *parts_of(entry["dataset"])])()
    return without_shell(closure(*(ROOT / "stages" / f"{name}.py" for name in [instance.stage, *parts])))


def without_shell(files: set[str]) -> set[str]:
    return {file for file in files if not file.startswith("stages/shell/")}


@cache
def parts_of(dataset: str) -> list[str]:
    """Its kind of input and its task."""
    entry = PARAMS["datasets"][dataset]
    section = take_part("datasets", entry["kind"], "kind").Preprocess.model_validate(entry["preprocess"])
    return [f"inputs/{section.input_kind}", f"tasks/{section.task}"]


@cache
def reads_of(kind: str) -> set[str]:
    """The files that only this kind of data reads with, as it declares them."""
    return set(getattr(take_part("datasets", kind, "kind"), "READS", ()))


@cache
def covered_by(dep: str) -> set[str]:
    """The files that stand behind a dep on what check has found out about a dataset."""
    if not dep.startswith(CHECKED_OF):
        return set()
    parts = [f"stages/{part}.py" for part in parts_of(Path(dep).stem)]
    return {*parts, *(f"stages/{file}" for file in SHARED_BY_PARTS), *reads_of(PARAMS["datasets"][Path(dep).stem]["kind"])}


def uncovered(instance: Instance, deps: frozenset[str]) -> set[str]:
    """The files that the instance uses and that no one of `deps` is, contains or stands for."""
    files = used_files(instance) - set().union(*map(covered_by, deps))
    return {file for file in files if not any(file == dep or file.startswith(f"{dep}/") for dep in deps)}


@pytest.mark.parametrize("stage", STAGES)
def test_the_deps_of_a_stage_are_the_files_that_it_imports_no_fewer_and_no_more(graph: dict[str, Instance], stage: str) -> None:
    instances = of_stage(graph, stage)
    assert {instance.key: missing for instance in instances if (missing := uncovered(instance, instance.deps))} == {}
    code = frozenset().union(*(instance.code for instance in instances))
    idle = {dep for dep in code if not any(uncovered(instance, instance.deps - {dep}) for instance in instances if dep in instance.deps)}
    assert idle == set(), "remove these from dvc.yaml: they would rebuild what they cannot change"
    if stage != "check":
        assert not [dep for dep in code if (ROOT / dep).is_dir()], "a folder would bring what a stage does not use"
        assert instances[0].code - set().union(*map(used_files, instances)) == set()


def test_a_kind_of_data_declares_the_files_that_it_alone_reads_with_no_fewer_and_no_more(graph: dict[str, Instance]) -> None:
    """What dvc.yaml lists for every dataset would make all of them stale; what a kind declares is hashed for its own datasets alone."""
    of_every = frozenset.intersection(*(instance.code for instance in of_stage(graph, "preprocess")))
    parts = {part.removeprefix("datasets/"): ROOT / "stages" / f"{part}.py" for part in PARTS if part.startswith("datasets/")}
    for kind, path in parts.items():
        assert without_shell(closure(path)) - of_every - {f"stages/datasets/{kind}.py"} == reads_of(kind), kind
    assert reads_of("table") and not reads_of("csv")


def test_nothing_is_imported_in_a_way_that_the_reader_cannot_see() -> None:
    for path in sorted((ROOT / "stages").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if path.name not in ("shelves.py", "forks.py"):  # the second runs whole stages, each of which imports its own
            assert not re.search(r"\b(importlib(?!\.metadata)|__import__|exec|runpy)\b", text), f"{path} imports by a name made at run time"
        if path == ROOT / "stages" / "__init__.py":  # it is about signals, and changes no result
            imported = [alias.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import) for alias in node.names]
            assert imported == ["signal", "sys"] and "from" not in text.split()


# Who may import whom


def outside_names(path: Path) -> set[str]:
    """First parts of all that a file imports: torch, numpy, stages."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def folders_imported(*files: Path) -> set[str]:
    """Folders of stages, and files elsewhere."""
    imported = {file.relative_to(ROOT) for path in files for file in imported_files(path)}
    return {file.parts[1] if file.parts[0] == "stages" else file.as_posix() for file in imported}


def test_a_part_imports_nothing_of_ours_but_what_its_shelf_shares() -> None:
    for part in PARTS:
        shared = {"reading"} | CONSUMERS if part.startswith(("datasets/", "sources/")) else set()
        assert folders_imported(ROOT / "stages" / f"{part}.py") <= {"common", "shell"} | shared, part
    for folder in ("common", "reading", "modelling"):
        shared = CONSUMERS if folder == "reading" else set()
        assert folders_imported(*(ROOT / "stages" / folder).glob("[a-z]*.py")) <= {"common", "shell", folder} | shared
    copied = closure(*(ROOT / reader for reader in CONSUMERS))
    assert copied == CONSUMERS, "they are copied to where models are used"


def test_a_stage_imports_of_the_folders_only_its_own() -> None:
    own = {"train": "training", "evaluate": "evaluation", "export": "exporting", "report": "reporting"}
    own |= {"download": "reading", "preprocess": "reading", "audit": "auditing"}
    for stage, folder in own.items():
        files = [Path(file) for file in without_shell(closure(ROOT / "stages" / f"{stage}.py"))]
        shared = {"modelling"} if SECTIONS[stage] == "models" else {"reading"} if stage == "audit" else set()  # what copies are
        assert {file.parent.name for file in files} <= {"stages", "common", folder, *shared}
        assert [file.name for file in files if file.parent.name == "stages"] == [f"{stage}.py"], "no stage imports another"


def test_stages_know_nothing_of_who_runs_them() -> None:
    for path in (ROOT / "stages").rglob("*.py"):
        assert not outside_names(path) & {"prefect", "dvc", "pipelines", "tests"}, path


def test_the_data_side_never_imports_torch() -> None:
    starts = [*(ROOT / f"stages/{stage}.py" for stage in ("download", "preprocess", "audit")), *(ROOT / "stages/datasets").glob("*.py")]
    for file in closure(*starts):
        assert not outside_names(ROOT / file) & {"torch", "torchvision", "torchaudio"}, file


def test_pipelines_never_import_torch_or_stages() -> None:
    for path in (ROOT / "pipelines").rglob("*.py"):
        assert not outside_names(path) & {"torch", "torchvision", "stages"}, path


def test_only_a_stage_itself_reads_params() -> None:
    for path in (ROOT / "stages").rglob("*.py"):
        if path.parent == ROOT / "stages" or path.name == "params.py":
            continue
        names = {node.id for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Name)}
        assert not names & READERS, f"{path} reads keys of params.yaml that no stage declares"


# Deps and outs: what a stage reads and writes on the disk


def expected_data(instance: Instance) -> tuple[set[str], set[str]]:
    """What the instance reads and writes, as DESIGN.md draws it: data flows from stage to stage by these paths alone."""
    key, stage = instance.key, instance.stage
    if stage == "check":
        return {"params.yaml", "data/schemas"}, {"data/checked"}
    if stage == "download":
        return {"data/checked/params.json"}, {f"data/{key}/raw"}
    if stage == "preprocess":
        return {f"{CHECKED_OF}{key}.json", PARAMS["datasets"][key]["raw"]}, {f"data/{key}/processed"}
    if stage == "audit":
        known = {f"data/checked/{what}/{key}.json" for what in ("accepted", "datasets")}
        return known | {f"data/{key}/processed"}, {f"data/{key}/audit"}
    dataset, folder = PARAMS["models"][key]["dataset"], f"models/{key}"
    checked, processed = f"{CHECKED_OF}{dataset}.json", f"data/{dataset}/processed"
    checkpoint, plots = f"{folder}/checkpoint.safetensors", f"{folder}/plots"
    drawn = {f"{plots}/predictions.csv", f"{plots}/predictions.png", f"{plots}/breakdown.csv"}
    return {
        "train": (
            {checked, processed, f"data/{dataset}/audit/verdict.json"},
            {checkpoint, f"{folder}/training.json", f"{plots}/learning_curve.csv"},
        ),
        "evaluate": ({checked, processed, checkpoint}, {f"{folder}/metrics.json"} | drawn),
        "export": (
            {checked, processed, checkpoint, f"{folder}/metrics.json", f"{plots}/learning_curve.csv", f"{plots}/predictions.png"},
            {f"{folder}/exported"},
        ),
        "report": (
            {checked, processed, f"data/{dataset}/audit/findings.json", checkpoint, f"{folder}/metrics.json"}
            | {f"{plots}/learning_curve.csv", f"{plots}/breakdown.csv"},
            {f"{folder}/report.html"},
        ),
    }[stage]


def test_data_flows_from_stage_to_stage_by_commands_of_one_form(graph: dict[str, Instance]) -> None:
    for instance in graph.values():
        assert ({*instance.deps} - instance.code, {*instance.outs}) == expected_data(instance), instance.command
        if instance.stage != "check":
            assert instance.command == f"python -m pipelines.dvc.known python -m stages.{instance.stage} @"


def test_every_out_outlives_a_failure(graph: dict[str, Instance]) -> None:
    assert {name: instance.not_persisted for name, instance in graph.items() if instance.not_persisted} == {}


def test_git_ignores_every_out_but_the_metrics(graph: dict[str, Instance], tmp_path: Path) -> None:
    """A stage that fails makes DVC take back what it wrote into .gitignore for others, so all of it stands there beforehand."""
    shutil.copy(ROOT / ".gitignore", tmp_path)
    subprocess.run(["git", "init", "--quiet", "."], cwd=tmp_path, check=True)
    outs = {out if Path(out).suffix else f"{out}/" for instance in graph.values() for out in instance.outs}
    beside = {f"{Path(out).parent}/.{Path(out).name}.part{'/' if out.endswith('/') else ''}" for out in outs}
    kept = {"dvc.yaml", "dvc.lock", "params.yaml", ".dvc/config", ".dvc/plots/learning_curve.json", "stages/train.py"}
    listed = "\n".join([*outs, *beside, *kept])
    command = ["git", "check-ignore", "--stdin"]
    ignored = subprocess.run(command, cwd=tmp_path, input=listed, capture_output=True, text=True, check=True).stdout.split("\n")
    metrics = {f"models/{name}/{file}.json" for name in PARAMS["models"] for file in ("training", "metrics")}
    assert set(filter(None, ignored)) == (outs | beside) - metrics
    assert {out for instance in graph.values() for out in instance.not_cached} == metrics, "git keeps the metrics, DVC's cache the rest"


def test_the_plots_across_models_draw_what_the_stages_write(graph: dict[str, Instance]) -> None:
    plots = YAML(typ="safe").load(ROOT / "dvc.yaml")["plots"]
    drawn = {path for plot in plots for options in plot.values() for axis in ("x", "y") for path in options[axis]}
    assert drawn
    assert drawn <= {out for instance in graph.values() for out in instance.outs}


def test_every_model_is_an_artifact_that_its_export_writes(graph: dict[str, Instance]) -> None:
    artifacts = YAML(typ="safe").load(ROOT / "dvc.yaml")["artifacts"]
    exported = {model: graph[f"export@{model}"].outs for model in PARAMS["models"]}
    assert list(artifacts) == list(exported), "dvc.yaml lists each model of params.yaml, in its order"
    for model, artifact in artifacts.items():
        assert {Path(artifact["path"]).parent.as_posix()} == exported[model] and artifact["type"] == "model"
        assert Path(artifact["path"]).name == "model.onnx"


# Names and commands


def test_there_is_one_instance_of_every_stage_for_every_entry(graph: dict[str, Instance]) -> None:
    assert set(graph) == {"check"} | {f"{stage}@{key}" for stage, section in SECTIONS.items() for key in PARAMS[section]}


def test_a_change_of_a_recipe_makes_stale_the_models_that_use_it_and_no_others(graph: dict[str, Instance]) -> None:
    for recipe in PARAMS["recipes"]:
        users = {f"train@{name}" for name, model in PARAMS["models"].items() if model["train"]["recipe"] == recipe}
        assert users == {name for name, instance in graph.items() if f"recipes.{recipe}" in instance.params}
    assert not [name for name, instance in graph.items() for param in instance.params if param == "recipes"]


def test_a_new_entry_leaves_every_other_stage_as_it_was(graph: dict[str, Instance], tmp_path: Path) -> None:
    params = copy.deepcopy(PARAMS)
    params["models"] = {"first": params["models"]["line_gd"] | {"dataset": "points"}} | params["models"]
    params["datasets"]["points"] = params["datasets"]["line"]
    params["recipes"]["unused"] = params["recipes"]["lesson"]
    grown = resolve(tmp_path, (ROOT / "dvc.yaml").read_text(), params)
    assert {name: grown[name] for name in graph} == graph
    assert {name for name in grown if name not in graph} == {
        "preprocess@points",
        "audit@points",
        *(f"{stage}@first" for stage in OF_MODELS),
    }


# Params: which keys a stage reads


@dataclass(frozen=True)
class Built:
    """A folder in which the smallest dataset and model have been built with `params`."""

    root: Path
    params: dict[str, Any]

    def name(self, stage: str) -> str:
        return SMALLEST[SECTIONS[stage]]

    def write(self, params: dict[str, Any]) -> None:
        (self.root / "params.yaml").write_text(json.dumps(params))

    def run(self, stage: str) -> None:
        with contextlib.chdir(self.root):
            getattr(importlib.import_module(f"stages.{stage}"), stage)(self.name(stage))

    def make(self, stage: str) -> None:
        if stage == "export":  # in a process of its own: torch.jit numbers what one process traces, and the numbers are in the file
            command = [sys.executable, "-m", "stages.export", self.name(stage)]
            result = subprocess.run(command, cwd=self.root, env=ENVIRONMENT, capture_output=True, text=True, check=False)
            assert result.returncode == 0, result.stderr
        else:
            self.run(stage)

    def contents(self, outs: frozenset[str]) -> dict[str, bytes]:
        files = [file for out in outs for file in [self.root / out, *(self.root / out).rglob("*")] if file.is_file()]
        return {file.relative_to(self.root).as_posix(): file.read_bytes() for file in files}


@pytest.fixture(scope="module")
def first_build(tmp_path_factory: pytest.TempPathFactory) -> Built:
    params = copy.deepcopy(PARAMS)
    params["runtime"] = RUNTIME | {"mixed_precision": True}
    params["evaluate"]["num_resamples"] = 100
    params["models"]["line_gd"]["train"]["epochs"] = 3  # fewer than its recipe has
    built = Built(tmp_path_factory.mktemp("built"), params)
    built.write(params)
    for what in ("accepted", "datasets"):  # as check writes them
        (built.root / "data/checked" / what).mkdir(parents=True)
        (built.root / "data/checked" / what / "line.json").write_text('{"accept": []}')
    for stage in STAGES[1:]:
        built.make(stage)
    return built


@pytest.fixture
def built(first_build: Built, tmp_path: Path) -> Built:
    """A copy without logs, where the states of the runs that built it are: what is trained here is trained."""
    return Built(shutil.copytree(first_build.root, tmp_path / "copy", ignore=shutil.ignore_patterns("logs")), first_build.params)


# What stands beside the keys that a stage declares when it runs alone: valid values, and others than those that it was built
# with.
OTHERS: dict[str, dict[str, Any]] = {
    "runtime": {
        "seed": 1,
        "threads": 2,
        "device": "auto",
        "mixed_precision": False,
        "num_processes": 2,
        "stream_above_mb": 2000,
        "save_minutes": 1.0,
    },
}


def only(params: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """`params` reduced to the values at `keys` (with dots); a section of which a part remains is filled up from OTHERS."""
    reduced: dict[str, Any] = {}
    for key in keys:
        *parents, last = key.split(".")
        source, target = params, reduced
        for depth, parent in enumerate(parents, start=1):
            source = source[parent]
            target = target.setdefault(parent, dict(OTHERS.get(".".join(parents[:depth]), {})))
        target[last] = copy.deepcopy(source[last])
    return reduced


def without(params: dict[str, Any], key: str) -> dict[str, Any]:
    params = copy.deepcopy(params)
    *parents, last = key.split(".")
    section = params
    for parent in parents:
        section = section[parent]
    del section[last]
    return params


@pytest.mark.parametrize("stage", STAGES[1:])
def test_a_stage_needs_no_param_but_those_that_the_graph_gives_it(graph: dict[str, Instance], built: Built, stage: str) -> None:
    """It runs without the others, and where it must check one it makes nothing else of another value."""
    instance = graph[f"{stage}@{built.name(stage)}"]
    before = built.contents(instance.outs)
    assert before
    for path in before:
        (built.root / path).unlink()
    built.write(only(built.params, instance.params))
    built.make(stage)
    assert built.contents(instance.outs) == before


@pytest.mark.parametrize("stage", STAGES[1:])
def test_a_stage_reads_every_param_that_the_graph_gives_it(graph: dict[str, Instance], built: Built, stage: str) -> None:
    instance = graph[f"{stage}@{built.name(stage)}"]
    assert instance.params
    for key in instance.params:
        built.write(without(only(built.params, instance.params), key))
        with pytest.raises((UserError, KeyError)) as refused:
            built.run(stage)
        assert key.split(".")[-1] in str(refused.value), key


def test_all_instances_of_a_stage_declare_the_same_params(graph: dict[str, Instance]) -> None:
    def without_names(one: Instance) -> tuple[str, ...]:
        model = PARAMS["models"].get(one.key, {"train": {}})
        names = {one.key, model.get("dataset"), model["train"].get("recipe")}
        return tuple(".".join("*" if part in names else part for part in param.split(".")) for param in one.params)

    for stage in STAGES:
        assert len({without_names(one) for one in of_stage(graph, stage)}) == 1
