"""Every check of rows and classes finds the fault that it is for, in tables and in what has no columns."""

import contextlib
import json

import numpy as np
import pytest

from stages.audit import audit
from stages.auditing.data import hashes_of
from stages.common.files import as_json
from stages.common.meta import Counts, Input, LeftOut, Meta
from stages.common.splits import SplitWriter, middle
from tests.stages.auditing.presses import NUM, build, presses, schema_of, written


def test_equal_rows_and_those_with_another_target_are_counted(tmp_path):
    table = {name: [cell for cell in cells[:24] for _ in range(5)] for name, cells in presses().items()}
    table["bad"] = [str(int(row % 5 == 0) ^ row // 5 % 2) for row in range(NUM)]
    found = build(tmp_path, table)
    assert {name: (found[name]["severity"], found[name]["count"]) for name in ("duplicate_rows", "contradicting_rows")} == {
        "duplicate_rows": ("warn", NUM),
        "contradicting_rows": ("warn", NUM),
    }
    assert "24 different rows" in found["duplicate_rows"]["sentence"] and "24 different rows" in found["contradicting_rows"]["sentence"]
    assert found["duplicate_rows"]["lines"] == [2, 3, 4, 5, 6]


@pytest.mark.parametrize(("copies", "severity"), [(3, "warn"), (20, "stop")])
def test_rows_of_test_that_stand_in_train_are_found_and_stop_where_they_are_many(tmp_path, copies, severity):
    table = presses()
    table["part"] = ["test" if row >= 80 else "train" for row in range(NUM)]
    for cells in table.values():
        cells += cells[:copies]
    table["part"][NUM:] = ["test"] * copies
    found = build(tmp_path, table, types={"part": {"type": "dropped"}}, split="part")
    assert found["test_rows_in_train"]["severity"] == severity and found["test_rows_in_train"]["count"] == copies
    assert f"{copies} of {40 + copies} " in found["test_rows_in_train"]["sentence"]
    assert "datasets.presses.preprocess.split: part" in found["test_rows_in_train"]["advice"]
    assert written(tmp_path, file="verdict") == {"stopped_by": ["test_rows_in_train"] if severity == "stop" else []}


def in_parts(table, num_train):
    return table | {"part": ["train" if row < num_train else "test" for row in range(len(table["bad"]))]}


PART = {"types": {"part": {"type": "dropped"}}, "split": "part"}


def test_known_rows_of_test_are_a_note_where_less_than_half_of_the_rows_are_different(tmp_path):
    table = {name: [cells[row % 50] for row in range(NUM)] for name, cells in presses().items()}
    found = build(tmp_path, in_parts(table, 80), **PART)
    assert found["test_rows_in_train"]["severity"] == "note"
    assert "there are only 50 different ones in 120, and new ones will be known ones too." in found["test_rows_in_train"]["sentence"]


def test_copies_that_differ_in_one_column_alone_are_found_with_that_column(tmp_path):
    copied = {name: [*cells, *cells[:30]] for name, cells in presses().items()}
    stamps = [f"2024-01-{row % 28 + 1:02} 10:{row % 60:02}:{row // 3:02}" for row in range(NUM + 30)]
    stamped = in_parts(copied | {"seen_at": stamps}, NUM)
    section = {"types": {"part": {"type": "dropped"}, "seen_at": {"type": "date", "formats": ["%Y-%m-%d %H:%M:%S"]}}, "split": "part"}
    found = build(tmp_path, stamped, **section)
    assert {name: one["severity"] for name, one in found.items()} == {"near_copies": "warn"}
    assert found["near_copies"]["columns"] == ["seen_at"] and found["near_copies"]["count"] == 30
    assert "30 of 30 (100 %) rows are equal to one of train but for seen_at" in found["near_copies"]["sentence"]


def test_rows_of_words_and_one_number_are_no_copies_of_each_other(tmp_path):
    table = presses(600)
    del table["press"]
    table |= {name: table["clay"][place:] + table["clay"][:place] for place, name in enumerate(("glaze", "kiln", "form"), 1)}
    table["heat"] = [180 + row * 0.07 for row in range(600)]
    assert "near_copies" not in build(tmp_path, table)


def test_a_class_that_is_far_more_frequent_in_test_is_named_with_its_shares(tmp_path):
    table = presses(400)
    table["bad"] = [str(int(row % 10 == 0 if row < 300 else row % 2 == 0)) for row in range(400)]
    found = build(tmp_path, in_parts(table, 300), **PART)
    assert found["class_shares"]["severity"] == "warn"
    assert "'1' is 10 % of train and 50 % of test" in found["class_shares"]["sentence"]
    assert "datasets.presses.preprocess.split: part" in found["class_shares"]["advice"]


def test_a_class_of_one_row_is_named_with_its_count_and_that_test_lacks_it(tmp_path):
    table = presses()
    table["bad"][11] = "2"
    found = build(tmp_path, table)
    assert found["rare_class"]["severity"] == "warn"
    assert "'2' has 1 in all (1 in train, 0 in val, 0 in test); test has no item of '2'" in found["rare_class"]["sentence"]


def test_classes_that_differ_by_case_stop_the_training_and_are_listed_with_their_counts(tmp_path):
    table = presses()
    table["bad"] = [{"0": "good", "1": "bad"}[label] for label in table["bad"]]
    table["bad"][:20] = [label.upper() for label in table["bad"][:20]]
    found = build(tmp_path, table)
    counts = {label: table["bad"].count(label) for label in ("BAD", "GOOD", "bad", "good")}
    assert found["label_variants"]["severity"] == "stop"
    for label, count in counts.items():
        assert f"'{label}' ({count})" in found["label_variants"]["sentence"]
    assert "columns.bad.ignore_case in data/schemas/presses.yaml" in found["label_variants"]["advice"]


def test_rows_that_were_left_out_are_noted(tmp_path):
    table = presses()
    table["bad"][3] = ""
    found = build(tmp_path, table)
    assert found["left_out_rows"]["count"] == 1 and "line 5" in found["left_out_rows"]["sentence"]


def test_of_a_handful_of_rows_nothing_else_is_said(tmp_path):
    table = {name: cells[:15] for name, cells in presses().items()}
    table["code"] = table["bad"]
    assert list(build(tmp_path, table, schema=schema_of(table, ["bad"]))) == ["few_rows"]


# What has no columns


def pictures(root, train, test, labels):
    """Pictures uint8 [n, height, width, 1] of two classes as the dataset `pictures`; returns its findings by name."""
    processed = root / "data/pictures/processed"
    processed.mkdir(parents=True)
    splits = {"train": train, "val": train[:0], "test": test}
    counted = {}
    for split, items in splits.items():
        targets = np.array(labels[split], dtype=np.int64)
        with SplitWriter(processed / f"{split}.safetensors", items.shape[1:], "uint8", (), "int64") as writer:
            writer.add(items, targets)
        counted[split] = Counts(total=len(items), per_class={name: int((targets == place).sum()) for place, name in enumerate("ab")})
    meta = Meta(
        dataset="pictures",
        description="Noise.",
        source="own",
        task="multiclass",
        num_outputs=2,
        input=Input(kind="image", shape=[*test.shape[1:]], dtype="uint8"),
        classes=["a", "b"],
        outputs=None,
        counts=counted,
        left_out=LeftOut(count=0, examples=[]),
    )
    (processed / "meta.json").write_bytes(as_json(meta.model_dump(mode="json")))
    for what in ("datasets", "accepted"):
        (root / "data/checked" / what).mkdir(parents=True)
        (root / "data/checked" / what / "pictures.json").write_text('{"accept": []}')
    (root / "params.yaml").write_text(json.dumps({"datasets": {"pictures": {"preprocess": {"resize": None}}}}))
    with contextlib.chdir(root):
        audit("pictures")
    return {finding["name"]: finding for finding in written(root, "pictures")["findings"]}


def test_copies_of_pictures_are_found_where_train_has_larger_ones_for_crops(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, size=(60, 12, 12, 1), dtype=np.uint8)
    train, test = noise[:40], noise[40:, 2:10, 2:10]
    test[4:10] = train[4:10, 2:10, 2:10]
    labels = {"train": [0, 1] * 20, "val": [], "test": [0, 1] * 8 + [0] * 4}
    found = pictures(tmp_path, train, test, labels)
    assert found["test_rows_in_train"]["severity"] == "stop" and found["test_rows_in_train"]["count"] == 6
    assert "such as item 5 of test" in found["test_rows_in_train"]["sentence"] and found["test_rows_in_train"]["lines"] == []


def test_a_class_of_pictures_that_test_lacks_is_named(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, size=(60, 4, 4, 1), dtype=np.uint8)
    found = pictures(tmp_path, noise[:40], noise[40:], {"train": [0, 1] * 20, "val": [], "test": [0] * 20})
    assert list(found) == ["rare_class"] and "no item of 'b'" in found["rare_class"]["sentence"]


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int16, np.int64])
def test_hashes_are_equal_for_equal_rows_and_differ_for_all_others(dtype):
    rows = np.random.default_rng(0).integers(0, 3, size=(20_000, 11)).astype(dtype)
    different = len(np.unique(rows, axis=0))
    assert len(np.unique(hashes_of(rows))) == different
    np.testing.assert_array_equal(hashes_of(rows), np.concatenate([hashes_of(rows[:7]), hashes_of(rows[7:])]))


def test_rows_that_differ_in_signs_alone_have_other_hashes_and_gaps_and_zeros_are_alike():
    signs = np.array([[1, 1, 1, 1], [-1, 1, -1, 1], [1, -1, 1, -1], [-1, -1, 1, 1]], np.float32)
    assert len(set(hashes_of(signs).tolist())) == 4
    payload = np.array([0x7FC00001], np.uint32).view(np.float32)[0]
    alike = np.array([[0.0, np.nan], [-0.0, payload]], np.float32)
    assert len(set(hashes_of(alike).tolist())) == 1


def test_the_middle_is_what_a_crop_of_the_smaller_size_takes():
    rows = np.arange(2 * 5 * 7).reshape(2, 5, 7)
    np.testing.assert_array_equal(middle(rows, (3, 3)), rows[:, 1:4, 2:5])
