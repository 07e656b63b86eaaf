"""The pictures of the model card: the same bytes for the same rows, and the right counts in the matrix."""

import io

import numpy as np
import pytest
from PIL import Image

from stages.common.classes import confusion
from stages.common.shelves import take_task
from stages.evaluation.pictures import predictions
from stages.exporting.pictures import learning_curve, read_rows
from stages.shell.errors import UserError

CURVE = [{"epoch": str(epoch), "split": split, "lr": "0.1", "loss": str(1 / epoch)} for epoch in (1, 2, 3) for split in ("train", "val")]
GRID = [{"epoch": str(place), "split": "train", "weight": str(place / 10), "loss": "1.0"} for place in range(1, 4)]
NUMBERS = [{"actual": value, "predicted": value + 0.5} for value in (1.0, 2.0, 4.0)]
SEVERAL = [{"actual": "a; b", "predicted": "a"}, {"actual": "none", "predicted": "b"}, {"actual": "b", "predicted": "b"}]
CLASSES = [{"actual": "a", "predicted": "a"}, {"actual": "a", "predicted": "b"}, {"actual": "b", "predicted": "b"}]
PICTURES = {
    "curve": lambda: learning_curve(CURVE),
    "curve without val": lambda: learning_curve([row | {"loss": "" if row["split"] == "val" else row["loss"]} for row in CURVE]),
    "grid search": lambda: learning_curve(GRID),
    "numbers": lambda: predictions(take_task("regression"), NUMBERS, ["y"]),
    "classes": lambda: predictions(take_task("multiclass"), CLASSES, ["a", "b"]),
    "a hundred classes": lambda: predictions(take_task("multiclass"), CLASSES, ["a", "b", *map(str, range(98))]),
    "several classes": lambda: predictions(take_task("multilabel"), SEVERAL, ["a", "b"]),
}


@pytest.mark.parametrize("draw", PICTURES.values(), ids=PICTURES)
def test_the_same_rows_are_the_same_bytes(draw):
    content = draw()
    assert draw() == content
    picture = Image.open(io.BytesIO(content))
    assert picture.format == "PNG" and picture.info.keys() <= {"dpi"}, "no time and no version of anything"
    assert len(np.unique(np.asarray(picture))) > 10


def test_rows_are_true_classes_and_columns_predicted_ones_in_label_order():
    assert confusion(CLASSES, ["b", "a", "c"]).tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 0]]


def test_rows_are_read_as_text(tmp_path):
    (tmp_path / "predictions.csv").write_text('actual,predicted\nNA,"a, b"\n')
    assert read_rows(tmp_path / "predictions.csv") == [{"actual": "NA", "predicted": "a, b"}]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"absent\.csv is missing: run dvc repro"):
        read_rows(tmp_path / "absent.csv")
