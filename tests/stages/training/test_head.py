"""A fitted head against scikit-learn's own answer on standardised features, and on data that has too little of something."""

import numpy as np
import pytest
import scipy.sparse
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from stages.training.head import NEVER, choose_folds, fit_head

C = 0.3


def features(count=60, width=9, seed=0):
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(count, width)) * 10 ** rng.uniform(-2, 2, width) + rng.normal(0, 50, width)
    matrix[:, 3] = 7.5  # says nothing
    return matrix


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("num_classes", [2, 4])
@pytest.mark.parametrize("standardise", [True, False])
def test_probabilities_are_those_of_scikit_learn_on_features_as_they_are(num_classes, standardise):
    matrix, rng = features(), np.random.default_rng(1)
    matrix = matrix if standardise else (matrix - matrix.mean(axis=0)) / 30
    targets = (matrix[:, 0] > np.median(matrix[:, 0])) + (num_classes // 2 - 1) * rng.integers(0, num_classes - 1, 60)
    expected = make_pipeline(*([StandardScaler()] if standardise else []), LogisticRegression(C=C, tol=1e-9, max_iter=10_000))
    expected = expected.fit(matrix, targets).predict_proba(matrix)
    head = fit_head(matrix.copy(), targets, num_classes, C, standardise)
    np.testing.assert_allclose(softmax(head.logits(matrix)), expected, atol=1e-4)
    assert (head.weight[:, 3] == 0).all() or not standardise
    if num_classes == 2:  # as one logit too
        alone = fit_head(matrix.copy(), targets, 1, C, standardise)
        np.testing.assert_allclose(1 / (1 + np.exp(-alone.logits(matrix)[:, 0])), expected[:, 1], atol=1e-4)
    if not standardise:
        sparse = fit_head(scipy.sparse.csr_matrix(matrix), targets, num_classes, C, False)
        np.testing.assert_allclose(softmax(sparse.logits(scipy.sparse.csr_matrix(matrix))), expected, atol=1e-4)


def test_numbers_are_those_of_ridge_regression():
    matrix, rng = features(), np.random.default_rng(1)
    targets = np.stack([matrix[:, 0], rng.normal(size=60)], axis=1).astype(np.float32)
    expected = make_pipeline(StandardScaler(), Ridge(alpha=1 / C)).fit(matrix, targets).predict(matrix)
    np.testing.assert_allclose(fit_head(matrix.copy(), targets, 2, C, True).logits(matrix), expected, rtol=1e-6, atol=1e-6)
    one = fit_head(matrix.copy(), targets[:, :1], 1, C, True)
    np.testing.assert_allclose(one.logits(matrix), expected[:, :1], rtol=1e-6, atol=1e-6)


def test_a_class_that_no_item_has_is_never_the_answer_and_one_class_alone_always():
    matrix = features()
    three = fit_head(matrix.copy(), np.repeat([0, 2, 3], 20), 5, C, True)
    assert (three.bias[[1, 4]] == NEVER).all() and not three.weight[[1, 4]].any()
    shares = softmax(three.logits(matrix))
    assert set(shares.argmax(axis=1)) <= {0, 2, 3} and shares[:, [1, 4]].max() < 1e-30
    one = fit_head(matrix.copy(), np.full(60, 1), 3, C, False)
    np.testing.assert_allclose(softmax(one.logits(matrix))[:, 1], 1)


def test_a_label_that_all_items_have_or_none_is_as_sure_as_their_number_allows():
    targets = np.zeros((60, 3), dtype=np.uint8)
    targets[:, 1], targets[::2, 2] = 1, 1
    head = fit_head(features(), targets, 3, C, True)
    np.testing.assert_allclose(1 / (1 + np.exp(-head.bias[:2])), [0.5 / 61, 60.5 / 61])
    assert not head.weight[:2].any() and head.weight[2].any()


@pytest.mark.parametrize(
    ("targets", "most", "num_folds", "never_out"),
    [
        (np.array([0] * 12 + [1] * 8 + [2]), 4, 4, {20}),  # the only item of a class
        (np.array([0, 0, 0, 1, 1, 1]), 5, 3, set()),
        (np.array([0, 1, 2]), 5, 0, {0, 1, 2}),
        (np.zeros(9, dtype=np.int64), 3, 3, set()),
        (np.random.default_rng(0).normal(size=(7, 1)).astype(np.float32), 5, 5, set()),
        (np.eye(3, dtype=np.uint8), 5, 3, set()),
        (np.zeros((1, 1), dtype=np.float32), 5, 0, {0}),
    ],
)
def test_folds_hold_out_every_item_once_but_for_the_only_one_of_a_class(targets, most, num_folds, never_out):
    folds = choose_folds(targets, most, 0)
    assert len(folds) == num_folds
    held_out = np.concatenate([out for _, out in folds]) if folds else np.array([], dtype=int)
    assert sorted(held_out) == sorted(set(range(len(targets))) - never_out)
    for fitted, out in folds:
        assert sorted([*fitted, *out]) == list(range(len(targets)))
        assert targets.ndim > 1 or set(targets[out]) <= set(targets[fitted])
    if folds:
        assert [out.tolist() for _, out in choose_folds(targets, most, 0)] == [out.tolist() for _, out in folds]
