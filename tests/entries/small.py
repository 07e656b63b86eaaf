"""A small project for remove and rename, as if it had been built: the real dvc.yaml, two of each section, files in all places."""

import contextlib
import itertools
import re
import shutil
import subprocess
from pathlib import Path

from dvc.repo import Repo
from dvc.utils.serialize import dumps_yaml

import entries.new
from entries import lines

ROOT = Path(__file__).parents[2]
NAMES = {"sources": ("line", "hours"), "datasets": ("line", "hours"), "models": ("steep", "flat")}
STAGES = {"download": "sources", "preprocess": "datasets", "audit": "datasets"}
STAGES |= dict.fromkeys(("train", "evaluate", "export", "report"), "models")
PARAMS = """\
# What changes a result.
source: sample
runtime: {num_processes: 1}

sources:
  line: {kind: points, train: [[1, 2]]}
  hours: {kind: points, train: [[1, 0]]}

datasets:
  line:
    kind: points
    raw: data/line/raw
    about: {use: a line}

  # of hours
  hours:
    kind: points
    raw: data/hours/raw
    about: {use: hours}

recipes:
  plain: {lr: 0.1}

models:   # of lines
  steep:
    dataset: line   # the line
    architecture: {name: linear, bias: true}
    train: {recipe: plain}
    int8: []

  # steep is not flat
  flat:
    dataset: line
    architecture: {name: linear, bias: false}
    train: {recipe: plain, lr: 0.2}
    int8: []
"""
PLOTS = """\
plots:
  - of steep alone:
      x: {models/steep/plots/learning_curve.csv: epoch}
      y: {models/steep/plots/learning_curve.csv: loss}
  - of both:
      x: epoch
      y:
        models/steep/plots/learning_curve.csv: loss
        models/flat/plots/learning_curve.csv: loss

artifacts:
  steep: {path: models/steep/exported/model.onnx, type: model}
  flat: {path: models/flat/exported/model.onnx, type: model}
"""
OUTS = {
    "download": ["data/{}/raw"],
    "preprocess": ["data/{}/processed"],
    "audit": ["data/{}/audit"],
    "train": ["models/{}/checkpoint.safetensors", "models/{}/plots/learning_curve.csv", "models/{}/training.json"],
    "evaluate": ["models/{}/plots/predictions.csv", "models/{}/plots/breakdown.csv", "models/{}/metrics.json"],
    "export": ["models/{}/exported"],
    "report": ["models/{}/report.html"],
}
FILES = (
    *("data/{}/raw/.source", "data/{}/raw/train.csv", "data/{}/processed/meta.json", "data/{}/audit/verdict.json"),
    *(
        "models/{}/checkpoint.safetensors",
        "models/{}/training.json",
        "models/{}/metrics.json",
        "models/{}/exported/model.onnx",
        "models/{}/report.html",
    ),
    *("models/{}/plots/learning_curve.csv", "models/{}/plots/predictions.csv", "models/{}/.exported.part/half"),
    *(
        "logs/resume/{}/last",
        "logs/tensorboard/{}/20260101-000000/events",
        "logs/triton/{}/config.pbtxt",
        "logs/triton/{}.int8/config.pbtxt",
    ),
)
PREFECT = "deployments:\n  - name: nightly\n    parameters: {targets: [train@flat]}\n"


def make_small():
    """In the current folder, committed."""
    git("init", "--quiet")
    Repo.init(".").close()
    graph = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    Path("dvc.yaml").write_text(graph[: graph.index("\nplots:\n") + 1] + PLOTS)
    Path("params.yaml").write_text(PARAMS)
    Path("prefect.yaml").write_text(PREFECT)
    Path(".gitignore").write_text((ROOT / ".gitignore").read_text())
    entries = {"check": {"cmd": "python -m pipelines.dvc.known python -m stages.check params.yaml"}}
    entries |= {f"{stage}@{name}": noted(stage, name) for stage, section in STAGES.items() for name in NAMES[section]}
    Path("dvc.lock").write_text(dumps_yaml({"schema": "2.0", "stages": entries}))
    for file in FILES:
        for name in NAMES["datasets" if file.startswith("data/") else "models"]:
            write(file.format(name), f"{file} of {name}")
    git("add", "--all")
    git("commit", "--quiet", "--message", "built")


def noted(stage, name):
    """An entry of dvc.lock."""
    section = STAGES[stage]
    keys = {f"{section}.{name}.{key}": value for key, value in lines.parse(PARAMS)[section][name].items()}
    own = [f"data/{name}/raw"] if stage == "preprocess" else [f"models/{name}/checkpoint.safetensors"] if stage == "evaluate" else []
    deps = [*own, f"stages/{stage}.py"]
    return {
        "cmd": f"python -m pipelines.dvc.known python -m stages.{stage} @",
        "deps": [{"path": path, "hash": "md5", "md5": "0" * 32, "size": 1} for path in deps],
        "params": {"params.yaml": keys | {"runtime.seed": 0}},
        "outs": [{"path": path.format(name), "hash": "md5", "md5": "1" * 32, "size": 1} for path in OUTS[stage]],
    }


def write(path, content):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(content)


def git(*arguments):
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    return subprocess.run(["git", *identity, *arguments], check=True, capture_output=True, text=True).stdout


def everything():
    """All files but git's and what DVC and locks leave, by path."""
    paths = [path for path in Path().rglob("*") if path.is_file()]
    kept = [path for path in paths if path.parts[0] not in (".git", ".dvc") and path.parts[:2] != ("logs", "running")]
    return {str(path): path.read_bytes() for path in kept}


def lock_blocks():
    """The text of each stage's entry in dvc.lock."""
    return dict(re.findall(r"^  (\S+):\n((?:   .*\n)*)", Path("dvc.lock").read_text(), flags=re.MULTILINE))


class Killed(BaseException):
    """As if the process had been killed."""


def dying(step, count, until):
    """The function `step`, which raises Killed where the counter has come to `until`."""

    def do(*arguments):
        if next(count) == until:
            raise Killed
        return step(*arguments)

    return do


def kill_everywhere(work, steps, made, tmp_path, monkeypatch):
    """Does the work in copies of the folder `made`, killed before the first, the second, ... of the steps (functions, by holder and name),
    and then once more: in the end all is as if it had never been killed. Returns the number of steps.
    """

    def do(until):
        monkeypatch.chdir(shutil.copytree(made, tmp_path / str(until)))
        count = itertools.count()
        with monkeypatch.context() as patch, contextlib.suppress(Killed):
            for holder, name in steps:
                patch.setattr(holder, name, dying(getattr(holder, name), count, until))
            work()
            return next(count)
        work()
        return None

    number = do("the end")
    expected = everything()
    for place in range(number):
        assert (do(place), everything()) == (None, expected)
    return number


def file(name, content, encoding="utf-8"):
    path = Path("..", name).resolve()
    path.write_bytes(content.encode(encoding) if isinstance(content, str) else content)
    return str(path)


def new(*arguments):
    """The exit code; 0 where it ended well."""
    try:
        entries.new.main(list(arguments))
    except SystemExit as leaving:
        return leaving.code
    return 0


def refusal(capsys, *arguments):
    before = everything()
    assert new(*arguments) == 1
    assert everything() == before
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    return said
