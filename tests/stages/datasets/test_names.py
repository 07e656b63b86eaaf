import gzip
import time

import numpy as np
import pytest

from stages.datasets import names
from stages.datasets.names import fold

NAMES = {"max_length": 8, "val_fraction": 0.25, "max_bad_fraction": 0.1}
TRAIN = [(f"Ab{letter}", country) for country in ("Zed", "Yan") for letter in "abcdefghijkl"]
TEST = [("Xa", "Yan"), ("Xb", "Zed")]


def write(place, train=TRAIN, test=TEST):
    place.describe("names", **NAMES)
    for name, rows in (("names_train.csv.gz", train), ("names_test.csv.gz", test)):
        text = "".join(f'"{surname}","{country}"\n' for surname, country in rows)
        (place.raw / name).write_bytes(gzip.compress(text.encode()))


def test_names_are_code_points_padded_with_zero_and_countries_sorted(place):
    write(place)
    meta = place.run()
    inputs, targets = place.split("test")
    assert inputs.dtype == np.int16 and inputs[0].tolist() == [ord("X"), ord("a"), 0, 0, 0, 0, 0, 0]
    assert meta.classes == ["Yan", "Zed"] and targets.tolist() == [0, 1]
    assert meta.input.shape == [None] and meta.task == "multiclass"
    assert meta.counts["val"].per_class == {"Yan": 3, "Zed": 3} and meta.counts["train"].per_class == {"Yan": 9, "Zed": 9}


@pytest.mark.parametrize(("text", "folded"), [("Ślusàrski", "Slusarski"), ("O'Neàl der", "O'Neal der"), ("山", ""), ("a\x00b\tc", "abc")])
def test_characters_are_folded_to_ascii_or_dropped(text, folded):
    assert fold(text) == folded


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (("Abcdefghi", "Zed"), "'Abcdefghi' has 9 ASCII characters, expected 1 to 8"),
        (("山本", "Zed"), "'山本' has 0 ASCII characters, expected 1 to 8"),
        (("Abc", ""), "expected a name and a country"),
        (('A","b', "Zed"), "expected a name and a country"),
        (("Xa", "\x1b[31mB"), "the country '\\x1b[31mB' has a character that cannot be shown"),
        (("a" + "\u0315\u0300" * 40_000, "Zed"), "the name has 80001 characters, expected 1 to 8"),  # folding it takes seconds
    ],
)
def test_a_bad_row_is_left_out_and_named(place, capsys, row, reason):
    write(place, train=[*TRAIN, row])
    began = time.process_time()
    meta = place.run()
    assert time.process_time() - began < 5
    assert meta.left_out.model_dump() == {"count": 1, "examples": [f"names_train.csv.gz line 25: {reason}"]}
    assert capsys.readouterr().err.count("warning") == 1


def test_a_country_that_never_trains_makes_a_bad_row_of_test(place):
    write(place, test=[*TEST, ("Xc", "Atlantis")])
    assert place.run().left_out.examples == ["names_test.csv.gz line 3: the country 'Atlantis' is not in names_train.csv.gz"]


def test_many_bad_rows_are_refused(place):
    write(place, train=[*TRAIN, *[("much too long", "Zed")] * 4])
    assert "4 of 30 items are bad, more than max_bad_fraction (0.1) allows" in place.refusal()


def test_a_truncated_or_missing_file_is_named_and_an_empty_one_leaves_no_item(place):
    write(place, train=[], test=[])
    assert "No item is left for train" in place.refusal()
    write(place)
    path = place.raw / "names_test.csv.gz"
    path.write_bytes(path.read_bytes()[:-9])
    assert "names_test.csv.gz is a truncated or damaged gzip file" in place.refusal()
    path.unlink()
    assert "names_test.csv.gz is missing" in place.refusal()


def test_too_many_countries_are_refused(place, monkeypatch):
    monkeypatch.setattr(names, "MAX_COUNTRIES", 2)
    write(place, train=[*TRAIN, ("Xa", "Atlantis")])
    assert "has more than 2 countries" in place.refusal()


def test_the_sample_has_every_country_alike_and_no_name_twice(place):
    place.describe("names", **(NAMES | {"max_length": 24}))
    place.make("surnames", sample={"seed": 0, "num_train": 2700, "num_test": 900})
    meta = place.run()
    assert len(meta.classes) == 18 and set(meta.counts["test"].per_class.values()) == {50}
    assert len(np.unique(np.concatenate([place.split(split)[0] for split in ("train", "val", "test")]), axis=0)) == 3600
