"""A place with one dataset, `own`, for the tests of a kind of data: its raw files are the test's, then it is preprocessed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.common.errors import UserError
from stages.common.meta import Meta, read_meta
from stages.common.shelves import take_part
from stages.common.splits import read_split
from stages.preprocess import preprocess
from stages.reading.source import write_source
from tests.toy import RUNTIME


class Place:
    """data/own in an empty folder, with an earlier result in processed/ that a failure must leave alone."""

    def __init__(self, root: Path):
        self.raw, self.processed = root / "data/own/raw", root / "data/own/processed"
        self.raw.mkdir(parents=True)
        self.processed.mkdir()
        (self.processed / "meta.json").write_text("the earlier result")
        self.entry: dict[str, Any] = {}
        self.seed = 0

    def describe(self, kind: str, **preprocess_section: Any) -> None:
        self.entry = {"kind": kind, "preprocess": preprocess_section}
        write_source(self.raw, "sample" if "official" in take_part("datasets", kind, "kind").Download.model_fields else "generated")

    def generate(self, **download: Any) -> None:
        part = take_part("datasets", self.entry["kind"], "kind")
        part.generate(self.raw, part.Download.model_validate(download))

    def run(self) -> Meta:
        datasets = {"own": self.entry}
        Path("params.yaml").write_text(json.dumps({"runtime": RUNTIME | {"seed": self.seed}, "datasets": datasets}))
        preprocess("own")
        return read_meta(self.processed)

    def split(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        return read_split(self.processed, name)

    def refusal(self) -> str:
        """The sentence with which preprocess refuses; the earlier result must stand and nothing half-written may be left."""
        with pytest.raises(UserError) as refused:
            self.run()
        assert {path.name for path in self.processed.parent.iterdir()} == {"raw", "processed"}
        assert [path.read_text() for path in self.processed.iterdir()] == ["the earlier result"]
        return str(refused.value)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.chdir(tmp_path)
    return Place(tmp_path)
