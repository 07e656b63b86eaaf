"""What a network has to beat: the largest class or the mean, and what scikit-learn makes of the inputs by its standard settings, fitted on
train alone.

Of inputs that can be a table a linear model and gradient boosting: there the kind of input has `as_matrix(rows, described)`: float64
[n, width], NaN where missing, and bool [width], which columns are codes of categories (0 is any level that train does not have often
enough). Of texts a linear model of their words: there it has `as_texts(rows, described)`, a list of n texts. They learn from a sample
where train is large, since they must take seconds, not minutes.
"""

import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from stages.common.meta import Meta
from stages.common.splits import SplitFile

MAX_ROWS = 100_000  # of train that they learn from,
MAX_CELLS = 10_000_000  # fewer where there are many columns, classes or numbers: rows * columns * trees a round
MIN_ROWS = 1000
MAX_LEVELS = 200  # of a category, the most frequent in train; boosting takes 255 at most
PIECE = 1 << 16  # rows
MAX_TEXTS, MAX_WORDS = 20_000, 20_000  # of train, and how many different words of them, the most frequent
MAX_CODES = 1 << 25  # of the texts that are in memory together, with their padding
WORD = r"\w+|[^\w\s]+"  # what scripts write between their letters parts a word for re
OTHER = 0

Outputs = list[np.ndarray]


def baselines(
    task: ModuleType, kind: ModuleType, meta: Meta, train: SplitFile, test: SplitFile, seed: int
) -> Iterator[tuple[str, float, Outputs]]:
    """Name, seconds and outputs for the test split of each baseline."""
    targets, start = test.read("targets", 0, test.count), time.perf_counter()
    yield task.SIMPLEST, time.perf_counter() - start, task.simplest(train.pieces("targets", PIECE), targets, len(meta.names))
    if hasattr(kind, "as_texts"):
        yield from of_words(task, kind, meta, train, test, seed)
    if not hasattr(kind, "as_matrix"):
        return
    width, trees = train.tensors["inputs"][1][-1], max(1, len(meta.names) if len(meta.names) != 2 else 1)
    rows, labels = sample(train, min(MAX_ROWS, MAX_CELLS // (width * trees)), seed)
    matrix, is_category = kind.as_matrix(rows, meta.input)
    cells = Cells(matrix, is_category)
    matrix, is_number = cells(matrix), "probabilities" not in task.OUTPUTS
    for name, build in (("linear", linear), ("boosting", boosting)):
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the linear model has not converged, or that a column is empty
            fitted = Fitted(partial(build, is_category, is_number, seed), matrix, labels, len(meta.names))
            pieces = (cells(kind.as_matrix(piece, meta.input)[0]) for piece in test.pieces("inputs", PIECE))
            answered = np.concatenate([fitted(piece) for piece in pieces])
        yield name, time.perf_counter() - start, task.answers(answered)


def of_words(
    task: ModuleType, kind: ModuleType, meta: Meta, train: SplitFile, test: SplitFile, seed: int
) -> Iterator[tuple[str, float, Outputs]]:
    """Logistic or ridge regression of the texts' words by TF-IDF."""
    start, is_number, size = time.perf_counter(), "probabilities" not in task.OUTPUTS, MAX_CODES // train.tensors["inputs"][1][-1]
    rows, labels = sample(train, min(MAX_TEXTS, size, MAX_CELLS // (50 * len(meta.names))), seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it has not converged
        fitted = Fitted(partial(words, is_number), kind.as_texts(rows, meta.input), labels, len(meta.names))
        answered = np.concatenate([fitted(kind.as_texts(piece, meta.input)) for piece in test.pieces("inputs", size)])
    yield "words", time.perf_counter() - start, task.answers(answered)


def words(is_number: bool, counts: np.ndarray) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline

    model = Ridge() if is_number else LogisticRegression()
    return make_pipeline(TfidfVectorizer(token_pattern=WORD, max_features=MAX_WORDS), model)


def sample(train: SplitFile, limit: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets of train, or of as many of its rows as can be learned from in seconds (MIN_ROWS at least), in their order."""
    limit = max(MIN_ROWS, limit)
    if train.count <= limit:
        return train.read("inputs", 0, train.count), train.read("targets", 0, train.count)
    places = np.sort(np.random.default_rng(seed).choice(train.count, limit, replace=False))
    return train.take("inputs", places), train.take("targets", places)


class Cells:
    """Makes a matrix such as estimators take: endless numbers are missing, columns without a number in the matrix that it is made of are 0,
    and codes of categories have MAX_LEVELS levels at most; those that are rare in that matrix, or not there, are OTHER.
    """

    def __init__(self, matrix: np.ndarray, is_category: np.ndarray):
        self.empty, self.kept = ~np.isfinite(matrix).any(axis=0), dict[int, np.ndarray]()
        for place in np.flatnonzero(is_category):
            codes, counts = np.unique(matrix[:, place], return_counts=True)
            self.kept[int(place)] = np.sort(codes[np.argsort(-counts, kind="stable")[:MAX_LEVELS]])

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        matrix = np.where(self.empty, 0, np.where(np.isinf(matrix), np.nan, matrix))
        for place, kept in self.kept.items():
            found = np.minimum(np.searchsorted(kept, matrix[:, place]), len(kept) - 1)
            matrix[:, place] = np.where(kept[found] == matrix[:, place], found + 1, OTHER)
        return matrix


class Fitted:
    """Estimators, made by `build(counts of the target's values)`: one for targets [n], which are classes, or one for each column of targets
    [n, k]. Of a matrix or a list of texts; gives probabilities float32 [n, num_names] or numbers float64 [n, k], as the task's answers()
    take them.
    """

    def __init__(self, build: Callable[[np.ndarray], Any], matrix: Any, targets: np.ndarray, num_names: int):
        self.num_classes = num_names if targets.ndim == 1 else 2
        self.together = targets.ndim == 1
        self.estimators = [self.fit(build, matrix, column) for column in (targets[None] if self.together else targets.T)]

    def fit(self, build: Callable[[np.ndarray], Any], matrix: Any, column: np.ndarray) -> Any:
        """The estimator, or the value of a column that has only one: there is nothing to learn."""
        values, counts = np.unique(column, return_counts=True)
        return values[0] if len(values) == 1 else build(counts).fit(matrix, column)

    def __call__(self, matrix: Any) -> np.ndarray:
        given = [self.answer(one, matrix) for one in self.estimators]
        return given[0] if self.together else np.stack([each if each.ndim == 1 else each[:, 1] for each in given], axis=1)

    def answer(self, one: Any, matrix: Any) -> np.ndarray:
        """Numbers [n] or probabilities [n, num_classes]; 0 for a class that the sample of train lacks."""
        if not hasattr(one, "predict"):
            return np.full(len(matrix), one) if one.dtype.kind == "f" else np.eye(self.num_classes, dtype=np.float32)[[one] * len(matrix)]
        if not hasattr(one, "predict_proba"):
            return np.asarray(one.predict(matrix))
        result = np.zeros((len(matrix), self.num_classes), dtype=np.float32)
        result[:, one.classes_.astype(np.int64)] = one.predict_proba(matrix)
        return result


def linear(is_category: np.ndarray, is_number: bool, seed: int, counts: np.ndarray) -> Any:
    """Logistic or ridge regression of standardised numbers, with an indicator where they have gaps, and one-hot categories."""
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True), StandardScaler())
    prepared = make_column_transformer((numbers, ~is_category), (OneHotEncoder(handle_unknown="ignore"), is_category))
    return make_pipeline(prepared, Ridge() if is_number else LogisticRegression(max_iter=200))


def boosting(is_category: np.ndarray, is_number: bool, seed: int, counts: np.ndarray) -> Any:
    """Histogram gradient boosting, which takes categories and gaps as they are."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    if is_number:
        return HistGradientBoostingRegressor(categorical_features=is_category, random_state=seed)
    # It stops early by rows that it holds out by class, of which a class must have two.
    early = "auto" if counts.min() > 1 else False
    return HistGradientBoostingClassifier(categorical_features=is_category, random_state=seed, early_stopping=early)
