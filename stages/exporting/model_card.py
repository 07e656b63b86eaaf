"""The model card: exported/README.md, for the person who receives a model."""

from typing import Any

from stages.common.meta import Meta
from stages.common.signature import Entry
from stages.exporting.parity import BATCH_SIZES, Equality
from stages.exporting.signature import Signature, Variant

NOT_REAL = {
    "sample": "**Trained on a small stand-in, not on the real data**: good for trying the pipeline, of no use for anything else.",
    "generated": "The data is a worked example of a lesson: it is all there is.",
    "official": "Trained on the official data.",
    "own": "",
}


def model_card(signature: Signature, meta: Meta, training: dict[str, Any], architecture: dict[str, Any], strange: dict[str, float]) -> str:
    """`strange` is the largest difference of each form from PyTorch on batches that no test split has."""
    items = ", ".join(f"{split} {meta.counts[split].total}" for split in ("train", "val", "test"))
    chosen_on = "validation" if meta.counts["val"].total else "train"
    differences = ", ".join(f"{form} {value:.1e}" for form, value in strange.items())
    sections = [
        f"# {signature.model}",
        f"{meta.description} {NOT_REAL[meta.source]}".strip(),
        "## What it is for",
        f"{signature.use}",
        f"Beware: {signature.limits}",
        f"The model's licence: {signature.licence}. The data's: {signature.data_licence}.",
        "## What it takes and gives",
        entry_table([signature.input], "input"),
        feature_table(signature),
        entry_table(signature.outputs, "output"),
        class_list(meta),
        "## How good it is",
        metric_table(signature.metrics),
        f"Of {meta.counts['test'].total} test items, which nothing was chosen by; intervals are of 95 %, by bootstrap.",
        "![predicted against actual](predictions.png)",
        "## How it was made",
        f"Architecture: `{architecture}`.",
        f"Recipe: `{training['recipe']}`, seed {training['seed']}.",
        f"Epoch {training['best_epoch']} of {training['epochs']} was the best on {chosen_on} and is kept.",
        "![learning curves](learning_curve.png)",
        f"Data: `{meta.dataset}` ({meta.source}): {items}.",
        f"SHA-256 of the weights {signature.hashes.weights}, of the params {signature.hashes.params}, of the data {signature.hashes.data}.",
        "## How far it equals the PyTorch model",
        parity_table(signature.parity),
        f"On batches of {', '.join(map(str, BATCH_SIZES))} with what no test item has (other lengths, missing values, unknown characters) "
        f"the largest difference is: {differences}.",
        variant_table(signature.variants),
        "`golden` in `signature.json` is an input, and what comes out, to try another runtime with: numbers as base64 of their bytes.",
        "## Use",
        f"`python predict.py model.onnx INPUT` (the repository's `examples/`) needs numpy, onnxruntime {signature.onnxruntime} and Pillow "
        f"only; ONNX opset {signature.opset}. All of `signature.json` stands in the ONNX file's metadata too, under the key `signature`.",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def entry_table(entries: list[Entry], word: str) -> str:
    rows = [
        [f"`{entry.name}`", entry.dtype, f"[{', '.join(map(str, entry.shape))}]", as_range(entry.range), entry.meaning] for entry in entries
    ]
    return table([word, "type", "shape", "range", "meaning"], rows)


def as_range(ends: list[float] | None) -> str:
    return f"{ends[0]:g} to {ends[1]:g}" if ends else ""


def feature_table(signature: Signature) -> str:
    rows = [
        [feature.name, feature.unit, *("" if value is None else f"{value:g}" for value in (feature.low, feature.high, feature.mean))]
        for feature in signature.features or []
    ]
    return table(["feature", "unit", "smallest in train", "largest", "mean"], rows) if rows else ""


def class_list(meta: Meta) -> str:
    return "Classes, in label order: " + ", ".join(meta.classes) + "." if meta.classes else ""


def metric_table(metrics: dict[str, float]) -> str:
    names = [name for name in metrics if not name.endswith(("_low", "_high"))]
    rows = [
        [name, f"{metrics[name]:g}", as_range([metrics[f"{name}_{end}"] for end in ("low", "high") if f"{name}_{end}" in metrics])]
        for name in names
    ]
    return table(["metric", "value", "interval"], rows)


def variant_table(variants: dict[str, Variant]) -> str:
    rows = [[f"`{own.file}`" if own.file else form, own.reason, ", ".join(scores(own))] for form, own in variants.items()]
    return table(["smaller form", "", "its own score"], rows)


def scores(own: Variant) -> list[str]:
    return [f"{name} {value:g}" for name, value in own.equality.score.items()] if own.equality else []


def parity_table(parity: dict[str, Equality]) -> str:
    rows = [
        [
            form,
            str(own.items),
            f"{own.max_difference:.1e}",
            str(own.labels_that_differ),
            ", ".join(f"{name} {value:g}" for name, value in own.score.items()),
        ]
        for form, own in parity.items()
    ]
    return table(["form", "test items", "largest difference", "other labels", "its own score"], rows)
