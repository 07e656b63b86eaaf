"""What a model predicted against what is true, as PNG."""

from types import ModuleType
from typing import Any

import numpy as np

from stages.common.figures import Axes, as_png, new_figure

NUM_NAMED = 25  # classes whose names there is room for
SIDE = 4.0


def predictions(task: ModuleType, rows: list[dict[str, Any]], names: list[str]) -> bytes:
    """As the task draws them; `rows` are those of plots/predictions.csv, `names` the classes or the numbers."""
    figure = new_figure(SIDE, SIDE)
    axes = figure.add_subplot()
    task.draw(axes, rows, names, draw_matrix)
    axes.set_xlabel("predicted")
    axes.set_ylabel("actual")
    return as_png(figure)


def draw_matrix(axes: Axes, counts: np.ndarray, names: list[str]) -> None:
    """Counts [num_classes, num_classes], each row in colours that add up to 1."""
    axes.imshow(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=1)
    if len(names) <= NUM_NAMED:
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_yticks(range(len(names)), names)
    if len(names) <= NUM_NAMED / 2:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                is_dark = count > counts[row].sum() / 2
                axes.text(column, row, str(count), ha="center", va="center", fontsize=7, color="white" if is_dark else "black")
