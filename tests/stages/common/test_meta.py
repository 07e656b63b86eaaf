"""meta.json is all that is known of a dataset after preprocessing: it comes back as it was written, or is refused by name."""

import json

import pytest

from stages.common.meta import Meta, read_meta
from stages.common.shelves import take_task
from stages.shell.errors import UserError

META = {
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


@pytest.mark.parametrize(
    ("task", "num_names", "expected"),
    [("binary", 2, 1), *((task, 2, 2) for task in ("multiclass", "multilabel", "sequence", "regression"))],
)
def test_the_width_of_the_last_layer_follows_from_the_task(task, num_names, expected):
    assert take_task(task).width(num_names) == expected


def test_what_another_version_or_hand_wrote_is_refused(tmp_path):
    processed = tmp_path / "wheat/processed"
    processed.mkdir(parents=True)
    with pytest.raises(
        UserError, match=r"wheat/processed/meta\.json is missing: run python -m stages\.preprocess wheat \(or dvc repro\) first"
    ):
        read_meta(processed)
    (processed / "meta.json").write_text(text := json.dumps(META, ensure_ascii=False), encoding="utf-8")
    assert read_meta(processed) == Meta.model_validate(META)
    for spoiled in (
        text[: len(text) // 2],
        "[]",
        text.replace('"uint8"', '"float64"'),
        text.replace("0.5", "NaN"),
        text.replace('"dataset": "wheat", ', ""),
        text.replace("{", '{"colour": "gold", ', 1),
        "\udcff" + text,
    ):
        assert spoiled != text
        (processed / "meta.json").write_bytes(spoiled.encode(errors="surrogateescape"))
        with pytest.raises(UserError, match=r"meta\.json is not what this version writes: run python -m stages\.preprocess wheat again"):
            read_meta(processed)
