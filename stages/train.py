"""Trains one model.

Command: python -m stages.train MODEL
Reads:   data/<dataset>/processed/{train,val}.safetensors and meta.json; data/<dataset>/audit/verdict.json; params.yaml: runtime,
         models.<MODEL>, its recipe
Writes:  models/<MODEL>/checkpoint.safetensors, models/<MODEL>/training.json (what was best and its figures on val: what a choice
         between recipes may look at, while metrics.json is of the test split) and models/<MODEL>/plots/learning_curve.csv; under
         logs/ TensorBoard's files, and the state of the run, from which the next one resumes if this one is stopped or killed
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from stages.common.files import as_csv, as_json, write_files
from stages.common.meta import Meta, read_meta
from stages.common.params import Runtime, look_up, read_params, read_section
from stages.common.shelves import take_input, take_part
from stages.common.splits import SplitFile
from stages.modelling.devices import is_out_of_memory, prepare_torch
from stages.modelling.model import Model, as_checkpoint, build_network
from stages.shell.errors import UserError, reason, run_stage, tell
from stages.shell.refusals import refuse_incomplete, refuse_misfit, refuse_other_heads, refuse_stopped, refuse_unfitted, refuse_unwritable
from stages.shell.resume import STATES, Keeper, StartOver, ingredients
from stages.shell.tensorboard import NUM_SHOWN, TensorBoard
from stages.training.batches import AnyBatches, Batches, StreamedBatches
from stages.training.fitted import FittedRun, fit_fixed
from stages.training.loop import fit
from stages.training.processes import Processes, is_launched, join, launch, own_rank
from stages.training.recipe import AnyRecipe, Fit, FittedRecipe, Recipe, Row, read_recipe
from stages.training.run import Run

MB = 10**6


def train(name: str) -> None:
    key, params, runtime = f"models.{name}", read_params(), read_section(Runtime, "runtime")
    meta = read_meta(Path("data") / look_up(params, "models", name, "dataset") / "processed")
    refuse_stopped(meta.dataset)
    recipe = read_recipe(look_up(params, "models", name, "train"), look_up(params, "recipes"), meta.source, f"{key}.train")
    num_processes = 1 if isinstance(recipe, FittedRecipe) else min(runtime.num_processes, recipe.batch_size)
    if num_processes > 1 and not is_launched():
        launch("stages.train", [name], num_processes)
        return
    device = prepare_torch(runtime, own_rank())
    with join(device) as processes:
        try:
            while (made := train_once(name, meta, runtime, recipe, device, processes)) is None:
                pass
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            streamed = f"runtime.stream_above_mb (now {runtime.stream_above_mb}) below the size of train.safetensors"
            lower = f"lower {key}.train.batch_size (now {recipe.batch_size}), {streamed}, or the sizes of {key}.architecture"
            raise UserError(f"Out of memory on {device.type}: {lower}.") from error
    if processes.is_first:
        write_files(made)


def train_once(
    name: str, meta: Meta, runtime: Runtime, recipe: AnyRecipe, device: torch.device, processes: Processes
) -> dict[Path, bytes] | None:
    """The files of the trained model; None if the run must start again from scratch, because its state was unusable."""
    torch.manual_seed(runtime.seed)
    key, architecture = f"models.{name}", look_up(read_params(), "models", name, "architecture")
    processed, folder = Path("data") / meta.dataset / "processed", Path("models") / name
    part = take_part("architectures", architecture["name"], f"{key}.architecture.name")
    refuse_incomplete(part)  # its file may be newer than the last check
    refuse_misfit(part, meta.input.kind, meta.task, meta.dataset, key)
    refuse_unfitted(part, recipe, key)
    network = build_fitting(architecture, meta, f"{key}.architecture")
    made_of: dict[str, str] = {}
    if processes.is_first:
        decisive = {"architecture": architecture, "recipe": recipe.model_dump(), "runtime": runtime.model_dump(exclude={"save_minutes"})}
        files = [processed / file for file in ("train.safetensors", "val.safetensors", "meta.json")]
        parts = (f"architectures/{architecture['name']}", f"inputs/{meta.input.kind}", f"tasks/{meta.task}")
        made_of = ingredients(decisive, files, parts, device)
    if hasattr(part, "load_pretrained"):
        part.load_pretrained(network, part.Params.model_validate(architecture), meta)
    if processes.is_first:
        refuse_unwritable(folder)
    model, splits = Model(network, meta).to(device), Splits(processed, meta, device, processes, runtime.stream_above_mb * MB)
    try:
        if isinstance(recipe, Recipe) and recipe.fit_first is not None:
            fit_first(name, fitted_run(model, recipe.fit_first, recipe.batch_size, part, splits, runtime), made_of, runtime, processes)
        run = start(model, recipe, part, splits, runtime, f"{key}.train")
        keeper = Keeper(STATES / name, made_of, runtime.save_minutes, processes)
        with keeper:
            fit_shown(name, run, keeper)
    except StartOver:
        return None

    if isinstance(run, Run):
        network.load_state_dict(run.best.weights)
    about, metric = run.chosen | {"recipe": recipe.model_dump(), "seed": runtime.seed}, run.task.SCORE
    checkpoint = as_checkpoint(network, architecture, meta, about)
    if processes.first_says(keeper.was_over and is_recorded(checkpoint)):  # nothing was lost: somebody wants to see it trained again
        if processes.is_first:
            tell(f"{name}: dvc.lock has this result already; training again from the start.")
        keeper.forget()
        return None
    if processes.is_first:
        measured = ", ".join(f"{figure} {value}" for figure, value in shown(run.best_row, metric).items())
        print(f"{name}: best {run.summary}: {measured}")
    return {
        folder / "checkpoint.safetensors": checkpoint,
        folder / "training.json": as_json(figures(run, metric)),
        folder / "plots" / "learning_curve.csv": as_csv(curve(run.rows, metric)),
    }


@dataclass(frozen=True)
class Splits:
    """The dataset's splits as batches: from the device, or streamed from the split's file where that is larger than `memory` (bytes)."""

    processed: Path
    meta: Meta
    device: torch.device
    processes: Processes
    memory: int

    def has(self, split: str) -> bool:
        return self.meta.counts[split].total > 0

    def batches(self, split: str, batch_size: int) -> AnyBatches:
        file, lengths = SplitFile(self.processed, split), take_input(self.meta.input.kind).lengths
        if file.num_bytes > self.memory:
            return StreamedBatches(file, batch_size, self.device, self.memory, self.processes, lengths)
        inputs, targets = (file.read(tensor, 0, file.count) for tensor in ("inputs", "targets"))
        return Batches(inputs, targets, batch_size, self.device, self.processes, lengths)

    def targets(self, split: str) -> np.ndarray:
        file = SplitFile(self.processed, split)
        return file.read("targets", 0, file.count)


def start(model: Model, recipe: AnyRecipe, part: ModuleType, splits: Splits, runtime: Runtime, key: str) -> Run | FittedRun:
    """What fit_shown() brings to its end, by the recipe."""
    if isinstance(recipe, FittedRecipe):
        return fitted_run(model, recipe.fit, recipe.batch_size, part, splits, runtime)
    train = splits.batches("train", recipe.batch_size)
    network: Any = model.network
    if hasattr(network, "measure"):
        network.measure(model.input(inputs) for inputs, _ in train.in_order())
    return Run(
        model,
        recipe,
        train=train,
        val=splits.batches("val", max(recipe.batch_size, 256)) if splits.has("val") else None,
        seed=runtime.seed,
        key=key,
        bf16=runtime.mixed_precision and splits.device.type == "cuda",
        graphs=getattr(part, "CUDA_GRAPHS", True),
    )


def fit_first(name: str, run: FittedRun, made_of: dict[str, str], runtime: Runtime, processes: Processes) -> None:
    """Fits the head before all layers learn, by process 0; the others, if there are any, get it from there."""
    if processes.is_first:
        with Keeper(STATES / name / "head", made_of, runtime.save_minutes, name=f"{name}, head") as keeper:
            fit_fixed(run, keeper, lambda *_: None, lambda: None)
    processes.share(weight.data for weight in run.network.head.parameters())


def fitted_run(model: Model, fit: Fit, batch_size: int, part: ModuleType, splits: Splits, runtime: Runtime) -> FittedRun:
    refuse_other_heads(model.network, part)
    used = [split for split in ("train", "val") if splits.has(split)]
    batches, targets = {split: splits.batches(split, batch_size) for split in used}, {split: splits.targets(split) for split in used}
    return FittedRun(model, fit, batches, targets, runtime.seed, splits.memory, part.SPARSE)


def is_recorded(content: bytes) -> bool:
    """Whether DVC has noted a file with this content in dvc.lock: a run that ended just before DVC was killed is not there yet."""
    lock = Path("dvc.lock")
    return lock.exists() and hashlib.md5(content, usedforsecurity=False).hexdigest() in lock.read_text(encoding="utf-8")


def build_fitting(architecture: dict[str, Any], meta: Meta, key: str) -> torch.nn.Module:
    """The network with fresh weights, tried on an empty batch: sizes that do not fit the data's show here, in a sentence."""
    shape = [size or 1 for size in meta.input.shape]
    inputs = f"{meta.dataset}'s inputs of {'x'.join(map(str, shape))}"
    try:
        network = build_network(architecture, meta, key)
        with torch.no_grad():
            model = Model(network, meta).eval()
            logits = model.logits(torch.from_numpy(model.input.part.as_batch(np.zeros((2, *shape), meta.input.dtype))))
    except (RuntimeError, ValueError, TypeError, AssertionError, OverflowError) as error:  # torch has no one kind for sizes that do not fit
        if is_out_of_memory(error):
            raise
        raise UserError(f"params.yaml: {key} does not fit {inputs}: {reason(error)}.") from error
    except (NameError, AttributeError, LookupError, ArithmeticError) as error:
        file, why = f"stages/architectures/{architecture['name']}.py", f"{type(error).__name__}: {reason(error)}"
        raise UserError(f"{file} fails on {inputs} ({why}): fix the file.") from error
    if logits.shape[-1] != meta.num_outputs:
        raise UserError(
            f"params.yaml: {key} gives {logits.shape[-1]} outputs, but {meta.dataset} needs {meta.num_outputs}: change its sizes."
        )
    return network


def fit_shown(name: str, run: Run | FittedRun, keeper: Keeper) -> None:
    """fit() or fit_fixed() with a progress bar (on a terminal) and TensorBoard: by process 0, if there are several."""
    if isinstance(run, Run) and not run.processes.is_first:
        fit(run, keeper, lambda *_: None)
        return
    total, unit = (run.recipe.epochs, "epoch") if isinstance(run, Run) else (run.num_steps, "step")
    train = run.train if isinstance(run, Run) else run.batches["train"]
    with TensorBoard(name) as tensorboard, tqdm(total=total, desc=name, unit=unit, disable=None) as bar:
        tensorboard.start(run.model, train.rows(0, NUM_SHOWN)[0])

        def watch(epoch: int, row: Row) -> None:
            bar.set_postfix(shown(row, run.task.SCORE), refresh=False)
            bar.update(isinstance(run, Run))
            tensorboard.epoch(epoch, row)

        if isinstance(run, Run):
            fit(run, keeper, watch)
        else:
            fit_fixed(run, keeper, watch, bar.update)


def shown(row: Row, metric: str) -> dict[str, str]:
    """An epoch's losses and metrics, for people."""
    return {key: f"{value:.4f}" for key, value in row.items() if value is not None and key.endswith(("loss", metric))}


def figures(run: Run | FittedRun, metric: str) -> dict[str, float | int]:
    """What was chosen and what was measured of it: on held-out items, or on train where there are none; rounded as metrics.json is."""
    best = run.best_row
    split = "train" if best["val_loss"] is None else "val"
    measured = {key: round(value, 6) for key in (f"{split}_loss", f"{split}_{metric}") if (value := best[key]) is not None}
    return {**run.chosen, **measured}


def curve(rows: list[Row], metric: str) -> list[dict[str, float | str | None]]:
    """The learning curve as DVC draws it: a row an epoch (or a value of C) and split, with what the optimizer did in that epoch."""
    return [
        {
            "epoch": row["epoch"],
            "split": split,
            "loss": row[f"{split}_loss"],
            metric: row[f"{split}_{metric}"],
            **{key: row[key] for key in ("lr", "weight", "C") if key in row},
        }
        for row in rows
        for split in ("train", "val")
        if row[f"{split}_loss"] is not None
    ]


if __name__ == "__main__":
    run_stage(train, usage="python -m stages.train MODEL")
