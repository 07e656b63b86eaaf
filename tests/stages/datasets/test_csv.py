import gzip

import numpy as np
import pytest

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
    (place.raw / "table.csv").write_text("\n".join(lines) + "\n")


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
    a, b = inputs.astype(np.float64).T
    b = b[b != 0]  # missing
    np.testing.assert_allclose(meta.input.mean, [a.mean(), b.mean()], rtol=1e-12)
    np.testing.assert_allclose(meta.input.std, [a.std(), b.std()], rtol=1e-12)


def test_three_classes_make_a_multiclass_task_and_standardise_false_measures_nothing(place):
    lines = ["a,sort,b", *(f"{number},{number % 3},1" for number in range(60))]
    write(place, lines, classes=["x", "y", "z"], standardise=False, zero_is_missing=[])
    meta = place.run()
    assert (meta.task, meta.num_outputs, meta.input.mean) == ("multiclass", 3, None)
    assert meta.counts["test"].per_class == {"x": 4, "y": 4, "z": 4}


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
        *((f"{cell},1,2", f"column a has '{cell}', expected a finite number of float32") for cell in ("abc", "", "inf", "1e39", "1_000")),
        ("1,2,2", "column sort has '2', expected a class from 0 to 1"),
        ("1,0.5,2", "column sort has '0.5', expected a class from 0 to 1"),
        ("1,1", "has 2 cells, not 3"),
        ('"1,1,2', "has 1 cells, not 3"),  # an open quote spoils its line and not the rest
        ("\x1b[2J,1,2", "column a has '\\x1b[2J', expected a finite number of float32"),
    ],
)
def test_a_few_bad_rows_are_left_out_named_and_warned_of_once(place, capsys, row, named):
    write(place, [*LINES[:51], row, *LINES[51:]])
    meta = place.run()
    assert meta.left_out.model_dump() == {"count": 1, "examples": [f"table.csv line 52: {named}"]}
    assert sum(counts.total for counts in meta.counts.values()) == 100
    assert capsys.readouterr().err == f"warning: 1 of 101 items are left out: table.csv line 52: {named}.\n"


def test_many_bad_rows_are_refused(place):
    write(place, [*LINES[:50], *("x,1,1" for _ in range(7))])
    assert place.refusal().startswith(
        "7 of 56 items are bad, more than max_bad_fraction (0.05) allows: table.csv line 51: column a has 'x'"
    )


def test_blank_lines_a_byte_order_mark_dos_line_ends_and_gzip_change_nothing(place):
    write(place, LINES)
    place.run()
    plain = (place.processed / "train.safetensors").read_bytes()
    place.describe("csv", **(TABLE | {"file": "table.csv.gz"}))
    (place.raw / "table.csv.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf" + "\r\n\r\n".join(LINES).encode()))
    assert place.run().left_out.count == 0
    assert (place.processed / "train.safetensors").read_bytes() == plain


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
        (LINES, {"file": "../table.csv"}, "without a folder; got '../table.csv'"),
        (LINES, {"file": ".."}, "name of a file in raw/"),
        (LINES, {"classes": ["", "b"]}, "can be shown"),
        (LINES, {"standardise": False}, "expected zero_is_missing to be empty where standardise is false"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused(place, lines, changes, sentence):
    write(place, lines, **changes)
    assert sentence in place.refusal()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "table.csv.gz is missing"),
        (gzip.compress(b"a,sort,b\n1,1,\xff\xfe\n"), "table.csv.gz is not UTF-8 text"),
        (gzip.compress("\n".join(LINES).encode())[:-30], "table.csv.gz is a truncated or damaged gzip file"),
    ],
    ids=["missing", "not text", "truncated"],
)
def test_a_file_that_cannot_be_read_is_named(place, content, sentence):
    place.describe("csv", **(TABLE | {"file": "table.csv.gz"}))
    if content is not None:
        (place.raw / "table.csv.gz").write_bytes(content)
    assert sentence in place.refusal()


def test_the_sample_has_the_real_header_ones_and_missing_zeros(place):
    place.make("diabetes", sample={"seed": 3, "num_rows": 400})
    header, *rows = (line.split(",") for line in (place.raw / "diabetes.csv").read_text().splitlines())
    assert header[:3] == ["Pregnancies", "Glucose", "BloodPressure"] and header[-1] == "Outcome"
    assert sum(row[-1] == "1" for row in rows) == 140 and 0.4 < np.mean([row[4] == "0" for row in rows]) < 0.6
