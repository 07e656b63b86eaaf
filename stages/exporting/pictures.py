"""The learning curves for the model card, as PNG."""

import csv
from pathlib import Path

from stages.common.figures import as_png, new_figure
from stages.shell.errors import UserError

WIDTH, HEIGHT = 8.0, 3.2

Rows = list[dict[str, str]]


def read_rows(path: Path) -> Rows:
    """Raises UserError where there are none."""
    return list(csv.DictReader(read_plot(path).decode().splitlines()))


def read_plot(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: run dvc repro, which makes it before the export.") from error


def learning_curve(rows: Rows) -> bytes:
    """Loss and metric by epoch (of a grid search: by weight) and split; `rows` are those of plots/learning_curve.csv."""
    x = "weight" if "weight" in rows[0] else "epoch"
    shown = [column for column in rows[0] if column not in ("epoch", "split", "lr", "weight")]
    figure = new_figure(WIDTH, HEIGHT)
    for place, column in enumerate(shown, start=1):
        axes = figure.add_subplot(1, len(shown), place)
        for split in dict.fromkeys(row["split"] for row in rows):
            points = [(float(row[x]), float(row[column])) for row in rows if row["split"] == split and row[column]]
            axes.plot(*zip(*points, strict=True) if points else ((), ()), label=split)
        axes.set_xlabel(x)
        axes.set_title(column)
        axes.legend()
    return as_png(figure)
