"""The nearest class mean of a network's features: against a plain loop, with classes that train hardly has, and through evaluate."""

import json

import numpy as np
import pytest
import torch
from torch.nn import functional

from stages.architectures.efficientnet_lite import EfficientNetLite
from stages.common.files import write_files
from stages.evaluate import evaluate
from stages.evaluation.nearest_mean import FACTORS, USUAL, NearestMean
from stages.modelling.model import as_checkpoint
from tests.stages.architectures.test_efficientnet_lite import LITE, pictures
from tests.toy import Project, build


def drawn(counts, width=6, seed=0):
    """Features around a direction for each class, and the classes."""
    rng = np.random.default_rng(seed)
    centres, targets = rng.normal(size=(len(counts), width)), np.repeat(np.arange(len(counts)), counts)
    return torch.from_numpy(centres[targets] + rng.normal(size=(len(targets), width))).float(), torch.from_numpy(targets)


def by_hand(features, targets, item, left_out):
    """Cosine of an item with the sum of the directions of each class, from which an item of train is left out."""
    rows, found = functional.normalize(features.double()), []
    for place in range(int(targets.max()) + 1):
        its = [row for number, row in enumerate(rows) if targets[number] == place and number != left_out]
        found.append(float(functional.cosine_similarity(item.double(), torch.stack(its).sum(dim=0), dim=0)))
    return found


def test_probabilities_are_a_softmax_of_cosines_that_does_best_on_items_that_are_left_out():
    features, targets = drawn([5, 7, 4])
    means = NearestMean(features, targets, 3)
    others, _ = drawn([2, 2, 2], seed=1)
    means.compare(None, (others,))
    expected = torch.tensor([by_hand(features, targets, item, None) for item in others]).mul(means.factor).softmax(dim=1)
    np.testing.assert_allclose(means.answer(), expected, atol=1e-6)

    left_out = torch.tensor([by_hand(features, targets, item, number) for number, item in enumerate(features)])
    losses = [functional.cross_entropy(left_out * factor, targets).item() for factor in FACTORS]
    assert means.factor == FACTORS[int(np.argmin(losses))]


@pytest.mark.parametrize("counts", [[3, 0, 1], [1, 1, 0]])
def test_a_class_without_an_item_is_never_the_answer(counts):
    features, targets = drawn(counts)
    means = NearestMean(torch.cat([features, torch.zeros(1, 6)]), torch.cat([targets, targets[:1]]), 3)
    alone = NearestMean(features, targets, 3)
    assert (alone.factor == USUAL) == (max(counts) == 1)
    means.compare(None, (features,))
    answer = means.answer()
    assert not answer[:, counts.index(0)].any()
    np.testing.assert_allclose(answer.sum(axis=1), 1, atol=1e-6)


def test_evaluate_has_it_beside_a_network_with_features_without_computing_any_twice(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = pictures()
    own = Project(tmp_path, "stripes", architecture=LITE, data=data)
    network, training = build(LITE, data.meta).network, {"C": 1.0, "folds": 2, "recipe": {}, "seed": 0}
    write_files({own.folder / "checkpoint.safetensors": as_checkpoint(network, LITE, data.meta, training)})
    seen, original = [], EfficientNetLite.features
    monkeypatch.setattr(EfficientNetLite, "features", lambda self, image: seen.append(len(image)) or original(self, image))
    evaluate("own")
    assert sum(seen) == len(data.splits["train"][0]) + len(data.splits["test"][0])
    metrics = json.loads((own.folder / "metrics.json").read_bytes())
    assert {f"baseline_nearest_mean_{name}" for name in ("log_loss", "log_loss_low", "accuracy", "macro_f1")} <= set(metrics)
    assert "nearest_mean " in capsys.readouterr().out
