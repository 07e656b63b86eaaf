"""Photographs in class folders: the official ones, or drawn pictures in folders of the same names.

The drawn pictures are JPEGs of varying size that show figures of insects' make: a row of segments, legs, stripes.
"""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from pydantic import Field

from stages.common.params import Section
from stages.reading.official import Official

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


def _draw(place: int, width: int, height: int, rng: np.random.Generator) -> Image.Image:
    """One picture of class number `place`: an insect-like figure anywhere, any way round, before blurred colours."""
    background = np.clip(rng.uniform(80, 200, size=3) + rng.normal(0, 30, size=(6, 8, 3)), 0, 255)
    image = Image.fromarray(background.astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    figure = Figure(
        centre=np.array([width, height]) * rng.uniform(0.35, 0.65, size=2),
        length=min(width, height) * rng.uniform(0.35, 0.6),
        turn=rng.uniform(0, 2 * np.pi),
        num_segments=3 + place % 3,
        width=0.16 if place % 2 == 0 else 0.26,
        colour=tuple(int(part * rng.uniform(0.8, 1.2)) for part in BODY_COLOURS[place % len(BODY_COLOURS)]),
        striped=place % 2 == 1,
    )
    figure.draw(ImageDraw.Draw(image))
    noisy = np.asarray(image.filter(ImageFilter.GaussianBlur(1))) + rng.normal(0, 8, size=(height, width, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


BODY_COLOURS = [(70, 35, 25), (200, 150, 30), (40, 90, 50), (60, 60, 150), (150, 40, 60)]


@dataclass(frozen=True)
class Figure:
    """A row of segments with a pair of legs each; lengths in pixels, `width` as a part of `length`."""

    centre: np.ndarray
    length: float
    turn: float
    num_segments: int
    width: float
    colour: tuple[int, ...]
    striped: bool

    def draw(self, canvas: ImageDraw.ImageDraw) -> None:
        radius = self.length / self.num_segments
        for segment in range(self.num_segments):
            along = (segment - (self.num_segments - 1) / 2) * radius
            for side in (-1, 1):
                knee, foot = (along, side * 0.3 * self.length), (along + radius / 2, side * 0.45 * self.length)
                canvas.line([self._at(along, 0), self._at(*knee), self._at(*foot)], fill=(30, 25, 20), width=max(1, int(self.length / 40)))
            dark = self.striped and segment % 2 == 1
            canvas.polygon(self._ellipse(along, radius * 0.6, self.width * self.length), fill=(25, 20, 15) if dark else self.colour)

    def _at(self, along: float, across: float) -> tuple[float, float]:
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        return float(self.centre[0] + along * cos - across * sin), float(self.centre[1] + along * sin + across * cos)

    def _ellipse(self, along: float, half_length: float, half_width: float) -> list[tuple[float, float]]:
        angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        return [self._at(along + half_length * np.cos(angle), half_width * np.sin(angle)) for angle in angles]
