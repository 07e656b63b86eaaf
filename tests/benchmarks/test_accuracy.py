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


@pytest.mark.parametrize(("equality", "kept"), [({"items": 8}, {"int8": "It loses 1."}), (None, {})])
def test_of_smaller_forms_those_are_kept_that_were_made(equality, kept):
    assert accuracy.smaller_forms({"variants": {"int8": {"reason": "It loses 1.", "equality": equality}}}) == kept


def test_the_recipe_of_a_figure_is_written_out_and_all_that_the_figure_depends_on():
    params = {"recipes": {"image": {"lr": 0.1, "epochs": 3}}, "models": {"some": {"dataset": "mnist", "architecture": {"name": "linear"}}}}
    params["models"]["some"]["train"] = {"recipe": "image", "epochs": {"sample": 1, "official": 2}}
    expected = {"architecture": {"name": "linear"}, "train": {"lr": 0.1, "epochs": {"sample": 1, "official": 2}}}
    assert accuracy.recipe(params, "some") == expected
