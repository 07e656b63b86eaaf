"""Measures one model on the test split.

Command: python -m stages.evaluate MODEL
Reads:   models/<MODEL>/checkpoint.safetensors; data/<dataset>/processed/test.safetensors and meta.json; params.yaml: runtime, evaluate
Writes:  models/<MODEL>/metrics.json (flat), and under models/<MODEL>/plots/: predictions.csv (actual and predicted of every test item) and
         its picture predictions.png, breakdown.csv (a row a class or a regressed number)
"""

from functools import partial
from pathlib import Path

from stages.common.files import as_csv, as_json, write_files
from stages.common.params import Runtime, look_up, read_params, read_section
from stages.common.splits import SplitFile
from stages.evaluation.bootstrap import Evaluate, with_interval
from stages.evaluation.pictures import predictions
from stages.modelling.devices import prepare_torch
from stages.modelling.model import load_checkpoint
from stages.modelling.predict import predict
from stages.shell.errors import run_stage

BATCH_SIZE = 256


def evaluate(name: str) -> None:
    runtime, section = read_section(Runtime, "runtime"), read_section(Evaluate, "evaluate")
    processed = Path("data") / look_up(read_params(), "models", name, "dataset") / "processed"
    folder = Path("models") / name
    model, _ = load_checkpoint(folder / "checkpoint.safetensors")
    task, meta, test = model.task, model.meta, SplitFile(processed, "test")
    targets = test.read("targets", 0, test.count)

    outputs = predict(model, test.pieces("inputs", BATCH_SIZE), prepare_torch(runtime))
    scores = task.measure(targets, outputs, partial(with_interval, num_resamples=section.num_resamples, seed=runtime.seed))
    rows = task.rows(meta, targets, outputs)
    write_files(
        {
            folder / "metrics.json": as_json({key: round(value, 6) for key, value in scores.items()}),
            folder / "plots" / "predictions.csv": as_csv(rows),
            folder / "plots" / "predictions.png": predictions(task, rows, meta.names),
            folder / "plots" / "breakdown.csv": as_csv(task.breakdown(meta, targets, outputs)),
        }
    )
    print(f"{name}: {', '.join(f'{key} {value:.4f}' for key, value in scores.items() if not key.endswith(('_low', '_high')))}")


if __name__ == "__main__":
    run_stage(evaluate, usage="python -m stages.evaluate MODEL")
