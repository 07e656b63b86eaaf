"""diabetes.csv: the official file, or rows drawn from a logistic model with its header and its kind of figures, measured on nobody."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field

from stages.common.params import Section
from stages.reading.official import Official
from stages.reading.rows import write_rows

STAND_IN = "A stand-in for diabetes.csv: rows drawn from a logistic model with plausible figures, measured on nobody."


class Sample(Section):
    seed: int = Field(ge=0)
    num_rows: int = Field(ge=20)


class Source(Official):
    sample: Sample


def generate(raw: Path, source: Source) -> None:
    """Write raw/diabetes.csv: about 35 % ones, and zeros where a measurement is missing, as in the real file."""
    rng = np.random.default_rng(source.sample.seed)
    num_rows = source.sample.num_rows
    spread = rng.standard_normal((num_rows, len(COLUMNS)))
    shared = rng.standard_normal((num_rows, 1))  # one hidden trait makes the features depend on each other
    traits = 0.9 * spread + 0.44 * shared
    scores = traits @ np.array([column.weight for column in COLUMNS]) + rng.logistic(size=num_rows)
    outcomes = (scores > np.quantile(scores, 1 - SHARE_OF_ONES)).astype(int)
    cells = [column.cells(traits[:, place], rng) for place, column in enumerate(COLUMNS)]
    write_rows(raw / "diabetes.csv", [[*(column.name for column in COLUMNS), "Outcome"], *zip(*cells, outcomes.tolist(), strict=True)])


@dataclass(frozen=True)
class Column:
    """A feature of the stand-in: exp(location + scale * trait) clipped to a range; `weight` is its part in the outcome."""

    name: str
    median: float
    scale: float
    low: float
    high: float
    digits: int
    missing: float
    weight: float

    def cells(self, trait: np.ndarray, rng: np.random.Generator) -> list[str]:
        values = np.clip(self.median * np.exp(self.scale * trait), self.low, self.high)
        values[rng.random(len(values)) < self.missing] = 0
        return [f"{value:.{self.digits}f}" if value else "0" for value in values]


SHARE_OF_ONES = 0.35
COLUMNS = [
    Column("Pregnancies", 3, 0.9, 0, 15, 0, 0.0, 0.2),
    Column("Glucose", 117, 0.25, 50, 199, 0, 0.007, 0.9),
    Column("BloodPressure", 72, 0.17, 30, 120, 0, 0.046, 0.1),
    Column("SkinThickness", 28, 0.35, 8, 70, 0, 0.296, 0.1),
    Column("Insulin", 125, 0.6, 15, 800, 0, 0.487, 0.1),
    Column("BMI", 32, 0.2, 18, 60, 1, 0.014, 0.5),
    Column("DiabetesPedigreeFunction", 0.4, 0.6, 0.08, 2.4, 3, 0.0, 0.3),
    Column("Age", 30, 0.3, 21, 81, 0, 0.0, 0.3),
]
