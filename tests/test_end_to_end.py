"""`dvc repro` in a clone, with a few tiny models: what it builds, what it builds again and what a failure leaves behind."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
TREE = (
    *("stages", "pipelines", "examples", "data/schemas", "dvc.yaml", "params.yaml"),
    *(".gitignore", ".dvcignore", ".dvc/config", ".dvc/.gitignore", ".dvc/plots"),
)
EPOCHS = {"line_gd": 3, "diabetes_mlp": 2}
EXPORTED = ("model.onnx", "model.torchscript.pt", "model.pt2", "signature.json", "README.md", "learning_curve.png", "predictions.png")

# Whole graphs are built here, on machines that may be busy with other tests.
pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True)
class Clone:
    """A clone of this repository, with a home of its own so that nothing of the user's settings reaches it."""

    root: Path

    def run(self, *command: str, ok: bool = True, **environment: str) -> str:
        """Run a command in the clone; returns stdout and stderr."""
        result = subprocess.run(
            command, cwd=self.root, env=self.environment | environment, stdout=-1, stderr=-2, text=True, check=False, timeout=1500
        )
        assert (result.returncode == 0) == ok, result.stdout
        return result.stdout

    @property
    def environment(self) -> dict[str, str]:
        home = self.root.with_name(f"{self.root.name}.home")
        home.mkdir(exist_ok=True)
        folders = {f"DVC_{name}_DIR": str(home / name) for name in ("GLOBAL_CONFIG", "SYSTEM_CONFIG", "SITE_CACHE")}
        names = {f"GIT_{role}_{what}": "test@localhost" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("DVC", "GIT_", "REPRISE", "DATASETS_", "PYTHONPATH"))
        }
        own = {"HOME": str(home), "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1", "GIT_CONFIG_NOSYSTEM": "1"}
        return kept | folders | names | own

    def dvc(self, *arguments: str, ok: bool = True, **environment: str) -> str:
        return self.run(sys.executable, "-m", "dvc", *arguments, ok=ok, **environment)

    def repro(self, *arguments: str) -> set[str]:
        """`dvc repro`; returns the stages that ran."""
        return stages_run(self.dvc("repro", *arguments))

    def git(self, *arguments: str) -> str:
        return self.run("git", *arguments)

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "a state")

    def set(self, path: str, value: Any) -> None:
        """Change one value of params.yaml; `path` is its keys with dots."""
        yaml, file = YAML(), self.root / "params.yaml"
        params = section = yaml.load(file)
        *parents, last = path.split(".")
        for parent in parents:
            section = section[parent]
        section[last] = value
        yaml.dump(params, file)

    def contents(self, *folders: str) -> dict[str, bytes]:
        """All files under data/ and models/ (or `folders`) by path."""
        files = [file for folder in folders or ("data", "models") for file in (self.root / folder).rglob("*") if file.is_file()]
        return {file.relative_to(self.root).as_posix(): file.read_bytes() for file in files}

    def outs(self) -> dict[str, str]:
        """Every out in dvc.lock with its hash."""
        stages = YAML(typ="safe").load(self.root / "dvc.lock")["stages"]
        return {out["path"]: out["md5"] for stage in stages.values() for out in stage["outs"]}


def stages_run(output: str) -> set[str]:
    return set(re.findall(r"^Running stage '(.+)'", output, flags=re.MULTILINE))


def of_model(name: str, *stages: str) -> set[str]:
    return {f"{stage}@{name}" for stage in stages or ("train", "evaluate", "export", "report")}


def of_dataset(name: str) -> set[str]:
    return {f"{stage}@{name}" for stage in ("download", "preprocess", "audit")}


def new_clone(root: Path, epochs: dict[str, int]) -> Clone:
    """A fresh clone, committed, whose params.yaml has only these models with so many epochs, and their datasets."""
    copy_tree(root, TREE)
    reduce_params(root, epochs)
    clone = Clone(root)
    clone.git("init", "--quiet", "--initial-branch=main", ".")
    clone.commit()
    return clone


def copy_tree(root: Path, names: tuple[str, ...]) -> None:
    """Files and folders of this repository, as they lie here."""
    for name in names:
        source, target = ROOT / name, root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, target)


def reduce_params(root: Path, epochs: dict[str, int]) -> None:
    """Leaves in params.yaml only these models, with so many epochs, and their datasets."""
    yaml = YAML()
    params = yaml.load(root / "params.yaml")
    params["models"] = {name: params["models"][name] for name in epochs}
    for name, number in epochs.items():
        train = params["models"][name]["train"]
        if "fit" not in params["recipes"][train["recipe"]]:  # which has no epochs
            train["epochs"] = number
    used = {entry["dataset"] for entry in params["models"].values()}
    params["datasets"] = {name: entry for name, entry in params["datasets"].items() if name in used}
    made = {Path(entry["raw"]).parent.name for entry in params["datasets"].values()}
    params["sources"] = {name: entry for name, entry in params["sources"].items() if name in made}
    params["runtime"]["device"] = "cpu"
    params["evaluate"]["num_resamples"] = 100
    yaml.dump(params, root / "params.yaml")


@pytest.fixture(scope="module")
def first_build(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A fresh clone after its first `dvc repro`. Tests change copies of it only."""
    clone = new_clone(tmp_path_factory.mktemp("first") / "clone", EPOCHS)
    everything = {"check"} | of_dataset("line") | of_dataset("diabetes") | of_model("line_gd") | of_model("diabetes_mlp")
    assert clone.repro() == everything
    return clone


@pytest.fixture
def clone(first_build: Clone, tmp_path: Path) -> Clone:
    """A copy in which everything is built and committed."""
    shutil.copytree(first_build.root, tmp_path / "clone", symlinks=True)
    clone = Clone(tmp_path / "clone")
    clone.commit()
    return clone


def test_a_first_repro_builds_everything_and_leaves_git_only_the_lock_and_the_metrics(first_build: Clone) -> None:
    """Were .gitignore not complete, DVC would write one into every folder."""
    for model in EPOCHS:
        assert {path.removeprefix(f"models/{model}/") for path in first_build.contents(f"models/{model}")} == {
            "checkpoint.safetensors",
            "training.json",
            "metrics.json",
            *(f"plots/{name}" for name in ("learning_curve.csv", "predictions.csv", "predictions.png", "breakdown.csv")),
            "report.html",
            *(f"exported/{name}" for name in EXPORTED),
        }
    known = (*first_build.outs(), *first_build.git("ls-files", "data/schemas").split())
    assert [path for path in first_build.contents() if not path.startswith(known)] == [], "nothing that neither the graph nor git knows"
    status = first_build.git("status", "--porcelain", "--untracked-files=all").split("\n")
    assert {line[3:] for line in status if line} == {
        "dvc.lock",
        *(f"models/{model}/{file}.json" for model in EPOCHS for file in ("training", "metrics")),
    }


def test_a_second_repro_runs_nothing(clone: Clone) -> None:
    before = clone.contents()
    output = clone.dvc("repro")
    assert stages_run(output) == set()
    assert "Data and pipelines are up to date." in output
    assert clone.contents() == before
    assert clone.git("status", "--porcelain") == ""


def test_a_typo_fails_in_the_check_and_every_output_stays(clone: Clone) -> None:
    clone.set("recipes.table.optimizer.weight_decai", 0.1)
    before = clone.contents(".")
    output = clone.dvc("repro", ok=False)
    assert stages_run(output) == {"check"}
    said = [line for line in output.splitlines() if line.startswith("error: ")]
    assert len(said) == 1
    assert said[0].startswith("error: params.yaml: the arguments of models.diabetes_mlp.train.optimizer (AdamW) do not fit")
    assert "Traceback" not in output
    assert without_tools(clone.contents(".")) == without_tools(before)


def without_tools(contents: dict[str, bytes]) -> dict[str, bytes]:
    """Without what Python, git and DVC keep for themselves."""
    return {path: content for path, content in contents.items() if not re.search(r"__pycache__|^\.git/|^\.dvc/tmp|^logs/", path)}


@pytest.mark.parametrize(
    ("key", "value", "stale"),
    [
        ("report.num_mistakes", 3, of_model("line_gd", "report") | of_model("diabetes_mlp", "report")),
        ("export.tolerance", 2e-4, of_model("line_gd", "export") | of_model("diabetes_mlp", "export")),
        ("models.line_gd.train.lr", 0.0123, of_model("line_gd", "train")),
        ("recipes.table.lr", 0.0123, of_model("diabetes_mlp", "train")),
    ],
)
def test_another_value_makes_stale_what_reads_it_only(clone: Clone, key: str, value: float, stale: set[str]) -> None:
    """What DVC would run first; what follows from that it sees later."""
    clone.set(key, value)
    assert clone.repro("--dry") == {"check"} | stale


def test_another_line_of_code_makes_stale_what_uses_it_only(clone: Clone) -> None:
    for file in (clone.root / "stages/shell").glob("*.py"):
        file.write_text(f"{file.read_text()}\n# a comment\n")
    (clone.root / "stages/architectures/mlp.py").touch()
    assert clone.repro("--dry") == set(), "a sentence, and the same content, are no change"
    with (clone.root / "stages/architectures/mlp.py").open("a") as family:
        family.write("# a comment\n")
    assert clone.repro("--dry") == of_model("diabetes_mlp")


@pytest.mark.slow
def test_a_changed_kind_of_data_that_makes_the_same_trains_nothing(clone: Clone) -> None:
    file = clone.root / "stages/datasets/csv.py"
    file.write_text(f"{file.read_text()}\n# a comment\n")
    assert clone.repro() == {"check", "preprocess@diabetes"}


# Failures


@pytest.fixture
def full_disk(tmp_path: Path) -> str:
    """A PATH on which a stage may write no file larger than 512 bytes, while DVC itself may."""
    (tmp_path / "bin").mkdir()
    limited = tmp_path / "bin/python"
    limited.write_text(f'#!/bin/sh\ncase "$2" in stages.*) ulimit -f 1;; esac\nexec "{sys.executable}" "$@"\n')
    limited.chmod(0o755)
    return f"{limited.parent}{os.pathsep}{BIN}{os.pathsep}{os.environ['PATH']}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "value", "stage"),
    [
        ("models.diabetes_mlp.train.lr", 0.0123, "train@diabetes_mlp"),
        ("runtime.seed", 1, "preprocess@diabetes"),
    ],
)
def test_a_full_disk_is_said_in_one_line_and_leaves_every_output(clone: Clone, full_disk: str, path: str, value: Any, stage: str) -> None:
    clone.set(path, value)
    clone.repro("check")
    before = clone.contents()
    output = clone.dvc("repro", "--single-item", stage, ok=False, PATH=full_disk)
    assert stages_run(output) == {stage}
    assert [line for line in output.splitlines() if line.startswith("error: The disk (or a limit on file size) is full")], output
    assert clone.contents() == before
    assert "Traceback" not in output
    assert stage in clone.repro(), "with space again it goes on"


@pytest.mark.slow
def test_a_killed_repro_leaves_every_output_and_can_be_run_again(clone: Clone) -> None:
    before = clone.contents()
    clone.set("models.line_gd.train.epochs", 1_000_000)
    with killed_when_training(clone):
        pass
    assert clone.contents() == before
    clone.set("models.line_gd.train.epochs", 4)
    assert of_model("line_gd") <= clone.repro()
    assert clone.contents().keys() == before.keys()


@contextlib.contextmanager
def killed_when_training(clone: Clone) -> Iterator[None]:
    """`dvc repro` until the first figures of a run are in TensorBoard's folder, then SIGKILL to it and all that it started."""
    logs = clone.root / "logs/tensorboard/line_gd"
    seen = set(logs.iterdir())
    process = subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro"],
        cwd=clone.root,
        env=clone.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 300
        while not (set(logs.iterdir()) - seen):
            assert process.poll() is None, "it ended before it trained"
            assert time.monotonic() < deadline
            time.sleep(0.2)
        time.sleep(1)
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


# The same inputs give the same bytes


@pytest.mark.slow
def test_two_clones_build_the_same_bytes(first_build: Clone, tmp_path: Path) -> None:
    second = Clone(tmp_path / "a longer path with spaces" / "clone")
    second.root.parent.mkdir()
    first_build.git("clone", "--quiet", ".", str(second.root))
    second.dvc("repro", OMP_NUM_THREADS="3", PYTHONHASHSEED="7", TZ="Asia/Kathmandu", LC_ALL="C")
    assert second.outs() == first_build.outs()
    assert second.contents() == first_build.contents()
    assert (second.root / "dvc.lock").read_bytes() == (first_build.root / "dvc.lock").read_bytes()


# What people do with the results


@pytest.mark.slow
def test_metrics_plots_and_params_can_be_compared(clone: Clone) -> None:
    shown = clone.dvc("metrics", "show", "--md")
    assert all(f"models/{model}/{file}.json" in shown for model in EPOCHS for file in ("training", "metrics"))
    clone.dvc("plots", "show", "models/line_gd/plots/learning_curve.csv", "models/diabetes_mlp/plots/predictions.png")
    assert "learning_curve.csv" in (clone.root / "dvc_plots/index.html").read_text()
    clone.set("models.line_gd.train.lr", 0.0123)
    difference = clone.dvc("params", "diff", "--md")
    assert "| models.line_gd.train.lr |" in re.sub(r" +", " ", difference) and "diabetes_mlp" not in difference


@pytest.mark.slow
def test_an_experiment_changes_one_param_and_is_listed(clone: Clone) -> None:
    output = clone.dvc("exp", "run", "--name", "faster", "-S", "+models.line_gd.train.lr=0.0123")
    assert stages_run(output) == {"check"} | of_model("line_gd")
    listed = clone.dvc("exp", "show", "--csv", "--no-pager")
    header, *rows = listed.strip().split("\n")
    assert "models.line_gd.train.lr" in header
    faster = next(row for row in rows if "faster" in row)
    assert "0.0123" in faster.split(",")
    clone.git("diff", "--exit-code", "--", "stages", "dvc.yaml")
