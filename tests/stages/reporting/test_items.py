"""What is known of items: raw columns of every kind of input, errors and reliability of every task, and permutation importance."""

import numpy as np
import pytest
import torch

from stages.common.meta import Category, Column, Format, Input, Table
from stages.common.shelves import part_names, take_input, take_task
from stages.common.splits import SplitFile, SplitWriter
from stages.reporting.items import MAX_GIVEN, Items, evenly, importance
from tests.toy import CPU, TOYS, toy, toy_model


def split_of(place, inputs, targets):
    inputs, targets = np.asarray(inputs), np.asarray(targets)
    with SplitWriter(place / "test.safetensors", inputs.shape[1:], inputs.dtype.name, targets.shape[1:], targets.dtype.name) as split:
        split.add(inputs, targets)
    return SplitFile(place, "test")


def items_of(place, name, inputs, targets, model=None):
    model = model or toy_model(name)
    return Items(split_of(place, inputs, targets), model, model.meta.input, np.arange(len(inputs)))


def test_places_are_spread_from_the_first_to_the_last():
    assert evenly(5, 9).tolist() == [0, 1, 2, 3, 4]
    assert evenly(101, 5).tolist() == [0, 25, 50, 75, 100]
    assert evenly(0, 5).tolist() == []


@pytest.mark.parametrize("name", TOYS)
def test_every_kind_of_input_has_columns_of_numbers_dates_or_words(name):
    data = toy(name)
    inputs = data.splits["test"][0]
    columns = data.part.columns(inputs, data.meta.input)
    assert columns and all(values.shape == (len(inputs),) and values.dtype.kind in "fMO" for _, values in columns.values())
    places = [place for at, _ in columns.values() for place in at]
    assert not places or sorted(places) == list(range(inputs.shape[1])), "every number of a row is of one column, or none is"


def test_columns_of_a_table_are_dates_words_and_numbers_with_their_gaps():
    table = Table(
        numbers=["seen", "seen (second of the day)", "born", "size"],
        dates=["seen", "born"],
        times=["seen (second of the day)"],
        categories=[Category(name="colour", levels=["red", "green"], rare=[])],
        columns={
            "size": Column(type="number"),
            "colour": Column(type="category", levels=["red", "green"]),
            "seen": Column(type="date", formats=["%Y-%m-%d %H:%M"]),
            "born": Column(type="date", formats=["%Y-%m-%d"]),
        },
        format=Format(),
        edges=[],
        gaps=[],
    )
    rows = np.array([[1, 3660, -1, 2.5, 2], [np.nan, np.nan, 20_000, np.nan, 1], [0, 0, 0, 0, 0]], dtype=np.float32)
    columns = take_input("table").columns(rows, Input(kind="table", shape=[5], dtype="float32", table=table))
    assert {name: at for name, (at, _) in columns.items()} == {"size": [3], "colour": [4], "seen": [0, 1], "born": [2]}
    assert list(columns) == ["size", "colour", "seen", "born"], "the file's order"
    assert columns["colour"][1].tolist() == ["red", "", None]
    assert columns["seen"][1].astype(str).tolist() == ["1970-01-02T01:01", "NaT", "1970-01-01T00:00"]
    assert columns["born"][1].astype(str).tolist() == ["1969-12-31", "2024-10-04", "1970-01-01"]
    np.testing.assert_array_equal(columns["size"][1], [2.5, np.nan, 0])


def test_columns_of_pictures_texts_and_features():
    picture = np.array([[[[0], [200]]], [[[100], [100]]]], dtype=np.uint8)
    found = take_input("image").columns(picture, toy("shapes").meta.input)
    assert {name: values.tolist() for name, (_, values) in found.items()} == {"brightness": [100, 100], "contrast": [100, 0]}
    text = np.array([[97, 98, 0], [97, 0, 0]], dtype=np.int16)
    assert take_input("characters").columns(text, toy("words").meta.input)["length"][1].tolist() == [2, 1]
    rows = np.array([[0, 0, 1]], dtype=np.float32)  # b is missing where it is 0
    found = take_input("features").columns(rows, toy("patients").meta.input)
    np.testing.assert_array_equal([values[0] for _, values in found.values()], [0, np.nan, 1])


@pytest.mark.parametrize("name", part_names("tasks"))
def test_every_task_says_what_its_errors_are(name):
    task = take_task(name)
    assert all(isinstance(text, str) for text in (task.ERROR, task.WRONGNESS, *task.CLAIM)) and len(task.CLAIM) == 2


PROBABILITIES = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], dtype=np.float32)


@pytest.mark.parametrize(
    ("task", "targets", "outputs", "errors", "claimed", "observed"),
    [
        ("binary", [0, 1, 1], [PROBABILITIES, np.array([0, 1, 0])], [0, 0, 1], [0.1, 0.8, 0.4], [0, 1, 1]),
        ("multiclass", [0, 1, 1], [PROBABILITIES, np.array([0, 1, 0])], [0, 0, 1], [0.9, 0.8, 0.6], [1, 1, 0]),
        ("multilabel", [[1, 0], [1, 1]], [PROBABILITIES[:2], np.array([[1, 0], [0, 1]])], [0, 0.5], [0.9, 0.1, 0.2, 0.8], [1, 0, 1, 1]),
        (
            "sequence",
            [[0, -1], [1, 1]],
            [PROBABILITIES[[[0, 1], [1, 2]]], np.array([[0, -1], [1, 0]])],
            [0, 0.5],
            [0.9, 0.8, 0.6],
            [1, 1, 0],
        ),
        ("regression", [[1.0], [2.0]], [np.array([[1.5], [2.0]])], [0.5, 0], [1.5, 2.0], [1.0, 2.0]),
    ],
)
def test_errors_and_reliability_of_known_answers(task, targets, outputs, errors, claimed, observed):
    part, targets = take_task(task), np.array(targets)
    np.testing.assert_allclose(part.errors(targets, outputs), errors)
    found = part.reliability(targets, outputs)
    np.testing.assert_allclose(found[0], claimed, rtol=1e-6)
    np.testing.assert_allclose(found[1], observed)
    assert found[2][0] <= min(claimed) and found[2][-1] >= max(claimed)


def test_several_numbers_of_several_units_have_no_common_reliability():
    assert take_task("regression").reliability(np.zeros((3, 2)), [np.zeros((3, 2))]) is None


class OfTwoColumns(torch.nn.Module):
    """Looks at the first column most, at the last a little, and never at the one between."""

    def forward(self, rows):
        return 4 * rows[:, :1] + rows[:, 2:]


def test_the_column_that_matters_is_found_in_its_order_and_by_the_seed(tmp_path):
    rng, model = np.random.default_rng(0), toy_model("patients")
    inputs = rng.normal(3, 2, (500, 3)).astype(np.float32)
    model.network = OfTwoColumns()
    targets = (model.logits(torch.from_numpy(inputs))[:, 0] > 0).numpy().astype(np.int64)
    test = items_of(tmp_path, "patients", inputs, targets, model)
    found = importance(test, CPU, seed=0)
    assert list(found) == ["a", "c", "b"] and all(grown.shape == (3,) for grown in found.values())
    assert found["a"].min() > 2 * found["c"].max() > 0 and found["b"].tolist() == [0, 0, 0]
    again, other = importance(test, CPU, seed=0), importance(test, CPU, seed=1)
    assert all((again[name] == grown).all() for name, grown in found.items())
    assert (other["a"] != found["a"]).all()


@pytest.mark.parametrize(("num_columns", "num_given"), [(3, 2000), (70, MAX_GIVEN // 210), (400, MAX_GIVEN // 400)])
def test_the_work_for_importance_is_bounded(num_columns, num_given, tmp_path, monkeypatch):
    model, given = toy_model("patients"), []
    described = Input(kind="features", shape=[num_columns], dtype="float32", names=[f"column {n}" for n in range(num_columns)])
    inputs, targets = np.zeros((3000, num_columns), dtype=np.float32), np.zeros(3000, dtype=np.int64)

    def predict(model, pieces, device):
        rows = np.concatenate(list(pieces))
        given.append(len(rows))
        return [np.full((len(rows), 2), 0.5, dtype=np.float32), np.zeros(len(rows), dtype=np.int64)]

    monkeypatch.setattr("stages.reporting.items.predict", predict)
    importance(Items(split_of(tmp_path, inputs, targets), model, described, np.arange(3000)), CPU, seed=0)
    assert set(given) == {num_given} and len(given) == 1 + num_columns * (3 if num_columns < 100 else 1)


def test_what_is_at_no_place_in_a_row_is_not_shuffled(tmp_path):
    data = toy("shapes")
    assert importance(items_of(tmp_path, "shapes", *data.splits["test"]), CPU, seed=0) == {}
