"""diabetes.csv: the official file, or rows drawn from a logistic model with its header and its kind of figures, measured on nobody."""

from pathlib import Path

import numpy as np
from pydantic import Field

from stages.common.params import Section
from stages.reading.fetch import Official
from stages.reading.rows import write_rows

STAND_IN = "A stand-in for diabetes.csv: rows drawn from a logistic model with plausible figures, measured on nobody."
SHARE_OF_ONES = 0.35

# A value is median * exp(scale * trait), within low and high; some are missing; the weight is the trait's part in the outcome.
COLUMNS = [  # name, median, scale, low, high, digits, missing, weight
    ("Pregnancies", 3, 0.9, 0, 15, 0, 0.0, 0.2),
    ("Glucose", 117, 0.25, 50, 199, 0, 0.007, 0.9),
    ("BloodPressure", 72, 0.17, 30, 120, 0, 0.046, 0.1),
    ("SkinThickness", 28, 0.35, 8, 70, 0, 0.296, 0.1),
    ("Insulin", 125, 0.6, 15, 800, 0, 0.487, 0.1),
    ("BMI", 32, 0.2, 18, 60, 1, 0.014, 0.5),
    ("DiabetesPedigreeFunction", 0.4, 0.6, 0.08, 2.4, 3, 0.0, 0.3),
    ("Age", 30, 0.3, 21, 81, 0, 0.0, 0.3),
]


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
    scores = traits @ np.array([weight for *_, weight in COLUMNS]) + rng.logistic(size=num_rows)
    outcomes = (scores > np.quantile(scores, 1 - SHARE_OF_ONES)).astype(int)
    cells = []
    for trait, (_, median, scale, low, high, digits, missing, _) in zip(traits.T, COLUMNS, strict=True):
        values = np.clip(median * np.exp(scale * trait), low, high)
        values[rng.random(num_rows) < missing] = 0
        cells.append([f"{value:.{digits}f}" if value else "0" for value in values])
    write_rows(raw / "diabetes.csv", [[*(name for name, *_ in COLUMNS), "Outcome"], *zip(*cells, outcomes.tolist(), strict=True)])
