"""Rebuilds every model on the real data, from download to export, and writes its test figures beside the ones to reach.

Command: DATASETS_MIRROR=FOLDER python -m benchmarks.accuracy [--work FOLDER] [MODEL ...]
Reads:   the committed state of this repository, which it clones into the work folder (logs/accuracy)
Writes:  benchmarks/results/accuracy.json (accuracy_cuda.json with a GPU): an entry a model; those of other models stay as they are

Models whose figure is a mean of several seeds are rebuilt for each. A seed draws the split into train and val too, but where DVC is not
installed: there it is drawn once.
"""

import argparse
import hashlib
import json
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before the import: since 1.29 ONNX Runtime reports its use to its makers
import onnxruntime
from ruamel.yaml import YAML

from benchmarks.hardware import hardware, read_result, write_result
from benchmarks.real_data import build_data, change_params, make_clone, require_mirror, run

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Figure:
    """A figure to reach: how it is measured on a model's folder, and its bound (`least` or `most`)."""

    name: str
    measure: Callable[[Path], float]
    least: float | None = None
    most: float | None = None

    def reached(self, value: float) -> bool:
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)


def metric(name: str, **bound: float) -> Figure:
    """A number of metrics.json."""
    return Figure(name, lambda folder: json.loads((folder / "metrics.json").read_text())[name], **bound)


def at(name: str, x: float, **bound: float) -> Figure:
    """What the exported ONNX model says of one number x: its prediction, or the probability of its last class."""

    def measure(folder: Path) -> float:
        session = onnxruntime.InferenceSession(folder / "exported" / "model.onnx", providers=["CPUExecutionProvider"])
        return float(session.run(None, {session.get_inputs()[0].name: np.array([[x]], dtype=np.float32)})[0][0, -1])

    return Figure(name, measure, **bound)


def within(name: str, x: float, target: float, tolerance: float) -> Figure:
    return at(name, x, least=target - tolerance, most=target + tolerance)


TO_REACH: dict[str, list[Figure]] = {
    "line_grid": [within("w (prediction at 1)", 1.0, 2.0, 1e-6)],
    "line_gd": [within("prediction at 4", 4.0, 8.0, 0.01)],
    "line_sgd": [within("prediction at 4", 4.0, 8.0, 0.01)],
    "line_minibatch": [within("prediction at 4", 4.0, 8.0, 0.01)],
    "hours_logistic": [
        at("P(pass at 4 h)", 4.0, least=0.8),
        at("P(pass at 1 h)", 1.0, most=0.35),
        at("P(pass at 2 h)", 2.0, most=0.5),
        at("P(pass at 3 h)", 3.0, least=0.5),
    ],
    "hello_rnn_cell": [metric("exact_match", least=1.0)],
    "hello_rnn": [metric("exact_match", least=1.0)],
    "hello_embedding": [metric("exact_match", least=1.0)],
    "diabetes_mlp": [metric("accuracy", least=0.76), metric("auc", least=0.82)],
    "mnist_mlp": [metric("accuracy", least=0.989)],
    "mnist_cnn": [metric("accuracy", least=0.993)],
    "mnist_cnn_wide": [metric("accuracy", least=0.995)],
    "mnist_inception": [metric("accuracy", least=0.995)],
    "mnist_resnet": [metric("accuracy", least=0.996)],
    "mnist_fast": [metric("accuracy", least=0.994)],
    "mnist_center_net": [metric("mae", most=0.25)],
    "cifar10_cnn": [metric("accuracy", least=0.72)],
    "cifar10_resnet": [metric("accuracy", least=0.94)],
    "hymenoptera_transfer": [metric("accuracy", least=0.948)],
    "names_rnn": [metric("accuracy", least=0.83), metric("macro_f1")],
    "names_lstm": [metric("accuracy", least=0.855), metric("macro_f1")],
    "names_gru": [metric("accuracy", least=0.855), metric("macro_f1")],
}
SEEDS = {"diabetes_mlp": 5, "mnist_fast": 10, "hymenoptera_transfer": 5}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help="default: all")
    parser.add_argument("--work", type=Path, default=ROOT / "logs" / "accuracy", help="where the clone is made and kept")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-export", action="store_true", help="only train and evaluate, which needs no DVC")
    parser.add_argument("--seeds", type=int, help="rebuild with so many seeds; default: one, and more where the figure is a mean")
    arguments = parser.parse_args()
    if unknown := set(arguments.models) - set(TO_REACH):
        parser.error(f"no such model: {', '.join(sorted(unknown))}; known: {', '.join(TO_REACH)}")
    require_mirror(parser)
    clone = make_clone(arguments.work.resolve())
    committed = YAML(typ="safe").load(clone / "params.yaml")
    for model in arguments.models or TO_REACH:
        seeds = arguments.seeds or SEEDS.get(model, 1)
        about = {"recipe": recipe(committed, model), "threads": arguments.threads, "code": code_of(clone)}
        measured = known(read_result("accuracy").get(model, {}), about)
        for seed in range(seeds):
            if seed not in measured:
                metrics, measured[seed] = rebuild(clone, model, seed, arguments)
                record(model, describe(model, about, measured, metrics))
        print(f"{model}: {each(model, measured)}", flush=True)


def code_of(clone: Path) -> str:
    """What of the code a figure depends on: a hash of stages' folders, but for that of exporting, which is proved to change no answer."""
    folders = [line for line in run(["git", "ls-tree", "-d", "HEAD", "stages/"], clone).splitlines() if not line.endswith("exporting")]
    return hashlib.sha256("\n".join(folders).encode()).hexdigest()


def known(entry: dict[str, Any], about: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """By seed, what an entry of the results has of the same recipe, threads and code: hours of it can be measured on several days."""
    same = all(entry.get(key) == value for key, value in about.items())
    return {int(seed): one for seed, one in entry["measured"].items()} if same else {}


def each(model: str, measured: dict[int, dict[str, Any]]) -> dict[str, list[float]]:
    """Every figure of the model, once a seed."""
    return {figure.name: [one["values"][figure.name] for _, one in sorted(measured.items())] for figure in TO_REACH[model]}


def recipe(params: dict[str, Any], model: str) -> dict[str, Any]:
    """What in params.yaml a model's figure depends on, its named recipe written out; benchmarks/tables.py marks figures of another one."""
    entry = params["models"][model]
    train = params["recipes"][entry["train"]["recipe"]] | entry["train"]
    return {"architecture": entry["architecture"], "train": {key: value for key, value in train.items() if key != "recipe"}}


def rebuild(clone: Path, model: str, seed: int, arguments: argparse.Namespace) -> tuple[dict[str, float], dict[str, Any]]:
    """The model's metrics with one seed, and what is kept of each: its figures, and the training's seconds from its process's start."""
    started = time.monotonic()
    change_params(clone / "params.yaml", seed, arguments.threads)
    dataset = YAML(typ="safe").load(clone / "params.yaml")["models"][model]["dataset"]
    build_data(clone, [dataset])
    shutil.rmtree(clone / "logs" / "resume" / model, ignore_errors=True)
    begun = time.monotonic()
    run([sys.executable, "-m", "stages.train", model], clone)
    train_s = round(time.monotonic() - begun, 1)
    folder, signature = clone / "models" / model, {}
    if arguments.no_export:
        run([sys.executable, "-m", "stages.evaluate", model], clone)
    else:
        run(["dvc", "repro", "--quiet", f"evaluate@{model}", f"export@{model}"], clone)  # takes the training from its state
        signature = json.loads((folder / "exported" / "signature.json").read_text())
    measured = {
        "values": {figure.name: figure.measure(folder) for figure in TO_REACH[model]},
        "dataset": read_meta(clone, model)["dataset"],
        "commit": run(["git", "rev-parse", "--short", "HEAD"], clone).strip(),
        "train_s": train_s,
        "seconds": round(time.monotonic() - started),
        "smaller": smaller_forms(signature),
    }
    print(f"{model}, seed {seed}: {measured['values']} in {train_s} s", flush=True)
    return json.loads((folder / "metrics.json").read_text()), measured


def smaller_forms(signature: dict[str, Any]) -> dict[str, str]:
    """What the export said of each smaller form that it made: whether it is offered, and what it loses on this data."""
    return {form: one["reason"] for form, one in signature.get("variants", {}).items() if one["equality"]}


def describe(model: str, about: dict[str, Any], measured: dict[int, dict[str, Any]], metrics: dict[str, float]) -> dict[str, Any]:
    """The entry of a model: the mean of its seeds' figures, each seed, and the metrics of the one measured last."""
    figures, seeds = [], list(measured.values())
    for figure in TO_REACH[model]:
        values = each(model, measured)[figure.name]
        mean = statistics.fmean(values)
        entry: dict[str, Any] = {
            "name": figure.name,
            "value": round(mean, 5),
            "least": figure.least,
            "most": figure.most,
            "reached": figure.reached(mean),
        }
        if len(values) > 1:
            entry |= {"seeds": len(values), "std": round(statistics.stdev(values), 5), "each": [round(value, 5) for value in values]}
        figures.append(entry)
    return {
        "dataset": seeds[-1]["dataset"],
        "figures": figures,
        "metrics": metrics,
        "seconds": sum(one["seconds"] for one in seeds),
        "command": f"DATASETS_MIRROR=FOLDER python -m benchmarks.accuracy {model}",
        "commit": ", ".join(dict.fromkeys(one["commit"] for one in seeds)),
        "date": datetime.now(UTC).date().isoformat(),
        "hardware": hardware(),
        "train_s": [one["train_s"] for one in seeds],
        "measured": {str(seed): one for seed, one in sorted(measured.items())},
        **about,
    }


def read_meta(clone: Path, model: str) -> dict[str, Any]:
    dataset = YAML(typ="safe").load(clone / "params.yaml")["models"][model]["dataset"]
    return json.loads((clone / "data" / dataset / "processed" / "meta.json").read_text())


def record(model: str, entry: dict[str, Any]) -> None:
    results = read_result("accuracy") | {model: entry}
    write_result("accuracy", {name: results[name] for name in TO_REACH if name in results})


if __name__ == "__main__":
    main()
