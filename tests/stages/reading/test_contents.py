import gzip

import pytest

from stages.reading import rows
from stages.reading.contents import LeftOutItems, printable
from stages.reading.rows import numbered_rows
from stages.shell.errors import UserError


def collected(number):
    items = LeftOutItems()
    for index in range(number):
        items.add(f"row {index}", "bad")
    return items


def test_exactly_the_allowed_share_is_a_warning_and_one_more_an_error(capsys):
    collected(0).settle(10, 0.0)
    assert capsys.readouterr().err == ""
    collected(2).settle(20, 0.1)
    assert capsys.readouterr().err == "warning: 2 of 20 items are left out: row 0: bad; row 1: bad.\n"
    with pytest.raises(UserError, match=r"3 of 20 items are bad.* fix the data or raise max_bad_fraction"):
        collected(3).settle(20, 0.1)
    with pytest.raises(
        UserError, match=r"20 of 20 items are bad.*; and 15 more; .*check first that the dataset's keys in params.yaml name"
    ):
        collected(20).settle(20, 0.1)


def test_only_the_first_few_are_kept_and_all_are_counted():
    items = collected(1000)
    assert items.count == 1000 and items.examples == [f"row {index}: bad" for index in range(5)]


@pytest.mark.parametrize(
    ("text", "shown"),
    [("plain é", "plain é"), ("a\x1b[31m\n\u202e", "a\\x1b[31m\\n\\u202e"), ("\udcff", "\\udcff"), ("x" * 400, "x" * 300 + "...")],
)
def test_hostile_names_are_escaped_and_cut(text, shown):
    assert printable(text) == shown


def test_a_file_of_too_many_lines_is_refused_blank_ones_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "MAX_LINES", 3)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"a,b\n\n1,2\n"))
    assert list(numbered_rows(tmp_path / "a.csv.gz")) == [(1, ["a", "b"]), (3, ["1", "2"])]
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"a,b\n\n1,2\n\n"))
    with pytest.raises(UserError, match=r"a\.csv\.gz has more than 3 lines"):
        list(numbered_rows(tmp_path / "a.csv.gz"))
