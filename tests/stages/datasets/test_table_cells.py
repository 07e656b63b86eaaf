"""Tables: whole columns are read as each cell is, a new delivery is read in the same way or refused by column, and odd files."""

import csv
import io
import json
import os
import random
import tracemalloc
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from examples import cells
from stages.common.files import as_json
from stages.common.splits import SPLITS, SplitFile
from stages.datasets.table import Preprocess, Rows, pinned
from stages.reading import columns
from stages.reading.columns import ColumnReader
from stages.reading.schema import ColumnSchema, Schema

MIRROR = Path(os.environ.get("DATASETS_MIRROR") or Path(__file__).parents[4] / "shared/datasets") / "tables"
NUMBER, SORT = {"type": "number"}, {"type": "category", "levels": ["no", "yes"]}


def describe(place, columns, target="sort", task="binary", file="a.csv", form=None, **preprocess):
    """The schema and the entry, as check hands them to preprocess."""
    section = {"task": task, "test_fraction": 0.2, "val_fraction": 0.2, "max_bad_fraction": 0.1} | preprocess
    place.describe("table", **section)
    for folder in ("data/schemas", "data/checked/datasets"):
        Path(folder).mkdir(parents=True, exist_ok=True)
    schema = {"file": file, "targets": [target], "columns": columns, "format": form or {}}
    Path("data/schemas/own.yaml").write_text(json.dumps(schema))
    Path("data/checked/datasets/own.json").write_bytes(as_json({"schema": pinned("own", Preprocess.model_validate(section))}))


def inputs_of(place):
    """By line: the inputs, and what is to be predicted."""
    found = {}
    for split in SPLITS:
        file = SplitFile(place.processed, split)
        parts = (file.read(name, 0, file.count) for name in ("lines", "inputs", "targets"))
        found |= {int(line): [*inputs.tolist(), target.tolist()] for line, inputs, target in zip(*parts, strict=True)}
    return dict(sorted(found.items()))


# Columns and cells


PLAIN = ["0", "-0", "7", "+7.5", "1e5", "1E-400", ".5", "5.", "-.5e+3", "007", "123456789.123456789", "3.4e38", "nan", "", "  "]
HOSTILE = ["1e400", "-3.5e38", "1_000", "inf", "0x1A", "1.2.3", "--5", "e5", ".", "-", "1-", "-1-", "٣", "1 2", " 5 ", "5\n", "\n", "1\n2"]
HOSTILE += ["1,5", "1.234,5", "1.234,50-", "(3)", "7 %", "$7", "NA", "-999", " -999", "9" * 999, "9" * 1001, "\ufeff8", "\u22125"]
WAYS = [
    {},
    {"decimal": ","},
    {"decimal": ",", "thousands": "."},
    {"thousands": ","},
    {"thousands": " ", "decimal": ","},
    {"thousands": "'", "units": ["$", "%"], "brackets": True},
    {"missing": ["-999", "NA", "1e5"]},
]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_column_of_numbers_is_read_as_each_of_its_cells_is(way):
    column, rng = ColumnSchema(type="number", **way), random.Random(0)
    read, made = cells.reader_of(column.spec()), ColumnReader("a", column)
    num_bad, decimal = 0, way.get("decimal", ".")
    for _ in range(300):
        share = rng.choice([0, 0, 0.1, 1])
        chunk = [rng.choice(HOSTILE if rng.random() < share else PLAIN).replace(".", decimal) for _ in range(rng.randint(1, 30))]
        expected = []
        for cell in chunk:
            try:
                expected.append(read(cell))
            except cells.BadCell:
                expected.append(np.nan)
                num_bad += 1
        found = made(chunk, np.arange(len(chunk)))
        assert found.tobytes() == np.array(expected).tobytes() or np.array_equal(found, expected, equal_nan=True), chunk
        assert np.array_equal(np.signbit(found), np.signbit(expected)) or "nan" in map(str.lower, chunk) or num_bad, chunk
    assert made.bad == num_bad > 100 and len(made.examples) == 3


def test_a_column_of_plain_numbers_takes_the_quick_way():
    made = ColumnReader("a", ColumnSchema(type="number", missing=["NA"]))
    assert made(["1", "NA", "", "-2.5e3"], np.arange(4)).tolist()[::3] == [1, -2500] and not made.known


def test_what_is_remembered_of_cells_is_bounded(monkeypatch):
    monkeypatch.setattr(columns, "MAX_CACHED", 50)
    made = ColumnReader("a", ColumnSchema(type="category", levels=["x"]))
    for number in range(20):
        made([f"{number} {other}" for other in range(99)] + ["y" * 100_000], np.arange(100))
    assert len(made.known) <= 50 and len(made.unknown) <= 150 and max(map(len, made.known)) < 1000 and max(map(len, made.unknown)) < 100
    assert made.num_unknown == 1980 and made.bad == 20, "a word of more than 1000 characters is none"


def test_memory_does_not_grow_with_the_cells(place):
    """While the file is read it does not grow at all, and some bytes a row while the splits are chosen."""
    columns = dict.fromkeys("abcdefgh", NUMBER) | {"sort": SORT}
    describe(place, columns)
    peaks = []
    for count in (12_000, 18_000):
        lines = (f"{number},{number % 7},{number % 9},1.5,2.5,,7,8,{'no' if number % 3 else 'yes'}" for number in range(count))
        (place.raw / "a.csv").write_text("\n".join([",".join(columns), *lines]))
        schema = Schema.model_validate_json(json.dumps(json.loads(Path("data/checked/datasets/own.json").read_bytes())["schema"]))
        rows = Rows(place.raw / "a.csv", schema, Preprocess.model_validate(place.entry["preprocess"]))
        tracemalloc.start()
        for step in (rows.read, partial(rows.choose_splits, 0)):
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            step()
            peaks.append(tracemalloc.get_traced_memory()[1] - before)
        tracemalloc.stop()
        rows.close()
    assert peaks[2] - peaks[0] < 6_000 * 4
    assert peaks[3] - peaks[1] < 6_000 * 24


# A new delivery

COLUMNS = {
    "heat": NUMBER,
    "made": {"type": "date", "formats": ["%d.%m.%Y"]},
    "shop": {"type": "category", "levels": ["north", "south"]},
    "note": {"type": "dropped"},
    "sort": SORT,
}


def delivery(
    heat="{}.5", made="{:02}.03.2024", north="north", yes="yes", names="heat,made,shop,note,sort", row="{heat},{made},{shop},x,{sort}"
):
    lines = [names]
    for number in range(60):
        shop, sort = ("south", north)[number % 2], ("no", yes)[number % 3 == 0]
        cells = {"heat": heat.format(number), "made": made.format(number % 28 + 1), "shop": shop, "sort": sort}
        lines.append(row.format(**{name: f'"{cell}"' for name, cell in cells.items()}))
    return "\n".join(lines) + "\n"


def test_columns_may_come_in_another_order_with_others_between(place, capsys):
    describe(place, COLUMNS)
    (place.raw / "a.csv").write_text(delivery())
    place.run()
    before = inputs_of(place)
    (place.raw / "a.csv").write_text(delivery(names="sort,new,shop,made, heat ", row="{sort},1,{shop},{made},{heat}"))
    place.run()
    assert inputs_of(place) == before and len(before) == 60
    assert "columns that its schema does not have, and that are not read: new" in capsys.readouterr().err


CHANGED = {
    "a column less": (
        {"names": "made,shop,note,sort", "row": "{made},{shop},x,{sort}"},
        ["has no column heat", "it also has note)", "rename the"],
    ),
    "a column renamed": ({"names": "Heat,made,shop,note,sort"}, ["no column heat", "it also has Heat, note)", "or in the schema"]),
    "another decimal sign": (
        {"heat": "{},5"},
        ["column heat: 60 of 60 cells are bad (expected a number): line 2 has '0,5'", "(numbers with decimal: ',')"],
    ),
    "other dates": ({"made": "2024-03-{:02}"}, ["made: 60 of 60 cells", "a date like %d.%m.%Y): line 2 has '2024-03-01'", "keys: formats"]),
    "a level renamed": (
        {"north": "North"},
        ["column shop: 30 of 60 cells are none of its 2 levels and count as unknown: 'North' (30) (key: levels)"],
    ),
    "a new class": ({"yes": "maybe"}, ["column sort, the target: 20 of 60 cells are bad (expected one of no, yes): line 2 has 'maybe'"]),
    "all of it at once": (
        {"heat": "hot", "made": "{}", "north": "\x1b[2J", "yes": "maybe"},
        ["column heat", "column made", "column shop: 30", "'\\x1b[2J' (30)", "column sort, the target", "max_bad_fraction, now 0.1"],
    ),
}


@pytest.mark.parametrize(("changes", "named"), CHANGED.values(), ids=CHANGED)
def test_a_delivery_that_is_read_otherwise_is_refused_by_column_with_the_key_that_fixes_it(place, changes, named):
    describe(place, COLUMNS)
    (place.raw / "a.csv").write_text(delivery(**changes))
    said = place.refusal()
    assert all(part in said for part in named) and "\n" not in said
    assert "data/schemas/own.yaml" in said or "in the schema" in said


def test_a_few_bad_cells_unknown_words_and_rows_are_counted_and_warned_of(place, capsys):
    describe(place, COLUMNS)
    bad = ["hot,01.03.2024,north,x,no", "1,30.02.2024,east,x,no", '2,01.03.2024,"north\nor south",no', "Total,,,,"]
    (place.raw / "a.csv").write_text(delivery() + "\n".join(bad) + "\n")
    meta = place.run()
    assert (meta.left_out.count, len(inputs_of(place))) == (2, 62)
    said = capsys.readouterr().err
    for part in (
        "2 of 64 items are left out: a.csv line 64: has 4 cells, not 5, and goes on to line 65: is a quote not closed?; "
        "a.csv line 66: has no sort.",
        "column heat: 2 of 64 cells are bad (expected a number): line 62 has 'hot', line 66 has 'Total' (keys: decimal",
        "column made: 1 of 64 cells are bad (expected a date like %d.%m.%Y): line 63 has '30.02.2024' (keys: formats, missing)",
        "column shop: 1 of 64 cells are none of its 2 levels and count as unknown: 'east' (1) (key: levels)",
    ):
        assert part in said


def test_a_parquet_file_is_read_as_the_same_table_in_text(place):
    describe(place, COLUMNS)
    (place.raw / "a.csv").write_text(delivery())
    place.run()
    before = list(inputs_of(place).values())
    columns = {
        "heat": [number + 0.5 for number in range(60)],
        "made": np.array([f"2024-03-{number % 28 + 1:02}" for number in range(60)], "M8[D]"),
    }
    columns |= {"shop": ["south", "north"] * 30, "note": [[1]] * 60, "sort": ["yes", "no", "no"] * 20}
    made = COLUMNS | {"made": {"type": "date", "formats": ["%Y-%m-%d"]}}
    parquet.write_table(pyarrow.table(columns), place.raw / "a.parquet")
    describe(place, made, file="a.parquet")
    place.run()
    assert list(inputs_of(place).values()) == before
    assert list(inputs_of(place)) == list(range(1, 61))


# Odd files as they are found


def from_mirror(name):
    if not (MIRROR / "odd").is_dir():
        pytest.skip(f"{MIRROR}/odd is not there: set DATASETS_MIRROR to a folder with the real files")
    return (MIRROR / "odd" / f"{name}.csv").read_bytes()


def odd(place, name, columns, target="bad", **rest):
    (place.raw / f"{name}.csv").write_bytes(from_mirror(name))
    describe(place, columns, target, file=f"{name}.csv", **rest)
    return place


BAD = {"type": "category", "levels": ["0", "1"]}
PRESS = {"heat": NUMBER, "press": NUMBER, "bad": BAD}


def category(*levels):
    return {"type": "category", "levels": list(levels)}


def test_odd_tables_are_read_as_they_should_be(place, capsys):
    found = from_mirror("bom_quoted_newline").decode("utf-8-sig")
    note = category(*{row[2]: None for row in list(csv.reader(io.StringIO(found, newline="")))[1:]})
    assert len(note["levels"]) == 2
    meta = odd(place, "bom_quoted_newline", {"heat, °C": NUMBER, "press": NUMBER, "note": note, "bad": BAD}).run()
    rows = inputs_of(place)
    assert (len(rows), meta.input.table.numbers[0], max(rows)) == (60, "heat, °C", 67)
    assert sorted(np.bincount([int(row[2]) for row in rows.values()]).tolist()) == [0, 0, 6, 54]

    german = {"decimal": ",", "thousands": ".", "type": "number"}
    columns = {"Hitze": german, "Stückzahl": german, "Größe": category("groß", "klein", "mäßig"), "Güte": category("gut", "ungenügend")}
    odd(place, "german_latin1", columns, "Güte", form={"encoding": "latin-1", "separator": ";"}).run()
    assert inputs_of(place)[2] == [pytest.approx(190.7), 7780, 2, 1]

    money = {
        "cost": NUMBER | {"thousands": ",", "units": ["$"]},
        "share": NUMBER | {"units": ["%"]},
        "balance": NUMBER | {"brackets": True},
    }
    odd(place, "thousands_currency_percent", money | {"length": NUMBER | {"units": ["mm"]}, "bad": BAD}).run()
    assert inputs_of(place)[2] == pytest.approx([1907, 77.8, -7.78, 191, 1])

    odd(place, "mixed_types", PRESS).run()
    said = capsys.readouterr().err
    assert "column heat: 3 of 60 cells are bad (expected a number): line 7 has 'too hot', line 19 has 'n/a', line 33 has '220ish'" in said

    odd(place, "overflow", PRESS | {"serial": {"type": "dropped"}}, max_bad_fraction=0.2).run()
    said = capsys.readouterr().err
    heat = [row[0] for row in inputs_of(place).values()]
    assert (sum(map(np.isnan, heat)), heat.count(0)) == (7, 1) and "column heat: 6 of 60 cells are bad" in said and "'1e400'" in said

    words = NUMBER | {"missing": ["NA", "?", "-", "null", "None", "-999"]}
    odd(place, "missing_words", PRESS | {"heat": words, "country": category("DE", "FR", "NA")}).run()
    assert sum(np.isnan(row[0]) for row in inputs_of(place).values()) == 9 and {row[2] for row in inputs_of(place).values()} == {2, 3, 4}

    dates = {"type": "date", "formats": ["%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%Y-%m-%d %H:%M:%S"]}
    odd(place, "dates_three_formats", PRESS | {"made_on": dates}).run()
    assert "column made_on: 2 of 60 cells are bad" in capsys.readouterr().err

    odd(place, "ragged", PRESS).run()
    said = capsys.readouterr().err
    assert len(inputs_of(place)) == 56
    assert all(f"line {line}: has" in said for line in (6, 11, 21)) and "line 62: has no bad" in said

    odd(place, "utf16_tab", PRESS, form={"separator": "\t"}).run()
    assert inputs_of(place)[2] == pytest.approx([190.7, 7.78, 1])

    postcode = category("01067", "04109", "10115")
    odd(place, "codes_leading_zero", {"postcode": postcode, "machine": category("3", "17", "40"), "heat": NUMBER, "bad": BAD}).run()
    assert inputs_of(place)[2][1:3] == [2, 2]

    pairs = {"a": "FALSE TRUE", "b": "no yes", "c": "ja nein", "d": "f t", "e": "0 1", "bad": "FALSE TRUE"}
    odd(place, "booleans", {name: category(*words.split()) for name, words in pairs.items()} | {"heat": NUMBER}).run()
    assert {code for row in inputs_of(place).values() for code in row[1:6]} == {2, 3}


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("header_only", "has a header and no rows"),
        ("empty", "is empty: there is no header and no row"),
        ("label_only", "has no column heat, press"),
        ("header_blank_duplicate", "has two columns press: rename"),
        ("dates_three_formats", "column made_on: "),
        ("thousands_currency_percent", "column cost: 60 of 60 cells are bad (expected a number): line 2 has '$1,907.00'"),
        ("utf16_tab", "format.separator"),
    ],
)
def test_odd_tables_that_cannot_be_read_are_refused(place, name, named):
    columns = {"dates_three_formats": PRESS | {"made_on": {"type": "date", "formats": ["%Y-%m-%d"]}}}
    columns["thousands_currency_percent"] = {"cost": NUMBER, "share": NUMBER, "bad": BAD}
    assert named in odd(place, name, columns.get(name, PRESS)).refusal()
