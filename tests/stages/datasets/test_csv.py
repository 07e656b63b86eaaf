import gzip

import numpy as np
import pytest
from pydantic import ValidationError

from stages.datasets.csv import Preprocess

TABLE = {
    "file": "table.csv",
    "label": "sort",
    "classes": ["no", "yes"],
    "zero_is_missing": ["b"],
    "standardise": True,
    "test_fraction": 0.2,
    "val_fraction": 0.25,
    "max_bad_fraction": 0.05,
}
LINES = ["a,sort,b", *(f"{number},{int(number % 4 == 0)},{number % 5}" for number in range(100))]


def write(place, lines, **changes):
    place.describe("csv", **(TABLE | changes))
    (place.raw / place.entry["preprocess"]["file"]).write_text("\n".join(lines) + "\n")


def test_features_are_stored_raw_and_splits_are_stratified(place):
    write(place, LINES)
    meta = place.run()
    assert {split: counts.per_class for split, counts in meta.counts.items()} == {
        "train": {"no": 45, "yes": 15},
        "val": {"no": 15, "yes": 5},
        "test": {"no": 15, "yes": 5},
    }
    inputs, labels = place.split("train")
    assert (inputs.dtype, labels.dtype) == (np.float32, np.int64)
    assert all(label == (a % 4 == 0) and b == a % 5 for (a, b), label in zip(inputs.tolist(), labels, strict=True))
    assert (meta.task, meta.input.names, meta.input.zero_is_missing) == ("binary", ["a", "b"], ["b"])


def test_mean_and_std_are_of_train_alone_and_ignore_missing_values(place):
    write(place, LINES)
    meta = place.run()
    a, b = place.split("train")[0].astype(np.float64).T
    b = b[b != 0]
    np.testing.assert_allclose(meta.input.mean, [a.mean(), b.mean()], rtol=1e-12)
    np.testing.assert_allclose(meta.input.std, [a.std(), b.std()], rtol=1e-12)


def test_standardise_false_leaves_mean_and_std_out(place):
    write(place, LINES, standardise=False, zero_is_missing=[])
    assert place.run().input.mean is None


def test_the_seed_chooses_the_splits(place):
    write(place, LINES)
    place.run()
    first = place.split("test")[0]
    place.seed = 1
    place.run()
    assert first.tolist() != place.split("test")[0].tolist()


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ("abc,1,2", "table.csv line 102, column a: 'abc' is not a number"),
        ("1,1,", "table.csv line 102, column b: the cell is empty"),
        ("inf,1,2", "table.csv line 102, column a: 'inf' is not a finite number of float32"),
        ("NaN,1,2", "table.csv line 102, column a: 'NaN' is not a finite number of float32"),
        ("1e39,1,2", "table.csv line 102, column a: '1e39' is not a finite number of float32"),
        ("1_000,1,2", "table.csv line 102, column a: '1_000' is not a finite number of float32"),
        ("1,2,2", "table.csv line 102, column sort: '2' is not a class from 0 to 1"),
        ("1,0.5,2", "table.csv line 102, column sort: '0.5' is not a class from 0 to 1"),
        ("1,1", "table.csv line 102: has 2 cells, not 3"),
        ("1,1,2,3", "table.csv line 102: has 4 cells, not 3"),
        ('"1,1,2', "table.csv line 102: has 1 cells, not 3"),
        ("\x1b[2J,1,2", "table.csv line 102, column a: '\\x1b[2J' is not a number"),
    ],
)
def test_a_few_bad_rows_are_left_out_named_and_warned_of_once(place, capsys, row, named):
    write(place, [*LINES, row])
    meta = place.run()
    assert meta.left_out.model_dump() == {"count": 1, "examples": [named]}
    assert sum(counts.total for counts in meta.counts.values()) == 100
    assert capsys.readouterr().err == f"warning: 1 of 101 items are left out: {named}.\n"


def test_many_bad_rows_are_refused_naming_the_first_few(place):
    write(place, [*LINES[:50], *("x,1,1" for _ in range(7))])
    sentence = place.refusal()
    assert sentence.startswith("7 of 56 items are bad, more than max_bad_fraction (0.05) allows: table.csv line 51, column a: 'x'")
    assert "line 55" in sentence and "line 56" not in sentence and "and 2 more" in sentence


def test_an_open_quote_spoils_its_line_and_not_the_rest(place):
    write(place, [*LINES[:51], '"50,1,2', *LINES[51:]])
    meta = place.run()
    assert meta.left_out.count == 1
    assert sum(counts.total for counts in meta.counts.values()) == 100


def test_blank_lines_a_byte_order_mark_and_dos_line_ends_are_nothing_special(place):
    place.describe("csv", **TABLE)
    (place.raw / "table.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n\r\n".join(LINES).encode())
    assert place.run().left_out.count == 0


def test_a_gzipped_table_reads_the_same(place):
    write(place, LINES)
    place.run()
    plain = (place.processed / "train.safetensors").read_bytes()
    place.describe("csv", **(TABLE | {"file": "table.csv.gz"}))
    (place.raw / "table.csv.gz").write_bytes(gzip.compress((place.raw / "table.csv").read_bytes()))
    place.run()
    assert (place.processed / "train.safetensors").read_bytes() == plain


def test_three_classes_make_a_multiclass_task(place):
    write(place, ["a,sort,b", *(f"{number},{number % 3},1" for number in range(60))], classes=["x", "y", "z"])
    meta = place.run()
    assert meta.task == "multiclass" and meta.num_outputs == 3
    assert meta.counts["test"].per_class == {"x": 4, "y": 4, "z": 4}


@pytest.mark.parametrize(
    ("lines", "changes", "sentence"),
    [
        (LINES, {"label": "kind"}, "table.csv has no column 'kind' (its first line has a, sort, b)"),
        (LINES, {"zero_is_missing": ["c"]}, "has no column 'c'"),
        (LINES, {"zero_is_missing": ["sort"]}, "preprocess.zero_is_missing names the label, 'sort'"),
        (["a,sort,a", "1,1,1"], {"zero_is_missing": []}, "all different, at least two; it has a, sort, a"),
        (["sort", "1"], {"zero_is_missing": []}, "all different, at least two; it has sort"),
        ([""], {}, "(its first line has nothing)"),
        (["a,sort,b"], {}, "No item is left for train"),
        (["a,sort,b", *("1,0,1" for _ in range(20))], {}, "The class 'yes' has no item in train"),
        (["a,sort,b", *(f"1,{number % 2},0" for number in range(20))], {}, "The feature 'b' is missing in every row of train"),
        (["a,sort,b", "1,1," + "9" * (1 << 20)], {}, "table.csv line 2 is longer than 1,048,576 characters"),
        (LINES, {"test_fraction": 1.0}, "datasets.own.preprocess.test_fraction is 1.0"),
        (LINES, {"tset_fraction": 0.1}, "datasets.own.preprocess.tset_fraction is not a known key"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused(place, lines, changes, sentence):
    write(place, lines, **changes)
    assert sentence in place.refusal()


def test_a_file_outside_raw_is_refused(place):
    place.describe("csv", **(TABLE | {"file": "../table.csv"}))
    assert "without a folder; got '../table.csv'" in place.refusal()


def test_a_missing_file_is_named(place):
    place.describe("csv", **TABLE)
    assert "table.csv is missing" in place.refusal()


def test_a_file_that_is_not_text_is_named(place):
    place.describe("csv", **TABLE)
    (place.raw / "table.csv").write_bytes(b"a,sort,b\n1,1,\xff\xfe\n")
    assert "table.csv is not UTF-8 text" in place.refusal()


def test_a_truncated_gzip_is_named(place):
    place.describe("csv", **(TABLE | {"file": "table.csv.gz"}))
    (place.raw / "table.csv.gz").write_bytes(gzip.compress("\n".join(LINES).encode())[:-30])
    assert "table.csv.gz is a truncated or damaged gzip file" in place.refusal()


def test_the_sample_has_the_real_header_ones_and_missing_zeros(place):
    place.describe("csv", **TABLE)
    place.make("diabetes", sample={"seed": 3, "num_rows": 400})
    header, *rows = (line.split(",") for line in (place.raw / "diabetes.csv").read_text().splitlines())
    assert header[:3] == ["Pregnancies", "Glucose", "BloodPressure"] and header[-1] == "Outcome"
    assert sum(row[-1] == "1" for row in rows) == 140
    insulin = [row[4] == "0" for row in rows]
    assert 0.4 < np.mean(insulin) < 0.6


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"file": ""}, "name of a file in raw/"), ({"file": ".."}, "name of a file in raw/"), ({"classes": ["", "b"]}, "can be shown")],
)
def test_names_that_cannot_be_are_refused(changes, named):
    with pytest.raises(ValidationError, match=named):
        Preprocess.model_validate(TABLE | changes)
