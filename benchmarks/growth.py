"""How the cost of a rebuild, of a table and of a saved run grows.

Command: python -m benchmarks.growth [--built FOLDER] [--work FOLDER] [--models N ...] [--repeats N]
Reads:   params.yaml, dvc.lock, data/, models/ and DVC's cache, as `make repro` has built them in the checkout FOLDER (default: here)
Writes:  benchmarks/results/growth.json

- Nothing to do, with N models: those of params.yaml and copies of small ones, which are as up to date as those. `make repro`, and
  `dvc repro` up to LARGEST_FOR_DVC, since DVC's own time grows with the square of N.
- From a changed `lr` of a small model to its new metrics.
- `evaluate` of NUM_ROWS rows of a table, whose AUC has a bootstrap interval.
- Saving a run of VGG16 with SGD's momentum: memory beside the run's own state, and seconds.

Processor seconds stand beside those of the clock: others at work on the machine change them little.
"""

import argparse
import copy
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from dvc.utils.serialize import dumps_yaml
from ruamel.yaml import YAML

from benchmarks.hardware import hardware, today, write_result

ROOT = Path(__file__).parents[1]
COPIED = ("line_gd", "line_sgd", "hours_logistic", "hello_rnn", "diabetes_mlp")
LARGEST_FOR_DVC, NUM_ROWS = 100, 200_000
MAKE_REPRO, DVC_REPRO = ["-m", "pipelines.rebuilding.repro"], ["-m", "dvc", "repro"]
SAVE = """
import json, time
from pathlib import Path
import torch, torchvision
from stages.shell.resume import Keeper

class Run:
    is_over, place = False, "in epoch 1"
    def __init__(self):
        self.network = torchvision.models.vgg16()
        self.momentum = [torch.zeros_like(weights) for weights in self.network.parameters()]
    def state(self):
        return {"network": self.network.state_dict(), "momentum": self.momentum}

run = Run()
size = sum(t.numel() * t.element_size() for t in [*run.network.state_dict().values(), *run.momentum])
def memory(key):
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key)]
    return int(line.split()[1]) * 1024

Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
before = memory("VmRSS")
with Keeper(Path("logs/resume/vgg16"), {"made": "here"}, 5) as keeper:
    started = time.monotonic()
    keeper._save(run)
    seconds = time.monotonic() - started
print(json.dumps({"state_mb": round(size / 1e6), "seconds": round(seconds, 2), "more_memory": round((memory("VmHWM") - before) / size, 2)}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--built", type=Path, default=ROOT)
    parser.add_argument("--work", type=Path, default=ROOT / "logs" / "growth")
    parser.add_argument("--models", type=int, nargs="+", default=[23, 100, 300])
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    built, work = arguments.built.resolve(), arguments.work.resolve()
    result: dict[str, Any] = {"nothing_to_do": {}}
    for number in arguments.models:
        with_models(built, work, number)
        timed(work, [*MAKE_REPRO, "check"])  # the one stage that is stale
        commands = {"make repro": MAKE_REPRO} | ({"dvc repro": DVC_REPRO} if number <= LARGEST_FOR_DVC else {})
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
        for _ in range(arguments.repeats):
            for name, command in commands.items():
                runs[name].append(timed(work, command))
        result["nothing_to_do"][str(number)] = {name: medians(of_one) for name, of_one in runs.items()}
        print(number, result["nothing_to_do"][str(number)], flush=True)
    with_models(built, work, 0)
    result["changed_lr"] = medians([changed_lr(work, turn) for turn in range(arguments.repeats)])
    result["evaluate_rows"] = {"rows": NUM_ROWS, **medians([evaluate_rows(work) for _ in range(arguments.repeats)])}
    saves = [json.loads(output_of(work, ["-c", SAVE])) for _ in range(arguments.repeats)]
    result["save"] = {key: statistics.median(save[key] for save in saves) for key in saves[0]}
    shutil.rmtree(work)
    result |= {"repeats": arguments.repeats, "command": "python -m benchmarks.growth", "hardware": hardware(), "date": today()}
    write_result("growth", result)
    print(json.dumps(result, indent=2))


def with_models(built: Path, work: Path, number: int) -> None:
    """Makes `work` a copy of the built checkout, which shares its cache, with copies of small models up to `number` of all."""
    shutil.rmtree(work, ignore_errors=True)
    ignored = {str(built / name) for name in ("logs", ".venv", ".git", "benchmarks", "tests")} | {str(built / ".dvc" / "cache")}
    shutil.copytree(built, work, symlinks=True, ignore=lambda folder, names: [name for name in names if f"{folder}/{name}" in ignored])
    subprocess.run(["git", "init", "--quiet", str(work)], check=True)
    (work / ".dvc" / "cache").symlink_to((built / ".dvc" / "cache").resolve())
    params, lock = (work / "params.yaml").read_text(), YAML(typ="safe").load(work / "dvc.lock")
    entries, place = "", re.search(r"^models:\n", params, re.MULTILINE)
    assert place is not None
    for turn in range(number - len(YAML(typ="safe").load(params)["models"])):
        model = COPIED[turn % len(COPIED)]
        name = f"{model}_{turn}"
        entry = re.search(rf"^  {model}:\n(?:    .*\n)+", params, re.MULTILINE)
        assert entry is not None
        entries += entry[0].replace(f"  {model}:", f"  {name}:", 1)
        shutil.copytree(work / "models" / model, work / "models" / name)
        for stage in ("train", "evaluate", "export"):
            lock["stages"][f"{stage}@{name}"] = renamed(lock["stages"][f"{stage}@{model}"], model, name)
    (work / "params.yaml").write_text(params[: place.end()] + entries + params[place.end() :])
    (work / "dvc.lock").write_text(dumps_yaml(lock))


def renamed(entry: Any, model: str, name: str) -> Any:
    """An entry of dvc.lock for a model of another name."""
    entry = copy.deepcopy(entry)
    entry["cmd"] = re.sub(rf"\b{model}$", name, entry["cmd"])
    for thing in (*entry["deps"], *entry["outs"]):
        thing["path"] = thing["path"].replace(f"models/{model}/", f"models/{name}/")
    params = entry["params"]["params.yaml"]
    entry["params"]["params.yaml"] = {key.replace(f"models.{model}.", f"models.{name}."): value for key, value in params.items()}
    return entry


def timed(work: Path, command: list[str]) -> dict[str, float]:
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    output_of(work, command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": time.monotonic() - started, "processor_s": processor}


def output_of(work: Path, command: list[str]) -> str:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run([sys.executable, *command], cwd=work, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command[:3])} failed in {work} (has make repro run there?):\n{done.stdout}{done.stderr}")
    return done.stdout


def medians(runs: list[dict[str, float]]) -> dict[str, Any]:
    """Of each figure, with the smallest and the largest."""
    return {
        key: {"median": round(statistics.median(values), 2), "min": round(min(values), 2), "max": round(max(values), 2)}
        for key in runs[0]
        for values in [[run[key] for run in runs]]
    }


def changed_lr(work: Path, turn: int) -> dict[str, float]:
    """Of hours_logistic, until its metrics are new."""
    path = work / "params.yaml"
    text = path.read_text()
    changed = re.sub(r"(optimizer: \{name: SGD, momentum: 0\.9\}, lr: )[\d.]+(, epochs: 200)", rf"\g<1>0.{20 + turn}\2", text)
    assert changed != text
    path.write_text(changed)
    return timed(work, [*MAKE_REPRO, "evaluate@hours_logistic"])


def evaluate_rows(work: Path) -> dict[str, float]:
    """Of diabetes_mlp, with as many rows in its test split."""
    from stages.common.splits import SplitWriter

    processed, rng = work / "data" / "diabetes" / "processed", np.random.default_rng(0)
    (processed / "test.safetensors").unlink()
    with SplitWriter(processed / "test.safetensors", (8,), "float32", (), "int64") as writer:
        writer.add(rng.normal(size=(NUM_ROWS, 8)).astype(np.float32), rng.integers(0, 2, NUM_ROWS))
    return timed(work, ["-m", "stages.evaluate", "diabetes_mlp"])


if __name__ == "__main__":
    main()
