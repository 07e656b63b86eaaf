"""Items are shown without padding and by name, and the matrix of classes has the right counts."""

import numpy as np
import pytest

from stages.common.meta import Input
from stages.common.shelves import take_input, take_task


def test_texts_and_features_are_shown_without_padding_and_by_name():
    rows = np.array([[75, 105, 109, 0, 0], [76, 101, 101, 0, 0]], dtype=np.int16)
    assert take_input("characters").shown(rows, Input(kind="characters", shape=[None], dtype="int16")) == ["Kim", "Lee"]
    described = Input(kind="features", shape=[2], dtype="float32", names=["age", "bmi"])
    assert take_input("features").shown(np.array([[1.5, np.nan]], dtype=np.float32), described) == ["age=1.5, bmi=nan"]


@pytest.mark.parametrize(
    ("task", "rows", "counts"),
    [
        ("multiclass", [("a", "a"), ("a", "b"), ("b", "b")], [[1, 0, 0], [1, 1, 0], [0, 0, 0]]),
        ("multilabel", [("a; b", "a"), ("none", "b"), ("b", "b")], [[1, 1, 0], [0, 1, 0], [0, 0, 0]]),
    ],
)
def test_rows_are_true_classes_and_columns_predicted_ones_in_label_order(task, rows, counts):
    drawn = []
    rows = [{"actual": actual, "predicted": predicted} for actual, predicted in rows]
    take_task(task).draw(None, rows, ["b", "a", "c"], lambda axes, counts, names: drawn.append(counts.tolist()))
    assert drawn == [counts]
