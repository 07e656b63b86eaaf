"""Seeds of a figure may be measured on several days, and count only where recipe, threads and code are the same."""

import json

import pytest

from benchmarks import accuracy, hardware

ABOUT = {"recipe": {"train": {"lr": 0.1}}, "threads": 1, "code": "a hash"}


def one_seed(value: float, commit: str) -> dict[str, object]:
    return {"values": {"accuracy": value}, "dataset": "mnist", "commit": commit, "train_s": 10.0, "seconds": 12}


@pytest.fixture
def entry():
    measured = {seed: one_seed(value, "abc1234") for seed, value in enumerate((0.98, 0.99))}
    return accuracy.describe("mnist_cnn", ABOUT, measured, {"accuracy": 0.99})


def test_seeds_that_were_measured_are_taken_from_the_results(entry):
    measured = accuracy.known(entry, ABOUT)
    assert {seed: one["values"]["accuracy"] for seed, one in measured.items()} == {0: 0.98, 1: 0.99}
    measured[2] = one_seed(1.0, "def5678")
    described = accuracy.describe("mnist_cnn", ABOUT, measured, {"accuracy": 1.0})
    (figure,) = described["figures"]
    assert figure["value"] == 0.99
    assert (figure["seeds"], figure["std"], figure["each"]) == (3, 0.01, [0.98, 0.99, 1.0])
    assert described["commit"] == "abc1234, def5678"
    assert described["seconds"] == 36


@pytest.mark.parametrize("other", [{"recipe": {}}, {"threads": 2}, {"code": "another hash"}])
def test_seeds_of_another_recipe_or_code_do_not_count(entry, other):
    assert accuracy.known(entry, ABOUT | other) == {}
    assert accuracy.known({}, ABOUT) == {}


def test_the_committed_seeds_make_the_committed_figures():
    kept = {model: entry for model, entry in json.loads((hardware.RESULTS / "accuracy.json").read_text()).items() if "measured" in entry}
    assert kept
    for model, entry in kept.items():
        about = {key: entry[key] for key in ABOUT}
        again = accuracy.describe(model, about, accuracy.known(entry, about), entry["metrics"])
        assert again["figures"] == entry["figures"]
        assert again["train_s"] == entry["train_s"]


def test_of_smaller_forms_those_are_kept_that_were_made():
    variants = {"int8": {"reason": "It loses 1.", "equality": {"items": 8}}, "fp16": {"reason": "Not offered.", "equality": None}}
    assert accuracy.smaller_forms({"variants": variants}) == {"int8": "It loses 1."}
