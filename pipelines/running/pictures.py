"""Pictures of what the stages have written, as PNG: learning curves, and what was predicted against what is true."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

NUM_NAMED = 25  # classes whose names there is room for
WIDTH, HEIGHT, DPI = 8.0, 3.2, 80


def learning_curve(path: Path) -> bytes:
    """Loss and metric by epoch (of a grid search: by weight) and split, from plots/learning_curve.csv."""
    rows = pd.read_csv(path)
    x = "weight" if "weight" in rows else "epoch"
    shown = [column for column in rows if column not in ("epoch", "split", "lr", "weight")]
    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, layout="constrained")
    for place, column in enumerate(shown, start=1):
        axes = figure.add_subplot(1, len(shown), place)
        for split, curve in rows.groupby("split", sort=False):
            axes.plot(curve[x], curve[column], label=str(split))
        axes.set_xlabel(x)
        axes.set_title(str(column))
        axes.legend()
    return as_png(figure)


def predictions(path: Path) -> bytes:
    """The confusion matrix, or the predicted numbers over the true ones, from plots/predictions.csv."""
    rows = pd.read_csv(path, keep_default_na=False)
    figure = Figure(figsize=(WIDTH / 2, WIDTH / 2), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    draw = draw_scatter if all(pd.api.types.is_float_dtype(rows[column]) for column in rows) else draw_confusion
    draw(axes, rows)
    axes.set_xlabel("predicted")
    axes.set_ylabel("actual")
    return as_png(figure)


def draw_scatter(axes: Axes, rows: pd.DataFrame) -> None:
    axes.plot(rows["predicted"], rows["actual"], ".", alpha=0.5)
    ends = [rows.to_numpy().min(), rows.to_numpy().max()]
    axes.plot(ends, ends, "--", color="grey")


def draw_confusion(axes: Axes, rows: pd.DataFrame) -> None:
    """Each row of the matrix is a true class, and adds up to 1."""
    actual, predicted = (rows[column].astype(str) for column in ("actual", "predicted"))
    names = sorted({*actual, *predicted}, key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name))
    counts = pd.crosstab(actual, predicted).reindex(index=names, columns=names, fill_value=0).to_numpy()
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
    figure.savefig(content, format="png")
    return content.getvalue()
