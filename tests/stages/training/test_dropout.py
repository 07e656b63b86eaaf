"""Dropout that begins late: which epochs have it, and what is said where there is none."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from stages.shell.errors import UserError
from stages.training.dropout import KINDS, LateDropout
from stages.training.loop import fit
from stages.training.recipe import Recipe
from stages.training.steps import Training
from tests.toy import TOYS, NoKeeper, build, recipe, toy

KEY = "models.own.train"


def rates(network, late, epochs):
    """The rate of the first dropout layer in every epoch, from the first on."""
    dropout = LateDropout(network, late, epochs, KEY)
    layer = next(layer for layer in network.modules() if isinstance(layer, KINDS))
    seen = []
    for epoch in range(1, epochs + 1):
        dropout.start_epoch(epoch)
        seen.append(layer.p)
        assert dropout.is_on == (layer.p > 0)
    return seen


@pytest.mark.parametrize(
    ("late", "epochs", "without"),
    [(None, 4, 0), (0.5, 4, 2), (0.1, 90, 9), (0.25, 10, 2), (0.01, 4, 0), (0.99, 4, 4)],  # to the nearest epoch
)
def test_dropout_begins_after_its_share_of_the_epochs(late, epochs, without):
    assert rates(nn.Sequential(nn.Dropout(0.3)), late, epochs) == [0.0] * without + [0.3] * (epochs - without)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_dropout_is_found_wherever_it_is(kind):
    assert rates(nn.Sequential(nn.Linear(1, 1), nn.Sequential(kind(0.4))), 0.5, 2) == [0.0, 0.4]


def test_layers_keep_their_own_rates():
    network = nn.Sequential(nn.Dropout(0.1), nn.Dropout(0.2))
    LateDropout(network, 0.5, 2, KEY).start_epoch(2)
    assert [layer.p for layer in network] == [0.1, 0.2]


@pytest.mark.parametrize("network", [nn.Linear(1, 1), nn.Sequential(nn.Dropout(0.0))])
def test_a_network_without_dropout_is_refused(network):
    with pytest.raises(UserError, match=r"params.yaml: models.own.train.late_dropout needs a network with dropout"):
        LateDropout(network, 0.5, 2, KEY)
    LateDropout(network, None, 2, KEY).start_epoch(1)


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, "0.1"])
def test_a_share_is_between_0_and_1(value):
    with pytest.raises(ValidationError, match="late_dropout"):
        Recipe.model_validate(recipe(toy("words"), late_dropout=value))


def trained(dropout, late):
    """The weights after each of four epochs."""
    model = build(TOYS["words"] | {"dropout": dropout, "character_dropout": dropout}, toy("words").meta)
    section = Recipe.model_validate(recipe(toy("words"), epochs=4, late_dropout=late))
    data, weights = toy("words"), []
    fit(
        Training(model, section, data.batches("train", 8), data.batches("val"), 0, KEY),
        NoKeeper(),
        lambda *_: weights.append(torch.cat([weight.detach().flatten() for weight in model.network.parameters()])),
    )
    return weights


def test_a_training_is_without_dropout_until_it_begins():
    late, never, always = trained(0.5, 0.5), trained(0.0, None), trained(0.5, None)
    assert [torch.equal(*pair) for pair in zip(late, never, strict=True)] == [True, True, False, False]
    assert not any(torch.equal(*pair) for pair in zip(late, always, strict=True))
