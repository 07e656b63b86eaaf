"""What a model predicted, as PNG: against what is true, and the test items that it got most wrong, worst first."""

import io
import math
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from stages.common.figures import Axes, as_png, new_figure

NUM_NAMED = 25  # classes whose names there is room for
SIDE = 4.0
TILE, CAPTION, MARGIN = 112, 34, 8  # pixels
MAX_SHOWN = 120  # characters of a text
INK, RIGHT, WRONG = (20, 20, 20), (0, 130, 60), (200, 30, 30)

Caption = tuple[str, str, bool]  # what an item is, what was predicted, and whether that is the same


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


def mistakes(shown: np.ndarray | list[str], captions: list[Caption], points: list[tuple[np.ndarray, np.ndarray]] | None) -> bytes:
    """Items with what they are and what was predicted, in red, or in green where that is right: pictures uint8 [n, height, width, channels]
    (with `points` (true, predicted) marked in each, as row and column in its pixels), or a line of text for each.
    """
    captions = [(cut(true), cut(predicted), is_right) for true, predicted, is_right in captions]
    sheet = text_sheet([cut(line) for line in shown], captions) if isinstance(shown, list) else picture_sheet(shown, captions, points)
    file = io.BytesIO()
    sheet.save(file, format="PNG", optimize=True)
    return file.getvalue()


def cut(text: str) -> str:
    """As much of `text` as the sheet has room for."""
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


def picture_sheet(inputs: np.ndarray, captions: list[Caption], points: list[tuple[np.ndarray, np.ndarray]] | None) -> Image.Image:
    """A square of tiles, each over the two lines of its caption."""
    columns = max(1, math.ceil(math.sqrt(len(inputs))))
    rows = max(1, math.ceil(len(inputs) / columns))
    font = ImageFont.load_default(12)
    step = MARGIN + max(TILE, *(math.ceil(font.getlength(text)) for caption in captions for text in caption[:2]))
    sheet = Image.new("RGB", (columns * step + MARGIN, rows * (TILE + CAPTION + MARGIN) + MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    for place, (pixels, (true, predicted, is_right)) in enumerate(zip(inputs, captions, strict=True)):
        x, y = MARGIN + place % columns * step, MARGIN + place // columns * (TILE + CAPTION + MARGIN)
        picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).convert("RGB")
        sheet.paste(picture.resize((TILE, TILE), Image.Resampling.NEAREST), (x, y))
        for (row, column), colour in zip(points[place], (RIGHT, WRONG), strict=True) if points else ():
            across, down = x + (column + 0.5) * TILE / pixels.shape[1], y + (row + 0.5) * TILE / pixels.shape[0]
            draw.line([across - 6, down, across + 6, down], fill=colour, width=2)
            draw.line([across, down - 6, across, down + 6], fill=colour, width=2)
        draw.text((x, y + TILE + 2), true, fill=RIGHT, font=font)
        draw.text((x, y + TILE + 16), predicted, fill=RIGHT if is_right else WRONG, font=font)
    return sheet


def text_sheet(lines: list[str], captions: list[Caption]) -> Image.Image:
    """A line an item: the input, the truth, and what was predicted."""
    font = ImageFont.load_default(14)
    columns = [lines, [true for true, _, _ in captions], [predicted for _, predicted, _ in captions]]
    first, second, third = (max((font.getlength(text) for text in column), default=0) for column in columns)
    starts = [MARGIN, MARGIN * 3 + first, MARGIN * 5 + first + second]
    sheet = Image.new("RGB", (int(starts[2] + third) + MARGIN, len(lines) * 20 + 2 * MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    for place, (line, (true, predicted, is_right)) in enumerate(zip(lines, captions, strict=True)):
        colours = INK, RIGHT, RIGHT if is_right else WRONG
        for start, text, colour in zip(starts, (line, true, predicted), colours, strict=True):
            draw.text((start, MARGIN + place * 20), text, fill=colour, font=font)
    return sheet
