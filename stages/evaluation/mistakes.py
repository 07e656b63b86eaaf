"""A picture of the worst mistakes: the test items that the model got most wrong, worst first."""

import io
import math
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

TILE, CAPTION, MARGIN = 112, 34, 8
MAX_SHOWN = 120  # characters of a text
INK, RIGHT, WRONG = (20, 20, 20), (0, 130, 60), (200, 30, 30)


class Caption(NamedTuple):
    """What an item is, what was predicted, and whether that is the same."""

    true: str
    predicted: str
    is_right: bool

    @property
    def colours(self) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        return RIGHT, RIGHT if self.is_right else WRONG

    def cut(self) -> "Caption":
        return Caption(cut(self.true), cut(self.predicted), self.is_right)


def cut(text: str) -> str:
    """As much of `text` as the sheet has room for."""
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


def picture_sheet(inputs: np.ndarray, captions: list[Caption], points: list[tuple[np.ndarray, np.ndarray]] | None) -> Image.Image:
    """uint8 pictures [n, height, width, channels] in a square of tiles, each over the two lines of its caption.

    `points` marks (true, predicted) as row and column in the picture's pixels.
    """
    captions = [caption.cut() for caption in captions]
    columns = max(1, math.ceil(math.sqrt(len(inputs))))
    rows = max(1, math.ceil(len(inputs) / columns))
    font = ImageFont.load_default(12)
    step = MARGIN + max(TILE, *(math.ceil(font.getlength(text)) for caption in captions for text in caption[:2]))
    sheet = Image.new("RGB", (columns * step + MARGIN, rows * (TILE + CAPTION + MARGIN) + MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    for place, (pixels, caption) in enumerate(zip(inputs, captions, strict=True)):
        x, y = MARGIN + place % columns * step, MARGIN + place // columns * (TILE + CAPTION + MARGIN)
        sheet.paste(as_image(pixels).resize((TILE, TILE), Image.Resampling.NEAREST), (x, y))
        if points is not None:
            for (row, column), colour in zip(points[place], (RIGHT, WRONG), strict=True):
                draw_cross(draw, x + (column + 0.5) * TILE / pixels.shape[1], y + (row + 0.5) * TILE / pixels.shape[0], colour)
        for below, text, colour in zip((2, 16), caption[:2], caption.colours, strict=True):
            draw.text((x, y + TILE + below), text, fill=colour, font=font)
    return sheet


def as_image(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).convert("RGB")


def draw_cross(draw: ImageDraw.ImageDraw, x: float, y: float, colour: tuple[int, int, int]) -> None:
    draw.line([x - 6, y, x + 6, y], fill=colour, width=2)
    draw.line([x, y - 6, x, y + 6], fill=colour, width=2)


def text_sheet(lines: list[str], captions: list[Caption]) -> Image.Image:
    """A line an item: the input, the truth, and what was predicted."""
    lines, captions = [cut(line) for line in lines], [caption.cut() for caption in captions]
    font = ImageFont.load_default(14)
    widths = [
        max((font.getlength(text) for text in column), default=0)
        for column in (lines, [caption.true for caption in captions], [caption.predicted for caption in captions])
    ]
    starts = [MARGIN, MARGIN * 3 + widths[0], MARGIN * 5 + widths[0] + widths[1]]
    sheet = Image.new("RGB", (int(starts[2] + widths[2]) + MARGIN, len(lines) * 20 + 2 * MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    for place, (line, caption) in enumerate(zip(lines, captions, strict=True)):
        for start, text, colour in zip(starts, (line, *caption[:2]), (INK, *caption.colours), strict=True):
            draw.text((start, MARGIN + place * 20), text, fill=colour, font=font)
    return sheet


def as_png(sheet: Image.Image) -> bytes:
    file = io.BytesIO()
    sheet.save(file, format="PNG", optimize=True)
    return file.getvalue()
