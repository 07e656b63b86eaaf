"""Baselines on tables whose answers are known, and the figures that evaluate writes of them."""

import json
import math

import numpy as np
import pytest

from stages.common.files import write_files
from stages.common.meta import Input, Text
from stages.common.shelves import take_input, take_task
from stages.common.splits import SplitFile
from stages.evaluate import evaluate
from stages.evaluation import baselines
from stages.evaluation.bootstrap import Bootstrap
from stages.inputs.text import as_rows
from stages.modelling.model import as_checkpoint
from tests.toy import TOYS, Data, Project, describe, toy, toy_model

SEED = 20261201
COLOURS = ["red", "green", "blue"]
TRAINING = {"best_epoch": 1, "epochs": 1, "recipe": {}, "seed": 0}


def table(numbers, levels):
    """What is said of rows of `numbers` and a category for each list of levels."""
    return Input.model_validate(
        {
            "kind": "table",
            "shape": [len(numbers) + len(levels)],
            "dtype": "float32",
            "table": {
                "numbers": numbers,
                "dates": [],
                "times": [],
                "categories": [{"name": f"c{place}", "levels": words, "rare": []} for place, words in enumerate(levels)],
                "format": {},
                "columns": {},
                "edges": [[0.0] * 25 for _ in numbers],
                "gaps": [],
            },
        }
    )


def measured(tmp_path, described, task, names, splits, seed=0):
    """The metrics and the outputs of each baseline."""
    kinds = (names, None) if task != "regression" else (None, names)
    meta = describe("own", described, task, *kinds, splits)
    Data(meta, splits).write(tmp_path / "processed")
    train, test = (SplitFile(tmp_path / "processed", split) for split in ("train", "test"))
    part, kind = take_task(task), take_input(described.kind)
    found = {name: outputs for name, _, outputs in baselines.baselines(part, kind, meta, train, test, seed)}
    bootstrap = Bootstrap(100, 0)
    return {name: part.measure(splits["test"][1], outputs, bootstrap) for name, outputs in found.items()}, found


def all_splits(inputs, targets):
    """Three fifths to train, and so on."""
    first, second = len(inputs) * 3 // 5, len(inputs) * 4 // 5
    return {
        split: (inputs[start:stop], targets[start:stop])
        for split, start, stop in (("train", 0, first), ("val", first, second), ("test", second, len(inputs)))
    }


def test_the_largest_class_of_train_is_measured_on_test(tmp_path):
    targets = np.array([0, 1, 1, 1, 2] * 2 + [1, 0, 2, 0, 1], dtype=np.int64)
    splits = {"train": (np.zeros((10, 1), np.float32), targets[:10]), "test": (np.zeros((5, 1), np.float32), targets[10:])}
    splits["val"] = splits["test"]
    metrics, outputs = measured(tmp_path, table(["x"], []), "multiclass", COLOURS, splits)
    assert metrics["majority"]["accuracy"] == 2 / 5
    assert metrics["majority"]["log_loss"] == pytest.approx(-(2 * math.log(0.6) + 3 * math.log(0.2)) / 5, abs=1e-6)
    assert metrics["majority"]["macro_f1"] == pytest.approx((2 * 2 / 7) / 3)
    assert outputs["majority"][0].tolist() == [pytest.approx([0.2, 0.6, 0.2])] * 5


def test_the_mean_of_train_is_measured_on_test(tmp_path):
    targets = np.array([[0.0, 5.0], [2.0, 5.0], [1.0, 9.0], [3.0, 5.0]], dtype=np.float32)
    splits = {"train": (np.zeros((2, 1), np.float32), targets[:2]), "test": (np.zeros((2, 1), np.float32), targets[2:])}
    splits["val"] = splits["test"]
    metrics, _ = measured(tmp_path, table(["x"], []), "regression", ["a", "b"], splits)
    assert metrics["mean"]["mae"] == pytest.approx((0 + 4 + 2 + 0) / 4)
    assert metrics["mean"]["rmse"] == pytest.approx(math.sqrt((16 + 4) / 4))


@pytest.mark.parametrize("numbers", [["x"], []])
def test_a_category_that_says_the_class_is_found_unknown_and_missing_ones_included(numbers, tmp_path):
    """Codes: 0 unknown, 1 missing, 2 to 4 a colour. Missing means the first class; the unknown code that train lacks harms nothing."""
    rng = np.random.default_rng(SEED)
    codes = rng.integers(1, 5, 400)
    targets = np.maximum(codes - 2, 0).astype(np.int64)
    inputs = np.stack([*(rng.normal(size=400) for _ in numbers), codes], axis=1).astype(np.float32)
    splits = all_splits(inputs, targets)
    splits["test"][0][:5, -1] = 0
    metrics, outputs = measured(tmp_path, table(numbers, [COLOURS]), "multiclass", COLOURS, splits)
    for name in ("linear", "boosting"):
        probabilities, labels = outputs[name]
        assert (labels[5:] == splits["test"][1][5:]).all(), name
        assert probabilities.dtype == np.float32 and np.isfinite(probabilities).all()
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert metrics["majority"]["accuracy"] < 0.6


def test_a_gap_that_says_the_class_is_found(tmp_path):
    rng = np.random.default_rng(SEED)
    targets = rng.integers(0, 2, 300)
    inputs = rng.normal(size=(300, 2)).astype(np.float32)
    inputs[targets == 1, 0] = np.nan
    metrics, _ = measured(tmp_path, table(["x", "empty"], []), "binary", ["no", "yes"], all_splits(inputs, targets))
    assert metrics["linear"]["accuracy"] == metrics["boosting"]["accuracy"] == 1.0


def test_a_column_without_a_value_a_constant_and_an_endless_number_are_endured(tmp_path):
    rng = np.random.default_rng(SEED)
    x = rng.normal(size=(200, 1))
    inputs = np.concatenate([x, np.full((200, 1), np.nan), np.ones((200, 1)), np.full((200, 1), np.inf)], axis=1).astype(np.float32)
    metrics, _ = measured(tmp_path, table(list("abcd"), []), "regression", ["y"], all_splits(inputs, (3 * x).astype(np.float32)))
    assert metrics["linear"]["r2"] > 0.99 and metrics["boosting"]["r2"] > 0.8


def test_the_linear_model_is_better_on_a_line_and_boosting_on_steps(tmp_path):
    rng = np.random.default_rng(SEED)
    x = rng.uniform(-1, 1, (800, 2)).astype(np.float32)
    line, steps = x @ np.array([[2.0], [-1.0]]), np.sign(x[:, :1] * x[:, 1:])
    (on_line, _), (on_steps, _) = (
        measured(tmp_path / name, table(["a", "b"], []), "regression", ["y"], all_splits(x, target.astype(np.float32)))
        for name, target in (("line", line), ("steps", steps))
    )
    assert on_line["linear"]["rmse"] < on_line["boosting"]["rmse"] < on_line["mean"]["rmse"]
    assert on_steps["boosting"]["rmse"] < 0.5 * on_steps["linear"]["rmse"]


def test_several_labels_and_several_numbers_are_learned_one_by_one(tmp_path):
    rng = np.random.default_rng(SEED)
    x = rng.normal(size=(400, 2)).astype(np.float32)
    labels = np.concatenate([x > 0, np.ones((400, 1))], axis=1).astype(np.uint8)  # the third is always there
    metrics, _ = measured(tmp_path / "labels", table(["a", "b"], []), "multilabel", COLOURS, all_splits(x, labels))
    assert min(metrics[name]["exact_match"] for name in ("linear", "boosting")) > 0.9 > metrics["majority"]["exact_match"]
    numbers = np.stack([x[:, 0], 100 * x[:, 1], np.full(400, 7.0)], axis=1).astype(np.float32)
    metrics, outputs = measured(tmp_path / "numbers", table(["a", "b"], []), "regression", ["p", "q", "r"], all_splits(x, numbers))
    assert metrics["linear"]["r2"] > 0.99
    assert (outputs["boosting"][0][:, 2] == 7).all()


def test_a_class_of_one_row_and_one_that_test_lacks_are_endured_where_boosting_holds_out_rows(tmp_path, monkeypatch):
    rng = np.random.default_rng(SEED)
    x = rng.normal(size=(17_000, 1)).astype(np.float32)
    targets = (x[:, 0] > 0).astype(np.int64)
    targets[0] = 2
    metrics, outputs = measured(tmp_path, table(["x"], []), "multiclass", COLOURS, all_splits(x, targets))
    assert len(targets) * 3 // 5 > 10_000, "from there on it holds rows out"
    assert metrics["boosting"]["accuracy"] > 0.99 and outputs["boosting"][0].shape[1] == 3


def test_a_large_train_split_is_sampled_by_the_seed_and_many_levels_become_other(tmp_path, monkeypatch):
    monkeypatch.setattr(baselines, "MAX_ROWS", 1000)
    monkeypatch.setattr(baselines, "MAX_LEVELS", 10)
    rng = np.random.default_rng(SEED)
    codes = np.minimum(rng.geometric(0.1, 4000) + 1, 301)
    inputs, targets = codes[:, None].astype(np.float32), (codes % 2).astype(np.int64)
    splits, words = all_splits(inputs, targets), [str(place) for place in range(300)]
    first, again, other = (
        measured(tmp_path / name, table([], [words]), "binary", ["even", "odd"], splits, seed)[1]["boosting"][0]
        for name, seed in (("first", 0), ("again", 0), ("other", 1))
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    labels, frequent = first.argmax(axis=1), splits["test"][0][:, 0] < 8
    assert (labels[frequent] == splits["test"][1][frequent]).mean() > 0.95
    assert len({tuple(row) for row in first}) <= 11


# Of texts

TEXTS = Input(kind="text", shape=[None], dtype="int32", text=Text(max_length=50, case="fold"))


def test_a_word_that_says_the_class_is_found_in_any_script_and_signs_alone_are_words_too(tmp_path):
    rng = np.random.default_rng(SEED)
    words = ["СОБАКА", "猫", "\U0001f98a!?"]
    targets = rng.integers(0, 3, 300)
    texts = [" ".join([words[target], *rng.choice(["a", "b", "..."], 3)]) for target in targets]
    texts[0], splits = "...", all_splits(as_rows([text.lower() for text in texts]), targets)
    metrics, outputs = measured(tmp_path, TEXTS, "multiclass", COLOURS, splits)
    assert metrics["words"]["accuracy"] == 1.0 and outputs["words"][0].dtype == np.float32
    labels = np.stack([targets == 0, targets < 2], axis=1).astype(np.uint8)
    splits = {
        split: (inputs, labels[start : start + len(inputs)])
        for (split, (inputs, _)), start in zip(splits.items(), (0, 180, 240), strict=True)
    }
    metrics, _ = measured(tmp_path / "labels", TEXTS, "multilabel", ["a", "b"], splits)
    assert metrics["words"]["exact_match"] == 1.0


# Through evaluate


class Evaluated(Project):
    """A project whose model has fresh weights, and learns nothing."""

    def __init__(self, root, name):
        super().__init__(root, name)
        model = toy_model(name)
        write_files({self.folder / "checkpoint.safetensors": as_checkpoint(model.network, TOYS[name], self.data.meta, TRAINING)})

    def metrics(self):
        return json.loads((self.folder / "metrics.json").read_bytes())


SIMPLEST = {"regression": "mean"}
LEARNED = {"features": ["linear", "boosting"], "table": ["linear", "boosting"], "text": ["words"]}


@pytest.mark.parametrize("name", TOYS)
def test_every_kind_has_its_baselines_beside_the_model_with_the_same_bytes_again(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    own, meta = Evaluated(tmp_path, name), toy(name).meta
    evaluate("own")
    metrics, printed = own.metrics(), capsys.readouterr().out.splitlines()
    expected = [SIMPLEST.get(meta.task, "majority"), *LEARNED.get(meta.input.kind, [])]
    main = take_task(meta.task).COMPARED[0]
    for baseline in expected:
        assert {f"baseline_{baseline}_{main}{end}" for end in ("", "_low", "_high")} <= set(metrics)
    assert {key.split("_")[1] for key in metrics if key.startswith("baseline_")} == set(expected)
    assert " better: " in printed[-1] or " better than " in printed[-1], printed[-1]
    before = own.contents()
    evaluate("own")
    assert own.contents() == before


def test_a_network_that_has_learned_nothing_is_worse_and_that_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Evaluated(tmp_path, "numbers")
    evaluate("own")
    assert "The linear model is better: RMSE " in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["features", "table"])
def test_a_matrix_has_gaps_where_the_kind_says_that_cells_are_missing(kind):
    if kind == "features":
        data = toy("patients")
        rows = data.splits["train"][0]
        matrix, is_category = take_input(kind).as_matrix(rows, data.meta.input)
        assert not is_category.any()
        np.testing.assert_array_equal(np.isnan(matrix[:, 1]), np.isnan(rows[:, 1]) | (rows[:, 1] == 0))
        np.testing.assert_array_equal(matrix[:, 0], rows[:, 0])
        return
    described = table(["x"], [COLOURS])
    described.table.categories[0] = described.table.categories[0].model_copy(update={"rare": ["green"]})
    matrix, is_category = take_input(kind).as_matrix(np.array([[np.nan, 3], [0, 4], [1, 1]], np.float32), described)
    assert is_category.tolist() == [False, True]
    np.testing.assert_array_equal(matrix, [[np.nan, 0], [0, 4], [1, 1]])
