"""Trains the same networks on the same data with the lessons' plain loop, with Lightning and with this engine: images a second, time
to the lesson's accuracy, peak memory.

Command: DATASETS_MIRROR=FOLDER python -m benchmarks.train [--work FOLDER] [--threads N] [--seconds S] [--repeats N] [--seeds N] [MODEL ...]
Needs:   pip install lightning (the other contestant; without it its column stays empty)
Reads:   the committed state of this repository, which it clones into the work folder, where the real data is preprocessed
Writes:  benchmarks/results/train.json: of models that are not named, what was measured earlier in the same way stays

Contestants, each in a process of its own, one after another, in turns:

- plain: the lesson's loop. torchvision's dataset with ToTensor and Normalize for each picture, DataLoader, `loss.item()` at each step;
  its own batch size and optimizer, and no dropout in the network for names. Names become tensors one by one, in a collate function.
- lightning: the same dataset, loader and optimizer under lightning.Trainer.
- engine, lesson's recipe: stages/training with the lesson's optimizer and batch size.
- engine: stages/training with the recipe of params.yaml, augmentation and averaged weights included, one thread a core.
- engine, processes: the same with runtime.num_processes at one a core, and one thread each.

Throughput is counted from the WARM_UP-th step on. Time to accuracy starts with the process and holds everything: imports, reading,
warming up, measuring val after each epoch. A curve that wavers crosses a line sooner or later by chance,
so it is measured with several seeds.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.hardware import hardware, is_on_gpu, read_result, today, write_result
from benchmarks.real_data import build_data, change_params, make_clone, require_mirror, run

ROOT = Path(__file__).parents[1]
WARM_UP = 30
TALK = 25  # steps between two questions whether the time is over
CONTESTANTS = ("plain", "lightning", "engine, lesson's recipe", "engine, lesson's recipe, processes", "engine", "engine, processes")
RACERS = ("plain", "engine", "engine, processes")  # to the lesson's accuracy


@dataclass(frozen=True)
class Lesson:
    """What the lesson's script trains with, what its network has otherwise than ours, and the accuracy that it is said to reach."""

    optimizer: dict[str, Any]
    lr: float
    batch_size: int
    epochs: int
    accuracy: float
    architecture: dict[str, Any] = field(default_factory=dict)


SGD = {"name": "SGD", "momentum": 0.5}
LESSONS = {
    "mnist_cnn": Lesson(SGD, 0.01, 64, 10, 0.98),
    "mnist_resnet": Lesson(SGD, 0.01, 64, 10, 0.99),
    "cifar10_cnn": Lesson({"name": "SGD"}, 0.01, 64, 20, 0.65),
    "names_gru": Lesson({"name": "Adam"}, 0.001, 256, 100, 0.84, {"dropout": 0.0, "character_dropout": 0.0}),
}


class Over(Exception):
    """The measurement has what it wants."""


class Clock:
    """Counts the samples of each step; ends the run after `seconds` of steady steps, or when val has reached `target`."""

    def __init__(self, seconds: float, target: float | None, started: float):
        self.seconds, self.target, self.started = seconds, target, started
        self.steps = self.samples = 0
        self.steady_since: float | None = None
        self.reached_after: float | None = None
        self.best = 0.0

    def step(self, count: int) -> None:
        self.steps += 1
        if self.steps == WARM_UP:
            self.steady_since, self.samples = time.monotonic(), 0
        else:
            self.samples += count

    @property
    def is_over(self) -> bool:
        return self.target is None and self.steady_since is not None and time.monotonic() - self.steady_since >= self.seconds

    def epoch(self, accuracy: float) -> None:
        self.best = max(self.best, accuracy)
        if self.target is not None and accuracy >= self.target:
            self.reached_after = time.time() - self.started
            raise Over

    def result(self) -> dict[str, Any]:
        import torch

        took = time.monotonic() - self.steady_since if self.steady_since is not None else None
        return {
            "samples_per_s": round(self.samples / took, 1) if took else None,
            "reached_after_s": self.reached_after and round(self.reached_after, 1),
            "best_accuracy": round(self.best, 4),
            "seconds": round(time.time() - self.started, 1),
            "steady_s": round(took, 1) if took else None,
            "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),  # of one process
            "peak_gpu_mb": round(torch.cuda.max_memory_allocated() / 2**20) if is_on_gpu() else 0,
        }


# One contestant, in a process of its own


def contest(contestant: str, model: str, clone: Path, threads: int, seed: int, clock: Clock) -> None:
    os.chdir(clone)
    from stages.common.meta import read_meta
    from stages.common.params import Runtime, look_up, read_params
    from stages.modelling.devices import prepare_torch
    from stages.modelling.model import Model, build_network
    from stages.training.recipe import read_recipe

    params = read_params()
    in_processes = contestant.endswith("processes")
    runtime = Runtime.model_validate(params["runtime"] | {"threads": 1 if in_processes else threads, "seed": seed})
    entry = look_up(params, "models", model)
    processed = Path("data") / entry["dataset"] / "processed"
    meta = read_meta(processed)
    engine = contestant.startswith("engine")
    device = prepare_torch(runtime) if engine else as_lessons_do(threads, seed)
    is_lesson = contestant.startswith("engine, lesson's") or not engine
    network = build_network(entry["architecture"] | (LESSONS[model].architecture if is_lesson else {}), meta, model)
    race = SimpleNamespace(lesson=LESSONS[model], processed=processed, meta=meta, device=device, network=network.to(device), clock=clock)
    if engine:
        recipe = read_recipe(entry["train"], params["recipes"], meta.source, model).model_dump()
        if is_lesson:
            lesson = race.lesson
            plainly: dict[str, Any] = {"schedule": None, "augment": [], "clip_norm": None, "ema": None, "late_dropout": None}
            recipe = (
                recipe
                | plainly
                | {"optimizer": lesson.optimizer, "lr": lesson.lr, "batch_size": lesson.batch_size, "epochs": lesson.epochs}
            )
        with_engine(race, Model(network, meta).to(device), recipe, runtime)
    else:
        {"plain": plain, "lightning": with_lightning}[contestant](race)


def as_lessons_do(threads: int, seed: int) -> Any:
    """Without the deterministic algorithms that the engine pays for; the seed is for the first weights too, which are drawn after this."""
    import torch

    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    return torch.device("cuda" if is_on_gpu() else "cpu")


def with_engine(race: Any, model: Any, recipe: dict[str, Any], runtime: Any) -> None:
    import torch

    from stages.common.splits import read_split
    from stages.shell.resume import Keeper
    from stages.training.batches import Batches
    from stages.training.loop import fit
    from stages.training.processes import join
    from stages.training.recipe import Recipe
    from stages.training.run import Run

    section, clock = Recipe.model_validate(recipe), race.clock

    class Timed(Keeper):
        """Saves as always, and counts."""

        def pause(self, run: Any) -> None:
            super().pause(run)
            if model.network.training:
                clock.step(section.batch_size)
            if clock.steps % TALK == 0:
                if race.device.type == "cuda":  # which may be steps behind
                    torch.cuda.synchronize()
                if self.processes.first_says(clock.is_over):
                    raise Over

        def end_epoch(self, run: Any) -> None:
            super().end_epoch(run)
            clock.epoch(run.rows[-1]["val_accuracy"])

    with join(race.device) as processes:
        train = Batches(*read_split(race.processed, "train"), section.batch_size, race.device, processes)
        val = Batches(*read_split(race.processed, "val"), 256, race.device, processes)
        keeper = Timed(Path("logs") / "train-benchmark", {"": str(clock.started)}, runtime.save_minutes, processes)
        bf16 = runtime.mixed_precision and race.device.type == "cuda"
        fit(Run(model, section, train, val, runtime.seed, "train", bf16), keeper, lambda *_: None)


def plain(race: Any) -> None:
    import torch
    from torch import nn

    network, device, lesson = race.network, race.device, race.lesson
    train, val = lesson_loaders(race)
    criterion, optimizer = nn.CrossEntropyLoss(), lesson_optimizer(lesson, network)
    for _ in range(lesson.epochs):
        network.train()
        total = 0.0
        for inputs, targets in train:
            optimizer.zero_grad()
            loss = criterion(network(inputs.to(device)), targets.to(device))
            loss.backward()
            optimizer.step()
            total += loss.item()
            race.clock.step(len(targets))
            if race.clock.is_over:
                raise Over
        network.eval()
        correct = 0
        with torch.no_grad():
            for inputs, targets in val:
                correct += (network(inputs.to(device)).argmax(1).cpu() == targets).sum().item()
        race.clock.epoch(correct / len(val.dataset))


def with_lightning(race: Any) -> None:
    import warnings

    import lightning  # type: ignore[import-not-found]  # not among the dependencies: only this benchmark wants it
    import torch
    from torch import nn

    warnings.simplefilter("ignore")  # of too few workers in the loader: the lesson has none
    lightning.seed_everything(0, verbose=False)
    clock, lesson = race.clock, race.lesson

    class Lesson(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network, self.criterion = race.network, nn.CrossEntropyLoss()

        def training_step(self, batch: Any, _index: int) -> Any:
            inputs, targets = batch
            return self.criterion(self.network(inputs), targets)

        def on_train_batch_end(self, _outputs: Any, batch: Any, _index: int) -> None:
            clock.step(len(batch[1]))
            if clock.is_over:
                raise Over

        def on_validation_epoch_start(self) -> None:
            self.correct = 0

        def validation_step(self, batch: Any, _index: int) -> None:
            self.correct += (self.network(batch[0]).argmax(1) == batch[1]).sum().item()

        def on_validation_epoch_end(self) -> None:
            clock.epoch(self.correct / len(val.dataset))

        def configure_optimizers(self) -> Any:
            return lesson_optimizer(lesson, self.network)

    train, val = lesson_loaders(race)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    accelerator = "gpu" if race.device.type == "cuda" else "cpu"
    threads = torch.get_num_threads()
    trainer = lightning.Trainer(max_epochs=lesson.epochs, accelerator=accelerator, devices=1, num_sanity_val_steps=0, **quiet)
    torch.set_num_threads(threads)
    trainer.fit(Lesson(), train, val)


def lesson_optimizer(lesson: Lesson, network: Any) -> Any:
    import torch

    arguments = {key: value for key, value in lesson.optimizer.items() if key != "name"}
    return getattr(torch.optim, lesson.optimizer["name"])(network.parameters(), lr=lesson.lr, **arguments)


def lesson_loaders(race: Any) -> tuple[Any, Any]:
    """DataLoaders of train and val as the lessons make them: an item is read, turned into a tensor and normalised one at a time."""
    from torch.utils.data import DataLoader

    from stages.common.splits import read_split

    train, val = (lesson_dataset(race.meta, *read_split(race.processed, split)) for split in ("train", "val"))
    collate: Callable[..., Any] | None = names_to_tensors if race.meta.input.kind == "characters" else None
    size = race.lesson.batch_size
    return DataLoader(train, batch_size=size, shuffle=True, collate_fn=collate), DataLoader(val, batch_size=size, collate_fn=collate)


def lesson_dataset(meta: Any, inputs: Any, targets: Any) -> Any:
    """torchvision's own dataset around arrays that are in memory already, or a list of names with their countries."""
    import torch

    if meta.input.kind == "characters":
        return Names(["".join(chr(code) for code in row if code) for row in inputs], targets.tolist())
    from torchvision import datasets, transforms

    normalize = transforms.Compose([transforms.ToTensor(), transforms.Normalize(meta.input.mean, meta.input.std)])
    grey = inputs.shape[-1] == 1
    dataset: Any = object.__new__(datasets.MNIST if grey else datasets.CIFAR10)
    dataset.data = torch.from_numpy(inputs[..., 0]) if grey else inputs
    dataset.targets = torch.from_numpy(targets) if grey else targets.tolist()
    dataset.transform, dataset.target_transform = normalize, None
    return dataset


class Names:
    def __init__(self, names: list[str], countries: list[int]):
        self.names, self.countries = names, countries

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[str, int]:
        return self.names[index], self.countries[index]


def names_to_tensors(batch: list[tuple[str, int]]) -> tuple[Any, Any]:
    """Names to code points, padded to the longest of the batch."""
    import torch

    longest = max(len(name) for name, _ in batch)
    padded = torch.zeros(len(batch), longest, dtype=torch.int64)
    for row, (name, _) in enumerate(batch):
        padded[row, : len(name)] = torch.tensor([ord(character) for character in name])
    return padded, torch.tensor([country for _, country in batch])


# The race


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"default: {' '.join(LESSONS)}")
    parser.add_argument("--work", type=Path, default=ROOT / "logs" / "train")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of torch, for every contestant; default: one a core")
    parser.add_argument("--seconds", type=float, default=10, help="of steady steps in each measurement of throughput")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3, help="of the runs to the lesson's accuracy; 0: none")
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--one", nargs=2, metavar=("CONTESTANT", "TARGET"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if unknown := set(arguments.models) - set(LESSONS):
        parser.error(f"no such model here: {', '.join(sorted(unknown))}; known: {', '.join(LESSONS)}")
    if arguments.one:
        one(arguments)
        return
    models = arguments.models or list(LESSONS)
    clone = prepare_data(parser, arguments.work, models, arguments.threads)
    about = {
        "threads": arguments.threads,
        "seconds_of_each_measurement": arguments.seconds,
        "command": "DATASETS_MIRROR=FOLDER python -m benchmarks.train",
    }
    measured = {"commit": run(["git", "rev-parse", "--short", "HEAD"], clone).strip(), "hardware": hardware(), "date": today()}
    for model in models:
        raced = race(model, clone, arguments) | {"measured": measured}
        earlier = read_result("train")
        comparable = earlier["models"] if all(earlier.get(key) == value for key, value in about.items()) else {}  # of other models
        results = comparable | {model: raced}
        write_result("train", {"models": {name: results[name] for name in LESSONS if name in results}, **about})


def prepare_data(parser: argparse.ArgumentParser, work: Path, models: list[str], threads: int) -> Path:
    """A clone with the real data of the models, ready to be trained on."""
    require_mirror(parser)
    clone = make_clone(work.resolve())
    change_params(clone / "params.yaml", 0, threads)
    build_data(clone, sorted({dataset_of(clone, model) for model in models}))
    return clone


def dataset_of(clone: Path, model: str) -> str:
    from ruamel.yaml import YAML

    return str(YAML(typ="safe").load(clone / "params.yaml")["models"][model]["dataset"])


def one(arguments: argparse.Namespace) -> None:
    contestant, target = arguments.one
    clock = Clock(arguments.seconds, float(target) or None, float(os.environ["STARTED"]))
    if contestant.endswith("processes"):
        from stages.training.processes import is_launched, launch

        if not is_launched():
            launch("benchmarks.train", sys.argv[1:], arguments.threads)
            return
    with contextlib.suppress(Over):
        contest(contestant, arguments.models[0], arguments.work, arguments.threads, arguments.seed, clock)
    if os.environ.get("RANK", "0") == "0":
        print(json.dumps(clock.result()), flush=True)


def race(model: str, clone: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    present = list(contestants())
    measured: dict[str, list[dict[str, Any]]] = {contestant: [] for contestant in present}
    for _ in range(arguments.repeats):  # in turns, so that a noisy minute is everybody's
        for contestant in measured:
            measured[contestant].append(measure(contestant, model, clone, 0.0, 0, arguments))
    speeds = {contestant: [result["samples_per_s"] for result in results] for contestant, results in measured.items()}
    table: dict[str, Any] = {
        contestant: {
            "samples_per_s": round(statistics.median(values), 1),
            "each": values,
            "peak_mb": max(result["peak_mb"] for result in measured[contestant]),
            **({"peak_gpu_mb": max(result["peak_gpu_mb"] for result in measured[contestant])} if is_on_gpu() else {}),
        }
        for contestant, values in speeds.items()
    }
    for contestant, values in speeds.items():
        ratios = [value / base for value, base in zip(values, speeds["plain"], strict=True)]
        table[contestant]["times_plain"] = round(statistics.median(ratios), 2)
    if arguments.seeds:
        table["time_to_accuracy"] = race_to_accuracy([racer for racer in RACERS if racer in present], model, clone, arguments)
    return table


def race_to_accuracy(racers: list[str], model: str, clone: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Every racer's runs to the lesson's accuracy, one a seed, and by how many times they are shorter than the plain loop's with that seed.

    Where a plain run has not got there when its epochs were over, its ratio is a lower bound.
    """
    target = LESSONS[model].accuracy
    runs: dict[str, list[dict[str, Any]]] = {racer: [] for racer in racers}
    for seed in range(arguments.seeds):
        for racer in runs:
            result = measure(racer, model, clone, target, seed, arguments)
            runs[racer].append({key: result[key] for key in ("reached_after_s", "best_accuracy", "seconds")})
    least = [run["reached_after_s"] or run["seconds"] for run in runs["plain"]]
    times = {
        racer: [round(plain_s / run["reached_after_s"], 1) for plain_s, run in zip(least, own, strict=True) if run["reached_after_s"]]
        for racer, own in runs.items()
        if racer != "plain"
    }
    return {
        "accuracy": target,
        "runs": runs,
        "times_shorter": times,  # only of those that got there
        "plain_reached_it": all(run["reached_after_s"] for run in runs["plain"]),
    }


def contestants() -> Iterator[str]:
    """Those that can run here: Lightning where it is installed, and several processes on the CPU, for each would want a GPU of its own."""
    for contestant in CONTESTANTS:
        if contestant == "lightning" and not importlib.util.find_spec("lightning"):
            continue
        if not (contestant.endswith("processes") and is_on_gpu()):
            yield contestant


def measure(contestant: str, model: str, clone: Path, target: float, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    options = ["--work", str(clone), "--threads", str(arguments.threads), "--seconds", str(arguments.seconds), "--seed", str(seed)]
    command = [sys.executable, "-m", "benchmarks.train", model, *options, "--one", contestant, str(target)]
    environment = {**os.environ, "STARTED": str(time.time()), "PYTHONPATH": os.pathsep.join([str(clone), os.environ.get("PYTHONPATH", "")])}
    finished = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, check=False)
    if finished.returncode:
        sys.exit(f"{contestant} failed on {model}:\n{finished.stdout}{finished.stderr}")
    result: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    print(f"{model}, {contestant}: {result}", flush=True)
    return result


if __name__ == "__main__":
    main()
