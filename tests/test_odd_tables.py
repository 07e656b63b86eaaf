"""Tiny tables with one fault each, of the mirror (tables/odd): what the audit says of the faults that it is for.

The schemas are those that a person would write who has not seen the fault. Where the files are is told in tests/test_real_data.py.
"""

import csv
import shutil

import pytest

from tests.stages.auditing.presses import build_raw, written
from tests.test_real_data import from_mirror

NUMBER = {"type": "number"}


def category(*levels):
    return {"type": "category", "levels": list(levels)}


@pytest.fixture
def odd(tmp_path):
    """Audits a table of the folder with these columns; returns its findings by name."""

    def build(file, columns, target="bad", accept=(), **section):
        raw = tmp_path / "data/odd/raw"
        raw.mkdir(parents=True, exist_ok=True)
        shutil.copy(from_mirror(f"tables/odd/{file}"), raw / file)
        columns = {target: category("0", "1")} | columns
        return build_raw(tmp_path, "odd", {"file": file, "targets": [target], "columns": columns}, accept, **section)

    build.root = tmp_path
    return build


def named(findings):
    return {name: finding["severity"] for name, finding in findings.items()}


PRESS = {"heat": NUMBER, "press": NUMBER}


def test_target_leak_the_renamed_label_stops_and_the_column_that_tells_it_is_warned_of(odd):
    found = odd("target_leak.csv", PRESS | {"outcome_code": NUMBER, "repaired_minutes": NUMBER})
    assert named(found) == {"same_as_target": "stop", "tells_target": "warn"}
    assert found["same_as_target"]["columns"] == ["outcome_code"]
    assert found["tells_target"]["columns"] == ["repaired_minutes"] and "AUC 1" in found["tells_target"]["sentence"]
    assert written(odd.root, "odd", "verdict") == {"stopped_by": ["same_as_target"]}
    odd("target_leak.csv", PRESS | {"outcome_code": NUMBER, "repaired_minutes": NUMBER}, accept=["same_as_target"])
    assert written(odd.root, "odd", "verdict") == {"stopped_by": []}


def test_id_leaks_order_the_column_counts_up_and_is_to_be_left_out(odd):
    found = odd("id_leaks_order.csv", PRESS | {"id": NUMBER})
    assert named(found) == {"id_column": "warn"}
    assert "counts up in each row, and alone tells bad" in found["id_column"]["sentence"]
    assert found["id_column"]["advice"] == "set columns.id.type to dropped in data/schemas/odd.yaml"


def test_one_row_class_is_named_with_its_count_and_test_has_none_of_it(odd):
    found = odd("one_row_class.csv", PRESS | {"fault": category("0", "1", "2")}, target="fault")
    assert named(found) == {"rare_class": "warn"}
    assert "'2' has 1 in all (1 in train, 0 in val, 0 in test); test has no item of '2'" in found["rare_class"]["sentence"]


def test_duplicate_rows_are_counted_both_ways_and_stop_nothing(odd):
    found = odd("duplicate_rows.csv", PRESS)
    expected = {"duplicate_rows": "warn", "contradicting_rows": "warn"}
    assert expected.items() <= named(found).items() and "stop" not in named(found).values()
    for name in expected:
        assert found[name]["count"] == 60 and "12 different rows" in found[name]["sentence"]


def test_groups_are_found_and_gone_where_the_split_knows_them(odd):
    columns = {"press_id": category(*(f"P{number}" for number in range(10))), "heat": NUMBER, "wear": NUMBER}
    found = odd("groups.csv", columns)
    assert named(found) == {"ignored_group": "warn"} and found["ignored_group"]["columns"][0] == "press_id"
    assert "datasets.odd.preprocess.group: press_id" in found["ignored_group"]["advice"]
    assert odd("groups.csv", columns, group="press_id") == {}


def test_label_variants_are_listed_with_their_counts_and_stop(odd):
    spellings = {"BAD": 3, "Bad": 9, "GOOD": 8, "Good": 6, "bad": 16, "good": 16}
    found = odd("label_variants.csv", PRESS | {"result": category(*spellings)}, target="result")
    assert found["label_variants"]["severity"] == "stop" and found["left_out_rows"]["count"] == 2
    for spelling, count in spellings.items():
        assert f"'{spelling}' ({count})" in found["label_variants"]["sentence"]


def test_overflow_a_serial_number_that_float32_cannot_hold_is_named(odd):
    found = odd("overflow.csv", PRESS | {"serial": NUMBER}, max_bad_fraction=0.2)
    assert found["equal_in_float32"]["severity"] == "warn" and found["equal_in_float32"]["columns"] == ["serial"]


def test_missing_words_a_value_far_outside_is_a_hint(odd):
    heat = NUMBER | {"missing": ["NA", "?", "-", "null", "None"]}
    found = odd("missing_words.csv", {"heat": heat, "press": NUMBER, "country": category("NA", "DE", "FR")})
    assert named(found) == {"far_numbers": "note"}
    assert "-999" in found["far_numbers"]["sentence"] and "columns.heat.missing" in found["far_numbers"]["advice"]


def test_constant_and_empty_columns_are_named(odd):
    columns = dict.fromkeys(("heat", "plant", "empty", "rare", "press"), NUMBER)
    odd("constant_and_empty.csv", columns)
    findings = written(odd.root, "odd")["findings"]
    assert [finding["columns"] for finding in findings if finding["name"] == "constant_column"][:2] == [["plant"], ["empty"]]
    assert [finding["columns"] for finding in findings][2:] == [["rare"]]


def test_dates_three_formats_with_all_of_them_told_are_dates_of_a_random_split(odd):
    formats = {"type": "date", "formats": ["%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y"]}
    assert named(odd("dates_three_formats.csv", PRESS | {"made_on": formats})) == {"ignored_time": "note"}


@pytest.mark.parametrize("file", ["booleans.csv", "clay_train.csv"])
def test_a_table_that_is_odd_to_read_alone_has_no_findings(odd, file):
    with from_mirror(f"tables/odd/{file}").open(encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened))
    words = {name: sorted({row[name] for row in rows}) for name in rows[0]}
    columns = {name: NUMBER if name in ("heat", "press") else category(*levels) for name, levels in words.items()}
    assert odd(file, columns) == {}
