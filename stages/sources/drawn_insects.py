"""Photographs in class folders: the official ones, or drawn pictures in folders of the same names.

The drawn pictures are JPEGs of varying size that show figures of insects' make: a row of segments, legs, stripes.
"""

import io
from pathlib import Path
from typing import Annotated

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from pydantic import Field

from stages.common.params import Section
from stages.reading.fetch import Official

STAND_IN = "A stand-in for photographs of insects: drawn pictures of varying size, which show something else."

# A folder in raw/, or a class: no path that leaves it.
Folder = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_/-]*$")]


class Sample(Section):
    """`folders` are train and test, `num_per_class` pictures in each; `size` is the usual width and height in pixels."""

    seed: int = Field(ge=0)
    folders: Annotated[list[Folder], Field(min_length=2, max_length=2)]
    classes: Annotated[list[Folder], Field(min_length=2)]
    num_per_class: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=2, max_length=2)]
    size: Annotated[list[Annotated[int, Field(ge=16, le=4096)]], Field(min_length=2, max_length=2)]


class Source(Official):
    sample: Sample


def generate(raw: Path, source: Source) -> None:
    """Write the drawn JPEGs, <folder>/<class>/0000.jpg and so on."""
    sample = source.sample
    rng = np.random.default_rng(sample.seed)
    for folder, number in zip(sample.folders, sample.num_per_class, strict=True):
        for place, name in enumerate(sample.classes):
            (raw / folder / name).mkdir(parents=True, exist_ok=True)
            for index in range(number):
                width, height = (int(side * rng.uniform(0.8, 1.25)) for side in sample.size)
                content = io.BytesIO()  # Pillow would let a file pass that a full disk cuts short
                _draw(place, width, height, rng).save(content, format="JPEG", quality=88)
                (raw / folder / name / f"{index:04}.jpg").write_bytes(content.getvalue())


BODY_COLOURS = [(70, 35, 25), (200, 150, 30), (40, 90, 50), (60, 60, 150), (150, 40, 60)]


def _draw(place: int, width: int, height: int, rng: np.random.Generator) -> Image.Image:
    """One picture of class number `place`: segments in a row, with legs, anywhere, any way round, before blurred colours."""
    background = np.clip(rng.uniform(80, 200, size=3) + rng.normal(0, 30, size=(6, 8, 3)), 0, 255)
    image = Image.fromarray(background.astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    canvas = ImageDraw.Draw(image)
    x, y = np.array([width, height]) * rng.uniform(0.35, 0.65, size=2)
    length, turn = min(width, height) * rng.uniform(0.35, 0.6), rng.uniform(0, 2 * np.pi)
    colour = tuple(int(part * rng.uniform(0.8, 1.2)) for part in BODY_COLOURS[place % len(BODY_COLOURS)])
    num_segments, half_width = 3 + place % 3, (0.16 if place % 2 == 0 else 0.26) * length

    def at(along: float, across: float) -> tuple[float, float]:
        cos, sin = np.cos(turn), np.sin(turn)
        return float(x + along * cos - across * sin), float(y + along * sin + across * cos)

    radius = length / num_segments
    for segment in range(num_segments):
        along = (segment - (num_segments - 1) / 2) * radius
        for side in (-1, 1):
            leg = [at(along, 0), at(along, side * 0.3 * length), at(along + radius / 2, side * 0.45 * length)]
            canvas.line(leg, fill=(30, 25, 20), width=max(1, int(length / 40)))
        angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        ellipse = [at(along + radius * 0.6 * np.cos(angle), half_width * np.sin(angle)) for angle in angles]
        is_dark = place % 2 == 1 and segment % 2 == 1  # stripes
        canvas.polygon(ellipse, fill=(25, 20, 15) if is_dark else colour)
    noisy = np.asarray(image.filter(ImageFilter.GaussianBlur(1))) + rng.normal(0, 8, size=(height, width, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
