"""Pictures for the model card, as PNG: learning curves, and what was predicted against what is true."""

import csv
import io
import os
from pathlib import Path

import numpy as np

# The list of fonts belongs in the checkout, not in HOME; and a user's own settings of matplotlib must not change the pictures.
os.environ.setdefault("MPLCONFIGDIR", "logs/matplotlib")
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stages.common.errors import UserError

NUM_NAMED = 25  # classes whose names there is room for
WIDTH, HEIGHT, DPI = 8.0, 3.2, 80

Rows = list[dict[str, str]]


def read_rows(path: Path) -> Rows:
    """Raises UserError where there are none."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: run dvc repro, which makes it before the export.") from error


def learning_curve(rows: Rows) -> bytes:
    """Loss and metric by epoch (of a grid search: by weight) and split; `rows` are those of plots/learning_curve.csv."""
    x = "weight" if "weight" in rows[0] else "epoch"
    shown = [column for column in rows[0] if column not in ("epoch", "split", "lr", "weight")]
    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, layout="constrained")
    for place, column in enumerate(shown, start=1):
        axes = figure.add_subplot(1, len(shown), place)
        for split in dict.fromkeys(row["split"] for row in rows):
            points = [(float(row[x]), float(row[column])) for row in rows if row["split"] == split and row[column]]
            axes.plot(*zip(*points, strict=True) if points else ((), ()), label=split)
        axes.set_xlabel(x)
        axes.set_title(column)
        axes.legend()
    return as_png(figure)


def predictions(rows: Rows, classes: list[str] | None) -> bytes:
    """The confusion matrix, or without classes the predicted numbers over the true ones; `rows` are those of plots/predictions.csv."""
    figure = Figure(figsize=(WIDTH / 2, WIDTH / 2), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    actual, predicted = [row["actual"] for row in rows], [row["predicted"] for row in rows]
    if classes is None:
        draw_scatter(axes, np.array(actual, dtype=float), np.array(predicted, dtype=float))
    else:
        draw_confusion(axes, confusion(actual, predicted, classes), classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("actual")
    return as_png(figure)


def draw_scatter(axes: Axes, actual: np.ndarray, predicted: np.ndarray) -> None:
    axes.plot(predicted, actual, ".", alpha=0.5)
    ends = [min(actual.min(), predicted.min()), max(actual.max(), predicted.max())]
    axes.plot(ends, ends, "--", color="grey")


def confusion(actual: list[str], predicted: list[str], classes: list[str]) -> np.ndarray:
    """Counts, a row for each true class and a column for each predicted one."""
    places = {name: place for place, name in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(counts, ([places[name] for name in actual], [places[name] for name in predicted]), 1)
    return counts


def draw_confusion(axes: Axes, counts: np.ndarray, names: list[str]) -> None:
    """Each row of the matrix in colours that add up to 1."""
    axes.imshow(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=1)
    if len(names) <= NUM_NAMED:
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_yticks(range(len(names)), names)
    if len(names) <= NUM_NAMED / 2:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                is_dark = count > counts[row].sum() / 2
                axes.text(column, row, str(count), ha="center", va="center", fontsize=7, color="white" if is_dark else "black")


def as_png(figure: Figure) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()
