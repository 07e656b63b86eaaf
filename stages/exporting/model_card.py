"""The model card, exported/README.md, and the learning curves in it: for the person who receives a model."""

import csv
import html
import re
from collections.abc import Iterable
from typing import Any

from stages.common import curve
from stages.common.comparison import ENDS, NAMES, as_text, baselines, own_metrics, verdict
from stages.common.figures import as_png, new_figure
from stages.common.meta import Meta
from stages.common.shelves import take_task
from stages.common.signature import Entry
from stages.exporting.parity import BATCH_SIZES, Equality
from stages.exporting.signature import Signature

NOT_REAL = {
    "sample": "**Trained on a small stand-in, not on the real data**: good for trying the pipeline, of no use for anything else.",
    "generated": "The data is a worked example of a lesson: it is all there is.",
    "official": "Trained on the official data.",
    "own": "",
}
WIDTH, HEIGHT = 8.0, 3.2  # of the learning curves, in inches


def model_card(signature: Signature, meta: Meta, training: dict[str, Any], architecture: dict[str, Any], strange: dict[str, float]) -> str:
    """`strange` is the largest difference of each form from PyTorch on batches that no test split has."""
    items = ", ".join(f"{split} {meta.counts[split].total}" for split in ("train", "val", "test"))
    differences = ", ".join(f"{form} {value:.1e}" for form, value in strange.items())
    entry, measured = ["type", "shape", "range", "meaning"], ["smallest in train", "largest", "mean"]
    metrics, hashes, task = own_metrics(signature.metrics), signature.hashes, take_task(signature.task)
    beside = {"this model": metrics} | {NAMES[name]: measured for name, measured in baselines(signature.metrics).items()}
    compared = [metric for metric in task.COMPARED if any(metric in measured for measured in beside.values())]
    sections = [
        f"# {signature.model}",
        f"{as_markdown(meta.description)} {NOT_REAL[meta.source]}".strip(),
        "## What it is for",
        as_markdown(signature.use),
        as_markdown(f"Beware: {signature.limits}"),
        as_markdown(f"The model's licence: {signature.licence}. The data's: {signature.data_licence}."),
        "## What it takes and gives",
        table(["input", *entry], map(entry_row, signature.entries)),
        table(
            ["feature", "unit", *measured],
            (
                [as_markdown(one.name), as_markdown(one.unit), *map(as_number, (one.low, one.high, one.mean))]
                for one in signature.features or []
            ),
        ),
        table(["output", *entry], map(entry_row, [*signature.outputs, *([signature.class_name] if signature.class_name else [])])),
        as_markdown(f"Classes, in label order: {', '.join(meta.classes)}.") if meta.classes else "",
        "## How good it is",
        table(
            ["metric", "value", "interval"],
            (
                [name, as_number(metrics[name]), as_range([metrics[end] for end in (f"{name}_low", f"{name}_high") if end in metrics])]
                for name in metrics
                if not name.endswith(ENDS)
            ),
        ),
        f"Of {meta.counts['test'].total} test items, which nothing was chosen by; intervals are of 95 %, by bootstrap.",
        f"{verdict(signature.metrics, task)} Baselines learned from train alone, by the standard settings of scikit-learn."
        if len(beside) > 1
        else "",
        table(
            ["", *compared],
            ([name, *(with_range(measured, metric) for metric in compared)] for name, measured in beside.items() if len(beside) > 1),
        ),
        "![predicted against actual](predictions.png)",
        "Where it errs, where it is weak and which columns matter: [the report](../report.html), made with this card and not part of it.",
        "## How it was made",
        f"Architecture: `{architecture}`.",
        f"Recipe: `{training['recipe']}`, seed {training['seed']}.",
        curve.chosen(training, has_val=meta.counts["val"].total > 0),
        "![learning curves](learning_curve.png)",
        f"Data: `{meta.dataset}` ({meta.source}): {items}.",
        f"SHA-256 of the weights {hashes['weights']}, of the params {hashes['params']}, of the data {hashes['data']}.",
        "## How far it equals the PyTorch model",
        table(
            ["form", "test items", "largest difference", "other labels", "its own score"],
            (
                [form, str(own.items), f"{own.max_difference:.1e}", str(own.labels_that_differ), score_of(own)]
                for form, own in signature.parity.items()
            ),
        ),
        f"On batches of {', '.join(map(str, BATCH_SIZES))} with what no test item has (other lengths, missing values, unknown characters) "
        f"the largest difference is: {differences}.",
        table(
            ["smaller form", "", "its own score"],
            (
                [f"`{own.file}`" if own.file else form, as_markdown(own.reason), score_of(own.equality)]
                for form, own in signature.variants.items()
            ),
        ),
        "`golden` in `signature.json` is an input, and what comes out, to try another runtime with: numbers as base64 of their bytes.",
        "## Use",
        f"`python predict.py model.onnx INPUT` (the repository's `examples/`) needs numpy, onnxruntime {signature.onnxruntime} and Pillow "
        f"only; ONNX opset {signature.opset}. All of `signature.json` stands in the ONNX file's metadata too, under the key `signature`.",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def as_markdown(text: str) -> str:
    """Plain text that renders as it is, on one line: names from data may hold HTML, Markdown and the ends of table cells. What is not
    printable (control characters, signs that turn the direction of writing) is shown as its code.
    """
    shown = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)
    return re.sub(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", html.escape(shown, quote=False))


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    """Empty where there are no rows."""
    lines = [f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows]]
    return "\n".join(lines) if len(lines) > 2 else ""


def entry_row(entry: Entry) -> list[str]:
    return [f"`{entry.name}`", entry.dtype, f"[{', '.join(map(str, entry.shape))}]", as_range(entry.range), as_markdown(entry.meaning)]


def with_range(metrics: dict[str, float], name: str) -> str:
    """Such as 0.231 (0.222 to 0.240), of four digits at most; empty where it was not measured."""
    value, *ends = (as_text(metrics[one], 4) if one in metrics else "" for one in (name, *(f"{name}{end}" for end in ENDS)))
    return f"{value} ({' to '.join(ends)})" if all(ends) else value


def as_number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def as_range(ends: list[float] | None) -> str:
    return " to ".join(map(as_number, ends or []))


def score_of(own: Equality | None) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in own.score.items()) if own else ""


def learning_curve(content: bytes) -> bytes:
    """Loss and metric by split as PNG, of plots/learning_curve.csv."""
    rows = list(csv.DictReader(content.decode().splitlines()))
    x, shown = curve.axis(rows[0]), curve.measures(rows[0])
    figure = new_figure(WIDTH, HEIGHT)
    for place, column in enumerate(shown, start=1):
        axes = figure.add_subplot(1, len(shown), place)
        for split in dict.fromkeys(row["split"] for row in rows):
            points = [(float(row[x]), float(row[column])) for row in rows if row["split"] == split and row[column]]
            axes.plot(*zip(*points, strict=True) if points else ((), ()), label=split)
        axes.set_xscale(curve.scale(rows[0]))
        axes.set_xlabel(x)
        axes.set_title(column)
        axes.legend()
    return as_png(figure)
