"""Every check of columns finds the fault that it is for, names the column and says what to do; a table without a fault has no findings."""

import datetime
import random

import pytest

from stages.common.meta import ID_NAME
from tests.stages.auditing.presses import NUM, build, presses, written


def severities(findings):
    return {name: finding["severity"] for name, finding in findings.items()}


def days(first, number, step=1):
    start = datetime.date.fromisoformat(first)
    return [(start + datetime.timedelta(days=step * place)).isoformat() for place in range(number)]


def shuffled(values):
    return random.Random(0).sample(values, len(values))


DATES = {"made_on": {"type": "date", "formats": ["%Y-%m-%d"]}}


def test_nothing_is_found_in_a_table_without_a_fault(tmp_path):
    assert build(tmp_path, presses()) == {}


def test_a_column_that_renames_the_classes_stops_the_training(tmp_path):
    table = presses()
    table["outcome_code"] = [{"0": 11, "1": 42}[label] for label in table["bad"]]
    found = build(tmp_path, table)
    assert severities(found) == {"same_as_target": "stop"}
    finding = found["same_as_target"]
    assert finding["columns"] == ["outcome_code"] and "another name of bad" in finding["sentence"]
    assert "columns.outcome_code.type to dropped in data/schemas/presses.yaml" in finding["advice"]


@pytest.mark.parametrize(
    ("leak", "severity"),
    [
        (lambda label, draw: draw.randint(8, 26) if label == "1" else 0, "warn"),
        (lambda label, draw: draw.choice(["repair", "scrap"]) if label == "1" else draw.choice(["ship", "store"]), "warn"),
        (lambda label, draw: draw.randint(1, 9) if label == "1" else "", "warn"),  # only where it is filled in
        (lambda label, draw: ("x" if label == "1" else "y") if draw.random() < 0.9 else draw.choice("xy"), "note"),
        (lambda label, draw: "returned" if label == "1" and draw.random() < 0.6 else draw.choice(["a", "b"]), "note"),
    ],
)
def test_a_column_that_tells_the_classes_is_named(tmp_path, leak, severity):
    table, draw = presses(400), random.Random(1)
    table["after"] = [leak(label, draw) for label in table["bad"]]
    found = build(tmp_path, table)
    assert found["tells_target"]["columns"] == ["after"] and found["tells_target"]["severity"] == severity


def test_a_number_that_is_the_target_in_other_units_stops_and_a_near_one_is_named(tmp_path):
    table = presses()
    del table["bad"]
    table["fahrenheit"] = [32 + 1.8 * value for value in table["heat"]]
    draw = random.Random(1)
    table["second_sensor"] = [value + draw.gauss(0, 1) for value in table["heat"]]
    found = build(tmp_path, table, targets=["heat"], types={"heat": {"type": "number"}})
    assert severities(found)["same_as_target"] == "stop" and found["same_as_target"]["columns"] == ["fahrenheit"]
    assert severities(found)["tells_target"] == "warn" and found["tells_target"]["columns"] == ["second_sensor"]


@pytest.mark.parametrize("name", ["gross", "price_id", "paid"])
def test_the_target_under_another_name_stops_whatever_it_is_called_and_though_the_rows_are_sorted_by_it(tmp_path, name):
    table = presses()
    del table["bad"]
    table["price"] = [value + row / 100 for row, value in enumerate(sorted(table.pop("heat")))]
    table[name] = [round(1.19 * value, 3) for value in table["price"]]
    assert len(set(table[name])) == NUM
    table[name][-1] = 99999  # a slip, or a word for missing
    found = build(tmp_path, table, targets=["price"], types={"price": {"type": "number"}})
    assert found["same_as_target"]["severity"] == "stop" and found["same_as_target"]["columns"] == [name]
    assert f"{name} is another name of price (in nearly all rows)" in found["same_as_target"]["sentence"]
    assert "id_column" not in found and "tells_target" not in found


@pytest.mark.parametrize("gap", [False, True])
def test_a_code_of_the_classes_that_is_called_an_id_is_no_group_but_stops(tmp_path, gap):
    table, draw = presses(), random.Random(4)
    table["bad"] = [draw.choice(["oak", "elm", "ash", "fir", "yew"]) for _ in range(NUM)]
    table["species_id"] = [{"oak": 3, "elm": 1, "ash": 9, "fir": 2, "yew": 5}[word] for word in table["bad"]]
    if gap:
        table["species_id"][3] = ""
    assert severities(build(tmp_path, table)) == {"same_as_target": "stop"}
    table["species_id"][10:20] = [7] * 10
    assert "same_as_target" not in build(tmp_path, table)


def test_a_rare_flag_is_not_the_rare_class_by_being_rare_too(tmp_path):
    table = presses(1000)
    table["bad"] = [str(int(row % 250 == 0)) for row in range(1000)]
    table["flag"] = [int(row % 250 == 1) for row in range(1000)]
    assert "same_as_target" not in build(tmp_path, table)


@pytest.mark.parametrize("name", ["id", "customer_id", "customerId", "customerID", "ID", "Order UUID"])
def test_these_are_names_of_ids(name):
    assert ID_NAME.search(name)


@pytest.mark.parametrize("name", ["paid", "PAID", "bid", "humid", "Bid", "grid", "liquid", "idle"])
def test_these_are_not(name):
    assert not ID_NAME.search(name)


@pytest.mark.parametrize(
    ("part", "answer"),
    [
        ("day of the week", lambda day: day.weekday() in (1, 4)),
        ("day of the month", lambda day: day.day in (5, 6, 7, 8, 20, 21, 22)),
        ("month", lambda day: day.month in (2, 5, 6, 11)),
    ],
)
def test_a_part_of_a_date_that_tells_the_classes_is_named(tmp_path, part, answer):
    dates = random.Random(6).sample(days("2021-01-01", 1000), 600)
    table = presses(600) | {"made_on": dates}
    table["bad"] = [str(int(answer(datetime.date.fromisoformat(day)))) for day in dates]
    found = build(tmp_path, table, types=DATES)
    assert severities(found) == {"tells_target": "warn", "ignored_time": "note"}
    assert f"The {part} of made_on alone tells bad (right in 100 %" in found["tells_target"]["sentence"]
    assert found["tells_target"]["columns"] == ["made_on"]


def test_gaps_that_the_commonest_class_has_alone_are_named(tmp_path):
    table, draw = presses(400), random.Random(1)
    commonest = max("01", key=table["bad"].count)
    table["after"] = ["" if label == commonest and draw.random() < 0.4 else draw.randint(1, 9) for label in table["bad"]]
    found = build(tmp_path, table)
    assert severities(found) == {"tells_target": "note"} and "% of the rows of one class" in found["tells_target"]["sentence"]


def test_a_number_that_counts_the_rows_is_named_and_what_it_tells_is_said(tmp_path):
    table = presses()
    order = sorted(range(NUM), key=lambda row: table["bad"][row])
    table = {"id": list(range(1000, 1000 + NUM))} | {name: [cells[row] for row in order] for name, cells in table.items()}
    found = build(tmp_path, table)
    assert severities(found) == {"id_column": "warn"}
    assert "counts up in each row, and alone tells bad, since the rows are sorted by it" in found["id_column"]["sentence"]


def test_a_word_of_its_own_for_each_row_is_an_id(tmp_path):
    found = build(tmp_path, presses() | {"tile": [f"T{number * 7919 % 1000}" for number in range(NUM)]})
    assert found["id_column"]["columns"] == ["tile"]


def test_groups_in_which_the_target_is_one_are_found_until_the_split_knows_them(tmp_path):
    table, draw = presses(), random.Random(2)
    table["plant"] = [f"P{row // 6}" for row in range(NUM)]
    table["bad"] = [str(draw.randint(0, 1)) for _ in range(NUM // 6) for _ in range(6)]
    table["bad"] = [str(row // 6 % 2) for row in range(NUM)]
    found = build(tmp_path, table)
    assert severities(found) == {"ignored_group": "warn"} and found["ignored_group"]["columns"] == ["plant"]
    assert "datasets.presses.preprocess.group: plant" in found["ignored_group"]["advice"]
    assert build(tmp_path, table, group="plant") == {}


def test_what_is_called_an_id_and_has_several_rows_is_a_group(tmp_path):
    table = presses() | {"customer_id": shuffled([10 + row // 3 for row in range(NUM)])}
    assert build(tmp_path, table)["ignored_group"]["columns"] == ["customer_id"]


def test_dates_with_a_random_split_are_noted_and_warned_of_where_the_rows_are_in_their_order(tmp_path):
    table = presses() | {"made_on": shuffled(days("2024-01-01", NUM))}
    assert severities(build(tmp_path, table, types=DATES)) == {"ignored_time": "note"}
    table["made_on"] = days("2024-01-01", NUM)
    found = build(tmp_path, table, types=DATES)
    assert severities(found) == {"ignored_time": "warn"}
    assert "datasets.presses.preprocess.time: made_on" in found["ignored_time"]["advice"]
    assert "ignored_time" not in build(tmp_path, table, types=DATES, time="made_on")


def test_a_date_of_the_future_is_found_by_the_dates_beside_it(tmp_path):
    dates = shuffled(days("2024-01-01", NUM))
    dates[7] = "2031-05-01"
    found = build(tmp_path, presses() | {"made_on": dates}, types=DATES)
    assert found["far_dates"]["severity"] == "warn" and found["far_dates"]["lines"] == [9]
    assert "2031-05-01 (1 row) lies far from all others, 2024-01-01 to 2024-04-29" in found["far_dates"]["sentence"]
    dates[7] = "1900-01-01"
    assert build(tmp_path, presses() | {"made_on": dates}, types=DATES)["far_dates"]["severity"] == "note"


@pytest.mark.parametrize("word", [-999, 9999, 100000])
def test_a_number_far_from_all_others_is_a_hint_at_a_word_for_missing(tmp_path, word):
    table = presses()
    table["heat"][4] = word
    found = build(tmp_path, table)
    assert severities(found) == {"far_numbers": "note"} and found["far_numbers"]["lines"] == [6]
    assert f"columns.heat.missing to include {word} in data/schemas/presses.yaml" in found["far_numbers"]["advice"]


def test_a_row_of_totals_is_found_and_is_one_finding(tmp_path):
    draw = random.Random(5)
    table = {f"n{place}": [draw.randint(1, 50) for _ in range(NUM)] for place in range(8)}
    table = {name: [*cells, sum(cells)] for name, cells in table.items()} | {"bad": [draw.choice("01") for _ in range(NUM + 1)]}
    found = build(tmp_path, table)
    assert severities(found) == {"far_row": "warn"} and found["far_row"]["lines"] == [NUM + 2]


def test_constants_and_columns_without_a_value_are_named(tmp_path):
    table = presses() | {"plant": [7] * NUM, "empty": [""] * NUM, "rare": [0] * NUM}
    table["rare"][6] = 1
    table["part"] = ["test" if row >= 90 else "train" for row in range(NUM)]
    build(tmp_path, table, types={"empty": {"type": "number"}, "part": {"type": "dropped"}}, split="part")
    assert [finding["sentence"] for finding in written(tmp_path)["findings"]] == [
        "The column plant is 7 in every row of train.",
        "The column empty has no value in any row of train.",
        "The column rare is 0 in all rows but 1.",
    ]


def test_numbers_that_float32_cannot_tell_apart_are_named(tmp_path):
    table = presses() | {"serial": [16777216 + row for row in range(NUM)]}
    found = build(tmp_path, table)
    assert severities(found) == {"equal_in_float32": "warn"} and found["equal_in_float32"]["columns"] == ["serial"]


def test_targets_of_test_outside_those_of_train_are_counted(tmp_path):
    table = presses()
    table["cost"] = [float(row) + value for row, value in enumerate(table.pop("heat"))]
    table["part"] = ["test" if row >= 100 else "train" for row in range(NUM)]
    types = {"part": {"type": "dropped"}, "cost": {"type": "number"}}
    found = build(tmp_path, table, targets=["cost"], types=types, split="part")
    assert found["target_range"]["severity"] == "warn" and found["target_range"]["lines"][0] >= 102
    assert "outside the range of train" in found["target_range"]["sentence"]


def test_words_and_gaps_that_test_alone_has_are_named(tmp_path):
    table = presses()
    table["part"] = ["test" if row >= 90 else "train" for row in range(NUM)]
    table["clay"] = [clay if row < 90 else "blue" for row, clay in enumerate(table["clay"])]
    table["press"] = [value if row < 90 else "" for row, value in enumerate(table["press"])]
    found = build(tmp_path, table, types={"part": {"type": "dropped"}}, split="part")
    assert severities(found) == {"unseen_words": "warn", "missing_differs": "warn"}
    assert "30 of 30 (100 %) rows have a word in clay that train lacks ('blue')" in found["unseen_words"]["sentence"]
    assert found["missing_differs"]["sentence"] == "The column press is missing in 0 % of train and 100 % of test."


def test_words_that_differ_by_case_alone_are_named(tmp_path):
    table = presses()
    table["clay"] = [clay if row % 2 else clay.upper() for row, clay in enumerate(table["clay"])]
    assert "'GREY', 'grey'" in build(tmp_path, table)["level_variants"]["sentence"]


def test_of_many_findings_of_one_name_the_last_names_the_columns_of_the_rest(tmp_path):
    table = presses() | {f"fixed_{place}": [place] * NUM for place in range(20)}
    build(tmp_path, table)
    findings = written(tmp_path)["findings"]
    assert [finding["columns"] for finding in findings[:8]] == [[f"fixed_{place}"] for place in range(8)]
    assert findings[8]["columns"] == [f"fixed_{place}" for place in range(8, 20)] and len(findings) == 9
