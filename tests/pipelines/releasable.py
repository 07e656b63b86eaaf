"""A pipeline of two models that is built in no time, in a git repository with a DVC remote, for the tests of the release.

A model's weights are how good it is: of `right` the number of wrong answers in 40 rows, of `near` the error of every number.
"""

import json
import shutil
import subprocess
from pathlib import Path

from dvc.repo import Repo
from dvc.repo.artifacts import Artifacts
from ruamel.yaml import YAML

from tests.pipelines.small import make_repository

DVC_YAML = """
stages:
  preprocess:
    cmd: mkdir -p data/toy && cp rows.txt data/toy/processed
    deps: [rows.txt]
    outs:
      - data/toy/processed: {persist: true}
  train:
    foreach: ${models}
    do:
      cmd: mkdir -p models/${key} && sh stages/families/${item.family}.sh ${item.train} > models/${key}/checkpoint.safetensors
      deps: [data/toy/processed, 'stages/families/${item.family}.sh', stages/common]
      params:
        - models.${key}.train
      outs:
        - models/${key}/checkpoint.safetensors: {persist: true}
  evaluate:
    foreach: ${models}
    do:
      cmd: python -m stages.evaluate ${key}
      deps:
        - data/toy/processed
        - models/${key}/checkpoint.safetensors
        - stages/evaluate.py
      metrics:
        - models/${key}/metrics.json: {persist: true, cache: false}
      plots:
        - models/${key}/plots/predictions.csv: {persist: true}
  export:
    foreach: ${models}
    do:
      cmd: mkdir -p models/${key}/exported && sed p models/${key}/checkpoint.safetensors > models/${key}/exported/model.onnx
      deps:
        - models/${key}/checkpoint.safetensors
      outs:
        - models/${key}/exported: {persist: true}
artifacts:
  right: {path: models/right/exported}
  near: {path: models/near/exported}
"""
PARAMS = """
source: sample
runtime: {seed: 0, threads: 1}
gate: {num_resamples: 200, confidence: 0.95}
models:
  right:
    dataset: rights
    family: plain
    train: 4
    gate: {metric: accuracy, at_least: {sample: 0.5, official: null}, tolerance: {sample: 0.05, official: 0.0}}
  near:
    dataset: nears
    family: plain
    train: 0.5
    gate: {metric: rmse, at_most: {sample: 2.0, official: 1.0}, tolerance: {sample: 0.1, official: 0.1}}
"""
EVALUATE = """
import json
import sys
from pathlib import Path

folder = Path("models") / sys.argv[1]
rows, weight = Path("data/toy/processed").read_text().split(), float((folder / "checkpoint.safetensors").read_text())
if sys.argv[1] == "right":
    predicted = ["wrong" if place < weight else row for place, row in enumerate(rows)]
    metrics = {"accuracy": sum(map(str.__eq__, rows, predicted)) / len(rows)}
else:
    rows = [str(float(len(row))) for row in rows]
    predicted = [str(float(row) + weight) for row in rows]
    metrics = {"rmse": weight, "rmse_low": weight, "rmse_high": weight}
(folder / "plots").mkdir(parents=True, exist_ok=True)
scores = [abs(float(row) - float(guess)) if sys.argv[1] == "near" else int(row == guess) for row, guess in zip(rows, predicted)]
lines = [f"{row},{guess},{score}" for row, guess, score in zip(rows, predicted, scores)]
(folder / "plots" / "predictions.csv").write_text("\\n".join(["actual,predicted,score", *lines, ""]))
(folder / "metrics.json").write_text(json.dumps(metrics))
"""
PLAIN = "echo $1\n"
CONFIG = "[core]\n    analytics = false\n    remote = store\n['remote \"store\"']\n    url = ../../store\n"
IGNORED = "/consumed/\n/data/\n/models/*/checkpoint.safetensors\n/models/*/plots/\n/models/*/exported/\n/logs/\n__pycache__/\n"


def git(*arguments, folder="."):
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def make_releasable(folder):
    """The repository, built and committed; beside it its DVC remote, the folder `store`, and its git remote, the empty `origin`."""
    files = {"stages/__init__.py": "", "stages/evaluate.py": EVALUATE, "stages/families/plain.sh": PLAIN, "stages/common/__init__.py": ""}
    files |= {"dvc.yaml": DVC_YAML, "params.yaml": PARAMS, ".gitignore": IGNORED, ".dvc/config": CONFIG}
    for dataset, metrics in {"rights": {"accuracy": "higher", "auc": "higher"}, "nears": {"mae": "lower", "rmse": "lower"}}.items():
        files[f"data/checked/datasets/{dataset}.json"] = json.dumps({"score": next(iter(metrics)), "metrics": metrics})
    make_repository(folder, files | {"rows.txt": "\n".join(["cat", "mouse"] * 20)})
    git("init", "--quiet", "--bare", "--initial-branch=main", "../origin", folder=folder)
    git("remote", "add", "origin", "../origin", folder=folder)
    build(folder)
    commit(folder)


def build(folder="."):
    """As the nightly run does."""
    with Repo(str(folder)) as repo:
        repo.reproduce()


def commit(folder="."):
    git("add", "--all", folder=folder)
    git("commit", "--quiet", "--message", "a change", folder=folder)


def change(path, value):
    """Changes a value of params.yaml, at its keys with dots, and commits that."""
    yaml, file = YAML(), Path("params.yaml")
    params = section = yaml.load(file)
    *parents, last = path.split(".")
    for parent in parents:
        section = section[parent]
    section[last] = value
    yaml.dump(params, file)
    commit()


def retrain(**weights):
    """Other weights for these models, built and not committed."""
    for model, weight in weights.items():
        change(f"models.{model}.train", weight)
    build()


def tags(folder="."):
    """The tags of versions, and their commits."""
    lines = git("for-each-ref", "--format=%(objecttype) %(refname:lstrip=2) %(*objectname)", "refs/tags", folder=folder).splitlines()
    assert all(line.startswith("tag ") for line in lines), "GTO reads annotated tags alone"
    return dict(line.split()[1:] for line in lines)


def consumed(model, version=None):
    """What a consumer gets of a model with `dvc artifacts get`: its weights, twice."""
    out = Path("consumed").resolve()
    shutil.rmtree(out, ignore_errors=True)
    Artifacts.get(str(Path.cwd()), model, version=version, out=str(out))
    first, second = (out / "model.onnx").read_text().split()
    assert first == second
    return float(first)
