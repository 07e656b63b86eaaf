"""The network for tables: members that learn each by itself and answer together."""

import copy

import numpy as np
import pytest
import torch

from stages.architectures.table import PiecewiseLinear
from stages.common.shelves import take_task
from stages.training import loop
from tests.toy import TINY_TABLE, build, toy, toy_model


def members(model, rows):
    """[batch, members, outputs], without dropout."""
    network = copy.deepcopy(model.network).train()
    network.dropout.eval()
    answers = network(model.input(rows))
    assert len(answers) == len(rows) * TINY_TABLE["members"]
    return answers.view(len(rows), TINY_TABLE["members"], -1)


@pytest.mark.parametrize("name", ["yachts", "yields"])
def test_members_answer_by_themselves_in_training_and_together_otherwise(name):
    model, rows = toy_model(name), toy(name).raw_batch(5)
    with torch.no_grad():
        answers, logits = members(model, rows), model.logits(rows)
    assert answers.std(dim=1).min() > 1e-4, "members differ"
    mean = answers.sigmoid().mean(dim=1) if name == "yachts" else answers.mean(dim=1)
    torch.testing.assert_close(logits.sigmoid() if name == "yachts" else logits, mean, atol=1e-6, rtol=1e-5)


POOLED = {
    "binary": (torch.sigmoid, [[[2.0], [-3.0], [0.5]]]),
    "multilabel": (torch.sigmoid, [[[2.0, -1.0], [-3.0, 0.0], [0.5, 4.0]]]),
    "multiclass": (lambda logits: logits.softmax(dim=-1), [[[2.0, -1.0, 0.0], [-3.0, 0.0, 1.0]]]),
    "regression": (lambda numbers: numbers, [[[2.0, -1.0], [-3.0, 0.0]]]),
}


@pytest.mark.parametrize("task", POOLED)
def test_several_answers_are_one_by_the_mean_of_their_probabilities(task):
    meant, answers = POOLED[task]
    answers = torch.tensor(answers)
    pooled = take_task(task).pool(answers)
    assert pooled.shape == (1, answers.shape[-1])
    torch.testing.assert_close(meant(pooled), meant(answers).mean(dim=1))
    far = take_task(task).pool(answers * 1e6)
    assert far.isfinite().all(), "however sure members are"


def test_every_member_has_its_own_loss_and_its_own_gradient():
    model, data = toy_model("yields"), toy("yields")
    rows, targets = next(data.batches("train", 8).in_order())
    answers = members(model, rows)
    assert answers[:, 0].shape == targets.shape
    model.network.train()
    seen = []

    def loss_function(logits, wanted):
        seen.append((logits, wanted))
        return (logits - wanted).square().mean()

    logits = model.logits(rows)
    repeated = targets.repeat_interleave(len(logits) // len(targets), dim=0)
    loss_function(logits, model.standardised(repeated)).backward()
    ((logits, wanted),) = seen
    assert logits.shape == wanted.shape == (24, 2) and (wanted[:3] == wanted[0]).all() and not (wanted[3] == wanted[0]).all()
    assert all(weight.grad is not None and weight.grad.flatten(1).any(dim=1).all() for weight in (model.network.last, model.network.signs))


def test_what_is_watched_is_in_the_targets_own_units_and_the_loss_in_deviations():
    model, data = toy_model("yields"), toy("yields")
    inputs, targets = (torch.from_numpy(values) for values in data.splits["val"])
    loss_function = loop.build_loss("MSE", {}, "regression", 2, "loss")
    loss, score = loop.measure(model, model.network, loss_function, data.batches("val", 3), lambda: None)
    with torch.no_grad():
        (answers,) = model(inputs)
    mean, std = torch.tensor(data.meta.target.mean), torch.tensor(data.meta.target.std)
    assert score == pytest.approx((answers - targets).abs().mean().item(), rel=1e-5)
    assert loss == pytest.approx((((answers - mean) / std) - (targets - mean) / std).square().mean().item(), rel=1e-3)
    torch.testing.assert_close(model.in_units(model.standardised(targets)), targets)
    assert model.standardised(torch.from_numpy(data.splits["train"][1])).std(dim=0, correction=0).tolist() == pytest.approx(
        [1, 1], rel=1e-3
    )
    assert not [key for key in model.state_dict() if "target" in key], "meta.json has them"


def test_a_number_is_how_far_it_has_come_through_each_interval():
    encoding = PiecewiseLinear(torch.tensor([[0.0, 1.0, 1.0, 3.0]]))  # the second has no width
    with torch.no_grad():
        encoding.weight.copy_(torch.eye(3, 8))
        encoding.bias.zero_()
        shares = encoding(torch.tensor([[-1.0], [0.25], [1.0], [2.0], [9.0]]))[:, :3]
    np.testing.assert_allclose(shares, [[0, 0, 0], [0.25, 0, 0], [1, 0, 0], [1, 0, 0.5], [1, 0, 1]])


def test_an_unknown_level_of_few_is_no_level_and_of_many_has_its_own_numbers():
    model = build(TINY_TABLE, toy("yachts").meta)
    rows = toy("yachts").raw_batch(1).repeat(5, 1)
    rows[:, 3] = torch.arange(5)  # flag: unknown, missing, three levels
    with torch.no_grad():
        encoded = model.network.encode(model.input(rows))
    few = encoded[:, -12:-8]  # 4 one-hots, and before them all the rest; an embedding of 8 comes last
    torch.testing.assert_close(few, torch.cat([torch.zeros(1, 4), torch.eye(4)]))
    assert [len(embedding.weight) for embedding in model.network.embeddings] == [12]
