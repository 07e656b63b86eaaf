import pytest

from stages.reading.left_out import LeftOutItems, printable
from stages.shell.errors import UserError


def collected(number):
    items = LeftOutItems()
    for index in range(number):
        items.add(f"row {index}", "bad")
    return items


def test_nothing_left_out_says_nothing(capsys):
    collected(0).settle(10, 0.0)
    assert capsys.readouterr().err == ""


def test_exactly_the_allowed_share_is_a_warning_and_one_more_an_error(capsys):
    collected(2).settle(20, 0.1)
    assert capsys.readouterr().err == "warning: 2 of 20 items are left out: row 0: bad; row 1: bad.\n"
    with pytest.raises(UserError, match=r"3 of 20 items are bad.* fix the data or raise max_bad_fraction"):
        collected(3).settle(20, 0.1)
    with pytest.raises(UserError, match=r"20 of 20 items are bad.* check first that the dataset's keys in params.yaml name the right"):
        collected(20).settle(20, 0.1)


def test_only_the_first_few_are_kept_and_all_are_counted():
    summary = collected(1000).summary()
    assert summary.count == 1000 and summary.examples == [f"row {index}: bad" for index in range(5)]


@pytest.mark.parametrize(
    ("text", "shown"),
    [("plain é", "plain é"), ("a\x1b[31m\n\u202e", "a\\x1b[31m\\n\\u202e"), ("\udcff", "\\udcff"), ("x" * 400, "x" * 300 + "...")],
)
def test_hostile_names_are_escaped_and_cut(text, shown):
    assert printable(text) == shown
