"""Trains one model.

Command: python -m stages.train MODEL
Reads:   data/<dataset>/processed/{train,val}.safetensors and meta.json; data/<dataset>/audit/verdict.json; params.yaml: runtime,
         models.<MODEL>, its recipe
Writes:  models/<MODEL>/checkpoint.safetensors, models/<MODEL>/training.json (the best epoch and its figures on val: what a choice
         between recipes may look at, while metrics.json is of the test split) and models/<MODEL>/plots/learning_curve.csv; under
         logs/ TensorBoard's files, and the state of the run, from which the next one resumes if this one is stopped or killed
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from stages.common.files import as_csv, as_json, write_files
from stages.common.meta import Meta, read_meta
from stages.common.params import Runtime, look_up, read_params, read_section
from stages.common.shelves import take_part
from stages.common.splits import SplitFile
from stages.modelling.devices import is_out_of_memory, prepare_torch
from stages.modelling.model import Model, as_checkpoint, build_network
from stages.shell.errors import UserError, reason, run_stage, tell
from stages.shell.refusals import refuse_incomplete, refuse_misfit, refuse_stopped, refuse_unwritable
from stages.shell.resume import STATES, Keeper, StartOver, ingredients
from stages.shell.tensorboard import NUM_SHOWN, TensorBoard
from stages.training.batches import AnyBatches, Batches, StreamedBatches
from stages.training.loop import fit
from stages.training.processes import Processes, is_launched, join, launch, own_rank
from stages.training.recipe import Recipe, Row, read_recipe
from stages.training.run import Run

MB = 10**6


def train(name: str) -> None:
    key, params, runtime = f"models.{name}", read_params(), read_section(Runtime, "runtime")
    meta = read_meta(Path("data") / look_up(params, "models", name, "dataset") / "processed")
    refuse_stopped(meta.dataset)
    recipe = read_recipe(look_up(params, "models", name, "train"), look_up(params, "recipes"), meta.source, f"{key}.train")
    num_processes = min(runtime.num_processes, recipe.batch_size)
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
    name: str, meta: Meta, runtime: Runtime, recipe: Recipe, device: torch.device, processes: Processes
) -> dict[Path, bytes] | None:
    """The files of the trained model; None if the run must start again from scratch, because its state was unusable."""
    torch.manual_seed(runtime.seed)
    key, architecture = f"models.{name}", look_up(read_params(), "models", name, "architecture")
    processed, folder = Path("data") / meta.dataset / "processed", Path("models") / name
    part = take_part("architectures", architecture["name"], f"{key}.architecture.name")
    refuse_incomplete(part)  # its file may be newer than the last check
    refuse_misfit(part, meta.input.kind, meta.task, meta.dataset, key)
    network = build_fitting(architecture, meta, f"{key}.architecture")
    made_of: dict[str, str] = {}
    if processes.is_first:
        decisive = {"architecture": architecture, "recipe": recipe.model_dump(), "runtime": runtime.model_dump(exclude={"save_minutes"})}
        files = [processed / file for file in ("train.safetensors", "val.safetensors", "meta.json")]
        parts = (f"architectures/{architecture['name']}", f"inputs/{meta.input.kind}", f"tasks/{meta.task}")
        made_of = ingredients(decisive, files, parts, device)
    if hasattr(part, "load_pretrained"):
        part.load_pretrained(network, part.Params.model_validate(architecture), meta)
    model, memory = Model(network, meta).to(device), runtime.stream_above_mb * MB

    def batches(split: str, batch_size: int) -> AnyBatches:
        """From the device, or streamed from the split's file where that is larger than `memory` (bytes)."""
        file, lengths = SplitFile(processed, split), model.input.part.lengths
        if file.num_bytes > memory:
            return StreamedBatches(file, batch_size, device, memory, processes, lengths)
        inputs, targets = (file.read(tensor, 0, file.count) for tensor in ("inputs", "targets"))
        return Batches(inputs, targets, batch_size, device, processes, lengths)

    run = Run(
        model,
        recipe,
        train=batches("train", recipe.batch_size),
        val=batches("val", max(recipe.batch_size, 256)) if meta.counts["val"].total > 0 else None,
        seed=runtime.seed,
        key=f"{key}.train",
        bf16=runtime.mixed_precision and device.type == "cuda",
        graphs=getattr(part, "CUDA_GRAPHS", True),
    )
    keeper = Keeper(STATES / name, made_of, runtime.save_minutes, processes)
    if processes.is_first:
        refuse_unwritable(folder)
    try:
        with keeper:
            fit_shown(name, run, keeper)
    except StartOver:
        return None

    network.load_state_dict(run.best.weights)
    about = {"best_epoch": run.best.epoch, "epochs": len(run.rows), "recipe": recipe.model_dump(), "seed": runtime.seed}
    checkpoint, metric = as_checkpoint(network, architecture, meta, about), model.task.SCORE
    if processes.first_says(keeper.was_over and is_recorded(checkpoint)):  # nothing was lost: somebody wants to see it trained again
        if processes.is_first:
            tell(f"{name}: dvc.lock has this result already; training again from the start.")
        keeper.forget()
        return None
    if processes.is_first:
        measured = ", ".join(f"{figure} {value}" for figure, value in shown(run.rows[run.best.epoch - 1], metric).items())
        print(f"{name}: best epoch {run.best.epoch} of {len(run.rows)}: {measured}")
    return {
        folder / "checkpoint.safetensors": checkpoint,
        folder / "training.json": as_json(figures(run, metric)),
        folder / "plots" / "learning_curve.csv": as_csv(curve(run.rows, metric)),
    }


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


def fit_shown(name: str, run: Run, keeper: Keeper) -> None:
    """fit() with a progress bar (on a terminal) and TensorBoard: by process 0, if there are several."""
    if not run.processes.is_first:
        fit(run, keeper, lambda *_: None)
        return
    with TensorBoard(name) as tensorboard, tqdm(total=run.recipe.epochs, desc=name, unit="epoch", disable=None) as bar:
        tensorboard.start(run.model, run.train.rows(0, NUM_SHOWN)[0])

        def watch(epoch: int, row: Row) -> None:
            bar.set_postfix(shown(row, run.task.SCORE), refresh=False)
            bar.update()
            tensorboard.epoch(epoch, row)

        fit(run, keeper, watch)


def shown(row: Row, metric: str) -> dict[str, str]:
    """An epoch's losses and metrics, for people."""
    return {key: f"{value:.4f}" for key, value in row.items() if value is not None and key.endswith(("loss", metric))}


def figures(run: Run, metric: str) -> dict[str, float | int]:
    """The best epoch and what was measured in it: on val, or on train where the dataset has no val; rounded as metrics.json is."""
    best = run.rows[run.best.epoch - 1]
    split = "train" if best["val_loss"] is None else "val"
    measured = {key: round(value, 6) for key in (f"{split}_loss", f"{split}_{metric}") if (value := best[key]) is not None}
    return {"best_epoch": run.best.epoch, "epochs": len(run.rows), **measured}


def curve(rows: list[Row], metric: str) -> list[dict[str, float | str | None]]:
    """The learning curve as DVC draws it: a row an epoch and split, with what the optimizer did in that epoch."""
    return [
        {
            "epoch": row["epoch"],
            "split": split,
            "loss": row[f"{split}_loss"],
            metric: row[f"{split}_{metric}"],
            **{key: row[key] for key in ("lr", "weight") if key in row},
        }
        for row in rows
        for split in ("train", "val")
        if row[f"{split}_loss"] is not None
    ]


if __name__ == "__main__":
    run_stage(train, usage="python -m stages.train MODEL")
