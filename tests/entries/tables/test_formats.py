"""How a file of a table is laid out: what is found, and what must be told."""

import gzip

import pytest

from entries.tables.formats import format_of
from stages.shell.errors import UserError


def found(tmp_path, content, name="t.csv", **told):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    given = dict.fromkeys(("encoding", "separator", "header", "names")) | told
    return format_of(path, **given)[0].model_dump(exclude_none=True)


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        ("Größe,b\nä,1\n".encode(), "utf-8"),
        ("\ufeffGröße,b\nä,1\n".encode(), "utf-8"),
        ("Größe,b\nä,1\n".encode("utf-16"), "utf-16"),
        ("Größe,b\nä,1\n".encode("utf-32"), "utf-32"),
        (("Größe,Güte\n" + "groß,mäßig\n" * 20).encode("latin-1"), "cp1252"),
        ("Größe,b\n" + "x,1\n" * 400_000 + "ä,1\n", "utf-8"),  # beyond what is looked at first
    ],
)
def test_an_encoding_is_found_in_the_file(tmp_path, content, encoding):
    assert found(tmp_path, content)["encoding"] == encoding


def test_an_encoding_that_only_may_be_right_is_asked_for(tmp_path):
    text = "город,цена\n" + "Москва и другие города,1\n" * 20
    with pytest.raises(UserError, match=r"^t\.csv is not UTF-8, and may be .*: say its encoding \(--encoding "):
        found(tmp_path, text.encode("cp1251"))
    assert found(tmp_path, text.encode("cp1251"), encoding="cp1251")["encoding"] == "cp1251"


@pytest.mark.parametrize(
    ("text", "separator"),
    [
        ("a,b\n1,2\n", ","),
        ("a;b\n1,5;2,5\n1,5;2,5\n", ";"),
        ("a\tb\n1\t2\n", "\t"),
        ("a|b\n1|2\n", "|"),
        ('"a;b;c",d\n"1;2;3",4\n', ","),
        ('a,b\n"two\nlines, and more",1\nplain,2\n', ","),
        ("a,b\n1,2\n1\n1,2,3\n" + "1,2\n" * 20, ","),
    ],
)
def test_the_separator_is_the_sign_by_which_rows_are_alike(tmp_path, text, separator):
    assert found(tmp_path, text)["separator"] == separator


def test_gzip_is_looked_through(tmp_path):
    assert found(tmp_path, gzip.compress(b"a;b\n1;2\n"), "t.csv.gz")["separator"] == ";"


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("", "t.csv is empty: there is no header and no row."),
        (" \n\n", "t.csv is empty: "),
        ("a\n1\n", "t.csv has one column, 'a', and no other to predict it from"),
        (
            "a,b\n1;2;3\n4;5\n6|7\n",
            "t.csv: no sign sets cells apart in the same way on most lines (its first line is 'a,b'): say it with --separator",
        ),
        ("1,2\n3,4\n", "t.csv: the first line has '1' where a column's name should be. If the file has no header, say --no-header"),
        ("a,,b\n1,2,3\n", "t.csv has column 2 without a name: give a name to every column, in their order (--names"),
        ("a,b,a\n1,2,3\n", "t.csv has columns 1 and 3 of one name: "),
    ],
)
def test_what_cannot_be_found_is_asked_for_in_one_sentence(tmp_path, text, refused):
    with pytest.raises(UserError) as error:
        found(tmp_path, text)
    assert str(error.value).startswith(refused)


def test_what_was_told_is_not_questioned(tmp_path):
    assert found(tmp_path, "1,2\n3,4\n", header=False) == {"encoding": "utf-8", "separator": ",", "header": False}
    assert found(tmp_path, "1,2\n3,4\n", header=True)["header"] is True
    assert found(tmp_path, "a,,a\n1,2,3\n", names=["x", "y", "z"])["names"] == ["x", "y", "z"]
    assert found(tmp_path, "a,b\n1;2\n", separator=",")["separator"] == ","


def test_an_empty_last_column_is_no_reason_to_ask(tmp_path):
    assert found(tmp_path, "a,b,\n1,2,\n")["separator"] == ","
