"""The rows of text files as a stream: what odd ones hold, and the sentences that refuse hostile ones."""

import gzip

import pytest

from examples.rows import MAX_LINE_LENGTH
from stages.common.meta import Format
from stages.reading.delimited import MAX_CHUNK, MAX_COLUMNS, MAX_NAME, all_rows, data_rows, in_chunks
from stages.shell.errors import UserError


@pytest.fixture
def write(tmp_path):
    def write(content, name="a.csv"):
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return tmp_path / name

    return write


def read(path, **form):
    return list(all_rows(path, Format(**form)))


def refusal(path, wanted=("a",), **form):
    """Of reading the whole file, as preprocess does."""
    with pytest.raises(UserError) as refused:
        list(data_rows(path, Format(**form), list(wanted))[2])
    assert "\n" not in str(refused.value)
    return str(refused.value)


READ = {
    "lines end as on Unix, Windows and old Macs": ("a,b\n1,2\r\n3\r5\n", [(1, ["a", "b"]), (2, ["1", "2"]), (3, ["3"]), (4, ["5"])]),
    "no line end at the end": ("a,b\n1,2", [(1, ["a", "b"]), (2, ["1", "2"])]),
    "blank lines": ("\na,b\n\n \n1,2\n\n", [(2, ["a", "b"]), (5, ["1", "2"])]),
    "a cell of several lines": ('a,b\n"x\r\ny\n",2\n3,4', [(1, ["a", "b"]), (2, ["x\r\ny\n", "2"]), (5, ["3", "4"])]),
    "doubled quotes, and quotes inside": ('a,b\n"6"" pipe",6" pipe\n', [(1, ["a", "b"]), (2, ['6" pipe', '6" pipe'])]),
    "a byte order mark at the start alone": ("\ufeffa,b\n\ufeff1,2", [(1, ["a", "b"]), (2, ["\ufeff1", "2"])]),
    "the line in which Excel says the separator": ("sep=,\r\na,b\r\n1,2", [(2, ["a", "b"]), (3, ["1", "2"])]),
    "such a line further down": ("a,b\nsep=,\n", [(1, ["a", "b"]), (2, ["sep=", ""])]),
    "a comment and a row that is too long": ("a,b\n# note\n1,2,3", [(1, ["a", "b"]), (2, ["# note"]), (3, ["1", "2", "3"])]),
}  # fmt: skip


@pytest.mark.parametrize(("content", "expected"), READ.values(), ids=READ)
def test_rows_stand_on_their_lines(write, content, expected):
    assert read(write(content)) == expected
    assert read(write(gzip.compress(content.encode()), "a.CSV.GZ")) == expected


def test_encodings_are_by_the_byte_order_mark_or_as_said(write):
    expected = [(1, ["größe", "b"]), (2, ["1", "2"])]
    text = "größe;b\n1;2\n"
    assert read(write(text.encode("utf-16")), separator=";") == expected
    assert read(write(text.encode("utf-16-le")), separator=";", encoding="utf-16") == expected
    assert read(write(text.encode("cp1252")), separator=";", encoding="latin-1") == expected


REFUSED = {
    "nothing": ("", "is empty: there is no header and no row"),
    "a zero byte": ("a,b\n1,\x002\n", "line 2 has a zero byte: this is not text, or not in utf-8-sig (if it is UTF-16, say so"),
    "UTF-16 without a mark": ("a,b\n1,2\n".encode("utf-16-le"), "line 1 has a zero byte"),
    "another encoding in the last byte": ("a,b\n" + "1,2\n" * 9 + "1,\xfc", "(invalid start byte) after line"),
    "a quote that is never closed": ('a,b\n1,"2\n' + "3,4\n" * 9, "line 2: a quoted cell begins there and does not end as one"),
    "such a quote in a long file": ('a,b\n1,"2\n' + "3,4\n" * 90_000, "line 2: a cell that begins there has more than 131,072"),
    "a sign behind a quote": ('a,b\n"1"x,2\n', "line 2: a quoted cell begins there and does not end as one"),
    "a line without an end": ("a,b\n" + "1," * MAX_LINE_LENGTH, "line 2 is longer than 1,048,576 characters"),
    "a hundred thousand columns": (",".join(map(str, range(100_000))), f"has 100,000 columns, more than {MAX_COLUMNS:,}"),
    "a name that is a book": ("a," + "b" * 100_000 + "\n1,2", f"the name of column 2 has 100,000 characters, more than {MAX_NAME:,} ('bb"),
    "a column less, and one renamed": ("\x1b[2J,b\n1,2", "has no column a (it also has \\x1b[2J, b): rename"),
    "a column twice": ("a,b,a\n1,2,3", "has two columns a: rename the columns in the file, or in the schema; its format.names can"),
    "a workbook": (b"PK\x03\x04xl/workbook.xml", "is a workbook or another zip file by its content: save the sheet as CSV"),
    "an old workbook": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99), "is an old workbook (.xls) by its content: save the sheet as CSV"),
    "gzip by another name": (gzip.compress(b"a,b\n1,2"), "is gzipped, but its name does not end in .gz"),
    "Parquet by another name": (b"PAR1" + bytes(99), "is a Parquet file, but its name does not end in .parquet"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "named"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_table_is_refused_in_one_sentence_that_says_where(write, content, named):
    content = content.encode("cp1252") if isinstance(content, str) else content
    assert named in refusal(write(content))


def test_a_file_with_another_separator_is_told_from_one_without_the_columns(write):
    said = refusal(write("a;b\n1;2\n"), ["a", "b"])
    assert "one column alone was found with ',' between cells: check format.separator in the schema" in said


def test_a_gzip_file_that_is_cut_or_is_all_one_line_is_refused(write):
    whole = gzip.compress(b"a,b\n" + b"".join(b"%d,%d\n" % (number, number * 7919) for number in range(9999)))
    assert "is a truncated or damaged gzip file" in refusal(write(whole[:-9], "a.csv.gz"))
    assert "is longer than 1,048,576 characters" in refusal(write(gzip.compress(b"0" * (1 << 26)), "a.csv.gz"))
    assert "by its content" in refusal(write(gzip.compress(b"PK\x03\x04"), "a.csv.gz"))


def test_rows_come_in_chunks_of_a_bounded_size():
    rows = [(number, ["x", "y"]) for number in range(10)]
    assert [len(chunk) for chunk in in_chunks(rows, 4)] == [4, 4, 2]
    long = ["x" * (MAX_CHUNK // 2)]
    assert [len(chunk) for chunk in in_chunks([(number, long) for number in range(7)], 1000)] == [3, 3, 1]
    assert list(in_chunks([], 4)) == []


def test_names_by_place_are_not_given_to_columns_of_another_order(write):
    """As predict.py refuses such a file."""
    assert data_rows(write(",b\n1,2\n"), Format(names=["a", "b"]), ["a"])[:2] == ([0], ["a", "b"])
    said = refusal(write("b,a\n1,2\n"), names=["a", "b"])
    assert "a.csv has its columns in another order than the schema's format.names, where names go by place: a, b" in said
