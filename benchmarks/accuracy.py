"""Rebuilds every model on the real data, from download to export, and writes its test figures beside the ones to reach.

Command: DATASETS_MIRROR=FOLDER python -m benchmarks.accuracy [--work FOLDER] [MODEL ...]
Reads:   the committed state of this repository, which it clones into the work folder (logs/accuracy)
Writes:  benchmarks/results/accuracy.json: an entry a model; the entries of models that are not named stay as they are

The transfer model starts from no weights unless --pretrained says that ImageNet's can be had. Models whose figure is a mean of several
seeds are rebuilt for each.
"""

import argparse
import hashlib
import json
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
import onnxruntime
from ruamel.yaml import YAML

from benchmarks.hardware import hardware
from benchmarks.real_data import change_params, make_clone, require_mirror, run

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "accuracy.json"


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
SEEDS = {"diabetes_mlp": 5, "mnist_fast": 10}  # and five for the transfer model where it has its ImageNet weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help="default: all")
    parser.add_argument("--work", type=Path, default=ROOT / "logs" / "accuracy", help="where the clone is made and kept")
    parser.add_argument("--pretrained", action="store_true", help="the transfer model starts from ImageNet weights")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seeds", type=int, help="rebuild with so many seeds; default: one, and more where the figure is a mean")
    arguments = parser.parse_args()
    if unknown := set(arguments.models) - set(TO_REACH):
        parser.error(f"no such model: {', '.join(sorted(unknown))}; known: {', '.join(TO_REACH)}")
    require_mirror(parser)
    clone = make_clone(arguments.work.resolve())
    committed = YAML(typ="safe").load(clone / "params.yaml")["models"]
    for model in arguments.models or TO_REACH:
        seeds = arguments.seeds or (5 if model == "hymenoptera_transfer" and arguments.pretrained else SEEDS.get(model, 1))
        known = Known(clone, model, recipe(committed[model]), arguments.threads)
        for seed in range(seeds):
            if seed not in known.seeds:
                known.add(seed, rebuild(clone, model, seed, arguments))
            record(model, describe(model, known))
        print(f"{model}: {known.values()}", flush=True)


class Known:
    """What has been measured of a model with this recipe, number of threads and code of stages' folders (but that of exporting, which is
    proved to change no answer), by seed.

    It is kept in the work folder, so that hours of it can be stopped and gone on with.
    """

    def __init__(self, clone: Path, model: str, of: dict[str, Any], threads: int):
        folders = [line for line in run(["git", "ls-tree", "-d", "HEAD", "stages/"], clone).splitlines() if not line.endswith("exporting")]
        code = hashlib.sha256("\n".join(folders).encode()).hexdigest()
        self.model = model
        self.path, self.about = clone / "logs" / "seeds.json", {"model": model, "threads": threads, "recipe": of, "code": code}
        self.entries: list[dict[str, Any]] = json.loads(self.path.read_text()) if self.path.exists() else []

    @property
    def seeds(self) -> dict[int, dict[str, Any]]:
        return {entry["seed"]: entry for entry in self.entries if self.about.items() <= entry.items()}

    def add(self, seed: int, measured: dict[str, Any]) -> None:
        self.entries.append(self.about | {"seed": seed} | measured)
        self.path.parent.mkdir(exist_ok=True)
        self.path.write_text(json.dumps(self.entries, indent=1))

    def values(self) -> dict[str, list[float]]:
        """Every figure of the model, once a seed."""
        names = [figure.name for figure in TO_REACH[self.model]]
        return {name: [entry["values"][name] for _, entry in sorted(self.seeds.items())] for name in names}


def recipe(entry: dict[str, Any]) -> dict[str, Any]:
    """What of a model's entry in params.yaml its figure hangs on; benchmarks/tables.py marks figures of another recipe."""
    return {key: entry[key] for key in ("architecture", "train")}


def rebuild(clone: Path, model: str, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Every figure of the model with one seed, its metrics, and the seconds of the training, from its process's start to its end."""
    started = time.monotonic()
    change_params(clone / "params.yaml", seed, arguments.threads, arguments.pretrained)
    dataset = YAML(typ="safe").load(clone / "params.yaml")["models"][model]["dataset"]
    run(["dvc", "repro", "--quiet", f"preprocess@{dataset}"], clone)
    shutil.rmtree(clone / "logs" / "resume" / model, ignore_errors=True)
    begun = time.monotonic()
    run([sys.executable, "-m", "stages.train", model], clone)
    train_s = round(time.monotonic() - begun, 1)
    run(["dvc", "repro", "--quiet", f"evaluate@{model}", f"export@{model}"], clone)  # takes the training from its state
    folder = clone / "models" / model
    measured = {
        "values": {figure.name: figure.measure(folder) for figure in TO_REACH[model]},
        "metrics": json.loads((folder / "metrics.json").read_text()),
        "dataset": read_meta(clone, model)["dataset"],
        "commit": run(["git", "rev-parse", "--short", "HEAD"], clone).strip(),
        "train_s": train_s,
        "seconds": round(time.monotonic() - started),
    }
    print(f"{model}, seed {seed}: {measured['values']} in {train_s} s", flush=True)
    return measured


def describe(model: str, known: Known) -> dict[str, Any]:
    """The entry of a model: the mean of its seeds, and the rest from the last."""
    figures, seeds = [], [entry for _, entry in sorted(known.seeds.items())]
    for figure in TO_REACH[model]:
        measured = known.values()[figure.name]
        mean = statistics.fmean(measured)
        entry: dict[str, Any] = {
            "name": figure.name,
            "value": round(mean, 5),
            "least": figure.least,
            "most": figure.most,
            "reached": figure.reached(mean),
        }
        if len(measured) > 1:
            entry |= {"seeds": len(measured), "std": round(statistics.stdev(measured), 5), "each": [round(value, 5) for value in measured]}
        figures.append(entry)
    return {
        "dataset": seeds[-1]["dataset"],
        "figures": figures,
        "metrics": seeds[-1]["metrics"],
        "seconds": sum(entry["seconds"] for entry in seeds),
        "command": f"DATASETS_MIRROR=FOLDER python -m benchmarks.accuracy {model}",
        "commit": ", ".join(dict.fromkeys(entry["commit"] for entry in seeds)),
        "date": datetime.now(UTC).date().isoformat(),
        "hardware": hardware(),
        "train_s": [entry["train_s"] for entry in seeds],
        "threads": known.about["threads"],
        "recipe": known.about["recipe"],
    }


def read_meta(clone: Path, model: str) -> dict[str, Any]:
    dataset = YAML(typ="safe").load(clone / "params.yaml")["models"][model]["dataset"]
    return json.loads((clone / "data" / dataset / "processed" / "meta.json").read_text())


def record(model: str, entry: dict[str, Any]) -> None:
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[model] = entry
    ordered = {name: results[name] for name in TO_REACH if name in results}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(ordered, indent=2) + "\n")


if __name__ == "__main__":
    main()
