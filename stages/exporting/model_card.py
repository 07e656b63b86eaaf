"""The model card: exported/README.md, for the person who receives a model."""

from typing import Any

from stages.common.meta import Meta
from stages.exporting.parity import BATCH_SIZES
from stages.exporting.signature import Entry, Signature

NOT_REAL = {
    "sample": "**Trained on a small stand-in, not on the real data**: good for trying the pipeline, of no use for anything else.",
    "generated": "The data is a worked example of a lesson: it is all there is.",
    "official": "Trained on the official data.",
}


def model_card(signature: Signature, meta: Meta, training: dict[str, Any], architecture: dict[str, Any], parity: dict[str, float]) -> str:
    items = ", ".join(f"{split} {meta.counts[split].total}" for split in ("train", "val", "test"))
    chosen_on = "validation" if meta.counts["val"].total else "train"
    differences = ", ".join(f"{form} {value:.1e}" for form, value in parity.items())
    sections = [
        f"# {signature.model}",
        f"{meta.description} {NOT_REAL[meta.source]}",
        "## What it takes and gives",
        entry_table([signature.input], "input"),
        entry_table(signature.outputs, "output"),
        class_list(meta),
        "## How it was made",
        f"Architecture: `{architecture}`.",
        f"Recipe: `{training['recipe']}`, seed {training['seed']}.",
        f"Epoch {training['best_epoch']} of {training['epochs']} was the best on {chosen_on} and is kept.",
        f"Data: `{meta.dataset}` ({meta.source}): {items}.",
        "Test metrics: `../metrics.json` and `../plots/`.",
        "## How far it equals the PyTorch model",
        f"Largest difference on test items, batches of {', '.join(map(str, BATCH_SIZES))}: {differences}.",
        "## Use",
        f"`python examples/predict.py model.onnx INPUT` needs numpy, onnxruntime and Pillow only; ONNX opset {signature.opset}.",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def entry_table(entries: list[Entry], word: str) -> str:
    lines = [f"| {word} | type | shape | meaning |", "|---|---|---|---|"]
    lines += [f"| `{entry.name}` | {entry.dtype} | [{', '.join(map(str, entry.shape))}] | {entry.meaning} |" for entry in entries]
    return "\n".join(lines)


def class_list(meta: Meta) -> str:
    return "Classes, in label order: " + ", ".join(meta.classes) + "." if meta.classes else ""
