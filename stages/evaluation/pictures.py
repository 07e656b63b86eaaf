"""A picture of what was predicted against what is true, as PNG."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stages.common.figures import Axes, as_png, new_figure

NUM_NAMED = 25  # classes whose names there is room for
SIDE = 4.0


def predictions(rows: Sequence[Mapping[str, Any]], classes: list[str] | None) -> bytes:
    """The confusion matrix, or without classes the predicted numbers over the true ones; `rows` are those of plots/predictions.csv."""
    figure = new_figure(SIDE, SIDE)
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
