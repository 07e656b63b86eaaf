"""Parquet files as rows of cells."""

import datetime
import decimal
import io
import random
import sys

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from examples import parquet as reader
from examples.rows import BadTable
from stages.common.meta import Format
from stages.reading.delimited import all_rows, unreadable
from stages.shell.errors import UserError

DAY, TIME = datetime.date(2024, 2, 29), datetime.datetime(2024, 2, 29, 12, 30, 1, 999)  # noqa: DTZ001  # as most files have it
COLUMNS = {
    "whole": (pyarrow.array([1, None, 2**53 + 1]), ["1", "", "9007199254740993"]),
    "number": (pyarrow.array([0.1, float("nan"), 1e300]), ["0.1", "", "1e+300"]),
    "short": (pyarrow.array([0.1, 2, None], pyarrow.float32()), ["0.1", "2", ""]),
    "money": (pyarrow.array([decimal.Decimal("1.50"), None, decimal.Decimal("-2.00")]), ["1.50", "", "-2.00"]),
    "yes": (pyarrow.array([True, False, None]), ["true", "false", ""]),
    "text": (pyarrow.array(["é\n,", "", None]), ["é\n,", "", ""]),
    "level": (pyarrow.array(["x", None, "y"]).dictionary_encode(), ["x", "", "y"]),
    "code": (pyarrow.array([7, None, 8]).dictionary_encode(), ["7", "", "8"]),
    "day": (pyarrow.array([DAY, None, datetime.date(1, 1, 1)]), ["2024-02-29", "", "0001-01-01"]),
    "time": (pyarrow.array([TIME, None, None], pyarrow.timestamp("ns")), ["2024-02-29 12:30:01", "", ""]),
    "zone": (pyarrow.array([TIME, None, None], pyarrow.timestamp("ms", "Asia/Tokyo")), ["2024-02-29 12:30:01", "", ""]),
    "a.b": (pyarrow.array([1, 2, 3]), ["1", "2", "3"]),
    "a": (pyarrow.array([4, 5, 6]), ["4", "5", "6"]),
    "nothing": (pyarrow.nulls(3), ["", "", ""]),
}
NO_CELLS = {"list": [[1], [2], None], "struct": [{"a": 1}, None, None], "bytes": [b"x", None, None]}


def write(path, columns, **how):
    parquet.write_table(pyarrow.table(columns), path, **how)
    return path


def read(path):
    return list(all_rows(path, Format()))


def test_every_type_becomes_the_cell_that_a_person_would_write(tmp_path):
    path = write(tmp_path / "a.parquet", {name: array for name, (array, _) in COLUMNS.items()} | NO_CELLS)
    (_, names), *rows = read(path)
    assert names == list(COLUMNS)
    assert [line for line, _ in rows] == [1, 2, 3]
    for name, *cells in zip(names, *(row for _, row in rows), strict=True):
        assert cells == COLUMNS[name][1], name
    assert unreadable(path) == {
        "list": "list<element: int64>, which cannot be a cell of a table",
        "struct": "struct<a: int64>, which cannot be a cell of a table",
        "bytes": "binary, which cannot be a cell of a table",
    }


DECIMAL = {"type": "number", "decimal": ",", "thousands": "."}
TIMES = [datetime.datetime(2024, 2, 29), datetime.datetime(2024, 3, 1)]  # noqa: DTZ001


@pytest.mark.parametrize(
    ("values", "column", "cells"),
    [
        (pyarrow.array([1.125, 1e300, None]), DECIMAL, ["1,125", "1e+300", ""]),
        (pyarrow.array(["1.125", "x"]), DECIMAL, ["1.125", "x"]),
        (pyarrow.array([True, False, None]), {"type": "category", "levels": ["TRUE", "False", "x"]}, ["TRUE", "False", ""]),
        (pyarrow.array([True, False]), {"type": "category", "levels": ["TRUE", "true", "x"]}, ["true", "false"]),
        (pyarrow.array([1, float("nan")]), {"type": "category", "levels": ["1", "nan"]}, ["1", ""]),
        (pyarrow.array([DAY, None]), {"type": "date", "formats": ["%y-%m-%d", "%d.%m.%Y"]}, ["29.02.2024", ""]),
        (pyarrow.array(TIMES, pyarrow.timestamp("ns")), {"type": "date", "formats": ["%Y-%m-%d"]}, ["2024-02-29", "2024-03-01"]),
        (
            pyarrow.array([TIME, TIMES[1]]),
            {"type": "date", "formats": ["%d %b %Y", "%Y%m%dT%H:%M:%S"]},
            ["20240229T12:30:01", "20240301T00:00:00"],
        ),
        (pyarrow.array([TIME]), {"type": "date", "formats": ["%d.%m.%Y", "%d.%m.%Y %H:%M"]}, ["2024-02-29 12:30:01"]),
        (pyarrow.array([TIME]), {"type": "date", "formats": ["%d.%m.%Y", "%Y-%m-%d %H:%M:%S"]}, ["2024-02-29 12:30:01"]),
    ],
)
def test_cells_are_written_as_the_column_is_read(tmp_path, values, column, cells):
    with write(tmp_path / "a.parquet", {"a": values, "b": [1] * len(values)}).open("rb") as file:
        assert [row for _, row in reader.Table(file, "it").rows(["a"], {"a": column})] == [[cell] for cell in cells]


def test_rows_of_several_groups_are_counted_on(tmp_path):
    path = write(tmp_path / "a.pq", {"a": range(70_000), "b": ["x", "y"] * 35_000, "c": [0.5] * 70_000}, row_group_size=9_999)
    rows = read(path)[1:]
    assert [(line, cells[0]) for line, cells in rows] == [(number + 1, str(number)) for number in range(70_000)]


def test_what_is_no_parquet_and_what_is_damaged_is_refused_in_a_sentence_or_read(tmp_path):
    path, rng, refused = tmp_path / "a.parquet", random.Random(0), list[str]()
    whole = write(path, {name: array for name, (array, _) in COLUMNS.items()} | NO_CELLS).read_bytes()
    spoiled = [whole[:size] for size in (0, 3, 12, 500, len(whole) - 1)] + [b"a,b\n1,2\n"]
    for _ in range(100):
        bad = bytearray(whole)
        for place in (rng.randrange(4, len(bad)) for _ in range(3)):
            bad[place] = rng.randrange(256)
        spoiled.append(bytes(bad))
    for content in spoiled:
        path.write_bytes(content)
        try:
            read(path)
        except UserError as error:
            refused.append(str(error))
    assert len(refused) > 50 and all(str(path) in said and "\n" not in said for said in refused)
    path.unlink()
    with pytest.raises(UserError, match=r"a\.parquet is missing"):
        read(path)


@pytest.mark.parametrize("length", [130_000, 140_000])
def test_a_few_bytes_cannot_become_terabytes(tmp_path, length):
    places = pyarrow.array([0] * 1_000_000, pyarrow.int32())
    path = write(tmp_path / "a.parquet", {"a": pyarrow.DictionaryArray.from_arrays(places, pyarrow.array(["x" * length]))})
    assert path.stat().st_size < 20_000_000
    with pytest.raises(UserError, match=r"column a has (cells that are too long|a cell of more than 131,072)"):
        read(path)


ZEROS = {"a": np.zeros(1 << 18), "b": ["x"] * (1 << 18)}
ONE_PAGE = {"compression": "zstd", "use_dictionary": False, "data_page_size": 1 << 30, "max_rows_per_page": 1 << 30}


@pytest.mark.parametrize(
    ("how", "limits", "named"),
    [
        (
            ONE_PAGE,
            {"MAX_PAGES": 1 << 21, "MAX_PAGE": 1 << 19},
            r"would fill 3,\d{3},\d{3} bytes of memory at once, more than 2,097,152, most of them .* of column a",
        ),
        (ONE_PAGE | {"data_page_version": "2.0"}, {"MAX_PAGES": 1 << 20, "MAX_PAGE": 1 << 19}, "would fill 3,"),
        ({"use_dictionary": False, "column_encoding": {"b": "DELTA_BYTE_ARRAY"}}, {}, "b is in the encoding DELTA_BYTE_ARRAY"),
        ({"use_dictionary": False, "column_encoding": {"b": "DELTA_LENGTH_BYTE_ARRAY"}}, {}, "b is in the encoding DELTA_LENGTH_"),
        ({}, {"MAX_FOOTER": 100}, "bytes of names and types, more than 100"),
    ],
)
def test_what_would_fill_the_memory_is_refused_before_it_is_unpacked(tmp_path, monkeypatch, how, limits, named):
    path = write(tmp_path / "a.parquet", ZEROS, **how)
    for name, limit in limits.items():
        monkeypatch.setattr(reader, name, limit)
    with pytest.raises(UserError, match=rf"a\.parquet.* {named}"):
        read(path)


def test_without_pyarrow_a_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(BadTable, match=r"^it is a Parquet file, which needs pyarrow .*pip install 'pyarrow>=21'"):
        reader.Table(io.BytesIO(b"PAR1"), "it")


def test_two_columns_of_one_name_are_refused(tmp_path):
    parquet.write_table(pyarrow.Table.from_arrays([pyarrow.array([1])] * 2, names=["a", "a"]), tmp_path / "a.parquet")
    with pytest.raises(UserError, match="two columns of one name"):
        read(tmp_path / "a.parquet")
