"""Hashed n-grams: what the network counts of a text, against plain Python and scikit-learn."""

from collections import Counter

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from stages.architectures.ngrams import Ngrams, Params
from stages.inputs import text
from tests.toy import TINY_NGRAMS, measured_on, toy, toy_model

RNG = np.random.default_rng(0)
LETTERS = [*"aab bc ", "é", "ж", "文", "\U0001f98a"]
TEXTS = ["".join(RNG.choice(LETTERS, RNG.integers(1, 40))) for _ in range(60)]
TARGETS = np.array([("aa" in one) + 2 * ("文" in one and "aa" not in one) for one in TEXTS])
BUCKETS, LONGEST = 1000, 4  # so few that n-grams share them


def network(kept=10_000, longest=LONGEST, texts=TEXTS, num_outputs=3):
    made = Ngrams(Params(name="ngrams", longest=longest, buckets=BUCKETS, kept=kept), num_outputs)
    made.measure(rows(texts[start : start + 7]) for start in range(0, len(texts), 7))
    return made


def rows(texts, padding=0):
    return torch.from_numpy(np.pad(text.as_batch(text.as_rows(texts)), ((0, 0), (0, padding))))


def buckets_of(one):
    """The buckets of a text's n-grams, by the formula."""
    found = []
    for start in range(len(one)):
        hashed = 0
        for size, sign in enumerate(one[start : start + LONGEST]):
            hashed = (hashed * 1_000_003 + ord(sign) + 1) % (2**31 - 1)
            found.append(f"{(hashed * 31 + 7919 * size) % BUCKETS:03}")
    return found


def test_features_are_scikit_learn_s_tf_idf_of_the_buckets_that_two_texts_have():
    vectorizer = TfidfVectorizer(analyzer=buckets_of, min_df=2, sublinear_tf=True)
    expected, made = vectorizer.fit_transform(TEXTS).toarray(), network()
    assert [f"{bucket:03}" for bucket in made.kept.tolist()] == vectorizer.get_feature_names_out().tolist()
    np.testing.assert_allclose(made.idf, vectorizer.idf_, rtol=1e-6)
    np.testing.assert_allclose(made.features(rows(TEXTS)), expected, atol=2e-7)
    unseen = ["unseen", "a", "b文 \U0001f98a\U0001f680", "aaaaaaaaaaaaaaaaaaaaaa"]
    np.testing.assert_allclose(made.features(rows(unseen, padding=3)), vectorizer.transform(unseen).toarray(), atol=2e-7)
    logistic = LogisticRegression(C=10).fit(expected, TARGETS)
    with torch.no_grad():
        made.head.weight.copy_(torch.from_numpy(logistic.coef_))
        made.head.bias.copy_(torch.from_numpy(logistic.intercept_))
        probabilities = made(rows(TEXTS)).softmax(dim=1)
    np.testing.assert_allclose(probabilities, logistic.predict_proba(expected), atol=1e-6)


def test_of_more_buckets_than_are_kept_the_most_frequent_stay_and_batches_do_not_matter():
    texts = Counter(bucket for one in TEXTS for bucket in set(buckets_of(one)))
    few, whole = network(kept=20), Ngrams(Params(name="ngrams", longest=LONGEST, buckets=BUCKETS, kept=20), 3)
    whole.measure([rows(TEXTS)])
    assert torch.equal(few.kept, whole.kept) and torch.equal(few.idf, whole.idf) and len(few.kept) == 20
    kept = {f"{bucket:03}" for bucket in few.kept.tolist()}
    assert min(texts[bucket] for bucket in kept) >= max(texts[bucket] for bucket in texts.keys() - kept)


def test_of_texts_that_share_nothing_all_is_kept_and_a_text_of_nothing_known_is_zero():
    made = network(texts=["ab", "cd"], longest=2)
    assert len(made.kept) == 6
    assert made.features(rows(["xy", ""])).abs().sum() == 0 and made.features(rows(["xa", "ab"])).norm(dim=1).tolist() == pytest.approx(
        [1, 1]
    )
    assert made.features(rows(["ab"])[:, :0]).shape == (1, 6), "a batch without a character"


def test_weights_of_another_width_are_loaded_and_others_are_refused():
    model = toy_model("zines")
    fresh = Ngrams(Params(**TINY_NGRAMS), 1)
    fresh.load_state_dict(model.network.state_dict())
    before = [*fresh.parameters()]
    fresh.load_state_dict(model.network.state_dict())
    assert all(old is new for old, new in zip(before, fresh.parameters(), strict=True)), "an optimizer goes on with them"
    batch = model.input(toy("zines").raw_batch(8))
    assert torch.equal(fresh(batch), model.network(batch)) and torch.equal(fresh.lookup, model.network.lookup)
    again = measured_on(toy("zines"), toy_model("zines", seed=1)).network
    assert torch.equal(again.kept, model.network.kept) and torch.equal(again.idf, model.network.idf)
    for strange in ({"kept": torch.zeros(0, dtype=torch.int32)}, {"idf": torch.zeros(3)}, {"head.weight": torch.zeros(1, 2)}):
        with pytest.raises(RuntimeError, match="size mismatch"):
            fresh.load_state_dict(model.network.state_dict() | strange)
