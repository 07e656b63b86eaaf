"""A place with one dataset, `own`, for the tests of a kind of data: its raw files are the test's, then it is preprocessed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.common.meta import Meta, read_meta
from stages.common.shelves import take_part
from stages.common.splits import SplitFile, read_split
from stages.preprocess import preprocess
from stages.shell.errors import UserError
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
        self.entry = {"kind": kind, "raw": "data/own/raw", "preprocess": preprocess_section}

    def make(self, source: str, **section: Any) -> None:
        """Has a part of stages/sources make the raw files; its official ones are never looked at."""
        part = take_part("sources", source, "kind")
        official = {"official": [{"path": "a/a.gz", "sha256": "0" * 64}]} if "official" in part.Source.model_fields else {}
        part.generate(self.raw, part.Source.model_validate(section | official))

    def run(self) -> Meta:
        datasets = {"own": self.entry}
        Path("params.yaml").write_text(json.dumps({"runtime": RUNTIME | {"seed": self.seed}, "datasets": datasets}))
        preprocess("own")
        return read_meta(self.processed)

    def items(self) -> list[str]:
        return list(json.loads((self.processed / "items.json").read_text(encoding="utf-8")))

    def lines(self, split: str) -> list[int]:
        file = SplitFile(self.processed, split)
        return file.read("lines", 0, file.count).tolist()

    def split(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        return read_split(self.processed, name)

    def check_measured(self, meta: Meta) -> None:
        """Mean and std of each channel are of train alone."""
        pixels = self.split("train")[0] / 255
        np.testing.assert_allclose(meta.input.mean or [], pixels.mean(axis=(0, 1, 2)), rtol=1e-12)
        np.testing.assert_allclose(meta.input.std or [], pixels.std(axis=(0, 1, 2)), rtol=1e-12)

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
