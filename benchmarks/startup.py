"""Seconds until each stage begins with its work: Python, imports, reading params and data, and for train all of its first step.

Command: python -m benchmarks.startup [--built FOLDER] [--repeats N]
Reads:   the data and checkpoints that `dvc repro` has built in FOLDER (default: here)
Writes:  benchmarks/results/startup.json

Each stage runs in a fresh process up to a function at which its work begins, or for train up to the end of its first step. `imports` has
those packages among the slow ones that were loaded until then.
"""

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.hardware import hardware, today, write_result

ROOT = Path(__file__).parents[1]
SLOW = ["torch", "torchvision", "torch._dynamo", "sklearn", "scipy", "pandas", "onnx", "onnxruntime", "tensorboard", "PIL", "requests"]
FIRST_STEP = "stages.training.run:Run.end_step"
# Stage, its argument, and the function at which its work begins.
STAGES = [
    ("check", "params.yaml", "stages.check:check_names"),
    ("download", "diabetes", "stages.sources.diabetes:generate"),
    ("download", "mnist", "stages.sources.digits:generate"),
    ("preprocess", "diabetes", "stages.preprocess:write_splits"),
    ("preprocess", "mnist", "stages.preprocess:write_splits"),
    ("train", "line_gd", FIRST_STEP),
    ("train", "mnist_cnn", FIRST_STEP),
    ("train", "names_gru", FIRST_STEP),
    ("train", "hymenoptera_transfer", FIRST_STEP),
    ("evaluate", "mnist_cnn", "stages.evaluate:predict"),
    ("export", "mnist_cnn", "stages.export:describe"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--built", type=Path, default=ROOT)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--one", nargs=3, metavar=("STAGE", "NAME", "FUNCTION"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        until(*arguments.one)
    measured: dict[tuple[str, str], list[dict[str, Any]]] = {(stage, name): [] for stage, name, _ in STAGES}
    for _ in range(arguments.repeats):
        for stage, name, function in STAGES:
            measured[stage, name].append(measure([stage, name, function], arguments.built.resolve()))
    rows = [
        {
            "stage": f"{stage}@{name}" if stage != "check" else stage,
            "seconds": round(statistics.median(run["seconds"] for run in runs), 2),
            "each": [round(run["seconds"], 2) for run in runs],
            "imports": runs[0]["imports"],
        }
        for (stage, name), runs in measured.items()
    ]
    for row in rows:
        print(f"{row['stage']}: {row['seconds']:.2f} s ({', '.join(row['imports'])})")
    write_result("startup", {"stages": rows, "command": "python -m benchmarks.startup", "hardware": hardware(), "date": today()})


def measure(one: list[str], built: Path) -> dict[str, Any]:
    environment = {**os.environ, "STARTED": str(time.time()), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "benchmarks.startup", "--one", *one]
    finished = subprocess.run(command, cwd=built, env=environment, capture_output=True, text=True, check=False)
    if finished.returncode:
        sys.exit(f"{' '.join(one)} failed in {built} (has dvc repro run there?):\n{finished.stdout}{finished.stderr}")
    result: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return result


def until(stage: str, name: str, function: str) -> NoReturn:
    """Runs a stage until it comes to the function (for train: until that has returned) and leaves."""
    run: Callable[[str], None] = getattr(importlib.import_module(f"stages.{stage}"), stage)
    module, _, path = function.partition(":")
    *owners, last = path.split(".")
    owner: Any = importlib.import_module(module)
    for part in owners:
        owner = getattr(owner, part)
    original = getattr(owner, last)

    def leave(*arguments: Any) -> NoReturn:
        if function == FIRST_STEP:
            original(*arguments)
        seconds = time.time() - float(os.environ["STARTED"])
        print(json.dumps({"seconds": seconds, "imports": [name for name in SLOW if name in sys.modules]}), flush=True)
        os._exit(0)

    setattr(owner, last, leave)
    run(name)
    sys.exit(f"{stage} never came to {function}")


if __name__ == "__main__":
    main()
