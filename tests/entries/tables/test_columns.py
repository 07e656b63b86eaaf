"""What a column is taken for, rule by rule, with the reason that is written down; and what a person is asked."""

import pytest

from entries.tables.columns import Question, Seen, Told, describe, way_of_numbers

PLAIN = (".", "")


def seen(*words, name="c", rows=60):
    """A column of the words in turn."""
    column = Seen(name)
    column.add([words[place % len(words)] for place in range(rows)])
    return column


def found(*words, told=None, way=PLAIN, is_target=False, name="c", rows=60):
    column = describe(seen(*words, name=name, rows=rows), told or Told(), way, is_target)
    return {key: value for key, value in column.model_dump().items() if value is not None and key != "example"}


REPEATS = "; repeats: consider --group"
DIFFERENT = [f"{place}.5" for place in range(60)]
WHOLE = [str(place * 37 % 101) for place in range(60)]


@pytest.mark.parametrize(
    ("words", "type_", "why"),
    [
        ([""], "dropped", "empty in every row"),
        ([" ", "\u00a0"], "dropped", "empty in every row"),
        (["7"], "dropped", "the same in every row: '7'"),
        (["yes", ""], "category", "1 words that repeat"),
        (DIFFERENT, "number", "numbers"),
        (["0", "1"], "category", "2 words that repeat"),
        (["01067", "10115"], "category", "codes with leading zeros"),
        ([str(place) for place in range(1, 61)], "dropped", "counts the rows"),
        ([str(year) for year in range(1960, 2020)], "number", "numbers"),
        ([f"name {place}" for place in range(60)], "dropped", "different in each row: an ID, a name or a free text"),
        ([f"name {place}" for place in range(40)], "dropped", "40 different in 60 rows: an ID, a name or a free text" + REPEATS),
        (["a b c d e f", "g h i j k l"], "dropped", "a free text (11 characters on average, 2 different in 60 rows)"),
        (["red", "blue", "green"], "category", "3 words that repeat"),
        (["2024-01-31", "2024-12-05"], "date", "60 cells like %Y-%m-%d"),
        (["31.01.2024", "05.12.2024"], "date", "60 cells like %d.%m.%Y"),
        (["2024-01-31 10:15", "2024-12-05 23:59"], "date", "60 cells like %Y-%m-%d %H:%M"),
        (["20240131", "20241205"], "date", "60 cells like %Y%m%d"),
        ([*DIFFERENT[:57], "NA", "NA", "NA"], "number", "numbers; 'NA' counts as missing"),
        ([*DIFFERENT[:20], *["NA"] * 40], "number", "numbers; 'NA' counts as missing"),
        ([*DIFFERENT[:59], "broken"], "number", "98% of its cells are numbers; 1 other cell counts as missing, such as 'broken'"),
        ([*DIFFERENT[:59], "-999"], "number", "numbers; -999 lies apart: if it means missing, say --missing"),
        (["yes", "Yes", "no"], "category", "3 words that repeat; 'Yes' and 'yes' differ by case alone"),
        (["DE", "FR", "NA"], "category", "3 words that repeat; 'NA' is a word like any other, unless --missing says otherwise"),
    ],
)  # fmt: skip
def test_a_column_is_what_its_cells_are_and_the_reason_is_said(words, type_, why):
    column = found(*words)
    assert (column["type"], column["why"]) == (type_, why)


def test_a_number_that_names_rows_by_its_name_is_dropped():
    assert found(*WHOLE)["type"] == "number"
    assert found(*WHOLE, name="customer_id")["why"] == "different in each row, and named as an ID"


@pytest.mark.parametrize(
    ("words", "way", "expected"),
    [
        (["1,5", "2,5", "3,5"], (",", "."), {"decimal": ",", "thousands": "."}),
        (["$1,907.00", "$2.50", "$3"], (".", ","), {"thousands": ",", "units": ["$"]}),
        (["7.8 %", "9.1 %", "3 %"], PLAIN, {"units": ["%"]}),
        (["191 mm", "12 mm", "7.5 mm"], PLAIN, {"units": ["mm"]}),
        (["(7.78)", "1.5", "2"], PLAIN, {"brackets": True}),
        (["1.5", "n/a", "2", "3"], PLAIN, {"missing": ["n/a"]}),
    ],
)
def test_how_numbers_are_written_is_pinned(words, way, expected):
    assert found(*words, way=way) | expected == found(*words, way=way)


@pytest.mark.parametrize(
    ("cells", "way"),
    [
        (["1.5", "2.25"], PLAIN),
        (["1,5", "2,25"], (",", "")),
        (["1.234,5", "2,25"], (",", ".")),
        (["1,234.5", "2.25"], (".", ",")),
        (["12 301,5", "7,5"], (",", " ")),
        (["12", "word"], PLAIN),
    ],
)
def test_the_decimal_sign_is_that_of_most_cells(cells, way):
    assert way_of_numbers([seen(*cells)], ",")[0] == way


def test_a_comma_that_may_be_either_is_asked_for():
    with pytest.raises(Question, match=r"^'1,234' may be read with a comma before the fraction or between thousands: say --decimal , or"):
        way_of_numbers([seen("1,234", "5,678")], ";")


@pytest.mark.parametrize(("cells", "separator"), [(["1.590", "5.248", "999"], ","), (["1.590", "5.248"], ";")])
def test_a_point_that_may_be_either_is_asked_for(cells, separator):
    with pytest.raises(Question, match=r"^'1.590' in c may be read with a point before the fraction or between thousands: say --decimal"):
        way_of_numbers([seen(*cells)], separator)


@pytest.mark.parametrize("cells", [["0.125", "5.248", "999"], ["1.590", "5.2", "3"], ["1.590", "5.248"], ["1.590", "5.248", "7", "1200"]])
def test_a_point_before_a_fraction_is_taken_for_one(cells):
    assert way_of_numbers([seen(*cells)], ",") == (PLAIN, "")


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["01/02/2024", "03/04/2024"], "c: '01/02/2024' may be read as %d/%m/%Y or %m/%d/%Y: say which (--date 'c=%d/%m/%Y')"),
        (["2024-01-01", "08.02.2024", "3/15/2024"], "c has dates of several forms, such as '2024-01-01', '08.02.2024', '3/15/2024': "),
        (
            [*DIFFERENT[:40], *(f"word {place}" for place in range(20))],
            "c: 67% of its cells are numbers, others are 'word 0', 'word 1', 'word 2': ",
        ),
    ],
)
def test_what_cells_do_not_tell_is_asked_for(words, asked):
    with pytest.raises(Question) as question:
        found(*words)
    assert str(question.value).startswith(asked)


def test_a_target_of_few_numbers_is_one_of_classes():
    assert found("1", "2", "3", is_target=True)["levels"] == ["1", "2", "3"]
    assert found(*WHOLE, is_target=True)["type"] == "number"
    assert found("1", "2", "3", is_target=True, rows=14)["type"] == "number", "of so few rows each they are no classes"
    assert found("1", "2", "3", is_target=True, told=Told(number=frozenset("c")))["type"] == "number"


def test_classes_that_differ_by_case_are_asked_for_with_their_counts():
    with pytest.raises(Question, match=r"^c has classes that differ by case alone: 'Bad' \(20\), 'bad' \(20\): say whether"):
        found("Bad", "bad", "good", is_target=True)
    joined = found("Bad", "bad", "good", is_target=True, told=Told(ignore_case=frozenset("c")))
    assert joined["ignore_case"] is True and len(joined["levels"]) == 2


def test_what_is_told_goes_before_what_is_seen():
    assert found("red", "blue", told=Told(drop=frozenset("c"))) == {"type": "dropped", "why": "told"}
    assert found(*WHOLE, told=Told(category=frozenset("c")))["type"] == "category"
    assert found("01/02/2024", "03/04/2024", told=Told(dates={"c": ["%d/%m/%Y"]}))["formats"] == ["%d/%m/%Y"]
    assert found("x", "-", "y", told=Told(missing={"c": ["-"]}))["levels"] == ["x", "y"]
    assert found("1", "2", "x", told=Told(number=frozenset("c")))["type"] == "number"


def test_blanks_around_a_word_and_the_way_an_accent_is_typed_make_no_other_level():
    assert found("é", "e\u0301", " é ", "x")["levels"] == ["x", "é"]
