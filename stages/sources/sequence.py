"""One text to spell from another of the same length, both in params.yaml itself: raw/sequences.csv, the header input,target and one row."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from stages.common.params import Section
from stages.reading.rows import write_rows

HEADER = ["input", "target"]

Text = Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^[!-~]+$")]


class Source(Section):
    """The two texts, of visible ASCII characters."""

    input: Text
    target: Text

    @model_validator(mode="after")
    def _lengths_are_the_same(self) -> "Source":
        if len(self.input) != len(self.target):
            raise ValueError(f"expected input and target of the same length, got {len(self.input)} and {len(self.target)}")
        return self


def generate(raw: Path, source: Source) -> None:
    write_rows(raw / "sequences.csv", [HEADER, [source.input, source.target]])
