"""Measures one model on the test split.

Command: python -m stages.evaluate MODEL
Reads:   models/<MODEL>/checkpoint.safetensors; data/<dataset>/processed/test.safetensors and meta.json; params.yaml: runtime, evaluate
Writes:  models/<MODEL>/metrics.json (flat), and under models/<MODEL>/plots/: predictions.csv (actual and predicted of every test item) and
         its picture predictions.png, breakdown.csv (a row a class or a regressed number), mistakes.png (the worst mistakes)
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stages.common.errors import run_stage
from stages.common.files import as_csv, as_json, write_files
from stages.common.meta import Meta
from stages.common.params import Runtime, look_up, read_params, read_section
from stages.common.splits import SplitFile
from stages.evaluation import metrics, mistakes
from stages.evaluation.pictures import predictions
from stages.evaluation.section import Evaluate
from stages.modelling.devices import prepare_torch
from stages.modelling.model import Model, load_checkpoint

BATCH_SIZE = 256


def evaluate(name: str) -> None:
    runtime, section = read_section(Runtime, "runtime"), read_section(Evaluate, "evaluate")
    processed = Path("data") / look_up(read_params(), "models", name, "dataset") / "processed"
    folder = Path("models") / name
    model, _ = load_checkpoint(folder / "checkpoint.safetensors")
    test = SplitFile(processed, "test")
    targets = test.read("targets", 0, test.count)

    outputs = predict(model, test.pieces("inputs", BATCH_SIZE), prepare_torch(runtime))
    worst = worst_first(model.meta, targets, outputs)[: section.num_mistakes]
    mistakes_png = draw_mistakes(model.meta, test.take("inputs", worst), targets[worst], [output[worst] for output in outputs])
    rows = prediction_rows(model.meta, targets, outputs)
    scores = measure(model.meta, targets, outputs, section.num_resamples, runtime.seed)
    write_files(
        {
            folder / "metrics.json": as_json({key: round(value, 6) for key, value in scores.items()}),
            folder / "plots" / "predictions.csv": as_csv(rows),
            folder / "plots" / "predictions.png": predictions(rows, model.meta.classes),
            folder / "plots" / "breakdown.csv": as_csv(breakdown_rows(model.meta, targets, outputs)),
            folder / "plots" / "mistakes.png": mistakes_png,
        }
    )
    print(f"{name}: {', '.join(f'{key} {value:.4f}' for key, value in scores.items() if not key.endswith(('_low', '_high')))}")


@torch.no_grad()
def predict(model: Model, pieces: Iterable[np.ndarray], device: torch.device) -> list[np.ndarray]:
    """The model's outputs for every row of a split's inputs, which come piece by piece; in the order of model.output_names."""
    model.to(device)
    batches = []
    for rows in pieces:
        inputs = torch.from_numpy(rows.astype(np.int64) if model.meta.input.kind == "characters" else rows)
        batches.append([output.cpu().numpy() for output in model(inputs.to(device))])
    return [np.concatenate(parts) for parts in zip(*batches, strict=True)]


def measure(meta: Meta, targets: np.ndarray, outputs: list[np.ndarray], num_resamples: int, seed: int) -> metrics.Metrics:
    if meta.task == "regression":
        return metrics.regression(targets, outputs[0], num_resamples, seed)
    measure_task = metrics.sequences if meta.task == "sequence" else metrics.classification
    return measure_task(targets, outputs[0], outputs[1], num_resamples, seed)


def prediction_rows(meta: Meta, targets: np.ndarray, outputs: list[np.ndarray]) -> list[dict[str, Any]]:
    """A row an item (a character, a regressed number): what it is and what was predicted."""
    if meta.task == "regression":
        pairs = zip(targets.ravel(), outputs[0].ravel(), strict=True)
        return [{"actual": float(actual), "predicted": float(predicted)} for actual, predicted in pairs]
    classes, real = meta.classes or [], targets >= 0
    pairs = zip(targets[real], outputs[1][real], strict=True)
    return [{"actual": classes[actual], "predicted": classes[predicted]} for actual, predicted in pairs]


def breakdown_rows(meta: Meta, targets: np.ndarray, outputs: list[np.ndarray]) -> list[dict[str, Any]]:
    if meta.task == "regression":
        return metrics.per_output(targets, outputs[0], meta.outputs or [])
    real = targets >= 0
    return metrics.per_class(targets[real], outputs[1][real], meta.classes or [])


def worst_first(meta: Meta, targets: np.ndarray, outputs: list[np.ndarray]) -> np.ndarray:
    """The places of all items, the furthest from the truth first."""
    return np.argsort(-wrongness(meta, targets, outputs), kind="stable")


def draw_mistakes(meta: Meta, inputs: np.ndarray, targets: np.ndarray, outputs: list[np.ndarray]) -> bytes:
    """A sheet of items with what they are and what was predicted, in red, or in green where that is right."""
    captions = [caption(meta, *item) for item in zip(targets, zip(*outputs, strict=True), strict=True)]
    if meta.input.kind != "image":
        return mistakes.as_png(mistakes.text_sheet(mistakes.as_lines(inputs, meta.input), captions))
    is_point = meta.task == "regression" and meta.num_outputs == 2
    points = list(zip(targets, outputs[0], strict=True)) if is_point else None
    return mistakes.as_png(mistakes.picture_sheet(inputs, captions, points))


def wrongness(meta: Meta, targets: np.ndarray, outputs: list[np.ndarray]) -> np.ndarray:
    """[n]: the mean absolute error, or one minus the probability of the true class (of the worst character)."""
    if meta.task == "regression":
        return np.abs(outputs[0] - targets).mean(axis=1)
    true = np.take_along_axis(outputs[0], np.maximum(targets, 0)[..., None], axis=-1)[..., 0]
    wrong = np.where(targets >= 0, 1 - true, 0)
    return wrong.max(axis=1) if wrong.ndim == 2 else wrong


def caption(meta: Meta, target: np.ndarray, outputs: Sequence[np.ndarray]) -> mistakes.Caption:
    if meta.task == "regression":
        return mistakes.Caption(f"is {numbers(target)}", f"predicted {numbers(outputs[0])}", is_right=False)
    classes = meta.classes or []
    if meta.task == "sequence":
        true, predicted = letters(classes, target), letters(classes, outputs[1])
        return mistakes.Caption(f"is {true}", f"predicted {predicted}", true == predicted)
    predicted = f"predicted {classes[outputs[1]]} {outputs[0].max():.2f}"
    return mistakes.Caption(f"is {classes[target]}", predicted, bool(target == outputs[1]))


def numbers(values: np.ndarray) -> str:
    return ", ".join(f"{value:.2f}" for value in values)


def letters(classes: list[str], labels: np.ndarray) -> str:
    return "".join(classes[label] for label in labels if label >= 0)


if __name__ == "__main__":
    run_stage(evaluate, usage="python -m stages.evaluate MODEL")
