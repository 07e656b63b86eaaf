"""Metrics against cases small enough to work out by hand, and their intervals."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import sklearn.metrics
import torch

from stages.common import classes
from stages.common.shelves import part_names, take_task
from stages.evaluation.bootstrap import Bootstrap
from stages.tasks import binary, multiclass, multilabel, regression, sequence

SEED = 20261120
RESAMPLES = 200


def measure(task, targets, *outputs, seed=0):
    bootstrap = Bootstrap(RESAMPLES, seed)
    return bootstrap.complete(task.measure(targets, list(outputs), bootstrap))


def probabilities_of(labels, num_classes, confidence):
    """[n, num_classes] with `confidence` in each label's place and the rest shared."""
    rows = np.repeat(((1 - np.asarray(confidence)) / (num_classes - 1))[:, None], num_classes, axis=1)
    rows[np.arange(len(labels)), labels] = confidence
    return rows.astype(np.float32)


def classify(targets, labels, num_classes=3, confidence=None, seed=0):
    targets, labels = np.array(targets), np.array(labels)
    confidence = np.full(len(labels), 0.9) if confidence is None else np.array(confidence)
    task = binary if num_classes == 2 else multiclass
    return measure(task, targets, probabilities_of(labels, num_classes, confidence), labels, seed=seed)


def assert_intervals_hold_their_values(result):
    for name in [name for name in result if f"{name}_low" in result]:
        assert result[f"{name}_low"] <= result[name] <= result[f"{name}_high"]
    assert all(type(value) is float and math.isfinite(value) for value in result.values())


def test_accuracy_and_macro_f1_by_hand():
    result = classify([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 2])
    assert result["accuracy"] == pytest.approx(4 / 6)
    # F1 of each class is 2 tp / (2 tp + fp + fn): 4/5, 2/4 and 2/3.
    assert result["macro_f1"] == pytest.approx((4 / 5 + 1 / 2 + 2 / 3) / 3)
    assert_intervals_hold_their_values(result)


def test_auc_is_the_share_of_pairs_in_order():
    positive = np.array([0.9, 0.4, 0.6, 0.4, 0.1])
    targets = np.array([1, 1, 0, 0, 0])
    result = measure(binary, targets, np.stack([1 - positive, positive], axis=1), (positive > 0.5).astype(int))
    # Six pairs: 0.9 beats three; 0.4 loses to 0.6, ties with 0.4 and beats 0.1.
    assert result["auc"] == pytest.approx((3 + 0.5 + 1) / 6)
    assert_intervals_hold_their_values(result)


@pytest.mark.parametrize("num_scores", [1, 3, 1000])
def test_auc_is_that_of_scikit_learn_however_many_scores_are_equal(num_scores):
    rng = np.random.default_rng(SEED)
    targets, scores = rng.integers(0, 2, 500), rng.integers(0, num_scores, 500)
    expected = sklearn.metrics.roc_auc_score(targets, scores)
    assert classes.auc(np.ones((1, 500)), *classes.ranking(targets, scores)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("targets", [[0, 1], [0, 1, 1, 1]])
def test_auc_of_a_few_rows_has_an_interval_though_some_resamples_hold_one_class(targets):
    result = classify(targets, [0] * len(targets), num_classes=2, confidence=np.linspace(0.55, 0.95, len(targets)))
    assert_intervals_hold_their_values(result)


def expected_calibration_error(right, confidence):
    """Guo et al., 2017, equation 3, as a plain loop: bin m holds what lies in ((m - 1) / 15, m / 15]."""
    total = 0.0
    for number in range(15):
        members = [place for place, value in enumerate(confidence) if number / 15 < value <= (number + 1) / 15]
        if members:
            accuracy = sum(bool(right[place]) for place in members) / len(members)
            mean = sum(float(confidence[place]) for place in members) / len(members)
            total += len(members) / len(confidence) * abs(accuracy - mean)
    return total


@pytest.mark.parametrize("count", [1, 2, 17, 500])
def test_calibration_error_equals_a_plain_loop(count):
    print("seed", SEED)
    rng = np.random.default_rng(SEED)
    for low in (0.05, 0.5, 0.9):
        confidence = rng.uniform(low, 1, count)
        right = rng.random(count) < confidence**2
        assert classes.calibration_error(right, confidence) == pytest.approx(expected_calibration_error(right, confidence), abs=1e-12)


def test_a_confidence_a_hair_above_one_is_taken_for_one():
    assert classes.calibration_error(np.array([True]), np.array([1.0000001])) == pytest.approx(0.0, abs=1e-6)


def test_exact_match_wants_every_character_and_ignores_padding():
    targets = np.array([[0, 1, 2], [0, 1, -1], [2, -1, -1], [1, 1, 1]])
    labels = np.array([[0, 1, 2], [0, 1, 0], [1, 2, 2], [1, 1, 0]])
    result = measure(sequence, targets, np.full((4, 3, 3), 1 / 3, dtype=np.float32), labels)
    assert result["exact_match"] == 0.5  # the first two
    assert result["accuracy"] == pytest.approx(7 / 9)
    assert_intervals_hold_their_values(result)


def test_two_regressed_numbers_are_measured_together_and_each_alone():
    targets = np.array([[0.0, 0.0], [4.0, 8.0]], dtype=np.float32)
    predictions = np.array([[1.0, 0.0], [4.0, 4.0]], dtype=np.float32)
    result = measure(regression, targets, predictions)
    assert result["mae"] == pytest.approx(5 / 4) and result["rmse"] == pytest.approx(math.sqrt(17 / 4))
    assert result["r2"] == pytest.approx(((1 - 1 / 8) + (1 - 16 / 32)) / 2)
    rows = regression.breakdown(SimpleNamespace(names=["row", "column"]), targets, [predictions])
    assert [row["output"] for row in rows] == ["row", "column"] and [row["count"] for row in rows] == [2, 2]
    assert [row["mae"] for row in rows] == pytest.approx([0.5, 2.0])
    assert [row["rmse"] for row in rows] == pytest.approx([math.sqrt(0.5), math.sqrt(8)])


def test_each_class_has_its_precision_recall_and_count():
    rows = classes.breakdown(SimpleNamespace(names=["ant", "bee", "fly"]), np.array([0, 0, 1]), [None, np.array([0, 1, 1])])
    assert rows == [
        {"class": "ant", "precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "count": 2},
        {"class": "bee", "precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "count": 1},
        {"class": "fly", "precision": 0.0, "recall": 0.0, "f1": 0.0, "count": 0},
    ]


def test_several_labels_by_hand():
    targets = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]], dtype=np.uint8)
    probabilities = np.array([[0.9, 0.2, 0.1], [0.8, 0.4, 0.1], [0.6, 0.7, 0.1], [0.1, 0.3, 0.1]], dtype=np.float32)
    result = measure(multilabel, targets, probabilities, (probabilities > 0.5).astype(np.int64))
    # Of the two classes that the split has: 2 right, 1 too many; 1 right, 1 missed.
    assert result["macro_f1"] == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert result["average_precision"] == pytest.approx(1.0), "both are ranked first"
    assert result["label_accuracy"] == pytest.approx(10 / 12) and result["exact_match"] == pytest.approx(2 / 4)
    assert_intervals_hold_their_values(result)
    rows = multilabel.rows(SimpleNamespace(names=["ant", "bee", "fly"]), targets, [probabilities, (probabilities > 0.5).astype(np.int64)])
    assert [row["actual"] for row in rows] == ["ant", "ant; bee", "bee", "none"]
    assert [row["predicted"] for row in rows] == ["ant", "ant", "ant; bee", "none"]
    assert [row["score"] for row in rows] == pytest.approx([1, 2 / 3, 2 / 3, 1])


# Intervals


def test_an_interval_is_that_of_the_binomial_it_resamples():
    right = np.repeat([1.0, 0.0], [80, 20])
    bootstrap = Bootstrap(4000, 0)
    result = bootstrap.complete(bootstrap("accuracy", classes.mean, (right,)))
    spread = 1.96 * math.sqrt(0.8 * 0.2 / 100)
    assert result["accuracy_low"] == pytest.approx(0.8 - spread, abs=0.02)
    assert result["accuracy_high"] == pytest.approx(0.8 + spread, abs=0.02)


@pytest.mark.parametrize("label", [0, 1])
def test_a_single_item_is_its_own_interval(label):
    result = classify([1], [label], num_classes=2)
    assert result["accuracy"] == result["accuracy_low"] == result["accuracy_high"] == float(label)
    assert_intervals_hold_their_values(result)


@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_targets_that_are_all_the_same_have_finite_metrics(spread):
    targets = np.full((5, 1), 3.0)
    assert_intervals_hold_their_values(measure(regression, targets, targets + spread * np.arange(5)[:, None]))


# How wrong an item is, how it is called, and what a smaller form loses

PROBABILITIES = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]])
OF_CHARACTERS = np.array([[[0.9, 0.1], [0.3, 0.7], [0.0, 1.0]], [[0.8, 0.2], [0.9, 0.1], [0.5, 0.5]]])


@pytest.mark.parametrize(
    ("task", "targets", "output", "expected"),
    [
        (multiclass, [0, 0, 1], PROBABILITIES, [0.1, 0.8, 0.4]),
        (multilabel, [[1, 0], [1, 0], [1, 1]], PROBABILITIES, [0.1, 0.8, 0.6]),
        (sequence, [[0, 0, -1], [0, 0, -1]], OF_CHARACTERS, [0.7, 0.2]),  # its worst real character
        (regression, [[1.0, 1.0]], np.array([[2.0, 4.0]]), [2.0]),
    ],
)
def test_what_is_furthest_from_the_truth_is_the_most_wrong(task, targets, output, expected):
    assert task.wrongness(np.array(targets), [output, output.argmax(-1)]) == pytest.approx(expected)


CAPTIONS = [
    (regression, np.array([3.0, 4.25]), [np.array([2.5, 4.0])], ("is 3.00, 4.25", "predicted 2.50, 4.00", False)),
    (multiclass, np.int64(1), [np.array([0.75, 0.25]), np.int64(0)], ("is b", "predicted a 0.75", False)),
    (multilabel, np.array([0, 1]), [np.zeros(2), np.array([1, 1])], ("is b", "predicted a; b", False)),
    (sequence, np.array([0, 1, -1]), [np.zeros((3, 2)), np.array([0, 1, -1])], ("is ab", "predicted ab", True)),
]


@pytest.mark.parametrize(("task", "target", "outputs", "expected"), CAPTIONS)
def test_captions_say_what_it_is_and_what_was_predicted(task, target, outputs, expected):
    assert task.caption(target, outputs, ["a", "b"]) == expected


@pytest.mark.parametrize(
    ("task", "whole", "own", "targets", "lost"),
    [
        (multiclass, 0.95, 0.94, None, 1),
        (regression, 0.2, 0.23, [[0.0, 0.0], [2.0, 6.0]], 1.5),
        (regression, 0.2, 0.2, [[8.0]], 0),
        (regression, 0.2, 0.3, [[8.0]], np.inf),
        (regression, 0.2, 0.1, [[8.0]], -np.inf),
    ],
)
def test_points_are_hundredths_of_an_accuracy_or_of_the_spread_of_the_targets(task, whole, own, targets, lost):
    assert task.points(whole, own, np.array(targets)) == pytest.approx(lost, abs=1e-9)


def test_half_a_point_is_no_more_than_half_a_point():
    """One picture of 200: as a difference of floating-point numbers it is more."""
    assert 100 * (0.4 - 0.395) > 0.5
    assert multiclass.points(0.4, 0.395, np.zeros(0)) == 0.5


@pytest.mark.parametrize("name", part_names("tasks"))
def test_every_metric_that_a_gate_may_have_is_measured(name):
    task = take_task(name)
    shape, targets = task.example(1 if name == "binary" else 3)
    targets.reshape(-1)[-1] = 1  # two classes
    outputs = [output.numpy() for output in task.outputs(torch.zeros(shape), torch.ones(targets.shape))]
    assert set(task.METRICS) <= set(measure(task, targets, *outputs)) and task.SCORE in task.METRICS


# Against scikit-learn


def as_probabilities(scores):
    """The softmax of scores, rounded so that some are equal."""
    powers = np.exp(np.round(scores, 1))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("num_classes", [2, 5])
@pytest.mark.parametrize("count", [7, 500])
def test_metrics_of_classes_are_those_of_scikit_learn(num_classes, count):
    print("seed", SEED)
    rng = np.random.default_rng(SEED)
    targets = rng.integers(0, num_classes - 1 if num_classes > 2 else 2, count)  # of several classes the last has no item
    probabilities = as_probabilities(rng.normal(size=(count, num_classes)) + 2 * np.eye(num_classes)[targets])
    probabilities[0] = np.eye(num_classes)[(targets[0] + 1) % num_classes]  # sure, and wrong
    labels = probabilities.argmax(axis=1)
    result = measure(binary if num_classes == 2 else multiclass, targets, probabilities, labels)
    one_hot, seen = np.eye(num_classes)[targets], np.unique(targets)
    each = [sklearn.metrics.average_precision_score(one_hot[:, place], probabilities[:, place]) for place in seen]
    expected = {
        "accuracy": sklearn.metrics.accuracy_score(targets, labels),
        "balanced_accuracy": np.mean([sklearn.metrics.recall_score(targets == place, labels == place) for place in seen]),
        "macro_f1": sklearn.metrics.f1_score(targets, labels, average="macro", zero_division=0),
        "log_loss": sklearn.metrics.log_loss(targets, probabilities, labels=range(num_classes)),
        "average_precision": each[1] if num_classes == 2 else np.mean(each),
    }
    if num_classes == 2:
        expected["auc"] = sklearn.metrics.roc_auc_score(targets, probabilities[:, 1])
    assert {name: result[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    assert all(math.isfinite(value) for value in result.values())


@pytest.mark.parametrize("num_outputs", [1, 3])
def test_metrics_of_numbers_are_those_of_scikit_learn(num_outputs):
    print("seed", SEED)
    rng = np.random.default_rng(SEED)
    targets = (1000 + 5 * rng.normal(size=(300, num_outputs))).astype(np.float32)
    predictions = (targets + rng.normal(size=targets.shape)).astype(np.float32)
    result = measure(regression, targets, predictions)
    assert result["r2"] == pytest.approx(sklearn.metrics.r2_score(targets, predictions), abs=1e-6)
    assert result["mae"] == pytest.approx(sklearn.metrics.mean_absolute_error(targets, predictions))
    assert result["rmse"] == pytest.approx(math.sqrt(sklearn.metrics.mean_squared_error(targets, predictions)))
    assert_intervals_hold_their_values(result)


@pytest.mark.parametrize(("predicted", "expected"), [(3.0, 1.0), (4.0, 0.0)])
def test_r2_of_targets_that_are_all_the_same_is_that_of_scikit_learn(predicted, expected):
    targets, predictions = np.full((4, 1), 3.0), np.full((4, 1), predicted)
    assert measure(regression, targets, predictions)["r2"] == sklearn.metrics.r2_score(targets, predictions) == expected


def test_metrics_of_labels_are_those_of_scikit_learn():
    print("seed", SEED)
    rng = np.random.default_rng(SEED)
    targets = rng.integers(0, 2, (300, 4)).astype(np.uint8)
    probabilities = np.clip(0.25 + 0.4 * targets + rng.normal(0, 0.3, targets.shape), 0, 1).astype(np.float32)
    labels = (probabilities > 0.5).astype(np.int64)
    result = measure(multilabel, targets, probabilities, labels)
    losses = [sklearn.metrics.log_loss(targets[:, place], probabilities[:, place]) for place in range(4)]
    assert result["log_loss"] == pytest.approx(np.mean(losses), abs=1e-6)
    assert result["macro_f1"] == pytest.approx(sklearn.metrics.f1_score(targets, labels, average="macro"))
    assert_intervals_hold_their_values(result)


def test_intervals_are_those_of_a_bootstrap_that_copies_rows():
    """By the same drawn rows, with scikit-learn on each: rows as weights, or equal ones drawn together, are only quicker."""
    print("seed", SEED)
    rng = np.random.default_rng(SEED)
    targets = rng.integers(0, 2, 60)
    probabilities = as_probabilities(rng.normal(size=(60, 2)) + np.eye(2)[targets])
    result = measure(binary, targets, probabilities, probabilities.argmax(axis=1), seed=3)
    drawn = np.random.default_rng(3).integers(0, 60, (RESAMPLES, 60))
    for name, statistic in (
        ("auc", sklearn.metrics.roc_auc_score),
        ("average_precision", sklearn.metrics.average_precision_score),
        ("log_loss", sklearn.metrics.log_loss),
    ):
        values = [statistic(targets[rows], probabilities[rows, 1]) for rows in drawn]
        ends = [result[f"{name}_low"], result[f"{name}_high"]]
        assert ends == pytest.approx(np.quantile(values, [0.025, 0.975]).tolist(), abs=1e-6), name
    values = [sklearn.metrics.f1_score(targets[rows], probabilities[rows].argmax(axis=1), average="macro") for rows in drawn]
    spread = np.quantile(values, 0.975) - np.quantile(values, 0.025)
    assert result["macro_f1_high"] - result["macro_f1_low"] == pytest.approx(spread, rel=0.3), "drawn in another way"


def test_an_interval_by_a_coarse_ranking_is_that_of_the_whole(monkeypatch):
    print("seed", SEED)
    rng = np.random.default_rng(SEED)
    targets = rng.integers(0, 2, 3000)
    positive = 1 / (1 + np.exp(-rng.normal(size=3000) - targets))
    given = targets, np.stack([1 - positive, positive], axis=1), (positive > 0.5).astype(np.int64)
    whole = measure(binary, *given)
    monkeypatch.setattr(classes, "MAX_RUNS", 300)
    by_runs = measure(binary, *given)
    assert by_runs != whole and by_runs == pytest.approx(whole, abs=3e-3)
    assert by_runs["auc"] == whole["auc"] and by_runs["average_precision"] == whole["average_precision"]
