"""meta.json is all that is known of a dataset after preprocessing: it comes back as it was written, or is refused by name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages.common.meta import Meta, read_meta
from stages.common.shelves import take_task
from stages.shell.errors import UserError

META: dict[str, Any] = {
    "dataset": "wheat",
    "description": "Fields, measured on nobody.",
    "source": "generated",
    "task": "multiclass",
    "num_outputs": 3,
    "input": {"kind": "image", "shape": [8, 6, 3], "dtype": "uint8", "mean": [0.5, 0.5, 0.5], "std": [0.1, 0.2, 0.3]},
    "classes": ["ripe", "grün", "\u201cfallow\u201d"],
    "outputs": None,
    "counts": {"train": {"total": 3, "per_class": {"ripe": 1, "grün": 2}}, "val": {"total": 0}, "test": {"total": 1}},
    "left_out": {"count": 1, "examples": ["a.png: not a picture"]},
}


@pytest.fixture
def processed(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "wheat" / "processed"
    folder.mkdir(parents=True)
    return folder


def write(processed: Path, **changes: Any) -> None:
    (processed / "meta.json").write_text(json.dumps(META | changes), encoding="utf-8")


def test_meta_comes_back_as_it_was_written(processed: Path) -> None:
    meta = Meta.model_validate(META)
    (processed / "meta.json").write_text(json.dumps(meta.model_dump(mode="json"), ensure_ascii=False), encoding="utf-8")
    assert read_meta(processed) == meta
    assert meta.classes == META["classes"]


@pytest.mark.parametrize(
    ("task", "num_names", "expected"),
    [("binary", 2, 1), ("multiclass", 3, 3), ("multiclass", 2, 2), ("multilabel", 2, 2), ("sequence", 4, 4), ("regression", 2, 2)],
)
def test_the_width_of_the_last_layer_follows_from_the_task(task: str, num_names: int, expected: int) -> None:
    assert take_task(task).width(num_names) == expected


def test_a_missing_file_names_the_stage_that_makes_it(processed: Path) -> None:
    with pytest.raises(UserError) as refused:
        read_meta(processed)
    assert str(refused.value) == f"{processed}/meta.json is missing: run python -m stages.preprocess wheat (or dvc repro) first."


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        lambda text: text.replace('"total"', '"sum"'),
        lambda text: text.replace('"uint8"', '"float64"'),
        lambda text: text.replace("0.5", "NaN"),
        lambda text: text.replace('"dataset": "wheat", ', ""),
        lambda text: text.replace("{", '{"colour": "gold", ', 1),
    ],
    ids=["cut", "empty", "a list", "counts", "dtype", "not a number", "a key less", "a key more"],
)
def test_what_another_version_or_hand_wrote_is_refused(processed: Path, spoil: Callable[[str], str]) -> None:
    write(processed)
    before = (processed / "meta.json").read_text(encoding="utf-8")
    (processed / "meta.json").write_text(spoil(before), encoding="utf-8")
    assert (processed / "meta.json").read_text(encoding="utf-8") != before
    with pytest.raises(UserError) as refused:
        read_meta(processed)
    assert str(refused.value) == f"{processed}/meta.json is not what this version writes: run python -m stages.preprocess wheat again."


def test_what_is_no_text_is_refused(processed: Path) -> None:
    write(processed)
    (processed / "meta.json").write_bytes(b"\xff\xfe" + (processed / "meta.json").read_bytes())
    with pytest.raises(UserError, match=r"meta\.json is not what this version writes"):
        read_meta(processed)


def test_meta_cannot_be_changed_after_reading(processed: Path) -> None:
    write(processed)
    meta = read_meta(processed)
    with pytest.raises(ValueError, match="frozen"):
        meta.task = "binary"
