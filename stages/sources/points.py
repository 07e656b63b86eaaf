"""A handful of points (x, y) that stand in params.yaml itself: raw/train.csv and raw/test.csv, each with the header x,y."""

from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from stages.common.params import Section
from stages.reading.rows import write_rows

HEADER = ["x", "y"]
LARGEST = float(np.finfo(np.float32).max)
Point = Annotated[list[Annotated[float, Field(ge=-LARGEST, le=LARGEST, allow_inf_nan=False)]], Field(min_length=2, max_length=2)]
Points = Annotated[list[Point], Field(min_length=1)]


class Source(Section):
    """The points themselves, [x, y] each."""

    train: Points
    test: Points


def generate(raw: Path, source: Source) -> None:
    for split in ("train", "test"):
        write_rows(raw / f"{split}.csv", [HEADER, *getattr(source, split)])
