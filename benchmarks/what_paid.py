"""What each means of speed brings: the engine's own recipe with all of them, and with each taken away in turn.

Command: DATASETS_MIRROR=FOLDER python -m benchmarks.what_paid [--work FOLDER] [--threads N] [--seconds S] [--repeats N]
Reads:   the committed state of this repository, which it clones into the work folder (that of benchmarks/train.py will do)
Writes:  benchmarks/results/what_paid.json

Each measurement is a process of its own, in turns. `torch.compile`, which the engine does not use, is added and not taken away. The
seconds before the steady steps are reported beside the throughput.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.hardware import hardware, is_on_gpu, today, write_result
from benchmarks.train import LESSONS, Clock, Over, prepare_data, with_engine

ROOT = Path(__file__).parents[1]
MODELS = ["mnist_cnn", "mnist_resnet", "cifar10_cnn", "names_gru"]


def give_memory_back() -> None:
    from stages.modelling import devices

    devices.keep_freed_memory = lambda: None


def fill_new_tensors() -> None:
    import torch

    from stages.modelling import devices

    def prepare(runtime: Any, rank: int = 0, original: Callable[..., Any] = devices.prepare_torch) -> Any:
        device = original(runtime, rank)
        torch.utils.deterministic.fill_uninitialized_memory = True  # type: ignore[attr-defined]  # a property of the module
        return device

    devices.prepare_torch = prepare


def channels_first() -> None:
    import torch

    torch.channels_last = torch.contiguous_format


def optimizer_by_weight() -> None:
    from stages.training import optimizers, run

    def build(name: str, arguments: dict[str, Any], *rest: Any, original: Callable[..., Any] = optimizers.build_optimizer) -> Any:
        return original(name, arguments | {"foreach": False}, *rest)

    run.build_optimizer = build  # type: ignore[assignment]  # with fewer names for its arguments


def torch_s_affine_grid() -> None:
    from torch.nn import functional

    from stages.training import augmentations

    def sample(images: Any, theta: Any, height: int, width: int, padding_mode: str = "zeros") -> Any:
        grid = functional.affine_grid(theta, [len(images), images.shape[1], height, width], align_corners=False)
        return functional.grid_sample(images, grid, mode="bilinear", padding_mode=padding_mode, align_corners=False)

    augmentations.sample_affine = sample


def texts_in_any_order() -> None:
    from stages.training import batches

    def draw(count: int, _lengths: Any, *rest: Any, original: Callable[..., Any] = batches.draw_batches) -> Any:
        return original(count, None, *rest)

    batches.draw_batches = draw  # type: ignore[assignment]  # with fewer names for its arguments


def compiled() -> None:
    import torch

    from stages.training import loop

    faster: dict[int, Any] = {}

    def forward(network: Any, inputs: Any, _key: str) -> Any:
        if id(network) not in faster:
            faster[id(network)] = torch.compile(network)
        return faster[id(network)](inputs)

    loop.forward = forward  # type: ignore[assignment]  # of the same arguments


def step_by_step() -> None:
    from stages.training import loop

    loop.may_record = lambda *_: False


VARIANTS: dict[str, Callable[[], None]] = {
    "all": lambda: None,
    "without keeping freed memory": give_memory_back,
    "without channels last": channels_first,
    "without fused optimizers": optimizer_by_weight,
    "filling new tensors (torch's default)": fill_new_tensors,
    "with torch's affine_grid": torch_s_affine_grid,
    "texts in any order": texts_in_any_order,
    "with torch.compile": compiled,
    "without CUDA graphs": step_by_step,
}
ONLY = {"with torch's affine_grid": ["mnist_cnn", "mnist_resnet"], "texts in any order": ["names_gru"], "without channels last": MODELS[:3]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=ROOT / "logs" / "train")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", nargs=2, metavar=("VARIANT", "MODEL"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        variant, model = arguments.one
        one(variant, model, arguments)
        return
    clone = prepare_data(parser, arguments.work, MODELS, arguments.threads)
    result: dict[str, Any] = {}
    for model in MODELS:
        variants = [name for name in VARIANTS if model in ONLY.get(name, MODELS) and (is_on_gpu() or name != "without CUDA graphs")]
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in variants}
        for _ in range(arguments.repeats):
            for name in variants:
                runs[name].append(measure(name, model, clone, arguments))
                print(f"{model}, {name}: {runs[name][-1]}", flush=True)
        result[model] = {name: summary(measured, runs["all"]) for name, measured in runs.items()}
    about = {
        "threads": arguments.threads,
        "repeats": arguments.repeats,
        "seconds": arguments.seconds,
        "command": "DATASETS_MIRROR=FOLDER python -m benchmarks.what_paid",
    }
    write_result("what_paid", {"models": result, **about, "hardware": hardware(), "date": today()})


def summary(measured: list[dict[str, Any]], everything: list[dict[str, Any]]) -> dict[str, Any]:
    """Median throughput, its ratio to that of the engine as it is (run by run), and the seconds before the steady steps."""
    ratios = [run["samples_per_s"] / base["samples_per_s"] for run, base in zip(measured, everything, strict=True)]
    return {
        "samples_per_s": round(statistics.median(run["samples_per_s"] for run in measured)),
        "of_all": round(statistics.median(ratios), 2),
        "warm_up_s": round(statistics.median(run["seconds"] - run["steady_s"] for run in measured), 1),
    }


def measure(variant: str, model: str, clone: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    options = ["--threads", str(arguments.threads), "--seconds", str(arguments.seconds), "--work", str(clone)]
    environment = {**os.environ, "STARTED": str(time.time()), "PYTHONPATH": str(clone)}
    command = [sys.executable, "-m", "benchmarks.what_paid", *options, "--one", variant, model]
    finished = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, check=False)
    if finished.returncode:
        sys.exit(f"{variant} failed on {model}:\n{finished.stdout}{finished.stderr}")
    result: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return result


def one(variant: str, model: str, arguments: argparse.Namespace) -> None:
    VARIANTS[variant]()
    from stages.common.meta import read_meta
    from stages.common.params import Runtime, look_up, read_params
    from stages.modelling import devices
    from stages.modelling.model import Model, build_network
    from stages.training.recipe import read_recipe

    params = read_params()
    runtime = Runtime.model_validate(params["runtime"] | {"threads": arguments.threads})
    entry = look_up(params, "models", model)
    processed = Path("data") / entry["dataset"] / "processed"
    meta, device = read_meta(processed), devices.prepare_torch(runtime)
    built = Model(build_network(entry["architecture"], meta, model), meta).to(device)
    clock = Clock(arguments.seconds, None, float(os.environ["STARTED"]))
    race = SimpleNamespace(lesson=LESSONS[model], processed=processed, meta=meta, device=device, clock=clock)
    try:
        with_engine(race, built, read_recipe(entry["train"], params["recipes"], meta.source, model).model_dump(), runtime)
    except Over:
        print(json.dumps(clock.result()))


if __name__ == "__main__":
    main()
