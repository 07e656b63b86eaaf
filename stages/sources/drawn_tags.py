"""Drawn pictures that show any of a disc, a ring, a square and a cross at once: raw/tags.csv and raw/pictures/*.png.

There are no official files: the pictures stand for photographs that each show several things.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from pydantic import Field

from stages.common.params import Section
from stages.reading.rows import write_rows

CLASSES = ["disc", "ring", "square", "cross"]
SIDE = 32


class Source(Section):
    """Each of `num` pictures shows each thing with probability one half."""

    seed: int = Field(ge=0)
    num: int = Field(ge=20, le=100_000)


def generate(raw: Path, source: Source) -> None:
    rng = np.random.default_rng(source.seed)
    (raw / "pictures").mkdir()
    rows: list[list[object]] = [["picture", *CLASSES]]
    for number in range(source.num):
        shown = rng.integers(0, 2, len(CLASSES))
        name = f"pictures/{number:05}.png"
        draw([thing for thing, is_shown in zip(CLASSES, shown, strict=True) if is_shown], rng).save(raw / name)
        rows.append([name, *shown.tolist()])
    write_rows(raw / "tags.csv", rows)


def draw(things: list[str], rng: np.random.Generator) -> Image.Image:
    """RGB, SIDE pixels square: each thing in a quarter of its own, in any colour, over noise."""
    noise = rng.integers(0, 90, (SIDE, SIDE, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    canvas = ImageDraw.Draw(image)
    for thing, quarter in zip(things, rng.permutation(4), strict=False):
        half, radius = SIDE // 2, rng.uniform(4, 7)
        x, y = (quarter % 2) * half + half / 2 + rng.uniform(-1, 1), (quarter // 2) * half + half / 2 + rng.uniform(-1, 1)
        box, colour = (x - radius, y - radius, x + radius, y + radius), tuple(int(part) for part in rng.integers(140, 256, 3))
        if thing == "disc":
            canvas.ellipse(box, fill=colour)
        elif thing == "ring":
            canvas.ellipse(box, outline=colour, width=2)
        elif thing == "square":
            canvas.rectangle((x - 0.8 * radius, y - 0.8 * radius, x + 0.8 * radius, y + 0.8 * radius), fill=colour)
        else:
            canvas.line((x - radius, y, x + radius, y), fill=colour, width=2)
            canvas.line((x, y - radius, x, y + radius), fill=colour, width=2)
    return image
