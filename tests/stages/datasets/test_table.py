"""Tables: cells to numbers and codes as the schema says, and rows to splits."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from stages.check import facts_of
from stages.common.files import as_json
from stages.common.splits import SPLITS, SplitFile
from stages.datasets.table import Preprocess
from stages.reading.group_splits import firsts_of, num_groups, splits_by_group
from stages.reading.row_splits import splits_by_time

NUMBER = {"type": "number"}
SORT = {"type": "category", "levels": ["no", "yes"]}
COLUMNS = {"a": NUMBER, "sort": SORT}


def write(place, content, columns=COLUMNS, targets=("sort",), task="binary", file="table.csv", form=None, **preprocess):
    """A text is written as UTF-8; a list is of lines below the header."""
    if isinstance(content, list):
        content = "\n".join([",".join(columns), *content]) + "\n"
    content = content.encode() if isinstance(content, str) else content
    (place.raw / file).write_bytes(gzip.compress(content) if file.endswith(".gz") else content)
    section = {"task": task, "test_fraction": 0.2, "val_fraction": 0.25, "max_bad_fraction": 0.05} | preprocess
    place.describe("table", **section)
    schema = {"file": file, "targets": list(targets), "columns": columns} | ({"format": form} if form else {})
    for folder in ("data/schemas", "data/checked/datasets"):
        Path(folder).mkdir(parents=True, exist_ok=True)
    Path("data/schemas/own.yaml").write_text(json.dumps(schema))
    facts = facts_of("own", "table", Preprocess.model_validate(section))
    Path("data/checked/datasets/own.json").write_bytes(as_json(facts))


def rows_of(place):
    """By the line in the file: split, inputs and target."""
    found = {}
    for split in SPLITS:
        file = SplitFile(place.processed, split)
        parts = (file.read(name, 0, file.count) for name in ("lines", "inputs", "targets"))
        found |= {int(line): (split, inputs.tolist(), target.tolist()) for line, inputs, target in zip(*parts, strict=True)}
    return dict(sorted(found.items()))


def splits_of(place):
    return [split for split, _, _ in rows_of(place).values()]


MIXED = {
    "note": {"type": "dropped"},
    "price": {"type": "number", "decimal": ",", "thousands": ".", "units": ["€"], "missing": ["-"]},
    "sold": {"type": "date", "formats": ["%d.%m.%Y %H:%M", "%d.%m.%Y"]},
    "land": {"type": "category", "levels": ["NA", "Österreich", "a;b"]},
    "day": {"type": "date", "formats": ["%Y-%m-%d"]},
    "sort": SORT,
}


def test_cells_become_numbers_codes_and_gaps_and_every_row_knows_its_line(place, capsys):
    lines = [
        "note;price;sold;land;day;sort",
        'one;1.234,50 €;02.01.1970 00:01;"a;b";1969-12-31;yes',
        '"two\nlines";-;03.01.1970;NA;;no',
        "three;7;;;2000-03-01;",  # without a label
        "four;x;1.1.1970 0:00;Peru;1970-01-01; yes ",
        *(f"{number};{number};01.01.1970;Österreich;1970-01-01;{'no' if number % 2 else 'yes'}" for number in range(40)),
    ]
    write(place, "\n".join(lines).encode("cp1252"), MIXED, form={"separator": ";", "encoding": "cp1252"}, max_bad_fraction=0.05)
    meta = place.run()
    table, found = meta.input.table, rows_of(place)
    assert (table.numbers, table.dates, table.times) == (
        ["price", "sold", "sold (second of the day)", "day"],
        ["sold", "day"],
        table.numbers[2:3],
    )
    assert [one.name for one in table.categories] == ["land"] and list(table.columns) == ["price", "sold", "land", "day"]
    expected = {2: ([1234.5, 1, 60, -1, 4], 1), 3: ([np.nan, 2, 0, np.nan, 2], 0), 6: ([np.nan, 0, 0, 0, 0], 1), 7: ([0, 0, 0, 0, 3], 1)}
    for line, (inputs, target) in expected.items():
        np.testing.assert_array_equal(found[line][1], inputs, err_msg=f"line {line}")
        assert found[line][2] == target
    assert list(found) == [2, 3, 6, *range(7, 47)]
    assert (meta.left_out.count, meta.left_out.examples) == (1, ["table.csv line 5: has no sort"])
    said = capsys.readouterr().err
    assert "column price: 1 of 44 cells are bad (expected a number): line 6 has 'x'" in said
    assert "column land: 1 of 44 cells are none of its 3 levels and count as unknown: 'Peru' (1)" in said


def test_a_gzipped_file_whose_columns_stand_in_another_order_is_the_same_data(place):
    write(place, "a,sort\n" + "".join(f"{number},{'no' if number % 3 else 'yes'}\n" for number in range(30)))
    place.run()
    before = rows_of(place)
    text = "sort,more,a\n" + "".join(f"{'no' if number % 3 else 'yes'},x,{number}\n" for number in range(30))
    write(place, text, file="table.csv.gz")
    place.run()
    assert rows_of(place) == before


def test_numbers_to_be_predicted_are_kept_as_they_are_and_measured_on_train(place):
    columns = {"a": NUMBER, "price": NUMBER, "size": NUMBER}
    write(place, [f"{number},{1000 + number},{-number / 8}" for number in range(40)], columns, ["price", "size"], "regression")
    meta = place.run()
    targets = np.array([target for split, _, target in rows_of(place).values() if split == "train"])
    assert meta.outputs == ["price", "size"] and rows_of(place)[2][2] == [1000, 0]
    np.testing.assert_allclose(meta.target.mean, targets.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(meta.target.std, targets.std(axis=0), rtol=1e-12)


def test_several_columns_of_two_levels_are_several_classes_at_once(place):
    write(place, [f"{number},{('no', 'yes')[number % 2]},{('no', 'yes')[number % 3 == 0]}" for number in range(40)],
          {"a": NUMBER, "wet": SORT, "cold": SORT}, ["wet", "cold"], "multilabel")  # fmt: skip
    meta = place.run()
    assert meta.classes == ["wet", "cold"] and [rows_of(place)[line][2] for line in (2, 3, 4, 5)] == [[0, 1], [1, 0], [0, 0], [1, 1]]


# Splits


def test_rows_that_are_equal_but_for_the_label_stay_together_and_classes_are_spread(place):
    lines = [f"{number % 100},{'yes' if number % 5 == 0 else 'no'}" for number in range(200)]
    write(place, lines)
    meta = place.run()
    where = {}
    for split, (a,), _ in rows_of(place).values():
        where.setdefault(a, set()).add(split)
    assert len(where) == 100 and all(len(splits) == 1 for splits in where.values())
    assert {split: counts.per_class for split, counts in meta.counts.items()} == {
        "train": {"no": 96, "yes": 24},
        "val": {"no": 32, "yes": 8},
        "test": {"no": 32, "yes": 8},
    }


def test_rows_of_which_few_differ_are_split_one_by_one_so_that_classes_are_in_all_splits_alike(place, capsys):
    flags = {"type": "category", "levels": ["no", "yes"]}
    lines = [f"{'no' if n % 10 else 'yes'},{'no' if n % 3 else 'yes'},{'yes' if n % 10 < 6 else 'no'}" for n in range(400)]
    write(place, lines, {"a": flags, "b": flags, "sort": SORT})
    meta = place.run()
    shares = {split: counts.per_class for split, counts in meta.counts.items()}
    assert shares == {split: {"no": 4 * n, "yes": 6 * n} for split, n in {"train": 24, "val": 8, "test": 8}.items()}
    assert "400 rows have only 4 different inputs: they are split one by one" in capsys.readouterr().err


def test_rows_without_a_group_are_a_group_each_and_counted(place, capsys):
    columns = {"a": NUMBER, "patient": {"type": "dropped", "missing": ["?"]}, "sort": SORT}
    named = {0: "", 1: " ", 2: "?"}
    write(place, [f"{n},{named.get(n % 4, f'p{n % 20}')},{('no', 'yes')[n % 3 > 0]}" for n in range(200)], columns, group="patient")
    meta = place.run()
    assert meta.counts["train"].total < 140 and min(meta.counts[split].total for split in ("val", "test")) > 20
    assert "preprocess.group is 'patient', but 150 of 200 rows have none: each of them is its own group" in capsys.readouterr().err


def test_groups_of_which_there_are_too_few_are_named(place):
    columns = {"a": NUMBER, "patient": {"type": "dropped"}, "sort": SORT}
    write(place, [f"{n},p{n % 2},{('no', 'yes')[n % 3 > 0]}" for n in range(40)], columns, group="patient")
    assert "preprocess.group is 'patient', whose 2 groups leave no row for val: take a column with more groups" in place.refusal()


def test_a_group_stays_whole(place):
    columns = {"a": NUMBER, "patient": {"type": "dropped"}, "sort": SORT}
    write(place, [f"{number},p{number % 20},{('no', 'yes')[number % 2]}" for number in range(200)], columns, group="patient")
    place.run()
    patients = {}
    for line, (split, _, _) in rows_of(place).items():
        patients.setdefault((line - 2) % 20, set()).add(split)
    assert all(len(splits) == 1 for splits in patients.values())
    assert sorted(split for (split,) in patients.values()) == ["test"] * 4 + ["train"] * 12 + ["val"] * 4


def test_the_last_rows_by_time_are_test_and_rows_of_one_time_stay_together(place):
    columns = {"a": NUMBER, "day": {"type": "date", "formats": ["%d.%m.%Y"]}, "sort": SORT}
    days = [(7 * number) % 20 + 1 for number in range(20)] + [16, 17]  # in no order, and two of them twice
    write(place, [f"{number},{day:02}.03.2024,{('no', 'yes')[number % 2]}" for number, day in enumerate(days)], columns, time="day")
    place.run()
    by_day = sorted(zip(days, splits_of(place), strict=True))
    # A fifth of 22 rows is from day 17 on, which is there twice, and another 4 from 15 on.
    assert by_day == [(day, "test" if day >= 17 else "val" if day >= 15 else "train") for day, _ in by_day]
    assert splits_by_time(np.array([3.0, 1.0, 2.0, 2.0]), 0.0, 0.25).tolist() == [2, 0, 0, 0]
    assert splits_by_time(np.array([1.0, 2.0, 2.0]), 0.0, 0.34).tolist() == [0, 2, 2], "not one of two rows of the same time"


def test_a_column_may_say_the_split(place):
    columns = COLUMNS | {"part": {"type": "dropped"}}
    words = ["train", "Test", "validation", "TRAIN", "dev", " test "]
    write(place, [f"{number},{('no', 'yes')[number % 2]},{words[number % 6]}" for number in range(24)], columns, split="part")
    place.run()
    assert splits_of(place) == ["train", "test", "val", "train", "val", "test"] * 4


def test_a_class_of_one_or_two_rows_is_for_learning_alone(place):
    sort = {"type": "category", "levels": ["no", "yes", "once", "twice"]}
    lines = [f"{number},{('no', 'yes')[number % 2]}" for number in range(40)] + ["98,once", "99,twice", "100,twice"]
    write(place, lines, {"a": NUMBER, "sort": sort}, task="multiclass", test_fraction=0.4)
    meta = place.run()
    assert [meta.counts["train"].per_class[name] for name in ("once", "twice")] == [1, 2]
    assert meta.counts["test"].per_class == {"no": 8, "yes": 8, "once": 0, "twice": 0}


def test_which_groups_are_held_out_depends_on_the_file_s_order_and_the_seed_alone():
    labels = np.arange(60) % 3
    names, others = np.arange(60) // 2, (np.arange(60) // 2) * 7 % 31
    first = splits_by_group(names, labels, 0, 0.2, 0.2)
    assert first.tolist() == splits_by_group(others, labels, 0, 0.2, 0.2).tolist()
    assert first.tolist() != splits_by_group(names, labels, 1, 0.2, 0.2).tolist()


def test_groups_are_found_part_by_part_as_they_are_all_at_once():
    rng = np.random.default_rng(0)
    for groups in (
        rng.integers(0, 300, 1000),
        rng.integers(0, 1 << 63, 400).astype(np.uint64)[rng.integers(0, 400, 1000)],
        np.zeros(5, int),
    ):
        _, first, number = np.unique(groups, return_index=True, return_inverse=True)
        assert firsts_of(groups).tolist() == first[number].tolist()
        assert num_groups(firsts_of(groups)) == len(first)


# Refusals

LINES = [f"{number},{('no', 'yes')[number % 2]}" for number in range(20)]
REFUSED = {
    "all bad columns at once": (
        [*LINES, "x,no", "y,maybe", "z,perhaps"],
        {},
        "column a: 3 of 23 cells are bad (expected a number): line 22 has 'x', line 23 has 'y', line 24 has 'z' "
        "(keys: decimal, thousands, units, brackets, missing); column sort, the target: 2 of 23 cells are bad (expected one of no, yes): "
        "line 23 has 'maybe', line 24 has 'perhaps' (keys: levels): fix the file, or the keys of these columns in data/schemas/own.yaml",
    ),
    "cells": ([*LINES, "1,2,3", "1"], {}, "2 of 22 rows have another number of cells than 2: table.csv line 22: has 3 cells, not 2; "),
    "no label at all": ([f"{number}," for number in range(9)], {}, "no row has a sort: check the schema's targets (table.csv line 2"),
    "no row": ([], {}, "has a header and no rows"),
    "nothing": ("", {}, "is empty: there is no header and no row."),
    "a column less": ("b,sort\n1,no\n", {}, "has no column a (it also has b): rename the columns in the file"),
    "a column twice": ("a,sort,a\n1,no,2\n", {}, "has two columns a: rename the columns in the file, or in the schema; its format.names"),
    "a time that is missing": ([*LINES, ",no"], {"time": "a"}, "preprocess.time is 'a', but 1 of 21 rows have none that can be read"),
    "a split that is no split": ([*LINES, "holdout,no"], {"split": "a"}, "preprocess.split is 'a', whose cells must be train, val or test"),
    "a quote that is not closed": ('a,sort\n"1,no\n' + "2,yes\n" * 30000, {}, "line 2: a cell that begins there has more than 131,072"),
    "a zero byte": ("a,sort\n1,n\0o\n", {}, "table.csv line 2 has a zero byte"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "preprocess", "named"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_read_is_refused_in_one_sentence(place, content, preprocess, named):
    write(place, content, **preprocess)
    said = place.refusal()
    assert named in said and "\n" not in said


def test_a_workbook_and_text_of_another_encoding_are_refused_with_what_to_do(place):
    write(place, b"PK\3\4", file="table.xlsx")
    assert "table.xlsx is a workbook" in (said := place.refusal()) and "save the sheet as CSV" in said
    write(place, "a,sort\n1,nö\n".encode("cp1252"))
    assert "is not text in utf-8" in (said := place.refusal()) and "`encoding`" in said


def test_other_files_beside_the_one_that_is_read_are_named(place, capsys):
    write(place, [f"{number},{'yes' if number % 2 else 'no'}" for number in range(20)])
    (place.raw / "table_may.csv").write_text("a,sort\n1,no\n")
    place.run()
    assert "holds table_may.csv too, and table.csv alone is read: the schema's `file` says which" in capsys.readouterr().err


def test_garbled_names_make_the_encoding_be_looked_at(place):
    write(place, "gr\u00f6\u00dfe,sort\n1,no\n".encode(), {"gr\u00f6\u00dfe": NUMBER, "sort": SORT}, form={"encoding": "cp1252"})
    assert "if names look garbled, check its format.encoding, which is cp1252" in place.refusal()
