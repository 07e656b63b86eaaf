import numpy as np
import pytest

LINE = {"task": "regression", "input": "x", "output": "y"}
HOURS = {"task": "binary", "input": "hours", "output": "pass", "classes": ["fail", "pass"]}


def test_every_train_point_trains_and_val_is_empty(place):
    place.describe("points", **LINE)
    place.make("points", train=[[1, 2], [2.5, 4], [3, 6]], test=[[4, 8]])
    meta = place.run()
    inputs, targets = place.split("train")
    assert inputs.tolist() == [[1], [2.5], [3]] and targets.tolist() == [[2], [4], [6]]
    assert (inputs.dtype, targets.dtype) == (np.float32, np.float32)
    assert place.split("val")[0].shape == (0, 1) and place.split("test")[1].tolist() == [[8]]
    assert (meta.source, meta.outputs, meta.classes, meta.input.mean) == ("own", ["y"], None, None)


def test_a_binary_target_is_a_class_number(place):
    place.describe("points", **HOURS)
    place.make("points", train=[[1, 0], [2, 0], [3, 1]], test=[[4, 1]])
    meta = place.run()
    assert place.split("train")[1].dtype == np.int64 and place.split("train")[1].tolist() == [0, 0, 1]
    assert meta.counts["train"].per_class == {"fail": 2, "pass": 1} and meta.counts["val"].per_class == {"fail": 0, "pass": 0}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        *(
            (f"x,y\n{row}\n", f"train.csv line 2 is '{row}', expected a finite number, and 0 or 1")
            for row in ("3,2", "3,one", "3", "nan,1")
        ),
        ("1,2\n", "train.csv must begin with the line x,y"),
    ],
)
def test_a_bad_point_is_named_by_its_line(place, content, sentence):
    place.describe("points", **HOURS)
    place.make("points", train=[[1, 0]], test=[[4, 1]])
    (place.raw / "train.csv").write_text(content)
    assert sentence in place.refusal()
